"""Time from EXIF tags, as a camera that keeps it only there writes it. Reads tags, not files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from stages.camera_names.written_time import WrittenTime, offset
from stages.imaging.exif import RECONYX_TIME

_TAGS: Final = (
    ("DateTimeOriginal", "SubSecTimeOriginal", "OffsetTimeOriginal"),
    (RECONYX_TIME, "", ""),
    ("DateTimeDigitized", "SubSecTimeDigitized", "OffsetTimeDigitized"),
)
"""Each time with its own fraction and offset. ``DateTime`` and ``OffsetTime`` are of the file's last change."""
_FORM: Final = re.compile(r"[0-9]{4}:[0-9]{2}:[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_DIFFERENCE: Final = timedelta(days=1)
_WIDEST_OFFSET: Final = timedelta(hours=14)


def find_exif_time(tags: Mapping[str, str]) -> WrittenTime | None:
    """Return the time at which the picture was taken; None if the tags do not say it, or say that it is not known."""
    for time, fraction, zone in _TAGS:
        text = tags.get(time, "").rstrip("\0 ")
        if not _FORM.fullmatch(text):
            continue
        try:
            at = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        digits = tags.get(fraction, "").rstrip("\0 ")
        if re.fullmatch(r"[0-9]+", digits, re.ASCII):
            at = at.replace(microsecond=int((digits + "000000")[:6]))
        try:
            return WrittenTime(at=at.replace(tzinfo=offset(tags[zone].rstrip("\0 "))))
        except (KeyError, ValueError):
            return WrittenTime(at=at)
    return None


def disagree(name: WrittenTime, tags: WrittenTime) -> bool:
    """True if a name and the tags of the same picture are more than a day apart, whatever zone belongs to the one that
    says none."""
    apart = name.at.replace(tzinfo=None) - tags.at.replace(tzinfo=None)
    apart += (tags.at.utcoffset() or timedelta()) - (name.at.utcoffset() or timedelta())
    return abs(apart) > _DIFFERENCE + (_WIDEST_OFFSET if name.is_local != tags.is_local else timedelta())
