"""Kills, two at once, full and read-only disks, files that move under the reader, an output nobody reads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from .conftest import Finished
from .shell import (
    CALM,
    CUT,
    LOOKOUT,
    NEW,
    PHOTOS,
    THREAT,
    UNNAMED,
    World,
    modes_are_obeyed,
    obey_modes,
    small_files,
)


def _begin_undone(finished: Finished) -> World:
    """The finished world before its first run."""
    world = finished.begin()
    shutil.rmtree(world.state)
    return world


def _check_undisturbed(world: World, finished: Finished, *, redrawn: bool = False) -> None:
    """The end is that of the run that nothing disturbed, byte for byte, and nobody was told twice; nothing was
    published twice but, with ``redrawn``, drawings of some of the pictures."""
    assert world.results() == finished.results
    assert world.datums() == finished.datums
    assert len(world.letters()) == 2
    replaced = [path.read_bytes() for path in (world.state / "objects" / ".versions").iterdir()]
    assert redrawn or not replaced
    assert all(body.startswith((b"\x89PNG", b"<!doctype html>")) for body in replaced)
    status = world.lookout("status", "--state", "state", "--json").json
    assert not any(stage["running"] + stage["waiting"] for stage in status["stages"].values())
    assert status["alerts"] == {"written": 2}


# --- ended from outside ----------------------------------------------------------------------------------------------


def test_runs_killed_at_three_points_and_run_again_at_once_end_as_an_undisturbed_one(finished: Finished) -> None:
    world = _begin_undone(finished)
    for point in ("validate 2", "object-detect 1", "threat-detect 1"):
        with world.start("run", "photos", "--state", "state", "--rules", "rules", "--workers", "1") as run:
            run.expect_talk(point)
            run.kill()
    said = world.run()
    assert (said["failures"], said["pending"]) == ([], 0)
    assert (said["threats"], said["invalid"]) == (finished.first["threats"], finished.first["invalid"])
    _check_undisturbed(world, finished)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so_hands_back_and_the_next_one_finishes(finished: Finished, number: signal.Signals) -> None:
    world = _begin_undone(finished)
    with world.start("run", "photos", "--state", "state", "--rules", "rules", "--workers", "1") as run:
        run.expect_talk("validate 1")
        assert run.stop(number) == 130
    assert "Stopped after" in "".join(run.seen)
    status = world.lookout("status", "--state", "state", "--json").json
    assert status["runs"][0]["state"] == "stopped"
    assert not any(stage["running"] for stage in status["stages"].values())
    if number == signal.SIGTERM:
        world.run()
        _check_undisturbed(world, finished)


def test_two_runs_at_once_on_one_state_do_the_work_once(finished: Finished) -> None:
    world = _begin_undone(finished)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: world.run("--rules", "rules", "--workers", "1"), range(2)))
    world.run()
    done = [sum(said["stages"][stage]["success"] for said in both) for stage in ("validate", "object-detect")]
    assert done == [4, 2]
    assert sum(said["alerts"]["written"] for said in both) == 2
    # Either run draws what is there when it has nothing left to do, and the other may still be at work on a picture.
    _check_undisturbed(world, finished, redrawn=True)


# --- disks -----------------------------------------------------------------------------------------------------------


def test_no_room_for_a_result_ends_the_run_with_75_and_the_next_one_finishes(world: World) -> None:
    world.put(NEW)
    done = world.lookout("run", "photos", "--state", "state", "--workers", "1", code=75, before=small_files(40_000))
    assert done.err.startswith("lookout: ")
    said = world.run()
    assert (said["threats"], said["alerts"]["written"]) == ({"gate": 1, "porch": 1}, 2)
    world.lookout("doctor", "--state", "state", "--objects")


def test_no_room_for_the_model_ends_the_run_with_75(empty_world: World) -> None:
    why = empty_world.refused("run", "photos", "--state", "state", code=75, before=small_files(2_000_000))
    assert "larger than" in why


def _mounted(target: Path, *options: str) -> bool:
    return subprocess.run(["mount", *options, target], capture_output=True, check=False).returncode == 0


@contextmanager
def _small_disk(target: Path, size: str) -> Iterator[None]:
    target.mkdir()
    if os.geteuid() != 0 or not _mounted(target, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        pytest.skip("mounting a small file system needs rights that this process lacks; the limit on files is tested")
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


def test_a_full_file_system_ends_the_run_with_75_and_the_next_one_finishes(finished: Finished) -> None:
    world = _begin_undone(finished)
    with _small_disk(world.state, "9700k"):
        done = world.lookout("run", "photos", "--state", "state", "--rules", "rules", code=75)
        assert any(word in done.err for word in ("no space", "full"))
        world.lookout("doctor", "--state", "state", code=1)
        _mounted(world.state, "-o", "remount,size=60m")
        world.run("--rules", "rules")
        assert world.results() == finished.results
        assert len(world.letters()) == 2


def test_a_read_only_state_is_read_and_every_write_is_refused(world: World, finished: Finished) -> None:
    if not modes_are_obeyed(world.root):
        pytest.skip("this system lets the process pass over the modes of files, and not give that right up")
    everything = [world.state, *world.state.rglob("*")]
    modes = {path: path.stat().st_mode for path in everything}
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for command in (["run", "photos"], ["watch", "photos"], ["alerts", "send"]):
            assert "read-only" in world.refused(*command, "--state", "state", before=obey_modes)
        assert "ledger" in world.refused("datums", "invalidate", "--all", "--state", "state", before=obey_modes)
        for command in (["status"], ["datums", "list"], ["alerts", "list"]):
            world.lookout(*command, "--state", "state", before=obey_modes)
        assert "BAD" in world.lookout("doctor", "--state", "state", code=1, before=obey_modes).out
        assert "permission" in world.refused("run", "photos", "--state", "state/new", before=obey_modes)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert world.results() == finished.results
    assert world.run()["stages"]["validate"]["skipped"] == 4


# --- sources that move -----------------------------------------------------------------------------------------------


@contextmanager
def _again_and_again(*actions: Callable[[], object]) -> Iterator[None]:
    ending = threading.Event()

    def act() -> None:
        for action in cycle(actions):
            action()
            if ending.is_set():
                return

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def test_files_that_change_and_vanish_under_the_reader_never_leave_a_half_result(empty_world: World) -> None:
    world = empty_world
    world.put(UNNAMED)
    restless, fleeting = world.photos / THREAT, world.photos / CALM
    pictures = [(PHOTOS / THREAT).read_bytes(), (PHOTOS / NEW).read_bytes()]
    with (
        _again_and_again(*(lambda data=data: restless.write_bytes(data) for data in pictures)),  # type: ignore[misc]
        _again_and_again(lambda: fleeting.write_bytes(pictures[0]), lambda: fleeting.unlink(missing_ok=True)),
    ):
        done = subprocess.run(
            [LOOKOUT, "run", "photos", "--state", "state", "--json"],
            cwd=world.root,
            env=world.variables(),
            capture_output=True,
            check=False,
            timeout=90,
        )
    assert done.returncode in (0, 1), done.stderr
    assert b"Traceback" not in done.stderr
    fleeting.unlink(missing_ok=True)
    restless.write_bytes(pictures[1])
    said = world.run()
    assert said["pictures"] == 2
    found = world.results()
    assert found[f"validate/valid/{THREAT}"] == pictures[1]
    assert not any(CALM in path or "kitchen" in path for path in found if not path.startswith("plot/"))


# --- outputs ---------------------------------------------------------------------------------------------------------


def _pipe_to_nobody(world: World, command: str) -> tuple[int, str]:
    """Run in bash with a reader that leaves at once; gives the command's own exit code and what it said."""
    script = f"set -o pipefail; {{ sleep 0 <&-; {LOOKOUT} {command}; echo code $? >&2; }} | true"
    done = subprocess.run(
        ["bash", "-c", script], cwd=world.root, env=world.variables(), capture_output=True, check=False, timeout=90
    )
    said = done.stderr.decode()
    return int(said.rpartition("code ")[2]), said


@pytest.mark.parametrize("command", ["run photos --json", "datums list", "status", "trace images/" + CUT, "--help"])
def test_a_reader_that_leaves_early_gets_no_complaint(world: World, command: str) -> None:
    option = "" if command == "--help" else " --state state"
    code, said = _pipe_to_nobody(world, command + option)
    assert "Traceback" not in said
    assert "Exception" not in said
    assert code in (0, 130)


@pytest.mark.parametrize("command", ["status", "run photos"])
def test_an_output_without_room_is_said_in_one_line(world: World, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{LOOKOUT} {command} --state state > /dev/full"],
        cwd=world.root,
        env=world.variables(),
        capture_output=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 75
    assert done.stderr.decode().startswith("lookout: the output: No space left")
    assert b"Traceback" not in done.stderr


def test_closed_standard_streams_are_no_trouble(world: World) -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["bash", "-c", f"{LOOKOUT} run photos --state state {closed}"],
            cwd=world.root,
            env=world.variables(),
            capture_output=True,
            check=False,
            timeout=90,
        )
        assert (done.returncode, done.stderr) == (0, b""), closed
