"""Mails as files: each letter becomes ``<letter id>.eml``, which a mail reader opens as it would have arrived.

What happens without a key, and what a test or a careful operator looks at. A file that is there was written whole, so
that a letter tried again after a crash is found done, and nobody reads of a repeat that cannot be one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.log import get_logger
from lookout.outbox.channel import Letter
from stages.threat_detect.mail.message import render
from stages.threat_detect.mail.mime import file_id, to_eml

log = get_logger(__name__)

_PART: Final = ".part"


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
        path = self._folder / f"{file_id(letter.id)}.eml"
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
