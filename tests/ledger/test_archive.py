"""A ledger in one file: written beside work, checked to its end before a restore, refused when it is not whole."""

import gzip
import json
import os
import resource
import sqlite3
from pathlib import Path

import pytest

from devkit.contracts.ledger_kit import Bench, ManualClock, open_desk, record, ref
from devkit.contracts.ledger_upkeep import UpkeepContract, view
from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.errors import InputRejected, Unavailable
from lookout.ledger.backup.file import FORM, backup, inspect, restore
from lookout.ledger.sqlite import SqliteLedger


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def filled(tmp_path, clock):
    """A ledger with a bit of everything, at rest."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite", clock)
    with open_desk(Bench(open=lambda: ledger, clock=clock)) as desk:
        UpkeepContract.fill(desk)
    yield ledger
    ledger.close()


@pytest.fixture
def saved(filled, tmp_path):
    path = tmp_path / "saved"
    backup(filled, path, now_s=7.0, code="1+a")
    return path


def lines(path):
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def rewrite(path, *parts):
    path.write_bytes(gzip.compress(b"".join(parts)))


@pytest.mark.parametrize("kind", ["kv", "sqlite"])
def test_a_ledger_comes_back_from_its_file(filled, saved, tmp_path, clock, kind):
    blank = memory_ledger(clock) if kind == "kv" else SqliteLedger(tmp_path / "blank.sqlite", clock)
    found = restore(blank, saved)
    assert found.entries == {
        "note": 1, "basis": 1, "reference": 1, "input": 2, "record": 4, "slot": 6, "path": 4, "change": 1, "alert": 3,
        "run": 2,
    }  # fmt: skip
    assert (found.made_at_s, found.code, found.size_bytes) == (7.0, "1+a", saved.stat().st_size)
    assert view(blank) == view(filled)
    blank.close()


def test_the_same_ledger_gives_the_same_bytes(filled, saved, tmp_path):
    backup(filled, tmp_path / "again", now_s=7.0, code="1+a")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("again")] == ["again"]


def test_a_second_generation_is_the_first(saved, tmp_path, clock):
    blank = SqliteLedger(tmp_path / "blank.sqlite", clock)
    restore(blank, saved)
    backup(blank, tmp_path / "second", now_s=7.0, code="1+a")
    assert sorted(lines(tmp_path / "second")[1:-1]) == sorted(lines(saved)[1:-1])


def test_the_form_is_the_documented_one(saved):
    first, *entries, last = map(json.loads, lines(saved))
    assert first == {"lookout-ledger": FORM, "made_at_s": 7.0, "code": "1+a"}
    assert entries[0] == ["note", "source", "/photos\u2603"]
    assert set(last) == {"entries", "sha256"}
    assert last["entries"] == len(entries)


def test_names_and_texts_of_every_kind_survive(tmp_path, clock):
    ledger, blank = SqliteLedger(tmp_path / "a.sqlite", clock), SqliteLedger(tmp_path / "b.sqlite", clock)
    with open_desk(Bench(open=lambda: ledger, clock=clock)) as desk:
        made = record("a\n\u2028\x00'\"\\é", outputs=[ref("s", "tab\t☃")], facts={"x": ["\U0001f600", 1e-300, None]})
        desk.do(made)
    backup(ledger, tmp_path / "saved", now_s=1.0, code="")
    restore(blank, tmp_path / "saved")
    assert blank.find_records([made.hash]) == {made.hash: made}
    ledger.close()
    blank.close()


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(path, clock, match):
    ledger = memory_ledger(clock)
    with pytest.raises(InputRejected, match=match) as error:
        restore(ledger, path)
    assert str(path) in str(error.value)
    assert list(ledger.inputs("images")) == []
    assert ledger.find_note("source") is None
    return error.value


def test_a_file_that_is_there_is_not_overwritten(filled, saved):
    before = saved.read_bytes()
    with pytest.raises(InputRejected, match="exists already"):
        backup(filled, saved, now_s=8.0, code="")
    assert saved.read_bytes() == before


def test_a_place_that_is_none_is_refused(filled, tmp_path, clock):
    with pytest.raises(InputRejected, match="No such file"):
        backup(filled, tmp_path / "nowhere" / "saved", now_s=8.0, code="")
    refused(tmp_path / "nowhere", clock, "No such file")
    refused(tmp_path, clock, "is a directory")


OTHERS = {
    "empty": b"",
    "text": b"hello",
    "half a head": b"\x1f\x8b",
    "packed text": gzip.compress(b"hello\n", mtime=0),
    "packed json": gzip.compress(b"{}\n", mtime=0),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_another_file_is_no_backup(tmp_path, clock, content):
    (tmp_path / "other").write_bytes(content)
    refused(tmp_path / "other", clock, "no backup of a ledger|damaged")


def test_a_newer_form_is_refused(saved, clock):
    first, *rest = lines(saved)
    rewrite(saved, first.replace(b'"lookout-ledger":4', b'"lookout-ledger":5'), *rest)
    assert "update Lookout" in refused(saved, clock, "newer Lookout: its form is 5, this one knows 4").hint


def test_every_cut_is_noticed(saved, clock):
    whole, parts = saved.read_bytes(), lines(saved)
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        saved.write_bytes(whole[:length])
        refused(saved, clock, "damaged|no backup")
    for number in range(1, len(parts)):
        rewrite(saved, *parts[:number])
        refused(saved, clock, "cut off")


def test_a_flipped_bit_is_noticed(saved, clock):
    whole = saved.read_bytes()
    for place in range(10, len(whole), max(1, len(whole) // 60)):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        refused(saved, clock, "damaged|no backup")


def test_a_line_that_is_lost_or_altered_in_a_sound_gzip_is_noticed(saved, clock):
    first, second, *rest = lines(saved)
    rewrite(saved, first, *rest)
    refused(saved, clock, "is damaged: expected 25 entries .* got 24")
    rewrite(saved, first, second.replace(b"source", b"sauce!"), *rest)
    refused(saved, clock, "is damaged: expected 25 entries")
    rewrite(saved, first, b"nonsense\n", *rest)
    refused(saved, clock, "no entry")


def test_a_filled_ledger_is_not_restored_into(filled, saved):
    before = list(filled.slots())
    with pytest.raises(InputRejected, match="not empty"):
        restore(filled, saved)
    assert list(filled.slots()) == before


def test_a_full_disk_leaves_no_file(filled, tmp_path, clock):
    with open_desk(Bench(open=lambda: filled, clock=clock)) as desk:
        desk.do(record("big", facts={"x": os.urandom(300_000).hex()}, outputs=[]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(Unavailable, match="full"):
            backup(filled, tmp_path / "full", now_s=1.0, code="")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir() if "full" in path.name) == []


def test_a_backup_waits_for_no_writer_and_no_writer_for_it(filled, tmp_path, clock):
    """A transaction that is open does not keep a backup waiting, nor shows in it."""
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE notes SET value = 'half done'")
    backup(filled, tmp_path / "beside", now_s=1.0, code="")
    other.execute("ROLLBACK")
    other.close()
    assert inspect(tmp_path / "beside").entries["note"] == 1
    assert ["note", "source", "/photos\u2603"] in map(json.loads, lines(tmp_path / "beside"))


def test_a_pipe_or_a_device_in_the_place_of_a_backup_is_refused_and_not_waited_for(tmp_path, clock):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", clock, "a pipe or a device")
    refused(Path("/dev/zero"), clock, "a pipe or a device")
