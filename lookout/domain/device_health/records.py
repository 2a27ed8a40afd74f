"""Records of the health of devices: what is known of one, the limits, and findings. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S


class Kind(StrEnum):
    """Kind of trouble with a device. Names stay; a new one may come."""

    SILENT = "silent"
    FLOOD = "flood"
    INVALID = "invalid"
    IDENTICAL = "identical"
    CLOCK = "clock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """Counts of one device and day in UTC, which begins at ``begin_s``. ``last_at_s`` is the greatest time of a
    picture; None if no picture of the day has one."""

    begin_s: float
    pictures: int
    invalid: int = 0
    last_at_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture: when it was taken by the device's clock, when it was first seen, and its bytes."""

    at_s: float
    seen_at_s: float
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Observations of one device. ``days`` are the newest that have pictures, in their order; ``samples`` are pictures
    of the newest ones, in any order; ``arrivals`` are times at which pictures were first seen, of a device that may be
    silent; ``arrivals_known`` says whether these were read, else nothing new is said of silence."""

    days: Sequence[Day] = ()
    samples: Sequence[Sample] = ()
    arrivals: Sequence[float] = ()
    arrivals_known: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits beyond which something is found; each has its reason in docs/devices.md."""

    least_silence_s: float = 36 * HOUR_S
    unknown_silence_s: float = 7 * DAY_S
    """Silence of a device with fewer than ``least_pauses`` known pauses."""
    least_pauses: int = 4
    flood_factor: float = 10.0
    """Multiple of the median of the days before."""
    least_flood: int = 1000
    least_days: int = 3
    """Days before that are needed to call a day a flood."""
    invalid_share: float = 0.5
    least_pictures: int = 10
    """Pictures of a day of which a share says something; also equal pictures in a row."""
    clock_s: float = 600.0
    """Error of a clock."""
    steady_s: float = 300.0
    """Greatest difference between the delays of pictures that a wrong clock explains."""

    @property
    def relief(self) -> float:
        """Return the share of a limit below which trouble is over (hysteresis)."""
        return 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One trouble of one device, from ``begin_s`` until ``end_s``, None while it lasts. ``value`` is its size: seconds
    of silence that are allowed, pictures of the day, share of invalid ones, equal pictures in a row, or seconds by
    which the clock is ahead (positive) or behind. ``mark`` says what must go on for the trouble to go on;
    ``told_at_s`` is when the operator was told of it."""

    kind: Kind
    begin_s: float
    value: float
    end_s: float | None = None
    mark: str = ""
    told_at_s: float | None = None
