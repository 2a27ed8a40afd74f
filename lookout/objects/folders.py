"""The folders that keys lie in: made when a key needs them, removed with the last key in them.

Several processes may do both at once: making takes a lock that removing takes alone. Knows no version.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from lookout.errors import InputRejected


class Folders:
    """The folders below ``root``, a store's own folder: ``root/<bucket>/<key>`` is an object. Trouble is an OSError."""

    def __init__(self, root: str) -> None:
        self._root = root

    def move(self, path: str, target: str) -> set[str]:
        """Rename the file to where the key has it, with the folders above made; says in which folders names of folders
        were made. Raises FileNotFoundError when the file is not there, FileExistsError, IsADirectoryError or
        NotADirectoryError when the key cannot be one; see ``refuse``."""
        try:
            os.replace(path, target)
        except FileNotFoundError:
            with self._locked(fcntl.LOCK_SH):  # else another process may remove the folders as empty
                made = self._make_parents(target)
                os.replace(path, target)
            return made
        return set()

    def refuse(self, bucket: str, key: str) -> None:
        """Raises InputRejected if the key is a folder of other keys, or a part of it is a key itself."""
        target = f"{self._root}/{bucket}/{key}"
        try:
            is_folder = stat.S_ISDIR(os.lstat(target).st_mode)
        except NotADirectoryError:
            if not os.path.isdir(f"{self._root}/{bucket}"):
                raise  # not the key but the store's own folder is in trouble
            raise InputRejected(
                "a part of the key is an object itself, so it cannot be a folder too", f"{bucket}/{key!r}"
            ) from None
        except FileNotFoundError:
            return
        if is_folder:
            for folder, _, _ in os.walk(target, topdown=False):
                self.remove_empty(bucket, folder)
            if os.path.isdir(target):
                raise InputRejected("other keys lie below this one, so it cannot be an object", f"{bucket}/{key!r}")

    def remove_empty(self, bucket: str, folder: str) -> None:
        """Remove a folder of the bucket and those above it, but for the bucket's own, as far as they are empty."""
        top = f"{self._root}/{bucket}"
        if len(folder) <= len(top) or not os.path.isdir(top):
            return
        with self._locked(fcntl.LOCK_EX):
            while len(folder) > len(top):
                try:
                    os.rmdir(folder)
                except (FileNotFoundError, NotADirectoryError):
                    pass
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                        return
                    raise
                folder = os.path.dirname(folder)

    def _make_parents(self, target: str) -> set[str]:
        folder = os.path.dirname(target)
        made = set()
        while not os.path.isdir(folder) and len(folder) > len(self._root):
            folder = os.path.dirname(folder)
            made.add(folder)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return made

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the lock between making folders (shared) and removing empty ones. A killed holder holds it no more."""
        fd = os.open(f"{self._root}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)
