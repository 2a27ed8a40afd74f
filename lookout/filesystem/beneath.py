"""An open folder as a root: each name below it is resolved part by part through descriptors, and never outside it.

The kernel opens every part without following a link (``openat`` with ``O_NOFOLLOW``), so that a folder that somebody
replaces by a link, also between two calls, leads nowhere. A link is read and resolved here, and only as far as its
target lies below the root. The root's own path is what a person named: links in that are followed.

Knows no key and no bucket. Trouble is an OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_LINKS: Final = 40
_MAX_NAME: Final = 4095
"""As for a path: a descriptor reaches any depth, in a time that grows with the square of it."""


class LeadsOutside(OSError):
    """A link on the way to a name has a target outside the root. Its text names the link."""

    def __init__(self, name: str, link: str) -> None:
        words = "is a link that leads outside the folder"
        super().__init__(errno.EXDEV, words if name == link else f"lies below {link!r}, a link that leads outside it")


class Root:
    """A folder held open. Names are relative, with ``/`` between the parts; "" is the folder itself.

    ``open_folder`` and ``parent`` follow no link at all; ``open_file`` and ``stat`` follow links that stay below. May
    be used by several threads at once.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def open_folder(self, name: str) -> int:
        """Open a folder for listing or syncing; the caller closes it. NotADirectoryError for a link to a folder."""
        with self.parent(f"{name}/" if name else "") as fd:
            return os.open(".", _LISTED, dir_fd=fd)

    @contextmanager
    def parent(self, name: str) -> Iterator[int]:
        """Open the folder that holds the last part of the name, for use as ``dir_fd``. NotADirectoryError when a part
        of it is a link."""
        parts = _split(name)
        fd = self._fd
        try:
            for part in parts[:-1]:
                fd = self._replace(fd, os.open(part, _FOLDER, dir_fd=fd))
            yield fd
        finally:
            self._leave(fd)

    def open_file(self, name: str) -> tuple[int, os.stat_result] | None:
        """Open a regular file for reading, with its status; the caller closes it. None when the name is of something
        else, which is not opened. Raises FileNotFoundError, NotADirectoryError, LeadsOutside."""
        fd, last, found = self._find(name)
        try:
            return open_regular(last, fd) if stat.S_ISREG(found.st_mode) else None
        finally:
            self._leave(fd)

    def stat(self, name: str) -> os.stat_result:
        """Look at the name without opening it. Raises as ``open_file``."""
        fd, _, found = self._find(name)
        self._leave(fd)
        return found

    def is_link(self, name: str) -> bool:
        """Ask whether the name's last part is a link. False when it cannot be looked at, or not without a link."""
        try:
            with self.parent(name) as fd:
                return stat.S_ISLNK(os.stat(_split(name)[-1], dir_fd=fd, follow_symlinks=False).st_mode)
        except OSError:
            return False

    # --- resolving --------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> tuple[int, str, os.stat_result]:
        """Find the folder, open, and the name in it that the name leads to, which was no link just now."""
        parts, link = _split(name), ""
        for _ in range(_MAX_LINKS + 1):
            fd, at, found = self._descend(parts)
            if not stat.S_ISLNK(found.st_mode):
                return fd, parts[at], found
            try:
                target = os.readlink(parts[at], dir_fd=fd)
            finally:
                self._leave(fd)
            link = link or "/".join(parts[: at + 1])
            below = self._below("/".join(parts[:at]), target)
            if below is None:
                raise LeadsOutside(name, link)
            parts = [part for part in (*below.split("/"), *parts[at + 1 :]) if part] or ["."]
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)

    def _descend(self, parts: list[str]) -> tuple[int, int, os.stat_result]:
        """Walk along the parts to the first that is a link, else to the last: the folder that holds it, open, the index
        of the part, and its status."""
        fd = self._fd
        try:
            for at, part in enumerate(parts[:-1]):
                try:
                    deeper = os.open(part, _FOLDER, dir_fd=fd)
                except NotADirectoryError:
                    found = os.stat(part, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISLNK(found.st_mode):
                        return fd, at, found
                    raise
                fd = self._replace(fd, deeper)
            return fd, len(parts) - 1, os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        except BaseException:
            self._leave(fd)
            raise

    def _below(self, folder: str, target: str) -> str | None:
        """Give the name below the root that a link's target means by its text; None when it lies outside. The text
        proves nothing: the name is walked along like any other."""
        real = os.path.realpath(self.path)
        path = os.path.normpath(os.path.join(real, folder, target))
        for base in (real, self.path):
            if path == base or path.startswith(base.rstrip("/") + "/"):
                return path[len(base) :].lstrip("/")
        return None

    def _replace(self, fd: int, deeper: int) -> int:
        self._leave(fd)
        return deeper

    def _leave(self, fd: int) -> None:
        if fd != self._fd:
            os.close(fd)


def open_regular(name: str, folder: int) -> tuple[int, os.stat_result] | None:
    """Open a regular file in an open folder for reading, with its status; the caller closes it. None when the name is
    of something else. Never waits for a pipe. A link raises OSError (ELOOP)."""
    fd = os.open(name, _FILE, dir_fd=folder)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found
    os.close(fd)
    return None


def _split(name: str) -> list[str]:
    if len(name) > _MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name[:100])
    return name.split("/")
