"""Bad sources, names, states, options and environments: a clear error or a reason code, and no harm."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from stages.picture_names import short_digest

from .shell import PHOTOS, THREAT, UNNAMED, World, modes_are_obeyed, obey_modes

PICTURE = (PHOTOS / THREAT).read_bytes()


# --- sources ---------------------------------------------------------------------------------------------------------


def test_an_empty_folder_is_no_error_and_said_to_be_empty(empty_world: World) -> None:
    assert "the source is empty" in empty_world.lookout("run", "photos", "--state", "state").out
    said = empty_world.run()
    assert (said["pictures"], said["invalid"], said["threats"]) == (0, [], {})


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere", "no such file or folder"),
        ("photos/nowhere.jpg", "no such file or folder"),
        ("x" * 300, "name too long"),
        ("dangling_1763798400.jpg", "is a broken link"),
        ("loop", "leads in a circle"),
        ("pipe", "neither a folder nor a file"),
        (b"bad\xff", "not valid UTF-8"),
        ("state/pictures", "is in the state folder"),
        ("state", "is in the state folder"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused_before_anything_is_made(
    empty_world: World, source: str | bytes, why: str
) -> None:
    root = empty_world.root
    (root / "dangling_1763798400.jpg").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (root / "state" / "pictures").mkdir(parents=True)
    assert why in empty_world.refused("run", source, "--state", "state", "--threshold", "0.1")
    assert not list(empty_world.state.glob("ledger*"))


def test_two_folders_or_a_folder_and_a_file_are_refused(world: World) -> None:
    assert "one folder" in world.refused("run", "photos", f"photos/{THREAT}", "--state", "state")


def test_another_source_is_refused_by_a_state_that_has_one(world: World) -> None:
    (world.root / "other").mkdir()
    shutil.copyfile(PHOTOS / THREAT, world.root / "other" / THREAT)
    before = world.results()
    assert str(world.photos) in world.refused("run", "other", "--state", "state")
    assert str(world.photos) in world.refused("run", f"other/{THREAT}", "--state", "state")
    assert world.results() == before


def test_a_state_inside_its_source_does_not_feed_on_itself(empty_world: World) -> None:
    empty_world.put(UNNAMED)
    for _ in range(2):
        said = empty_world.lookout("run", "photos", "--state", "photos/state", "--workers", "1", "--json").json
        assert (said["pictures"], [item["key"] for item in said["invalid"]]) == (1, [UNNAMED])


def test_what_is_no_regular_readable_file_gets_a_reason_and_stops_nobody(world: World) -> None:
    photos = world.photos
    (photos / "dangling_1763798401.jpg").symlink_to("nowhere")
    (photos / "loop_1763798402.jpg").symlink_to("loop_1763798402.jpg")
    (photos / "outside_1763798403.jpg").symlink_to("/etc/hostname")
    os.mkfifo(photos / "pipe_1763798404.jpg")
    (photos / "folder_1763798405.jpg").mkdir()
    closed = photos / "closed_1763798406.jpg"
    closed.write_bytes(PICTURE)
    closed.chmod(0)
    expected = {"dangling_1763798401.jpg", "loop_1763798402.jpg", "outside_1763798403.jpg"}
    if modes_are_obeyed(world.root):
        expected.add(closed.name)
    else:
        closed.unlink()
    said = world.run(code=1, before=obey_modes)
    assert {item["key"] for item in said["failures"]} == expected
    assert all(item["error"] for item in said["failures"])
    assert said["stages"]["validate"]["skipped"] == 4


# --- names -----------------------------------------------------------------------------------------------------------

GOOD_NAMES = {
    b"a..b_1763798400.jpg": "a..b/1763798400",
    b"%2e%2e/porch_1763798401.JPG": f"%2e%2e/porch/1763798401-{short_digest('%2e%2e/porch_1763798401.JPG')}",
    "家/двор/porch_1763798402.jpeg".encode(): "家/двор/porch/1763798402-"
    + short_digest("家/двор/porch_1763798402.jpeg"),
    b"bad\xff/porch_1763798403.jpg": "bad\\xff/porch/1763798403",
    b"valid/porch_1763798404.jpg": "valid/porch/1763798404",
    "двор_1763798400.jpg".encode(): "двор/1763798400",
    b"bad\xff\xfe_1763798400.jpg": "bad\\xff\\xfe/1763798400",
    b"back\\slash_1763798400.jpg": "back\\slash/1763798400",
    b"\\xff_1763798400.jpg": "\\x5cxff/1763798400",
    b"%2e%2e_1763798400.jpg": "%2e%2e/1763798400",
    b"%2e%2e%2fporch_1763798400.jpg": "%2e%2e%2fporch/1763798400",
    b"--json_1763798400.jpg": "--json/1763798400",
    b"<script>_1763798400.jpg": "<script>/1763798400",
    b"sp ace_1763798400.jpg": "sp ace/1763798400",
}
HIDDEN_NAMES = [b"..jpg", b"..._1763798400.jpg", b"..\\porch_1763798400.jpg", b".x/porch_1763798400.jpg"]
"""Begin with a dot: left alone, as the names of files that a program is still copying often do."""
BAD_NAMES = [
    b"new\nline_1763798400.jpg",
    b"porch_1763798405.jpg\n",
    "porch_١٧٦٣٧٩٨٤٠٠.jpg".encode(),
    "\u202egnp_1763798400.jpg".encode(),
    b"\x1b[31mred_1763798400.jpg",
    b"c" * 251 + b".jpg",
    b"d" * 240 + b"_1763798400.jpg",
    b"notes.txt",
]
DEEP = b"/".join([b"e" * 200] * 7) + b"/porch_1763798406.jpg"
"""Longer than any key of a result may be."""


def _write(root: Path, name: bytes) -> None:
    """Also below folders whose whole path is longer than the system takes at once."""
    here = os.open(root, os.O_RDONLY)
    *folders, last = name.split(b"/")
    for folder in folders:
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=here)
        inner = os.open(folder, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    file = os.open(last, os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, PICTURE)
    os.close(file)
    os.close(here)


def test_any_name_is_processed_or_refused_with_a_reason_and_stays_in_its_place(empty_world: World) -> None:
    for name in [*GOOD_NAMES, *HIDDEN_NAMES, *BAD_NAMES, DEEP]:
        _write(empty_world.photos, name)
    done = empty_world.lookout("run", "photos", "--state", "state", "--json", only_env=_ascii(empty_world))
    said = done.json
    assert said["failures"] == []
    assert len(said["invalid"]) == len(BAD_NAMES) + 1
    assert {item["reason"] for item in said["invalid"]} == {"name"}
    found = empty_world.results()
    assert {f"object-detect/{stem}.json" for stem in GOOD_NAMES.values()} <= found.keys()
    kept = [path for path in found if path.startswith("validate/invalid/") and not path.endswith(".json")]
    assert len(kept) == len(said["invalid"])
    assert all(found[path] == PICTURE for path in kept)
    assert {path.name for path in empty_world.root.iterdir() if path.name[0] != "."} == {"photos", "state"}
    text = empty_world.lookout("run", "photos", "--state", "state").out
    assert "\x1b" not in text
    assert "new\\nline" in empty_world.lookout("datums", "list", "--state", "state").out


def _ascii(world: World) -> dict[str, str]:
    return {**world.variables(), "LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


# --- junk ------------------------------------------------------------------------------------------------------------


def _junk(folder: Path, number: int) -> None:
    for index in range(number):
        name = (f"IMG_{index}.jpg", f"cam{index % 7}_{1763798400 + index}.jpg", f"paper{index}.pdf")[index % 3]
        (folder / name).write_bytes(os.urandom((0, 1, 50, 2000)[index % 4]))


def _check_junk(world: World, number: int) -> None:
    _junk(world.photos, number)
    said = world.run()
    reasons = Counter(item["reason"] for item in said["invalid"])
    assert sum(reasons.values()) + said["ignored"] == number
    assert reasons.keys() == {"name", "empty", "not-jpeg"}
    assert said["ignored"] == number // 3
    assert world.run()["ignored"] == 0, "it is told of once"
    assert said["stages"]["object-detect"]["success"] == 0


def test_a_folder_of_junk_ends_with_a_reason_for_each_file(empty_world: World) -> None:
    _check_junk(empty_world, 500)
    text = empty_world.lookout("run", "photos", "--state", "state").out
    assert f"Invalid: {500 - 500 // 3} pictures" in text
    assert text.count("\n") < 40


@pytest.mark.slow
def test_ten_thousand_files_of_junk_end_with_a_reason_each(empty_world: World) -> None:
    _check_junk(empty_world, 10_000)


# --- states ----------------------------------------------------------------------------------------------------------


def _newer(world: World) -> None:
    with sqlite3.connect(world.state / "ledger.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'form'")
    connection.close()


def _foreign(world: World) -> None:
    shutil.rmtree(world.state)
    world.state.mkdir()
    with sqlite3.connect(world.state / "ledger.sqlite") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()


@pytest.mark.parametrize(("harm", "why"), [(_newer, "newer Lookout"), (_foreign, "not a ledger")])
def test_a_ledger_that_is_not_ours_is_refused_and_left_as_it_is(world: World, harm: object, why: str) -> None:
    assert callable(harm)
    harm(world)
    before = (world.state / "ledger.sqlite").read_bytes()
    for command in (["run", "photos"], ["watch", "photos"], ["status"]):
        assert why in world.refused(*command, "--state", "state")
    assert (world.state / "ledger.sqlite").read_bytes() == before


def test_a_damaged_ledger_is_said_to_be_damaged_with_what_to_do(world: World) -> None:
    ledger = world.state / "ledger.sqlite"
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with ledger.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (ledger.stat().st_size - 8192))
    for command in (["run", "photos"], ["status"]):
        done = world.lookout(*command, "--state", "state", code=65)
        assert "malformed" in done.err
        assert "backup" in done.err
    assert "malformed" in world.lookout("doctor", "--state", "state", code=1).out


@pytest.mark.parametrize(
    ("state", "why"),
    [("file", "is not a folder"), ("photos", "holds other things"), ("x" * 300, "name too long"), ("file/a", "cannot")],
)
def test_a_state_that_cannot_be_one_is_refused(empty_world: World, state: str, why: str) -> None:
    (empty_world.root / "file").write_text("kept")
    (empty_world.photos / "notes.txt").write_text("kept")
    (empty_world.root / "other").mkdir()
    assert why in empty_world.refused("run", "other", "--state", state).lower()
    assert state in empty_world.refused("status", "--state", state)
    assert (empty_world.root / "file").read_text() == "kept"
    assert [path.name for path in empty_world.photos.iterdir()] == ["notes.txt"]


# --- options and environment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threshold", "nan"),
        ("--threshold", "-0.1"),
        ("--threshold", "1.1"),
        ("--threshold", "inf"),
        ("--threshold", "much"),
        ("--workers", "0"),
        ("--workers", "-1"),
        ("--workers", "10000"),
        ("--max-mails", "-1"),
        ("--max-mails", "1.5"),
        ("--nonsense", "1"),
    ],
)
def test_an_option_out_of_range_is_refused_and_nothing_is_made(empty_world: World, option: str, value: str) -> None:
    done = empty_world.call("run", "photos", "--state", "state", option, value, code=2)
    assert option in done.err
    assert not empty_world.state.exists()


def test_the_ends_of_the_ranges_work(world: World) -> None:
    """With nothing to do, 64 workers are none; see below for as many at work."""
    world.run("--workers", "64")
    for threshold in ("0", "1"):
        world.run("--threshold", threshold, "--workers", "1", "--max-mails", "0")


@pytest.mark.slow
def test_as_many_workers_as_may_be_are_started_and_end(empty_world: World) -> None:
    empty_world.run("--threshold", "0", "--workers", "64", "--max-mails", "0")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOOKOUT_LOG", "loud"),
        ("LOOKOUT_DURABLE", "yes"),
        ("LOOKOUT_STATE", "/dev/null"),
        ("LOOKOUT_STATE", "x" * 300),
    ],
)
def test_a_nonsensical_variable_is_refused_by_name_or_value(world: World, variable: str, value: str) -> None:
    why = world.refused("run", "photos", env={variable: value})
    assert variable in why
    assert value in why


@pytest.mark.parametrize("host", ["nonsense", "ftp://example.com", "http://"])
def test_a_nonsensical_mail_host_is_refused_before_any_work(empty_world: World, host: str) -> None:
    environment = {"SENDGRID_API_KEY": "SG.x", "LOOKOUT_SENDGRID_HOST": host}
    assert "LOOKOUT_SENDGRID_HOST" in empty_world.refused("run", "photos", "--state", "state", env=environment)


def test_an_empty_environment_is_enough(world: World) -> None:
    said = world.lookout("run", "photos", "--state", "state", "--json", only_env={}).json
    assert said["stages"]["validate"]["skipped"] == 4
