"""Check of bytes that are left over in a scan after all of its picture was decoded.

Some webcams leave a few bytes, or padding, before a marker. Damaged data, on the other hand, often decodes to its end
with some of it left over. So a short rest is taken for the former and a long one for the latter, unless it is padding.
"""

from __future__ import annotations

import re
from typing import Final

from stages.validate import jpeg
from stages.validate.decoder import DecoderComplaint, decode_small
from stages.validate.jpeg import Segment, Structure
from stages.validate.reasons import Reason, Refused

STRAY: Final = re.compile(r"(?P<count>\d+) extraneous bytes before marker 0x(?P<marker>[0-9a-f]{2})", re.IGNORECASE)

_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
_READ_AHEAD_BYTES: Final = 8
"""libjpeg holds up to so many bytes that it has read and not used, and does not count them at a scan's end."""
_MAX_INTERVALS: Final = 10_000
_MAX_SIDE_PX: Final = 65_500


def is_harmless(coded: bytes, count: int, max_stray_bytes: int) -> bool:
    """Tell whether the last ``count`` bytes of coded data, which the decoder did not use, can be a device's padding.

    Zeros of any number are padding, but only if the decoder had used none of them as data: then they would have
    replaced data that is lost.
    """
    if count <= max_stray_bytes:
        return True
    zeros = len(coded) - len(coded.rstrip(b"\x00"))
    return count <= zeros <= count + _READ_AHEAD_BYTES


def refuse_rest(count: int) -> Refused:
    return Refused(Reason.DAMAGED, detail=f"{count} bytes are left over after the last pixel")


def restart_interval(data: bytes, structure: Structure) -> int:
    """Return the number of MCUs between two restart markers of the first scan; 0 when there are none."""
    last = [part for part in structure.segments if part.marker == jpeg.DRI and part.start < structure.scans[0].start][
        -1:
    ]
    return int.from_bytes(data[last[0].body : last[0].end], "big") if last else 0


def check_intervals(data: bytes, structure: Structure, max_stray_bytes: int) -> None:
    """Decode each restart interval of a picture's only scan as a picture of its own.

    So every interval gets its own first warning, where a decode of the whole gives one for all. Raises Refused DAMAGED
    when an interval is missing, or has a warning other than a harmless rest.
    """
    scan, pieces, mcus = _intervals(data, structure)
    mcus_per_piece = restart_interval(data, structure)
    if len(pieces) > _MAX_INTERVALS:
        raise Refused(Reason.DAMAGED, detail=f"bytes are left over in one of {len(pieces)} restart intervals")
    if len(pieces) != -(-mcus // mcus_per_piece):
        detail = f"its {mcus} blocks need a restart every {mcus_per_piece}, and it has {len(pieces) - 1} restarts"
        raise Refused(Reason.DAMAGED, detail=detail)
    for index, piece in enumerate(pieces):
        here = min(mcus_per_piece, mcus - index * mcus_per_piece)
        picture = _picture_of(data, structure, scan, piece, here)
        try:
            decode_small(picture)
        except DecoderComplaint as complaint:
            rest = STRAY.search(complaint.text)
            if rest is None:
                raise Refused(Reason.DAMAGED, detail=complaint.fault) from complaint
            if not is_harmless(piece, int(rest["count"]), max_stray_bytes):
                raise refuse_rest(int(rest["count"])) from complaint


def _intervals(data: bytes, structure: Structure) -> tuple[Segment, list[bytes], int]:
    """Return the only scan, the coded data of each of its restart intervals, and how many MCUs it has in all."""
    scans = structure.scans
    scan = scans[0]
    interleaved = data[scan.body] == len(structure.frame.components)
    if len(scans) != 1 or not interleaved or structure.frame.progressive:
        raise Refused(Reason.DAMAGED, detail="bytes are left over in one of several scans")
    coded = data[scan.end : scan.scan_end]
    markers = [found.end() - 1 for found in _RESTART.finditer(coded)]
    if any(coded[at] != 0xD0 + index % 8 for index, at in enumerate(markers)):
        raise Refused(Reason.DAMAGED, detail="its restart markers are not in order")
    pieces = _RESTART.split(coded)
    width, height = structure.frame.mcu_px
    mcus = -(-structure.frame.width // width) * -(-structure.frame.height // height)
    return scan, pieces, mcus


def _picture_of(data: bytes, structure: Structure, scan: Segment, piece: bytes, mcus: int) -> bytes:
    """Return a JPEG of ``mcus`` units in one row, or in rows of the picture's own length where one would be too
    long."""
    mcu_width, mcu_height = structure.frame.mcu_px
    columns, rows = mcus, 1
    if columns * mcu_width > _MAX_SIDE_PX:
        columns = -(-structure.frame.width // mcu_width)
        rows = mcus // columns
    if columns * rows != mcus:
        raise Refused(Reason.DAMAGED, detail="bytes are left over in a restart interval of no whole rows")
    parts = [b"\xff\xd8"]
    for segment in structure.segments:
        whole = data[segment.start : segment.end]
        if segment is structure.frame.segment:
            size = (rows * mcu_height).to_bytes(2, "big") + (columns * mcu_width).to_bytes(2, "big")
            parts.append(whole[:5] + size + whole[9:])
        elif segment.marker in (jpeg.DQT, jpeg.DHT) and segment.start < scan.start:
            parts.append(whole)
    return b"".join((*parts, data[scan.start : scan.end], piece, b"\xff\xd9"))
