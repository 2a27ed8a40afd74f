"""The EXIF orientation of a JPEG: which way the camera was held.

The decoder turns pictures upright and does not say so; this reads the tag that it obeyed, for the record. Only the
header is looked at, nothing is trusted, and whatever is not understood counts as upright.
"""

from __future__ import annotations

import struct
from typing import Final

UPRIGHT: Final = 1
_APP1: Final = 0xE1
_START_OF_SCAN: Final = 0xDA
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_EXIF: Final = b"Exif\x00\x00"


def orientation_of(jpeg: bytes) -> int:
    """1 to 8 as EXIF numbers them; 1 (upright) when there is no such tag. Never raises."""
    at = 2  # behind the start-of-image marker
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == _START_OF_SCAN:
            break
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        segment = jpeg[at + 4 : at + 2 + length]
        if marker == _APP1 and segment.startswith(_EXIF):
            return _tag_of(segment[len(_EXIF) :])
        at += 2 + length
    return UPRIGHT


def _tag_of(tiff: bytes) -> int:
    """Return the orientation in the first directory of a TIFF block."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return UPRIGHT
    (entries,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(entries):
        at = start + 2 + 12 * number
        if at + 12 > len(tiff):
            break
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
