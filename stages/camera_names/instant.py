"""Instant of a local time: daylight saving, and hours that a clock shows twice or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

EARLY: Final = timedelta(minutes=5)
"""A picture may be seen so long before its own time, as clocks differ."""
LATE: Final = timedelta(minutes=55)
"""A picture that is seen at most so long after one of two possible times is of that one."""
AMBIGUOUS: Final = "time-ambiguous"
IN_GAP: Final = "time-in-gap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """``flag``: ``time-ambiguous`` or ``time-in-gap`` where the local time names two instants or none."""

    at: datetime
    flag: str | None = None


def to_instant(local: datetime, zone: tzinfo, first_seen: datetime | None) -> Instant:
    """Return the instant at which a clock in the zone shows the local time.

    An hour that the clock shows twice is decided by when the picture was first seen, and is the first one, flagged, if
    that fits neither. An hour that it skips is read by the offset from before, and flagged.
    """
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return Instant(at=first)
    if first > second:
        return Instant(at=first, flag=IN_GAP)
    if first_seen is not None:
        if second - EARLY <= first_seen < second + LATE:
            return Instant(at=second)
        if first - EARLY <= first_seen < second - EARLY:
            return Instant(at=first)
    return Instant(at=first, flag=AMBIGUOUS)
