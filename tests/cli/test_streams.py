"""Outputs that cannot be written: the work goes on, and what was lost is told."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

import pytest

from .conftest import Finished
from .shell import CALM, LOOKOUT, NEW, THREAT, World

DEADLINE_S = 90.0
FULL = Path("/dev/full")
FOLLOW = ("status", "--state", "state", "--follow", "--every", "0.1", "--json")


def _closed_reader() -> int:
    """The writing end of a pipe whose reader went away."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _idle_reader() -> int:
    """The writing end of a pipe that is full, and whose reader never reads; both ends stay open in this process."""
    _, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * size)
    return writer


BROKEN = {"full": lambda: os.open(FULL, os.O_WRONLY), "reader left": _closed_reader, "reader idle": _idle_reader}


@contextmanager
def _started(
    world: World, *arguments: str, stdout: Any = subprocess.PIPE, stderr: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [LOOKOUT, *arguments], cwd=world.root, env=world.variables(), stdout=stdout, stderr=stderr
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _expect(stream: IO[bytes] | None, **facts: object) -> None:
    assert stream is not None
    for line in stream:
        found = json.loads(line)
        if all(found.get(name) == value for name, value in facts.items()):
            return
    raise AssertionError(f"expected {facts} before the end")


def _until(is_so: Any, what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end_s, f"expected in time: {what}"
        time.sleep(0.02)


# --- stderr ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("level", ["error", "debug"])
def test_a_watch_goes_on_when_its_stderr_cannot_be_written(empty_world: World, broken: str, level: str) -> None:
    world, stderr = empty_world, BROKEN[broken]()
    world.put(THREAT)
    world.environment["LOOKOUT_LOG"] = level
    with _started(world, "watch", "photos", "--state", "state", "--workers", "1", "--json", stderr=stderr) as watch:
        os.close(stderr)
        _expect(watch.stdout, stage="validate", key=THREAT)
        world.put(NEW)
        _expect(watch.stdout, stage="threat-detect", key=NEW)
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(DEADLINE_S) == 130


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("command", [["run", "photos"], ["work", "--object", NEW]], ids=lambda words: words[0])
def test_work_ends_well_when_its_stderr_cannot_be_written(world: World, command: list[str], broken: str) -> None:
    world.put(NEW)
    stderr = BROKEN[broken]()
    done = subprocess.run(
        [LOOKOUT, *command, "--state", "state", "--workers", "1", "--json"],
        cwd=world.root,
        env=world.variables({"LOOKOUT_LOG": "debug"}),
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        timeout=DEADLINE_S,
    )
    os.close(stderr)
    assert done.returncode == 0
    assert f"object-detect/{Path(NEW).stem.replace('_', '/')}.json" in {*world.results()}, sorted(world.results())
    assert json.loads(done.stdout)["stages"]["threat-detect"]["success"] == 1


def test_a_device_waits_for_its_store_though_stderr_cannot_be_written(empty_world: World) -> None:
    world = empty_world
    world.put(CALM)
    world.environment |= {
        "LOOKOUT_STORE": "s3+http://127.0.0.1:1",
        "LOOKOUT_STORE_ACCESS_KEY": "uploader",
        "LOOKOUT_STORE_SECRET_KEY": "not a secret",
    }
    with FULL.open("wb") as full, _started(world, "watch", "photos", "--upload", "--json", stderr=full) as watch:
        _until((world.root / "lookout-state" / "sent.sqlite").exists, "its memory")
        with pytest.raises(subprocess.TimeoutExpired):
            watch.wait(3.0)
        watch.send_signal(signal.SIGTERM)
        assert watch.stdout is not None
        assert json.loads(watch.stdout.read())["waiting"] == 1
        assert watch.wait(DEADLINE_S) == 130


@pytest.mark.parametrize("command", [["-m", "event_sources.intake"], ["-m", "stages.validate", "--batch", "x"]])
def test_an_error_that_nobody_can_read_keeps_its_exit_code(empty_world: World, command: list[str]) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, *command], cwd=empty_world.root, env=empty_world.variables(), stderr=full, check=False
        )
    assert done.returncode == 2


@contextmanager
def _small_disk(target: Path) -> Iterator[None]:
    target.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", target]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs rights that this process lacks")
    try:
        yield
    finally:
        # A helper of multiprocessing that has the log open ends a moment after its process.
        unmount = ["umount", target]
        _until(lambda: not subprocess.run(unmount, capture_output=True, check=False).returncode, "a free disk")


def _fill(filler: Path) -> None:
    """Let the file take all room that is left on its disk."""
    with filler.open("ab", buffering=0) as more, suppress(OSError):
        while more.write(b"." * 1024):
            pass


def test_a_watch_says_how_much_a_full_disk_took_from_its_log_once_there_is_room(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    with _small_disk(world.root / "disk"):
        log, filler = world.root / "disk" / "log", world.root / "disk" / "filler"
        with log.open("ab") as stderr:
            _fill(filler)
            with _started(world, "watch", "photos", "--state", "state", "--workers", "1", stderr=stderr) as watch:
                page = world.state / "objects" / "plot" / "index.html"
                _until(page.exists, "the page")
                assert log.read_text() == ""
                filler.unlink()
                world.put(NEW)
                _until(lambda: f"success: threat-detect of {NEW}" in log.read_text(), "a line in the log")
                watch.send_signal(signal.SIGTERM)
                assert watch.wait(DEADLINE_S) == 130
            first, *rest = log.read_text().splitlines()
            lost, _, said = first.partition(" ")
            assert said == "log lines could not be written: No space left on device"
            assert int(lost) >= 4
            assert not any("could not be written" in line for line in rest)


# --- stdout ----------------------------------------------------------------------------------------------------------


def test_a_watch_without_room_for_its_results_goes_on_and_ends_with_75(empty_world: World, tmp_path: Path) -> None:
    world = empty_world
    world.put(THREAT)
    said = tmp_path / "said"
    with FULL.open("wb") as full, said.open("wb") as stderr:
        arguments = ("watch", "photos", "--state", "state", "--workers", "1", "--json")
        with _started(world, *arguments, stdout=full, stderr=stderr) as watch:
            _until((world.state / "objects" / "plot" / "index.html").exists, "the page")
            world.put(NEW)
            detections = world.state / "objects" / "object-detect" / Path(NEW).stem.replace("_", "/")
            _until(detections.with_suffix(".json").exists, "the detections")
            watch.send_signal(signal.SIGTERM)
            assert watch.wait(DEADLINE_S) == 75
    first, *_, last = said.read_text().splitlines()
    assert "lookout: the output: No space left on device; results are lost" in said.read_text(), first
    assert last.startswith("lookout: the output: No space left on device; ")
    assert last.endswith(" lines of the result could not be written")


def test_a_result_that_a_full_disk_tore_ends_with_75(finished: Finished) -> None:
    world = finished.begin()
    with _small_disk(world.root / "disk"):
        out = world.root / "disk" / "out"
        (world.root / "disk" / "filler").write_bytes(b"." * 61_000)
        with out.open("wb") as stdout:
            done = subprocess.run(
                [LOOKOUT, "get", f"validate/valid/{THREAT}", "--state", "state"],
                cwd=world.root,
                env=world.variables(),
                stdout=stdout,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 75
        assert b"No space left on device" in done.stderr
        assert b"Traceback" not in done.stderr


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_status_that_follows_goes_on_without_room_on_stderr_and_ends_with_a_code(
    world: World, number: signal.Signals, code: int
) -> None:
    with FULL.open("wb") as full, _started(world, *FOLLOW, stderr=full) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["stages"]
        world.put(NEW)
        world.run()
        assert json.loads(following.stdout.readline())["stages"]
        following.send_signal(number)
        assert following.wait(DEADLINE_S) == code


def test_a_server_of_metrics_answers_without_room_on_stderr_and_ends_with_a_code(world: World) -> None:
    port = _free_port()
    command = ("metrics", "--state", "state", "--port", str(port))
    with FULL.open("wb") as full, _started(world, *command, stderr=full) as serving:

        def answers() -> bool:
            assert serving.poll() is None
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return b"lookout_" in answer.read()
            return False

        _until(answers, "an answer")
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(DEADLINE_S) == 130
