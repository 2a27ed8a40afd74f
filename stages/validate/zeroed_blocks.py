"""Search for blocks of zeros in coded data, which a file system leaves where an upload or a disk lost its contents.

Such zeros mostly decode without a warning. But they can only stand for a picture where a zero bit may end a block:
each Huffman table has one code of zeros only, that of its first symbol, and in nearly all tables for brightness this
symbol is not the end of a block. Then a run of zeros would be a block with all its coefficients equal to -1, one after
the other, which no photograph has. Reads tables and bytes; decodes nothing.
"""

from __future__ import annotations

from typing import Final

from stages.validate import jpeg
from stages.validate.jpeg import Segment, Structure

ZEROS: Final = bytes(16)
"""128 zero bits. What ends one block and starts the next brings a bit that is set every few bytes."""

_END_OF_BLOCK: Final = 0x00
_AC_CLASS: Final = 1
_STANDARD_FIRST_AC: Final = {0: 0x01, 1: _END_OF_BLOCK}
"""The first symbols of the tables that apply to a motion JPEG frame without tables: T.81, tables K.5 and K.6."""


def find_zeroed(data: bytes, structure: Structure) -> int | None:
    """Return the offset in the file of the first zeroed block, or None if there is none or zeros may be data there.

    Zeros at the end of coded data are none: they may be padding. Progressive scans, which have other codes, are
    not looked at.
    """
    if structure.frame.progressive:
        return None
    first_ac = dict(_STANDARD_FIRST_AC) if not structure.has(jpeg.DHT) else {}
    for segment in structure.segments:
        if segment.marker == jpeg.DHT:
            first_ac.update(_first_ac_symbols(data[segment.body : segment.end]))
        elif segment.scan_end is not None and not _zeros_may_be_blocks(data, segment, first_ac):
            at = _find_inner_zeros(data, segment.end, segment.scan_end)
            if at is not None:
                return at
    return None


def _first_ac_symbols(body: bytes) -> dict[int, int]:
    """Return the first symbol of each AC table in a DHT segment, by the table's number. Malformed tables are left to
    the decoder."""
    found = {}
    at = 0
    while at + 17 < len(body):
        kind, number = body[at] >> 4, body[at] & 15
        symbols = sum(body[at + 1 : at + 17])
        if kind == _AC_CLASS and symbols:
            found[number] = body[at + 17]
        at += 17 + symbols
    return found


def _zeros_may_be_blocks(data: bytes, scan: Segment, first_ac: dict[int, int]) -> bool:
    """Tell whether zeros can continue from block to block through all channels of the scan."""
    header = data[scan.body : scan.end]
    selectors = header[2 : 1 + 2 * header[0] : 2] if header else b""
    return all(first_ac.get(selector & 15, _END_OF_BLOCK) == _END_OF_BLOCK for selector in selectors)


def _find_inner_zeros(data: bytes, start: int, end: int) -> int | None:
    """Return the first run of zeros that coded data follows before the scan ends or restarts."""
    at = data.find(ZEROS, start, end)
    while at != -1:
        after = at + len(data[at:end]) - len(data[at:end].lstrip(b"\x00"))
        if after < end and not (data[after] == 0xFF and 0xD0 <= data[after + 1] <= 0xD7):
            return at
        at = data.find(ZEROS, after, end)
    return None
