"""The folders that keys lie in: made when a key needs them, removed with the last key in them.

Several processes may do both at once: making takes a lock that removing takes alone. Knows no version.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.object_store.folder.owned import OwnedRoot

_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY})


class Folders:
    """The folders below ``root``, a store's own folder: ``<bucket>/<key>`` in it is an object. Trouble is an
    OSError."""

    def __init__(self, root: OwnedRoot) -> None:
        self._root = root

    def move(self, name: str, target: str) -> set[str]:
        """Rename the file to where the key has it, with the folders above made; says in which folders names of folders
        were made. Raises FileNotFoundError when the file is not there, FileExistsError, IsADirectoryError or
        NotADirectoryError when the key cannot be one; see ``refuse``."""
        try:
            self._root.replace(name, target)
        except FileNotFoundError:
            with self._locked(fcntl.LOCK_SH):  # else another process may remove the folders as empty
                made = self._root.make_folders(os.path.dirname(target))
                self._root.replace(name, target)
            return made
        return set()

    def refuse(self, bucket: str, key: str) -> None:
        """Raise InputRejected if the key is a folder of other keys, or a part of it is a key itself, or a link."""
        target = f"{bucket}/{key}"
        try:
            with self._root.parent(target) as fd:
                is_folder = stat.S_ISDIR(os.stat(target.rpartition("/")[2], dir_fd=fd, follow_symlinks=False).st_mode)
        except NotADirectoryError:
            self._refuse_part(bucket, key)
            raise  # it was there just now
        except FileNotFoundError:
            return
        if is_folder and not self._remove_if_empty(bucket, target):
            raise InputRejected("other keys lie below this one, so it cannot be an object", f"{bucket}/{key!r}")

    def remove_empty(self, bucket: str, folder: str) -> None:
        """Remove a folder of the bucket and those above it, but for the bucket's own, as far as they are empty."""
        if len(folder) <= len(bucket):
            return
        try:
            with self._root.parent(f"{bucket}/"):
                pass
        except (FileNotFoundError, NotADirectoryError):
            return
        with self._locked(fcntl.LOCK_EX):
            while len(folder) > len(bucket):
                try:
                    self._root.rmdir(folder)
                except (FileNotFoundError, NotADirectoryError):
                    pass
                except OSError as error:
                    if error.errno in _NOT_EMPTY:
                        return
                    raise
                folder = os.path.dirname(folder)

    def _refuse_part(self, bucket: str, key: str) -> None:
        """Raise InputRejected for the part of the key, or the bucket, that is no folder."""
        parts = key.split("/")[:-1]
        for name in ("/".join([bucket, *parts[:number]]) for number in range(len(parts) + 1)):
            if self._root.is_link(name):
                what = f"{name!r} in the store's folder is a link, and none is followed"
                raise InputRejected(what, f"{bucket}/{key!r}", "remove it; what belongs there is made again")
            if name != bucket and self._root.find_size(name) is not None:
                what = "a part of the key is an object itself, so it cannot be a folder too"
                raise InputRejected(what, f"{bucket}/{key!r}")

    def _remove_if_empty(self, bucket: str, folder: str) -> bool:
        """Remove a folder in which there are only folders; says whether it is gone."""
        with self._root.parent(folder) as fd, self._locked(fcntl.LOCK_EX):
            for _, names, _, above in os.fwalk(folder.rpartition("/")[2], topdown=False, dir_fd=fd):
                for name in names:
                    with suppress(OSError):  # not empty, or a link: then the folder is not empty either
                        os.rmdir(name, dir_fd=above)
        self.remove_empty(bucket, folder)
        try:
            os.close(self._root.open_folder(folder))
        except (FileNotFoundError, NotADirectoryError):
            return True
        return False

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the lock between making folders (shared) and removing empty ones. A killed holder holds it no more."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with self._root.parent(".lock") as folder:
            fd = os.open(".lock", flags, 0o666, dir_fd=folder)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)
