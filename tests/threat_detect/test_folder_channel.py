"""Letters as .eml files."""

from __future__ import annotations

import email
import errno
import fcntl
import multiprocessing
import os
import signal
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from lookout.domain.records import AlertState
from lookout.outbox.channel import Channel, Letter
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.mail.eml_folder import FolderChannel
from stages.threat_detect.mail.message import render
from stages.threat_detect.mail.mime import to_eml


def read(path: str | None) -> EmailMessage:
    message = email.message_from_bytes(Path(str(path)).read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def test_a_letter_becomes_a_file_of_its_id_that_a_mail_reader_opens(tmp_path: Path, one: Letter) -> None:
    folder = tmp_path / "a" / "mail"
    channel: Channel = FolderChannel(folder)
    given = channel.begin(one)
    assert given.state is AlertState.WRITTEN
    assert given.message_id == str(folder / f"{one.id}.eml")
    assert [path.name for path in folder.iterdir()] == [f"{one.id}.eml"]
    message = read(given.message_id)
    assert message["From"] == "Lookout <lookout@example.com>"
    assert message["To"] == "home@example.com"
    assert message["Subject"] == "[Lookout] person at porch, 2025-11-22 09:00 CET"
    assert message["X-Lookout-Alert"] == one.alerts[0].id
    assert message["Date"] == "Sat, 22 Nov 2025 08:00:01 +0000"
    assert message.get_content_type() == "multipart/alternative"


def test_the_html_and_its_picture_are_one_part(tmp_path: Path, one: Letter) -> None:
    message = read(FolderChannel(tmp_path).begin(one).message_id)
    text, related = message.iter_parts()
    html, picture = related.iter_parts()
    assert [part.get_content_type() for part in (text, related, html, picture)] == [
        "text/plain",
        "multipart/related",
        "text/html",
        "image/jpeg",
    ]
    assert "lookout trace" in text.get_content()
    assert picture.get_content_disposition() == "inline"
    assert f'src="cid:{picture["Content-ID"].strip("<>")}"' in html.get_content()
    assert decode_bgr(picture.get_content()).shape[1] == 160


def test_the_same_letter_gives_the_same_bytes(one: Letter) -> None:
    assert to_eml(render(one), one.id) == to_eml(render(one), one.id)


def test_a_letter_that_is_there_is_not_written_again(tmp_path: Path, one: Letter) -> None:
    channel = FolderChannel(tmp_path)
    path = Path(str(channel.begin(one).message_id))
    before = path.stat().st_mtime_ns, path.read_bytes()
    again = channel.begin(replace(one, resend=True))
    assert (again.state, again.message_id) == (AlertState.WRITTEN, str(path))
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_a_letter_that_is_not_there_is_no_repeat(tmp_path: Path, one: Letter) -> None:
    path = Path(str(FolderChannel(tmp_path).begin(replace(one, resend=True)).message_id))
    assert b"REPEAT" not in path.read_bytes()


@pytest.mark.parametrize("letter_id", ["../../escape", "a/b", "", "x" * 300, "a\nb"])
def test_an_odd_id_stays_in_the_folder(tmp_path: Path, one: Letter, letter_id: str) -> None:
    given = FolderChannel(tmp_path / "mail").begin(replace(one, id=letter_id))
    assert given.state is AlertState.WRITTEN
    assert Path(str(given.message_id)).parent == tmp_path / "mail"
    assert len(list((tmp_path / "mail").iterdir())) == 1


def test_a_place_that_cannot_be_written_is_pending_with_the_reason(tmp_path: Path, one: Letter) -> None:
    (tmp_path / "mail").write_text("a file stands here")
    given = FolderChannel(tmp_path / "mail").begin(one)
    assert (given.state, given.due_at_s) == (AlertState.PENDING, None)
    assert "cannot write" in str(given.error)


def test_a_full_disk_is_pending_and_leaves_nothing_half_written(
    tmp_path: Path, one: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    given = FolderChannel(tmp_path).begin(one)
    assert given.state is AlertState.PENDING
    assert "No space left on device" in str(given.error)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert FolderChannel(tmp_path).begin(one).state is AlertState.WRITTEN


def die_while_writing(folder: Path, letter: Letter) -> None:
    """Write a letter up to the middle, as a process that is killed there."""
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,misc]
    FolderChannel(folder).begin(letter)


def test_what_a_killed_process_left_of_a_letter_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path, one: Letter
) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(tmp_path, one))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size > 0
    (tmp_path / ".link.part").symlink_to("nowhere")
    with (tmp_path / ".living.part").open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        assert FolderChannel(tmp_path).begin(one).state is AlertState.WRITTEN
    assert {path.name for path in tmp_path.iterdir()} == {f"{one.id}.eml", ".living.part", ".link.part"}


def test_what_is_no_address_cannot_make_a_header(tmp_path: Path, one: Letter) -> None:
    draft = replace(one.alerts[0].draft, recipient="a@example.com\r\nBcc: b@example.com", rule="x\r\nBcc: c")
    given = FolderChannel(tmp_path).begin(replace(one, alerts=(replace(one.alerts[0], draft=draft),)))
    assert given.state is AlertState.DEAD
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_letter_is_no_letter_and_its_target_is_left_alone(tmp_path: Path, one: Letter) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / f"{one.id}.eml").symlink_to(tmp_path / "mine")
    given = FolderChannel(tmp_path / "mail").begin(one)
    assert read(given.message_id)["X-Lookout-Alert"] == one.alerts[0].id
    assert (tmp_path / "mine").read_bytes() == b"mine"
