"""Queue of new keys that wait for a batch: in memory only, as the ledger has a mark for each. Thread-safe.

Knows no ledger and no clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from itertools import islice


class Line:
    """The key that has waited longest comes first. ``size`` of them leave at once; fewer when one has waited for
    ``age_s``. If those that leave first are not waited for, the next leave when they would have left after these: so a
    burst has no more batches for it."""

    def __init__(self, *, size: int, age_s: float) -> None:
        self._size, self._age_s = size, age_s
        self._since_s: dict[str, float] = {}
        """In the order of their times."""
        self._parked: dict[str, tuple[float, float]] = {}
        """By key, since when it waits and when it comes back into the line."""
        self._gathers_until_s = -math.inf
        """Time at which keys that are not enough for a batch may leave, after others left at once."""
        self._news = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._since_s) + len(self._parked)

    def add(self, keys: Iterable[str], now_s: float) -> None:
        """Have keys wait from now on; one that waits already stays where it is."""
        with self._changed:
            before = len(self._since_s)
            for key in keys:
                if key not in self._parked:
                    self._since_s.setdefault(key, now_s)
            if not before < len(self._since_s):
                return
            if not before or before < self._size <= len(self._since_s):
                self._tell()

    def take(self, now_s: float, *, at_once: bool = False) -> dict[str, float]:
        """Return the next keys for one batch and since when each waits; empty when none is due. They are in the line no
        more: what lands from now on is news, whatever becomes of these. ``at_once`` has those due that are there."""
        with self._changed:
            back = {key: since_s for key, (since_s, due_s) in self._parked.items() if due_s <= now_s}
            for key in back:
                del self._parked[key]
            self._insert(back)
            if not self._since_s or (not at_once and now_s < self._leaves_at_s()):
                return {}
            if now_s < self._leaves_at_s():
                self._gathers_until_s = now_s + 2 * self._age_s
            taken = dict(islice(self._since_s.items(), self._size))
            for key in taken:
                del self._since_s[key]
            return taken

    def put_back(self, taken: Mapping[str, float], due_s: float | None = None) -> None:
        """Have keys wait on that were taken, in the line or beside it until then. One that has landed again meanwhile
        keeps the earlier time."""
        with self._changed:
            if due_s is None:
                self._insert(taken)
            else:
                for key, since_s in taken.items():
                    self._parked[key] = (min(since_s, self._since_s.pop(key, since_s)), due_s)

    def set_back(self, now_s: float) -> None:
        """Have nothing wait for a time that was reckoned before the clock was set back to this."""
        with self._changed:
            self._insert({key: since_s for key, (since_s, _) in self._parked.items()})
            self._parked = {}
            self._since_s = {key: min(since_s, now_s) for key, since_s in self._since_s.items()}
            self._gathers_until_s = -math.inf
            self._tell()

    def due_at_s(self) -> float | None:
        """Return the time at which the next batch may be posted; None when nothing waits."""
        with self._changed:
            times = [due_s for _, due_s in self._parked.values()]
            if self._since_s:
                times.append(self._leaves_at_s())
            return min(times, default=None)

    def oldest_s(self) -> float | None:
        """Return since when the key waits that has waited longest; None when nothing waits."""
        with self._changed:
            times = [since_s for since_s, _ in self._parked.values()]
            times += islice(self._since_s.values(), 1)
            return min(times, default=None)

    def wait(self, seconds: float) -> None:
        """Wait until a key enters an empty queue, there are enough for a batch, or ``wake`` is called; at most so
        long."""
        with self._changed:
            self._changed.wait_for(lambda: self._news, max(0.0, seconds))
            self._news = False

    def wake(self) -> None:
        """End the waiting."""
        with self._changed:
            self._tell()

    def _leaves_at_s(self) -> float:
        """Of a line that is not empty."""
        oldest_s = next(iter(self._since_s.values()))
        is_full = len(self._since_s) >= self._size
        return oldest_s if is_full else max(oldest_s + self._age_s, self._gathers_until_s)

    def _insert(self, taken: Mapping[str, float]) -> None:
        if taken:
            both = {**self._since_s, **{key: min(at, self._since_s.get(key, at)) for key, at in taken.items()}}
            self._since_s = dict(sorted(both.items(), key=lambda item: item[1]))

    def _tell(self) -> None:
        self._news = True
        self._changed.notify_all()
