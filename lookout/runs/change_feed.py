"""Feed of changes for a run that watches: from the watcher's threads to the engine's, and walks for what no event told
of."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.domain.records import Observation
from lookout.engine.engine import Engine
from lookout.ledger.notes import read_note
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.sources.folder_keys import name_of
from lookout.sources.ingest import IngestResult, Intake
from lookout.sources.watch import Watch

log = get_logger(__name__)

LATE_S: Final = 5.0
"""An event that should have come comes within this time after a file's last change."""
LONGEST_WRITE_S: Final = 600.0
"""A file that nobody has changed for so long is taken though somebody holds it open."""
JUMP_S: Final = 5.0
TROUBLE_NOTE: Final = "watch"
"""Note of troubles with the watch at work, as JSON; empty when nothing did, or none is at work."""


TROUBLES: Final = ("restarts", "missed", "unwatched", "clock_jumps")


class ChangeSink(Protocol):
    """Sink of what a watcher tells. From any thread."""

    def put(self, keys: Iterable[str], *, there: bool = False) -> None:
        """Take keys that have changed or gone; one that ends in ``/`` means all below it. ``there`` says that they have
        not gone: of one that has by now, that will be told too, if it does not come back at once."""
        ...

    def lost(self, error: LookoutError) -> None:
        """Take trouble: after Unavailable some changes may have been missed, and a walk is due; after any other error
        no more will come."""
        ...


class Watcher(Protocol):
    """Watcher of a folder, at work as long as its context: it puts what changes below ``root`` into the feed."""

    def __call__(self, root: Path, feed: ChangeSink, /) -> AbstractContextManager[Watch]: ...


@dataclass
class ClockCheck:
    """Comparison of the system's clock with one that cannot be set."""

    clock: Callable[[], float]
    steady: Callable[[], float] = time.monotonic
    _ahead_s: float | None = field(default=None, init=False)

    def jump_s(self) -> float:
        """Give the seconds by which the clock was set since the last call, 0 if few; negative is back."""
        ahead_s = self.clock() - self.steady()
        before_s, self._ahead_s = self._ahead_s, ahead_s
        jump_s = 0.0 if before_s is None else ahead_s - before_s
        return jump_s if abs(jump_s) >= JUMP_S else 0.0


class ChangeFeed:
    """Feed from a watcher's threads to the engine's thread. ``renew`` marks what time has made wrong, at the beginning,
    with each walk, and when the clock was set."""

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        root: Path,
        *,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self._engine, self._intake, self._root, self._renew = engine, intake, root, renew
        self._clock_check = ClockCheck(intake.clock)
        self._lock = threading.Lock()
        self._keys: dict[str, bool] = {}
        """By key: True if the file was there when the watch told of it."""
        self._watch: Watch | None = None
        self._is_walk_due = False
        self._count_at_s = math.inf
        self._told: dict[str, int] = {}
        self.clock_jumps = 0
        self.error: LookoutError | None = None

    # --- from any thread --------------------------------------------------------------------------------------------

    def put(self, keys: Iterable[str], *, there: bool = False) -> None:
        """See ``ChangeSink``."""
        with self._lock:
            first = not self._keys
            self._keys.update(dict.fromkeys(keys, there))
        if first:
            self._engine.call(partial(self._guard, self._take))

    def lost(self, error: LookoutError) -> None:
        """See ``ChangeSink``."""
        if not isinstance(error, Unavailable):  # else the watch says that a walk is due
            self._end(error)

    # --- in the engine's thread -------------------------------------------------------------------------------------

    def begin(self, watch: Watch, *, allow_deletions: bool = False) -> IngestResult:
        """Take in the whole folder as it is now, and look after the watch from now on. ``allow_deletions`` holds for
        what this look finds to be gone: every later deletion is guarded."""
        self._watch = watch
        self._clock_check.jump_s()
        self._renew()
        if self._intake.ledger.find_note(TROUBLE_NOTE):
            self._note({})  # of a watch that was killed
        return self._intake.take_folder(self._root, allow_deletions=allow_deletions)

    def look_after(self) -> None:
        """Have the engine walk when that is due. To be called each second or so."""
        jump_s = self._clock_check.jump_s()
        if jump_s:
            self.clock_jumps += 1
            self._is_walk_due = True
            log.warning("clock set", by_s=round(jump_s, 1), then="the folder is walked through")
        if time.monotonic() >= self._count_at_s:
            self._is_walk_due = True  # what is held back is counted whole
        if self._watch is not None and (self._watch.check() or self._is_walk_due):
            self._is_walk_due, self._count_at_s = False, math.inf
            self._engine.call(partial(self._guard, partial(self._walk, self._watch)))

    def troubles(self) -> dict[str, int]:
        """Count what went wrong with the watch so far: see docs/cli.md."""
        watch = self._watch
        if watch is None:
            return {}
        return {
            "restarts": watch.restarts,
            "missed": watch.missed,
            "unwatched": watch.unwatched,
            "clock_jumps": self.clock_jumps,
        }

    def end(self) -> dict[str, int]:
        """Note that no watch is at work any more; gives its troubles."""
        if self._told:
            self._note({})
        return self.troubles()

    def _take(self) -> None:
        with self._lock:
            keys, self._keys = self._keys, {}
        single = [key for key, there in keys.items() if not key.endswith("/") and not (there and self._is_absent(key))]
        for prefix in (key for key in keys if key.endswith("/")):
            single += self._intake.known_below(prefix)
        if single and self._intake.take_changes(self._root, single).held:
            self._count_at_s = min(self._count_at_s, time.monotonic() + LATE_S)

    def _is_absent(self, key: str) -> bool:
        try:
            return not os.path.lexists(self._root / name_of(str(self._root), key))
        except InputRejected:
            return False  # whoever reads it says in words what is wrong

    def _walk(self, watch: Watch) -> None:
        """Find whatever is in the folder and was not told of: the safety net. What was told of comes first,
        so that it is not taken for missed; what may not be whole is left for its event, or the next walk. Results that
        could not be made visible are tried again."""
        self._take()
        began_s = time.monotonic()
        missed = 0
        try:
            is_ready = partial(self._is_ready, watch)
            missed = self._intake.take_folder(self._root, is_ready=is_ready).differed
        except Unavailable as exc:
            log.warning("walk failed", error=exc, then="it is repeated")  # the folder changes under the walk
        self._renew()
        self._engine.publish_again()
        watch.walked(missed, time.monotonic() - began_s)
        troubles = self.troubles()
        if troubles != self._told and (any(troubles.values()) or self._told):
            self._note(troubles)

    def _note(self, troubles: dict[str, int]) -> None:
        self._told = troubles
        self._intake.ledger.put_note(TROUBLE_NOTE, json.dumps(troubles) if troubles else "")

    def _is_ready(self, watch: Watch, seen: Observation) -> bool:
        """Tell whether a file that a walk found was left alone for long enough to be whole."""
        try:
            changed_at_s = os.lstat(self._root / name_of(str(self._root), seen.key)).st_ctime
        except (OSError, InputRejected):
            return True  # whoever reads it says in words what is wrong
        limit_s = LONGEST_WRITE_S if watch.is_waited_for(seen.key) else LATE_S
        return not 0 <= time.time() - changed_at_s < limit_s

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except LookoutError as exc:
            self._end(exc)

    def _end(self, error: LookoutError) -> None:
        self.error = error
        self._engine.stop()


def find_troubles(ledger: Ledger) -> dict[str, int]:
    """Count what went wrong with the watch at work; empty when nothing did, or none is at work."""
    return read_note(ledger, TROUBLE_NOTE, "numbers by name", _read_troubles, {})


def _read_troubles(value: Any) -> dict[str, int]:
    return {str(name): int(number) for name, number in value.items()}
