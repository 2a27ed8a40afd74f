"""Liveness of owners: each session holds a lock file for as long as its process lives.

The kernel releases the lock when the process ends, however it ends, so dead owners are known at once and without a
heartbeat. Knows no table.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from lookout.domain.errors import Unavailable

_ENDING: Final = ".lock"
_held: Final[set[int]] = set()
"""Descriptors of this process's sessions: a forked child closes its copies, which would outlive a dead parent."""
_hooked: Final[list[bool]] = []


class Life:
    """The lock of one session. ``owner`` is its name, never used before."""

    def __init__(self, folder: Path) -> None:
        if not _hooked:
            os.register_at_fork(after_in_child=_close_copies)
            _hooked.append(True)
        self.owner = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._path = _path(folder, self.owner)
        self._begin()
        while not os.fstat(self._descriptor).st_nlink:  # ``sweep`` came before the lock
            self._close()
            self._begin()

    def _begin(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise Unavailable(str(self._path), exc.strerror or str(exc)) from exc
        _held.add(self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def _close(self) -> None:
        _held.discard(self._descriptor)
        os.close(self._descriptor)

    def end(self) -> None:
        """Let go. Twice is allowed, and in a forked child it does nothing."""
        if self._descriptor in _held:
            self._path.unlink(missing_ok=True)
            self._close()
        self._descriptor = -1


def is_dead(folder: Path, owner: str) -> bool:
    """Tell whether no process holds the owner's lock."""
    try:
        descriptor = os.open(_path(folder, owner), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError as exc:
        raise Unavailable(str(_path(folder, owner)), exc.strerror or str(exc)) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise Unavailable(str(_path(folder, owner)), exc.strerror or str(exc)) from exc
    finally:
        os.close(descriptor)
    return True


def sweep(folder: Path, known: Collection[str]) -> None:
    """Remove the lock files of owners that are not known and that nobody holds: those of processes that were killed
    before the ledger knew them."""
    try:
        for path in folder.glob(f"*{_ENDING}"):
            if path.name.removesuffix(_ENDING) not in known:
                _remove_if_free(path)
    except OSError as exc:
        raise Unavailable(str(folder), exc.strerror or str(exc)) from exc


def _remove_if_free(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # its owner has just ended
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)  # while the lock is held: whoever waits for it begins anew
    except BlockingIOError:
        return  # its owner lives
    finally:
        os.close(descriptor)


def forget(folder: Path, owner: str) -> None:
    """Remove the lock file of a dead owner."""
    _path(folder, owner).unlink(missing_ok=True)


def _path(folder: Path, owner: str) -> Path:
    return folder / f"{owner}{_ENDING}"


def _close_copies() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
