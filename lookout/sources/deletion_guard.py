"""The guard against mass deletion: results of pictures that are gone in great number stay until a person decides.

It holds back the retraction alone; everything else goes on. Deletions are counted over a window, in a note of the
ledger, so that neither a slow removal nor a restart passes under the limit. What is held back is kept in another note,
which every look at the whole source brings up to date. Knows no store and no way to look at a source.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from lookout.domain.errors import InputRejected
from lookout.ledger.notes import read_note, time_s
from lookout.ledger.port import Ledger
from lookout.log import get_logger

log = get_logger(__name__)

MASS_DELETION: Final = 20
MASS_DELETION_SHARE: Final = 0.2
WINDOW_S: Final = 24 * 3600.0
HELD_NOTE: Final = "held-back"
WINDOW_NOTE: Final = "retracted"
"""Retractions of the window, as JSON: pairs of an hour's beginning in Unix seconds and their number."""
NOTES: Final = (HELD_NOTE, WINDOW_NOTE)
"""Written by whoever looks at inputs."""
RETENTION_NOTE: Final = "retention"
ALLOW_HINT: Final = "if they were deleted on purpose, run again with --allow-deletions; if not, restore them"
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Pictures that are gone and whose results are kept: how many, since when, and why a person must decide."""

    pictures: int
    since_s: float
    why: str

    def __str__(self) -> str:
        return f"{self.why}; the results of {self.pictures} are kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletionGuard:
    """Guard that decides what may be retracted from one source. ``readers`` are the stages that read it. ``allow``
    admits all and begins the window anew."""

    ledger: Ledger
    bucket: str
    origin: str
    clock: Callable[[], float]
    readers: Sequence[str]
    allow: bool = False

    def is_expected(self, keys: Sequence[str]) -> list[bool]:
        """Tell of each key whether it may go in any case: all, if allowed, else those without a result to lose, and
        those that are known for longer than the retention in force."""
        if self.allow or not keys:
            return [self.allow] * len(keys)
        slots = [slot for stage in self.readers for slot in self.ledger.find_slots(stage, keys).values()]
        free = set(keys).difference(slot.key for slot in slots if slot.record is not None or slot.damage is not None)
        retention_s = read_note(self.ledger, RETENTION_NOTE, "a number of seconds", time_s, None)
        if retention_s is not None:
            before_s = self.clock() - retention_s
            known = self.ledger.find_inputs(self.bucket, keys)
            free.update(key for key, seen in known.items() if seen.observed_at_s < before_s)
        return [key in free for key in keys]

    def most(self) -> int:
        """Return how many more may go now."""
        recent = sum(number for _, number in self._window())
        known = self.ledger.count_inputs(self.bucket, self.origin) + recent
        return max(0, max(MASS_DELETION, int(MASS_DELETION_SHARE * known)) - recent)

    def find_objection(self, gone: int, *, blank: bool = False) -> str | None:
        """Return why so many may not go, or None. ``blank`` says that the source is another one than before, and
        empty."""
        if self.allow or not gone or (not blank and gone <= self.most()):
            return None
        recent = sum(number for _, number in self._window())
        known = self.ledger.count_inputs(self.bucket, self.origin)
        what = f"{gone} of {known} pictures are gone"
        if blank:
            what += ", with all else that the source held: it was emptied, replaced or not mounted"
        return what + (f", after {recent} within {WINDOW_S / _HOUR_S:.0f} h" if recent else "")

    def admit(self, gone: int) -> None:
        """Count these in the window, before they are retracted: a crash in between counts twice and never less."""
        if self.allow:
            if self.ledger.find_note(WINDOW_NOTE):
                self.ledger.put_note(WINDOW_NOTE, "")
        elif gone:
            hour_s = self.clock() // _HOUR_S * _HOUR_S
            hours = dict(self._window())
            hours[hour_s] = hours.get(hour_s, 0) + gone
            self.ledger.put_note(WINDOW_NOTE, json.dumps(sorted(hours.items())))

    def hold(self, gone: int, why: str | None, *, whole: bool) -> None:
        """Note what is held back, 0 for nothing: all of it after a look at the whole source, else so many more. Writes
        only what differs."""
        before = find_held(self.ledger)
        total = gone
        if not whole and before is not None:  # it may have been told of before
            total = min(before.pictures + gone, self.ledger.count_inputs(self.bucket, self.origin))
        if total and why is not None:
            if before is None or before.pictures != total:
                held = Held(pictures=total, since_s=before.since_s if before else self.clock(), why=why)
                self.ledger.put_note(HELD_NOTE, json.dumps(asdict(held)))
                tell = log.warning if before is None or whole else log.info
                tell("deletions held back", origin=self.origin, pictures=total, why=why, hint=ALLOW_HINT)
        elif whole and before is not None:
            self.ledger.put_note(HELD_NOTE, "")
            log.info("deletions settled", origin=self.origin)

    def check(self, gone: int, *, blank: bool = False) -> None:
        """Raise InputRejected where so many, of which the ledger knows nothing any more, may not go."""
        if self.find_objection(gone, blank=blank) is not None:
            what = f"{gone} pictures are gone that the ledger does not know; their results are kept"
            raise InputRejected(what, self.origin, "if they were deleted on purpose, run again with --allow-deletions")

    def sift(self, keys: Sequence[str], *, uncounted: int = 0, blank: bool = False, whole: bool) -> list[str]:
        """Return those of the keys, all that one look found to be gone, whose results may be retracted, counted
        already; the others are held back. ``uncounted`` of them are no loss, as they have another name now."""
        expected = self.is_expected(keys) if not blank or self.allow else [False] * len(keys)
        doubtful = [key for key, free in zip(keys, expected, strict=True) if not free]
        counted = max(0, len(doubtful) - uncounted)
        why = self.find_objection(counted, blank=blank)
        if why is None:
            self.admit(counted)
            self.hold(0, None, whole=whole)
            return list(keys)
        self.hold(len(doubtful), why, whole=whole)
        return [key for key, free in zip(keys, expected, strict=True) if free]

    def _window(self) -> list[tuple[float, int]]:
        """Of the last 24 hours. What a clock that was ahead has noted counts as of now."""
        nothing: list[tuple[float, int]] = []
        counted = read_note(self.ledger, WINDOW_NOTE, "hours and numbers", _read_hours, nothing)
        now_s = self.clock()
        hours: dict[float, int] = {}
        for at_s, number in counted:
            at_s = min(at_s, now_s // _HOUR_S * _HOUR_S)
            if at_s > now_s - WINDOW_S:
                hours[at_s] = hours.get(at_s, 0) + number
        return sorted(hours.items())


def find_held(ledger: Ledger) -> Held | None:
    """Return what is held back until a person decides, or None. Raises Corrupt for a note that cannot be read."""
    return read_note(ledger, HELD_NOTE, "pictures, since_s and why", _read_held, None)


def _read_held(value: Any) -> Held:
    return Held(pictures=int(value["pictures"]), since_s=time_s(value["since_s"]), why=str(value["why"]))


def _read_hours(value: Any) -> list[tuple[float, int]]:
    return [(time_s(at_s), int(number)) for at_s, number in value]


def keep_retention(ledger: Ledger, retention_s: float | None) -> None:
    """Expect that pictures go when they are known for so long, from now on; None: expect nothing."""
    ledger.put_note(RETENTION_NOTE, "" if retention_s is None else repr(retention_s))
