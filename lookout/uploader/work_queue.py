"""Queue of the files of a folder that are to be read next: it loses none and does not grow with the folder.

Files come from three places, in this order: those that the watch has just reported, those whose retry is due, and a
walk through the whole folder. The walk is the safety net: when there are too many to keep one by one, the queue drops
them, and the next walk finds them again, as it finds changes without events, such as those on a network drive.

Knows no store and nothing of what is done with a file.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MOST: Final = 10_000
"""How many files are remembered one by one, of those told and of those to try again."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Item:
    """A file by its key below the folder, and how often it was tried. ``whole`` says that its writer is through with
    it, as far as anybody knows; else ``mark`` is the fingerprint at the last look, empty if that is the first."""

    name: str
    tries: int = 0
    whole: bool = True
    mark: str = ""


class Todo:
    """``walk`` begins a walk: keys of files, streamed; one is begun at first, when it is asked for, and so long after
    the end of the last. ``add`` and ``walk_again`` may be called from any thread, and call ``on_more`` when there was
    nothing to do before; all else is for one thread."""

    def __init__(self, walk: Callable[[], Iterator[str]], on_more: Callable[[], None], *, walk_every_s: float) -> None:
        self._walk, self._on_more, self._walk_every_s = walk, on_more, walk_every_s
        self._lock = threading.Lock()
        self._told: dict[str, None] = {}
        self._walk_is_due = True
        self._walk_at_s = math.inf
        self._walking: Iterator[str] | None = None
        self.walks = 0
        """How many walks came to their end."""
        self._later: list[tuple[float, Item]] = []

    def __len__(self) -> int:
        return len(self._told) + len(self._later)

    def add(self, name: str) -> None:
        """The file has arrived or changed, and is whole."""
        with self._lock:
            first = not self._told
            if len(self._told) < MOST:
                self._told[name] = None
            else:
                self._walk_is_due = True
        if first:
            self._on_more()

    def add_later(self, item: Item, due_s: float) -> None:
        """Look at the file again at that time."""
        if len(self._later) < MOST:
            heapq.heappush(self._later, (due_s, item))
        else:
            self._walk_is_due = True

    def walk_again(self) -> None:
        """Something may have been missed."""
        self._walk_is_due = True
        self._on_more()

    def next(self, now_s: float) -> Item | None:
        """Remove and return the next file; None when there is none now."""
        with self._lock:
            told = next(iter(self._told), None)
            if told is not None:
                del self._told[told]
                return Item(name=told)
        if self._later and self._later[0][0] <= now_s:
            return heapq.heappop(self._later)[1]
        if len(self._later) >= MOST:
            return None  # the walk would find more than can be kept
        if self._walking is None and (self._walk_is_due or now_s >= self._walk_at_s):
            self._walk_is_due = False
            self._walking = self._walk()
        if self._walking is None:
            return None
        name = next(self._walking, None)
        if name is not None:
            return Item(name=name, whole=False)
        self._walking, self._walk_at_s = None, now_s + self._walk_every_s
        self.walks += 1
        return self.next(now_s) if self._walk_is_due else None

    def next_due_s(self) -> float:
        """Return when a file will be due without a new event. To be called after ``next`` returned None."""
        return min(self._walk_at_s, self._later[0][0] if self._later else math.inf)
