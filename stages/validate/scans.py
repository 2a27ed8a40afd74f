"""Completeness of a picture's scans and tables: all that its frame header promises is in the file.

A decoder takes what is missing as zeros, or as standard tables, without a warning. So wherever a part of a file may
have been lost, its structure must show that none was. Reads headers; decodes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stages.validate import jpeg
from stages.validate.jpeg import Segment, Structure

_COEFFICIENTS: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scan:
    """Header of a scan: its channels, each with its tables' numbers, and which part of their coefficients it brings."""

    tables: dict[int, tuple[int, int]]
    first: int
    last: int
    low_bit: int


def has_all_scans(data: bytes, structure: Structure) -> bool:
    """Tell whether the scans bring every channel; those of a progressive picture, every coefficient to its last bit."""
    scans = [_read(data, segment) for segment in structure.scans]
    missing = {part.id: [True] * _COEFFICIENTS for part in structure.frame.components}
    for scan in scans:
        if scan is None or not scan.tables.keys() <= missing.keys():
            return False
        first, last = (scan.first, scan.last) if structure.frame.progressive else (0, _COEFFICIENTS - 1)
        for channel in scan.tables:
            for number in range(first, min(last, _COEFFICIENTS - 1) + 1):
                missing[channel][number] = structure.frame.progressive and scan.low_bit > 0
    return not any(any(numbers) for numbers in missing.values())


def has_own_tables(data: bytes, structure: Structure) -> bool:
    """Tell whether each scan finds its Huffman tables before it, or the file has none at all: a decoder takes standard
    ones for those that are missing."""
    if not structure.has(jpeg.DHT):
        return True
    known: set[tuple[int, int]] = set()
    for segment in structure.segments:
        if segment.marker == jpeg.DHT:
            known |= _defined(data[segment.body : segment.end])
        elif segment.marker == jpeg.SOS and not structure.frame.progressive:  # progressive ones have no standard tables
            scan = _read(data, segment)
            if scan is None or not {(kind, t[kind]) for t in scan.tables.values() for kind in (0, 1)} <= known:
                return False
    return True


def _read(data: bytes, segment: Segment) -> _Scan | None:
    header = data[segment.body : segment.end]
    if not header or len(header) != 4 + 2 * header[0]:
        return None
    tables = {header[at]: (header[at + 1] >> 4, header[at + 1] & 15) for at in range(1, len(header) - 3, 2)}
    return _Scan(tables=tables, first=header[-3], last=header[-2], low_bit=header[-1] & 15)


def _defined(body: bytes) -> set[tuple[int, int]]:
    """Return class (0 is DC, 1 is AC) and number of each table in a DHT segment."""
    found = set()
    at = 0
    while at + 17 <= len(body):
        found.add((body[at] >> 4, body[at] & 15))
        at += 17 + sum(body[at + 1 : at + 17])
    return found
