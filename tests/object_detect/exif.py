"""Puts an EXIF orientation into a JPEG, for tests."""

from __future__ import annotations

import struct


def with_orientation(jpeg: bytes, orientation: int, order: str) -> bytes:
    """The JPEG with an EXIF block behind its start."""
    return jpeg[:2] + exif_segment(orientation, order) + jpeg[2:]


def exif_segment(orientation: int, order: str) -> bytes:
    """A segment with an EXIF block; ``order`` is < or >, the byte order of the block."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    entries = [(0x010F, 3, 1, 7), (0x0112, 3, 1, orientation)]  # another tag first
    tiff = mark + struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, count, value in entries:
        tiff += struct.pack(f"{order}HHIHH", tag, kind, count, value, 0)
    segment = b"Exif\x00\x00" + tiff + struct.pack(f"{order}I", 0)
    return b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
