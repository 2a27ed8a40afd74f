"""Numbers as people read them: times of a rule's zone, durations, shares and scores."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

_UNITS: Final = (("day", 86_400), ("h", 3_600), ("min", 60))
_MONTH_S: Final = 30 * 86_400
_DECIMALS: Final = (2, 3, 4, 6)


def moment(at_s: float, zone: ZoneInfo, near_s: float | None = None) -> str:
    """Return a time of the zone such as ``Sat 2025-11-22 09:00:05 CET``; only the time of day where the other moment is
    of the same day."""
    local = datetime.fromtimestamp(at_s, zone)
    clock = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    if near_s is not None and datetime.fromtimestamp(near_s, zone).date() == local.date():
        return clock
    return f"{local:%a %Y-%m-%d} {clock} {local.tzname()}"


def duration(length_s: float) -> str:
    """Return a duration in its two largest units, such as ``9 min 10 s``; from two months on, in months."""
    if length_s >= 2 * _MONTH_S:
        return f"{length_s / _MONTH_S:.0f} months"
    if 0 < length_s < 1:
        return f"{length_s:.1f} s"
    left = round(length_s)
    parts = []
    for name, size_s in _UNITS:
        count, left = divmod(left, size_s)
        if count:
            parts.append(f"{count} {name}{'s' if name == 'day' and count > 1 else ''}")
    if left or not parts:
        parts.append(f"{left} s")
    return " ".join(parts[:2])


def scores(one: float, other: float) -> tuple[str, str]:
    """Return two numbers with as many decimals as are needed to tell them apart."""
    decimals = next((count for count in _DECIMALS if f"{one:.{count}f}" != f"{other:.{count}f}"), _DECIMALS[0])
    return f"{one:.{decimals}f}", f"{other:.{decimals}f}"


def percents(one: float, other: float) -> tuple[str, str]:
    """Return two shares in percent, with one decimal or as many as are needed to tell them apart."""
    decimals = next((count for count in (1, 2, 4) if f"{one:.{count}%}" != f"{other:.{count}%}"), 1)
    first, second = (f"{share * 100:.{decimals}f}".rstrip("0").rstrip(".") for share in (one, other))
    return f"{first} %", f"{second} %"


def listed(names: list[str]) -> str:
    """Return names with commas and an ``and``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
