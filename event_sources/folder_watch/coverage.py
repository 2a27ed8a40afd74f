"""Coverage of a folder tree by inotify watches: folders without one, as when the limit of watches is reached.

Knows inode numbers and no events. Where the numbers that the system lists are not those of the files, as on some
layered file systems, only their count is compared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from event_sources.folder_watch.observer import find_watched


class Coverage:
    """Compares the folders below ``root`` with the watches of this process. Not for two threads at once, but
    ``moved``."""

    def __init__(self, root: str, is_left_alone: Callable[[str], bool]) -> None:
        self._root, self._is_left_alone = root, is_left_alone
        self.unwatched = 0
        """Folders for which the system gives no watch."""
        self._missing = sys.maxsize
        self._moved = True
        self._inode: int | None = None
        self._inodes_tell = False

    def begin(self, inode: int) -> None:
        """The folder is watched from now on."""
        self._inode = inode
        self._inodes_tell = inode in (find_watched() or ())

    def moved(self) -> None:
        """Note that folders were made, moved or removed."""
        self._moved = True

    def check(self) -> bool:
        """Count again, if there is reason to; whether more folders are not watched than before. One that was made just
        now counts only if it is not watched by the next check either."""
        if not (self._moved or self.unwatched):
            return False
        self._moved = False
        missing = self._count()
        before, self.unwatched = self.unwatched, min(missing, self._missing)
        if missing != self._missing:
            self.moved()
        self._missing = missing
        return self.unwatched > before

    def has_root(self) -> bool:
        """Tell whether the folder itself is still watched, as far as the system tells."""
        watched = find_watched()
        if watched is None or self._inode in watched:
            return True
        return bool(watched) and not self._inodes_tell

    def _count(self) -> int:
        watched = find_watched()
        if watched is None:
            return 0
        inodes = list(self._folders())
        if self._inodes_tell:
            known = frozenset(watched)
            return sum(inode not in known for inode in inodes)
        return max(0, len(inodes) - len(watched))

    def _folders(self) -> Iterator[int]:
        for folder, names, _ in os.walk(self._root):
            names[:] = [name for name in names if name[0] != "." and not self._is_left_alone(f"{folder}/{name}")]
            try:
                inode = Path(folder).stat().st_ino
            except OSError:
                continue  # gone again
            yield inode
