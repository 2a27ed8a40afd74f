"""EXIF tags of a JPEG: those that say how, when and by which camera a picture was taken.

Only the header is looked at, nothing in it is trusted, and whatever is not understood is passed over: reading never
raises. Markers are found as libjpeg finds them: after any number of fill bytes, and of bytes that belong to nothing.
The numbers of tags and kinds are those of EXIF 2.32 and TIFF 6.0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Final

UPRIGHT: Final = 1
_START: Final = b"\xff\xd8"
_APP1: Final = 0xE1
_LAST: Final = (0xDA, 0xD9)
"""Start of scan, end of image: the header ends before them."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers: all of that range but tables and an extension."""
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]", re.DOTALL)
"""A marker of a segment: not a stuffed zero, nor one of those that stand alone (TEM, RST)."""
_MOST_SEGMENTS: Final = 10_000
_EXIF: Final = b"Exif\x00\x00"
_ORIENTATION: Final = 0x0112
_EXIF_DIRECTORY: Final = 0x8769
_ASCII: Final = 2
_SHORT: Final = 3
_LONG: Final = 4
_LONGEST_TEXT: Final = 256
_TEXTS: Final = {
    0x010F: "Make",
    0x0110: "Model",
    0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized",
    0x9011: "OffsetTimeOriginal",
    0x9012: "OffsetTimeDigitized",
    0x9291: "SubSecTimeOriginal",
    0x9292: "SubSecTimeDigitized",
    0xA431: "BodySerialNumber",
}
_MAKER_NOTE: Final = 0x927C
_UNDEFINED: Final = 7
RECONYX_TIME: Final = "Reconyx DateTimeOriginal"
"""Name of the time in the maker note of Reconyx HyperFire cameras, which write it nowhere else."""
_RECONYX: Final = b"\x01\xf1"
_RECONYX_VERSIONS: Final = (b"\x02\x00", b"\x03\x00")
_RECONYX_TIME: Final = struct.Struct("<22x6H")
"""Words in little-endian order: from the twelfth on second, minute, hour, month, day and year, as ExifTool's
``Reconyx.pm`` has them."""


def orientation_of(jpeg: bytes) -> int:
    """Return 1 to 8 as EXIF numbers them; 1 (upright) when there is no such tag.

    The first tag of that number decides, whatever type it claims, as in OpenCV: pictures have always been turned so.
    """
    for tiff in _tiffs(jpeg):
        for tag, _, _, value in _entries(tiff):
            if tag == _ORIENTATION:
                (number,) = struct.unpack_from(value.order + "H", value.own)
                return number if 1 <= number <= 8 else UPRIGHT
    return UPRIGHT


def frame_size(jpeg: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels as the first frame header has them; None where there is none."""
    for marker, segment in _segments(jpeg):
        if marker in _FRAMES and len(segment) >= 5:
            height_px, width_px = struct.unpack_from(">HH", segment, 1)
            return (width_px, height_px) if width_px and height_px else None
    return None


def find_texts(jpeg: bytes) -> Mapping[str, str]:
    """Return the texts of the tags that say when and by what the picture was taken, by their names in EXIF."""
    tiff = next(_tiffs(jpeg), b"")
    found: dict[str, str] = {}
    for directory in (None, _EXIF_DIRECTORY):
        start = None if directory is None else _find_directory(tiff, directory)
        if directory is not None and start is None:
            continue
        for tag, kind, count, value in _entries(tiff, start):
            if tag in _TEXTS and kind == _ASCII and 0 < count <= _LONGEST_TEXT:
                text = value.read(tiff, count)
                found.setdefault(_TEXTS[tag], text.decode("latin-1").rstrip("\0 "))
            elif tag == _MAKER_NOTE and kind == _UNDEFINED and count >= _RECONYX_TIME.size:
                found.update(_reconyx_time(value.read(tiff, _RECONYX_TIME.size), found.get("Make", "")))
    return found


def _reconyx_time(note: bytes, make: str) -> Mapping[str, str]:
    is_reconyx = note.startswith(_RECONYX) and (note[2:4] in _RECONYX_VERSIONS or make.upper() == "RECONYX")
    if not is_reconyx or len(note) < _RECONYX_TIME.size:
        return {}
    second, minute, hour, month, day, year = _RECONYX_TIME.unpack(note)
    return {RECONYX_TIME: f"{year:04}:{month:02}:{day:02} {hour:02}:{minute:02}:{second:02}"}


class _Value:
    """The four bytes of an entry: the value itself, or where it is."""

    def __init__(self, order: str, own: bytes) -> None:
        self.order, self.own = order, own

    def number(self) -> int:
        """The value of a LONG."""
        (number,) = struct.unpack(self.order + "I", self.own)
        return int(number)

    def read(self, tiff: bytes, count: int) -> bytes:
        """The bytes of a text; fewer than ``count`` where the file ends."""
        if count <= len(self.own):
            return self.own[:count]
        return tiff[self.number() : self.number() + count]


def _tiffs(jpeg: bytes) -> Iterator[bytes]:
    """The TIFF blocks of the EXIF segments."""
    for marker, segment in _segments(jpeg):
        if marker == _APP1 and segment.startswith(_EXIF):
            yield segment[len(_EXIF) :]


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and contents of the segments before the first scan."""
    if not jpeg.startswith(_START):
        return
    at = len(_START)
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(jpeg, at)
        if found is None or found.end() + 2 > len(jpeg) or jpeg[found.end() - 1] in _LAST:
            return
        start = found.end()
        at = start + max(2, int.from_bytes(jpeg[start : start + 2], "big"))
        yield jpeg[start - 1], jpeg[start + 2 : at]


def _find_directory(tiff: bytes, pointer: int) -> int | None:
    return next((value.number() for tag, kind, _, value in _entries(tiff) if (tag, kind) == (pointer, _LONG)), None)


def _entries(tiff: bytes, start: int | None = None) -> Iterator[tuple[int, int, int, _Value]]:
    """The entries of a directory, by default the first: tag, kind, count, value."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return
    if start is None:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return
    (entries,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(entries):
        at = start + 2 + 12 * number
        if at + 12 > len(tiff):
            return
        tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, at)
        yield tag, kind, count, _Value(order, tiff[at + 8 : at + 12])
