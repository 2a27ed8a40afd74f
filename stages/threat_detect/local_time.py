"""Times as people of one time zone read them; shared by the picture's footer and the mail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from stages.time_zones import find_zone

_OLDEST_S: Final = -62_135_596_800.0
_NEWEST_S: Final = 253_402_300_799.0


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
