"""A walk through a source folder: the keys of all its files with their fingerprints, and what could not be listed.

A subfolder that cannot be listed stops nothing else: it is named, with the reason, and of what lies below it nothing is
said. Only a lack of this process's own resources, or trouble with the folder itself, ends the walk. No link is entered.
Reads no file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable, find_lack
from lookout.filesystem.beneath import Root
from lookout.filesystem.files import fingerprint_of, words
from lookout.sources.folder_keys import key_of

OF_THE_SYSTEM: Final = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN"})
"""Folders that a file system or an operating system keeps for itself, often unreadable to users."""
_MOVED: Final = "the folder was moved, removed or unmounted while it was listed"


class Walk:
    """One walk over a folder; remembers what each folder was, so that one swapped on the way is noticed.

    ``unlistable`` are the subfolders of which not all is known, by their keys with a slash behind, and why;
    ``vanished`` are those of them that were gone when their turn came.
    """

    def __init__(self, root: Root, exclude: Sequence[Path]) -> None:
        self.root = root
        self.excluded = {found for path in exclude if (found := _find_identity(str(path))) is not None}
        self.folders: list[tuple[str, tuple[int, int]]] = []
        self.links: list[str] = []
        self.unlistable: dict[str, str] = {}
        self.vanished: set[str] = set()
        self._pending: list[tuple[str, str]] = []

    def run(self) -> dict[str, str]:
        """Keys of all files with their fingerprints; an empty one for what must be looked at more closely."""
        return dict(self.files())

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield what ``run`` gives, one file after the other, for a tree of any size."""
        self._pending = [("", "")]
        while self._pending:
            name, prefix = self._pending.pop()
            try:
                yield from self._list(name, prefix)
            except OSError as error:
                if not name or find_lack(error) is not None:
                    raise self._failure(name, error) from error
                self.unlistable[prefix] = words(error)
                if isinstance(error, FileNotFoundError):
                    self.vanished.add(prefix)

    def is_below_link(self, key: str) -> bool:
        """Ask whether the walk passed by a link to a folder that the key lies below, by its name."""
        return bool(self.links) and key.startswith(tuple(self.links))

    def is_unknown(self, key: str) -> bool:
        """Ask whether the key lies below a folder of which not all is known."""
        return bool(self.unlistable) and key.startswith(tuple(self.unlistable))

    def check_unmoved(self) -> None:
        """Count the subfolders that are not those that were listed as unlistable. Raises Unavailable if the folder
        itself is another one, or is gone."""
        with open_root(self.root.path) as now:
            for name, identity in self.folders:
                try:
                    found: tuple[int, int] | None = _identity(now.stat(name or "."))
                except OSError:
                    found = None  # not there, or not to be looked at: no identity to compare
                if found == identity:
                    continue
                if not name:
                    raise Unavailable(self.root.path, _MOVED)
                self.unlistable.setdefault(f"{key_of(name)}/", _MOVED)

    def _failure(self, name: str, error: OSError) -> Exception:
        path = f"{self.root.path}/{name}" if name else self.root.path
        if not name and isinstance(error, PermissionError):
            return InputRejected("the folder cannot be listed", path, words(error))
        return Unavailable(path, f"the folder cannot be listed: {words(error)}")

    def _list(self, folder: str, prefix: str) -> Iterator[tuple[str, str]]:
        fd = self.root.open_folder(folder)
        try:
            identity = _identity(os.fstat(fd))
            if identity in self.excluded:
                return
            self.folders.append((folder, identity))
            below = f"{folder}/" if folder else ""
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        mark = _mark(entry)
                        if mark is not None:
                            yield prefix + key_of(name), mark
                        elif entry.is_symlink():
                            self.links.append(f"{prefix}{key_of(name)}/")
                    elif name not in OF_THE_SYSTEM:
                        self._pending.append((below + name, f"{prefix}{key_of(name)}/"))
        finally:
            os.close(fd)


def open_root(origin: str) -> Root:
    """Open a source folder. Raises Unavailable."""
    try:
        return Root(origin)
    except OSError as error:
        raise Unavailable(origin, f"the folder cannot be opened: {words(error)}") from error


def _find_identity(path: str) -> tuple[int, int] | None:
    try:
        return _identity(os.stat(path))
    except OSError:
        return None  # not there: nothing to leave out


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _mark(entry: os.DirEntry[str]) -> str | None:
    """Return the fingerprint, an empty one when it cannot be had, None for what can be no input (pipe, socket,
    vanished)."""
    try:
        found = entry.stat()
    except FileNotFoundError:
        return "" if entry.is_symlink() else None
    except OSError:
        return ""  # reading it will say in words what is wrong
    return fingerprint_of(found) if stat.S_ISREG(found.st_mode) else None
