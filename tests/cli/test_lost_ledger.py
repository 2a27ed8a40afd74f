"""Ledgers that are lost, damaged or another state's, and states on read-only disks: told with a remedy, by each
command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Finished
from .shell import NEW, World

READING = (
    ["status"],
    ["datums", "list"],
    ["alerts", "list"],
    ["trace", "images/porch_1763798400.jpg"],
    ["metrics", "--once"],
    ["ledger", "size"],
)


def ledger_of(world: World) -> Path:
    return world.state / "ledger.sqlite"


def corrupt(world: World, *command: object) -> str:
    """Run a command that must end with 65. Gives what it says."""
    done = world.lookout(*command, "--state", "state", code=65)
    assert done.out == ""
    assert done.err.startswith("lookout: ")
    assert done.err.count("\n") == 2, "the defect and the remedy"
    return done.err


def _truncated(world: World) -> None:
    os.truncate(ledger_of(world), 0)


def _deleted(world: World) -> None:
    for path in world.state.glob("ledger.sqlite*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _swapped(world: World) -> None:
    _deleted(world)
    world.lookout("run", "photos/none", "--state", "other", code=2)
    (world.root / "empty").mkdir()
    world.lookout("run", "empty", "--state", "other")
    shutil.copy(world.root / "other" / "ledger.sqlite", ledger_of(world))


@pytest.mark.parametrize("lose", [_truncated, _deleted, _swapped])
def test_a_lost_ledger_is_not_taken_for_a_new_state(world: World, lose: Callable[[World], None]) -> None:
    lose(world)
    letters = world.letters()
    for command in (["run", "photos", "--rules", "rules"], ["watch", "photos"], ["status"], ["alerts", "list"]):
        said = corrupt(world, *command)
        assert "ledger restore" in said
        assert "ledger new" in said
    assert "BAD  state" in world.lookout("doctor", "--state", "state", code=1).out
    assert world.letters() == letters


def test_a_ledger_lost_by_the_version_before_is_seen_by_the_results_beside_it(world: World) -> None:
    (world.state / "state.id").unlink()
    _truncated(world)
    corrupt(world, "run", "photos")


def test_a_state_of_the_version_before_gets_its_id_with_the_next_run(world: World) -> None:
    name = (world.state / "state.id").read_text()
    (world.state / "state.id").unlink()
    world.run()
    assert (world.state / "state.id").read_text() == name


def test_a_ledger_begun_anew_makes_all_again_and_mails_nothing_again(world: World, finished: Finished) -> None:
    letters = world.letters()
    _truncated(world)
    world.lookout("ledger", "new", "--state", "state")
    world.run("--rules", "rules")
    assert world.results() == finished.results
    assert world.letters() == letters
    assert world.lookout("status", "--state", "state", "--json").json["alerts"] == {"written": len(letters)}


def test_a_ledger_in_use_is_not_begun_anew(world: World) -> None:
    assert "a ledger exists already" in world.refused("ledger", "new", "--state", "state")


def test_an_older_backup_does_not_mail_again_what_went_out_since(world: World) -> None:
    world.lookout("ledger", "backup", "before", "--state", "state")
    world.put(NEW)
    world.run()
    letters = world.letters()
    _deleted(world)
    world.lookout("ledger", "restore", "before", "--state", "state")
    world.run()
    assert world.letters() == letters
    assert world.lookout("status", "--state", "state", "--json").json["alerts"] == {"written": len(letters)}


# --- damage ----------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> bytes:
    return b"this is no ledger\n" * 500


def _header(data: bytes) -> bytes:
    return os.urandom(64) + data[64:]


def _pages(data: bytes) -> bytes:
    return data[:4096] + b"\xa5" * (len(data) - 4096)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2 + 100]


def _schema(data: bytes) -> bytes:
    return data[:100] + bytes(2000) + data[2100:]


ALL = (*READING, ["run", "photos"], ["watch", "photos"], ["ledger", "backup", "copy"], ["alerts", "send"])


@pytest.mark.parametrize(
    ("harm", "commands"),
    [
        (_cut, ALL),
        *((harm, (["status"], ["run", "photos"])) for harm in (_text, _header, _pages, _schema)),
        *(pytest.param(harm, ALL, marks=pytest.mark.slow) for harm in (_text, _header, _pages, _schema)),
    ],
)
def test_a_damaged_ledger_ends_every_command_with_65_and_a_remedy(
    world: World, harm: Callable[[bytes], bytes], commands: Sequence[list[str]]
) -> None:
    ledger_of(world).write_bytes(harm(ledger_of(world).read_bytes()))
    for command in commands:
        said = corrupt(world, *command)
        assert "ledger.sqlite" in said
        assert "ledger restore" in said
        assert "Traceback" not in said
        assert "0x" not in said
    assert "BAD" in world.lookout("doctor", "--state", "state", code=1).out


def test_a_log_of_junk_is_no_part_of_the_ledger(world: World) -> None:
    log = ledger_of(world).with_name("ledger.sqlite-wal")
    log.write_bytes(os.urandom(50_000))
    assert world.lookout("status", "--state", "state", "--json").json["alerts"] == {"written": 2}


# --- read-only -------------------------------------------------------------------------------------------------------


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount the folder over itself, read-only."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_state_on_a_read_only_disk_is_read_and_saved(world: World) -> None:
    said = {tuple(command): world.lookout(*command, "--state", "state").out for command in READING[:4]}
    with read_only(world.state):
        for command, before in said.items():
            assert world.lookout(*command, "--state", "state").out == before
        world.lookout("metrics", "--once", "--state", "state")
        world.lookout("ledger", "backup", "saved", "--state", "state")
        assert "2 alerts" not in world.lookout("doctor", "--state", "state", code=1).out
        assert "read-only" in world.refused("run", "photos", "--state", "state")
        assert "ledger" in world.refused("datums", "invalidate", "--all", "--state", "state")
    world.lookout("ledger", "restore", "saved", "--state", "again")


def test_what_a_killed_run_left_in_the_log_is_read_on_a_read_only_disk_too(world: World) -> None:
    with world.start("watch", "photos", "--state", "state") as watch:
        watch.expect_talk("watching")
        world.put(NEW)
        watch.expect_talk("threat-detect")
        watch.kill()
    assert ledger_of(world).with_name("ledger.sqlite-wal").stat().st_size
    with read_only(world.state):
        seen = world.lookout("datums", "list", "--state", "state").out
        assert NEW in seen
    ledger_of(world).with_name("ledger.sqlite-shm").unlink()
    with read_only(world.state):
        assert world.lookout("datums", "list", "--state", "state").out == seen


def test_results_that_are_gone_altogether_are_told(world: World) -> None:
    shutil.rmtree(world.state / "objects")
    assert "objects/validate" in world.lookout("run", "photos", "--state", "state", "--workers", "1", code=65).err


@pytest.mark.parametrize("lost", ["objects/validate", "objects/threat-detect"])
def test_results_whose_folder_is_gone_are_told_and_made_anew_by_verify(
    world: World, finished: Finished, lost: str
) -> None:
    shutil.rmtree(world.state / lost)
    done = world.lookout("run", "photos", "--state", "state", "--workers", "1", code=65)
    assert "state/objects/" in done.err
    assert "lookout run --verify" in done.err
    letters = world.letters()
    world.run("--rules", "rules", "--verify")
    assert world.results().keys() == finished.results.keys()
    assert world.letters() == letters
    world.run()
