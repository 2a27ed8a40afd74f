"""Mails as files: each letter becomes ``<letter id>.eml``, which a mail reader opens as it would have arrived.

What happens without a key, and what a test or a careful operator looks at. A file that is there was written whole, so
that a letter tried again after a crash is found done, and nobody reads of a repeat that cannot be one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.log import get_logger
from lookout.outbox.channel import Letter
from stages.threat_detect.mail.message import SENDER_NAME, Mail, render

log = get_logger(__name__)

_POLICY: Final = SMTP.clone(max_line_length=100)  # an id of 64 digits stays on its header's line
_PART: Final = ".part"
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


class FolderChannel:
    """Writes letters into a folder, which it makes when the first one comes."""

    name = "folder"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tidied = False

    def __repr__(self) -> str:
        return f"FolderChannel({str(self._folder)!r})"

    def begin(self, letter: Letter) -> Delivered:
        """WRITTEN with the file's path, at once if the file is there; PENDING when the disk is full or read-only; DEAD
        for what is no address. A letter is written only once however often this is called, so no end is unknown.

        Atomic: the file appears whole or not at all, and is on the disk before this returns. The first letter removes
        what a process that was killed in the middle of one has left.
        """
        path = self._folder / f"{_file_id(letter.id)}.eml"
        try:
            if not _is_file(path):
                mail = render(replace(letter, resend=False))
                if mail.fault:
                    return Delivered(state=AlertState.DEAD, error=mail.fault)
                self._folder.mkdir(parents=True, exist_ok=True)
                if not self._tidied:
                    _remove_parts(self._folder)
                    self._tidied = True
                _write(path, to_eml(mail, letter.id))
        except OSError as exc:
            error = f"cannot write {path}: {exc.strerror or exc}"
            return Delivered(state=AlertState.PENDING, error=error, closed=True)
        return Delivered(state=AlertState.WRITTEN, message_id=str(path))


def to_eml(mail: Mail, letter_id: str) -> bytes:
    """Return the mail as an RFC 5322 message: text, and HTML with its pictures inside. The same mail gives the same
    bytes. Raises ValueError for a mail with a ``fault``."""
    file_id = _file_id(letter_id)
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address(SENDER_NAME, addr_spec=mail.sender)
    message["To"] = Address(addr_spec=mail.recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.written_at_s, UTC))
    message["Message-ID"] = f"<{file_id}@lookout>"
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    html = message.get_body(("html",))
    if isinstance(html, EmailMessage):
        for picture in mail.pictures:
            html.add_related(
                picture.data,
                maintype="image",
                subtype="jpeg",
                cid=f"<{picture.content_id}>",
                filename=picture.name,
                disposition="inline",
            )
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{file_id[:40]}_{number}")
    return message.as_bytes()


def _file_id(letter_id: str) -> str:
    """Return the letter's id if it can be a file's name as it is, else its digest."""
    return letter_id if _SAFE_ID.fullmatch(letter_id) else hashlib.sha256(letter_id.encode()).hexdigest()


def _is_file(path: Path) -> bool:
    """Ask whether the letter is there. A link in its place is none, and is replaced."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _remove_parts(folder: Path) -> None:
    """Remove unfinished files whose writer is gone: nobody locks them. One that cannot be removed stops no mail."""
    for part in folder.glob(f".*{_PART}"):
        try:
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(descriptor)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process has finished it, or is writing it
        except OSError as exc:
            log.warning("unfinished mail not removed", file=str(part), error=exc)


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=_PART)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed: it is no rest of a dead process
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
