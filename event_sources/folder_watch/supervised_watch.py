"""Supervised watch on a folder: restarted when it is broken, and backed by walks.

Events are quick and not sure: threads die, the system gives no watch, a network drive tells nothing. So whoever is
told also walks through the folder now and then, and says how much the walk found that no event had told of. This
module says when, and knows neither what a walk does nor what a picture is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from event_sources.folder_watch.watch import Change, FolderWatch
from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.log import get_logger
from lookout.sources.folder_keys import origin_of

log = get_logger(__name__)

WALK_EVERY_S: Final = 600.0
SOON_S: Final = 30.0
CHECK_S: Final = 5.0
_SHARE: Final = 20.0
"""A walk takes at most one part in so many of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Periods:
    """Periods of a watch in seconds. ``settle_s`` and ``check_s`` are those of FolderWatch; a walk is due ``soon_s``
    after trouble."""

    settle_s: float = 2.0
    check_s: float = CHECK_S
    soon_s: float = SOON_S


_USUAL: Final = Periods()


class SteadyWatch:
    """A FolderWatch, see there for ``on_change``, ``on_lost`` and ``exclude``, for a ``with`` block.

    ``check`` is for the consumer's loop, each second or so: it begins a broken watch anew and says when a walk is due:
    ``soon_s`` after the beginning and after any trouble, then after pauses that double up to ``walk_every_s``, and each
    ``soon_s`` while a part of the tree is not watched. ``walked`` tells of the end of a walk. ``tell`` is told of
    trouble in words. ``restarts`` and ``missed`` count what went wrong.
    """

    def __init__(
        self,
        root: Path,
        on_change: Callable[[Change], None],
        on_lost: Callable[[LookoutError], None],
        *,
        exclude: Sequence[Path] = (),
        walk_every_s: float = WALK_EVERY_S,
        periods: Periods = _USUAL,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root, self._on_change, self._on_lost, self._tell = root, on_change, on_lost, tell
        self._exclude, self._settle_s, self._check_s = exclude, periods.settle_s, periods.check_s
        self._walk_every_s, self._soon_s = walk_every_s, min(periods.soon_s, walk_every_s)
        self._watch: FolderWatch | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._is_due = self._is_over = False
        self._pause_s = self._soon_s
        self._walk_at_s = self._check_at_s = 0.0
        self.restarts = self.missed = 0

    def __enter__(self) -> Self:
        self._watch = self._begin()
        self._identity = self._watch.identity
        now_s = time.monotonic()
        self._walk_at_s, self._check_at_s = now_s + self._pause_s, now_s + self._check_s
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.__exit__(kind, error, trace)

    @property
    def unwatched(self) -> int:
        """Folders of which no events come; the folder itself counts as one while it cannot be watched."""
        return 1 if self._watch is None else self._watch.unwatched

    def is_waited_for(self, key: str) -> bool:
        """Tell whether the file is known to be changing, and will be announced when it is whole."""
        return self._watch is not None and self._watch.is_waited_for(key)

    def check(self) -> bool:
        """Look after the watch; whether a walk is due."""
        now_s = time.monotonic()
        if now_s >= self._check_at_s and not self._is_over:
            self._check_at_s = now_s + self._check_s
            fault = "it could not be begun" if self._watch is None else self._watch.find_fault()
            if fault is not None:
                self._restart(fault)
        with self._lock:
            return not self._is_over and (self._is_due or now_s >= self._walk_at_s)

    def walked(self, missed: int, took_s: float) -> None:
        """A walk has ended that took so long, and found so many files that an event should have told of before; they
        are no news after trouble that was told, or while a part of the tree is not watched."""
        with self._lock:
            was_told, self._is_due = self._is_due, False
        unwatched = self.unwatched
        if missed and not unwatched and not was_told:
            self.missed += missed
            self._say(f"events were missed: a walk found {missed} new or changed files of which no event had told")
            self._restart(None)
        trouble = missed or unwatched
        self._pause_s = self._soon_s if trouble else min(2 * self._pause_s, self._walk_every_s)
        self._walk_at_s = time.monotonic() + max(self._pause_s, _SHARE * took_s)

    def _begin(self) -> FolderWatch:
        watch = FolderWatch(
            self._root,
            self._on_change,
            on_lost=self._lost,
            settle_s=self._settle_s,
            check_s=self._check_s,
            exclude=self._exclude,
        )
        watch.__enter__()
        return watch

    def _restart(self, why: str | None) -> None:
        """Begin the watch anew, for a reason that is told unless it was told before. What happened in between is found
        by the walk that is due then."""
        before, self._watch = self._watch, None
        if before is not None:
            self.restarts += 1
            self._say("the watch is begun anew" if why is None else f"the watch is begun anew, as {why}")
            before.__exit__(None, None, None)
        try:
            watch = self._begin()
        except InputRejected as error:
            if not self._root.is_dir():
                self._lost(error)
            elif before is not None:
                self._say(f"{error}; until it can be watched, it is walked through each {self._soon_s:.0f} s")
            return
        if watch.identity != self._identity:
            watch.__exit__(None, None, None)
            self._lost(InputRejected("the watched folder was removed, moved or unmounted", origin_of(self._root)))
            return
        self._watch = watch
        with self._lock:
            self._is_due, self._pause_s = True, self._soon_s

    def _lost(self, error: LookoutError) -> None:
        """Report lost events, from any thread: a walk finds what was missed, and a folder that is gone ends the
        watch."""
        if isinstance(error, Unavailable):
            self._say(f"{error}; the folder is walked through")
            with self._lock:
                self._is_due, self._pause_s = True, self._soon_s
        else:
            with self._lock:
                self._is_over = True
        self._on_lost(error)

    def _say(self, text: str) -> None:
        log.warning("watch", folder=origin_of(self._root), trouble=text)
        self._tell(text)
