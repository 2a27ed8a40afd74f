"""Time as a name writes it: the values of a pattern's conversions, combined; None where no such time exists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenTime:
    """``at`` has a zone if the name says one, as Unix time and ``%z`` do; else it is the local time of the device."""

    at: datetime

    @property
    def is_local(self) -> bool:
        """The name says no zone."""
        return self.at.tzinfo is None


def combine(parts: Iterable[tuple[str, str]]) -> WrittenTime | None:
    """Return the time of conversions and their text; None if one occurs with two values, or there is no such time."""
    values: dict[str, str] = {}
    for kind, text in parts:
        value = text.upper() if kind in "pz" else text.lstrip("0") or "0" if kind != "f" else text
        if values.setdefault(kind, value) != value:
            return None
    fraction_us = int((values.get("f", "") + "000000")[:6])
    try:
        if "s" in values or "Q" in values:
            return _from_unix(values, fraction_us)
        return _from_calendar(values, fraction_us)
    except (ValueError, OverflowError):
        return None


def _from_unix(values: dict[str, str], fraction_us: int) -> WrittenTime | None:
    if "Q" in values:
        at = _EPOCH + timedelta(milliseconds=int(values["Q"]))
        if "s" in values and int(values["Q"]) // 1000 != int(values["s"]):
            return None
        return WrittenTime(at=at)
    return WrittenTime(at=_EPOCH + timedelta(seconds=int(values["s"]), microseconds=fraction_us))


def _from_calendar(values: dict[str, str], fraction_us: int) -> WrittenTime | None:
    year = int(values["Y"]) if "Y" in values else 2000 + int(values["y"])
    if "y" in values and year % 100 != int(values["y"]):
        return None
    hour = _hour(values)
    if hour is None:
        return None
    if "m" in values and "d" in values:
        month, day = int(values["m"]), int(values["d"])
    else:
        date = datetime(year, 1, 1) + timedelta(days=int(values["j"]) - 1)
        if not 1 <= int(values["j"]) <= 366 or date.year != year:
            return None
        month, day = date.month, date.day
    second = int(values.get("S", "0"))
    at = datetime(year, month, day, hour, int(values["M"]), second, fraction_us)
    if "j" in values and at.timetuple().tm_yday != int(values["j"]):
        return None
    return WrittenTime(at=at.replace(tzinfo=offset(values["z"])) if "z" in values else at)


def _hour(values: dict[str, str]) -> int | None:
    if "I" not in values or "p" not in values:
        return int(values["H"])
    if not 1 <= int(values["I"]) <= 12:
        return None
    hour = int(values["I"]) % 12 + (12 if values["p"] == "PM" else 0)
    return None if "H" in values and int(values["H"]) != hour else hour


def offset(text: str) -> timezone:
    """Return the zone of ``Z``, ``+02``, ``+0200`` or ``+02:00``. Raises ValueError for any other text, and from a day
    on."""
    found = re.fullmatch(r"(?:Z|([+-])([0-9]{2}):?([0-9]{2})?)", text, re.ASCII | re.IGNORECASE)
    if found is None:
        raise ValueError(f"{text!r} is no offset such as +02:00")
    if found[1] is None:
        return UTC
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    if int(found[3] or 0) > 59:
        raise ValueError(f"{text!r} has more than 59 minutes")
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
