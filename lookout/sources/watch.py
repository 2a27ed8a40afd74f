"""Contract of a watch on a folder. Knows no user of it."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """A watch at work; ``check``, ``walked`` and ``is_waited_for`` are for the thread of whoever looks after it."""

    restarts: int
    missed: int

    @property
    def unwatched(self) -> int:
        """Folders of which no events come."""
        ...

    def check(self) -> bool:
        """Look after the watch itself; whether a walk through the folder is due."""
        ...

    def walked(self, missed: int, took_s: float) -> None:
        """A walk has ended, and found so many files that an event should have told of."""
        ...

    def is_waited_for(self, key: str) -> bool:
        """Tell whether the file is known to be changing, and will be announced when it is whole."""
        ...


__all__ = ["Watch"]
