"""A folder whose content is a store's own: names in it are read, made and removed, and no link is followed.

Whatever somebody puts a link in the place of, nothing outside is read, changed or removed by it. Knows no bucket and no
version. Errors are OSErrors: NotADirectoryError where a folder of the name is a link or a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Final

from lookout.filesystem.beneath import Root, open_regular
from lookout.filesystem.files import read_within

_CHUNK_BYTES: Final = 1024 * 1024


class OwnedRoot(Root):
    """The folder, held open; names are relative, as for ``Root``."""

    def find_size(self, name: str) -> int | None:
        """Bytes of a regular file, None when there is none of that name."""
        try:
            with self.parent(name) as folder:
                found = os.stat(_last(name), dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def has_folder(self, name: str) -> bool:
        """Ask whether there is a folder of that name. NotADirectoryError for anything else."""
        try:
            with self.parent(f"{name}/"):
                return True
        except FileNotFoundError:
            return False

    def read(self, name: str, max_bytes: int) -> tuple[str, bytes] | None:
        """Digest and bytes of a regular file, None when there is none; see ``read_within``."""
        opened = self._open(name)
        return None if opened is None else read_within(*opened, max_bytes)

    def digest(self, name: str) -> str | None:
        """Return the sha256 of a regular file of any size, None when there is none."""
        opened = self._open(name)
        if opened is None:
            return None
        digest, fd = hashlib.sha256(), opened[0]
        try:
            while chunk := os.read(fd, _CHUNK_BYTES):
                digest.update(chunk)
        finally:
            os.close(fd)
        return digest.hexdigest()

    def write_new(self, name: str, data: bytes) -> None:
        """Make a file that is not there yet. On any error nothing of it is left behind."""
        with self.parent(name) as folder:
            fd = os.open(_last(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
            try:
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(fd, rest) :]
                finally:
                    os.close(fd)
            except BaseException:
                os.unlink(_last(name), dir_fd=folder)
                raise

    def replace(self, name: str, target: str) -> None:
        """Rename a file, over another one if there is one."""
        with self.parent(name) as source, self.parent(target) as folder:
            os.replace(_last(name), _last(target), src_dir_fd=source, dst_dir_fd=folder)

    def link(self, name: str, other: str) -> None:
        """Give a file a second name."""
        with self.parent(name) as source, self.parent(other) as folder:
            os.link(_last(name), _last(other), src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        with self.parent(name) as folder:
            os.unlink(_last(name), dir_fd=folder)

    def rmdir(self, name: str) -> None:
        with self.parent(name) as folder:
            os.rmdir(_last(name), dir_fd=folder)

    def make_folders(self, name: str) -> set[str]:
        """Make a folder and those above it that are not there; says in which folders names were made."""
        made, above = set(), ""
        for part in name.split("/"):
            with self.parent(f"{above}/{part}" if above else part) as folder:
                try:
                    os.mkdir(part, dir_fd=folder)
                except FileExistsError:
                    pass  # whatever it is: opening it says
                else:
                    made.add(above)
            above = f"{above}/{part}" if above else part
        return made

    def sync_file(self, name: str) -> None:
        """Make a file's bytes survive a power cut."""
        opened = self._open(name)
        if opened is not None:
            try:
                os.fdatasync(opened[0])
            finally:
                os.close(opened[0])

    def sync_folder(self, name: str) -> None:
        """Make the names in a folder survive a power cut."""
        fd = self.open_folder(name)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _open(self, name: str) -> tuple[int, os.stat_result] | None:
        try:
            with self.parent(name) as folder:
                return open_regular(_last(name), folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None  # a link is no file of the store's
            raise


def _last(name: str) -> str:
    return name.rpartition("/")[2]
