"""Times as people of one time zone read them; shared by the picture's footer and the mail.

Zones come from the locked ``tzdata`` package alone, never from the system: the same picture gives the same mail on
every machine, however old its own zone data is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

_OLDEST_S: Final = -62_135_596_800.0
_NEWEST_S: Final = 253_402_300_799.0


@cache
def zone_names() -> frozenset[str]:
    """Return all IANA names that the package has; none where the package is missing."""
    try:
        return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
    except (ModuleNotFoundError, OSError):
        return frozenset()


@cache
def find_zone(name: str) -> ZoneInfo | None:
    """Return the zone of this name as the package has it, None if it has none. Ignores the system's files and
    ``PYTHONTZPATH``."""
    if name not in zone_names():
        return None
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def local_time(at_s: float, timezone: str, *, seconds: bool = True) -> str:
    """``2025-11-22 09:00:00 CET`` for Unix seconds and an IANA name; a zone without letters gives ``UTC+03``.

    An unknown zone falls back to UTC, as a machine without time zone data must still be able to warn; a time that no
    calendar has is shown as the number it is.
    """
    if not _OLDEST_S + 86_400 <= at_s <= _NEWEST_S - 86_400:
        return f"{at_s:.0f} s UTC"
    moment = datetime.fromtimestamp(at_s, find_zone(timezone) or UTC)
    name = moment.tzname() or "UTC"
    name = f"UTC{name}" if name[:1] in "+-" else name
    return f"{moment:%Y-%m-%d %H:%M}" + (f":{moment:%S}" if seconds else "") + f" {name}"
