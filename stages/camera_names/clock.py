"""Corrections of a device's clock: pictures and names stay as they are, and the time as written is read otherwise.

A correction holds for a span of written times. Those are local times where names and EXIF tags say no zone, and in UTC
where they say an instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

from stages.camera_names.instant import to_instant

CORRECTED: Final = "clock-corrected"
UNKNOWN: Final = "time-unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A time as the clock wrote it, and the instant that it was."""

    written: datetime
    true: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """The clock was off by the same time throughout: ``pair`` says by how much."""

    pair: Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """The clock ran too fast or too slow: all its times lie on the line through two pairs."""

    first: Pair
    second: Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherZone:
    """The clock showed the time of another zone, as one that did not follow daylight saving."""

    zone: tzinfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Void:
    """The clock said nothing of use: when the picture was first seen is all that is known."""


How: TypeAlias = Shift | Drift | OtherZone | Void


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """A correction of the written times from ``begin`` on and before ``until``; None: without a bound."""

    how: How
    begin: datetime | None = None
    until: datetime | None = None

    def covers(self, written: datetime) -> bool:
        """Tell whether it holds for a written time."""
        return (self.begin is None or written >= self.begin) and (self.until is None or written < self.until)


def find_correction(clock: Sequence[Correction], written: datetime) -> How | None:
    """Return the first correction of a clock that holds for a written time, as ``as_written`` gives it."""
    return next((one.how for one in clock if one.covers(written)), None)


def as_written(at: datetime) -> datetime:
    """Return a time without its zone, as corrections name it: an instant in UTC."""
    return at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)


def correct(at: datetime, how: Shift | Drift, zone: tzinfo) -> datetime:
    """Return the true instant of one that a clock in ``zone`` (UTC for a clock that writes instants) has written."""
    if isinstance(how, Shift):
        return at + (how.pair.true - _instant(how.pair, zone))
    first, second = _instant(how.first, zone), _instant(how.second, zone)
    share = (at - first) / (second - first)
    return how.first.true + share * (how.second.true - how.first.true)


def _instant(pair: Pair, zone: tzinfo) -> datetime:
    return to_instant(pair.written, zone, None).at
