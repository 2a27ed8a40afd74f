"""Log of what a device has sent."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected, Unavailable
from lookout.uploader.sent_log import Kept, Memory

ONE = Kept(fingerprint="1:2:3:4", sha256="a" * 64)
TWO = Kept(fingerprint="", sha256="b" * 64)


def test_what_is_kept_is_found_by_the_next_one_and_by_no_other_bucket(tmp_path: Path) -> None:
    file = tmp_path / "state" / "sent.sqlite"
    memory = Memory(file, "http://one/images")
    assert memory.find("a.jpg") is None
    memory.keep("a.jpg", ONE, 1.0)
    memory.keep("a.jpg", TWO, 2.0)
    memory.keep("Küche\n✓.jpg", ONE, 2.0)
    memory.close()
    again = Memory(file, "http://one/images")
    assert (again.find("a.jpg"), again.find("Küche\n✓.jpg")) == (TWO, ONE)
    again.close()
    other = Memory(file, "http://other/images")
    assert other.find("a.jpg") is None
    other.close()


@pytest.mark.parametrize("number", [0, 1, 2500])
def test_what_is_old_and_gone_is_forgotten(tmp_path: Path, number: int) -> None:
    memory = Memory(tmp_path / "sent.sqlite", "t")
    for n in range(number):
        memory.keep(f"{n}.jpg", ONE, 1.0)
    memory.keep("old but there", ONE, 1.0)
    memory.keep("new", ONE, 3.0)
    assert memory.forget(2.0, lambda key: key == "old but there") == number
    assert memory.find("0.jpg") is None
    assert memory.find("old but there") == memory.find("new") == ONE
    memory.close()


def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "sent.sqlite"
    file.write_bytes(b"not a database" * 500)
    memory = Memory(file, "t")
    memory.keep("a.jpg", ONE, 1.0)
    assert memory.find("a.jpg") == ONE
    memory.close()
    assert (tmp_path / "sent.sqlite.damaged").read_bytes().startswith(b"not a database")
    assert "put_aside" in caplog.text


def test_one_that_is_damaged_under_way_does_not_stop_the_sending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(tmp_path / "sent.sqlite", "t")
    other = sqlite3.connect(tmp_path / "sent.sqlite")
    other.execute("DROP TABLE sent")
    other.close()
    for _ in range(3):
        assert memory.find("a.jpg") is None
        memory.keep("a.jpg", ONE, 1.0)
    assert memory.forget(9.0, lambda _: False) == 0
    assert caplog.text.count("sent again") == 1
    memory.close()


def test_a_newer_form_and_a_place_that_cannot_be_are_refused(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(InputRejected, match="newer"):
        Memory(tmp_path / "newer.sqlite", "t")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputRejected, match="cannot make the folder"):
        Memory(tmp_path / "file" / "sent.sqlite", "t")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(Unavailable, match="unable to open"):
        Memory(tmp_path / "folder.sqlite", "t")


def test_two_may_share_the_file(tmp_path: Path) -> None:
    one, two = Memory(tmp_path / "s", "t"), Memory(tmp_path / "s", "t")
    one.keep("a", ONE, 1.0)
    two.keep("b", TWO, 1.0)
    assert (one.find("b"), two.find("a")) == (TWO, ONE)
    one.close()
    two.close()
    assert [found.name for found in tmp_path.iterdir()] == ["s"]
