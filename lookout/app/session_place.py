"""Place of a process that is started again where one before it was killed: the dead one's session ends at once.

A session that is not ended outlives its process by the time of its lease, for which nobody gets what it held. Who is
started in the same place on the same machine knows better: the kernel has released the lock of the one before. Nothing
rests on it; ending a session only has somebody taken for dead.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lookout.domain.identity import sha256
from lookout.filesystem.files import failure
from lookout.ledger.open_runs import OpenRunLedger
from lookout.log import get_logger

log = get_logger(__name__)


@contextmanager
def session_in(ledger: OpenRunLedger, folder: Path, name: str) -> Iterator[str]:
    """Open a session of the ledger in the place ``name`` of a folder; yields its owner. Ends the session of a process
    that was killed there; one that lives, or is frozen, keeps the place and its session. Raises InputRejected or
    Unavailable for a folder that cannot be written."""
    path = folder / f"{sha256(name.encode())[:16]}.session"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise failure(str(path), exc) from exc
    mine = False
    try:
        mine = _is_free(place)
        if mine and (token := _read(place)):
            ledger.end_session(token)
            log.info("session of a killed process ended", place=str(path))
        with ledger.session() as owner:
            if mine:
                _write(place, ledger.session_token(owner))
            yield owner
    finally:
        if mine:
            _write(place, "")
        os.close(place)


def _is_free(place: int) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def _read(place: int) -> str:
    try:
        return os.pread(place, 100, 0).decode(errors="replace")
    except OSError as exc:
        log.warning("place of a session cannot be read", error=exc)
        return ""


def _write(place: int, token: str) -> None:
    try:
        os.ftruncate(place, 0)
        os.pwrite(place, token.encode(), 0)
    except OSError as exc:
        log.warning("place of a session cannot be written", error=exc)
