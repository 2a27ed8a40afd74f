"""Distinction of harmless decoder warnings from lost data.

A decoder tells its first warning only, so a harmless one may hide a bad one. Each warning that can be harmless
therefore has a mend, which takes its cause away in a working copy; the copy is decoded again, until the decoder is
silent (all warnings were harmless) or warns of something that has no mend (data is lost). The copy is then thrown
away: what is accepted are the very bytes that came.

Knows the texts of libjpeg's warnings. Those without a mend are "premature end of data segment", "bad Huffman code",
"found marker instead of RST", "inconsistent progression sequence" and all errors: each means that coded data is
missing or wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.validate import jpeg
from stages.validate.decoder import DecoderComplaint, decode_small
from stages.validate.jpeg import Segment, Structure
from stages.validate.reasons import Flag, Reason, Refused
from stages.validate.scans import has_all_scans, has_own_tables
from stages.validate.stray_bytes import STRAY, check_intervals, is_harmless, refuse_rest, restart_interval

_Rewrite = Callable[[Segment, bytes], bytes]
"""What becomes of one segment, given with its bytes from the marker on."""


def decode(data: bytes, structure: Structure, max_stray_bytes: int) -> tuple[NDArray[np.uint8], tuple[Flag, ...]]:
    """Decode all of the picture, mending what is harmless in a copy.

    Returns the picture at an eighth of its size, (ceil(H / 8), ceil(W / 8), 3) uint8 RGB, and a flag for each kind of
    harmless warning. Raises Refused: DAMAGED.
    """
    flags: list[Flag] = []
    for _ in range(_MAX_MENDS):
        try:
            return decode_small(data), tuple(flags)
        except DecoderComplaint as complaint:
            flag, mended = _mend(data, structure, complaint, max_stray_bytes)
        if flag not in flags:
            flags.append(flag)
        if mended is None:
            return _decode_checked(data), tuple(flags)
        data, structure = mended, jpeg.read_structure(mended)
    raise Refused(Reason.DAMAGED, detail="the decoder goes on to warn of bytes that belong to nothing")


def _mend(
    data: bytes, structure: Structure, complaint: DecoderComplaint, max_stray_bytes: int
) -> tuple[Flag, bytes | None]:
    """Return the flag of a warning, and the data without its cause; None when what causes it was checked where it is.

    Raises Refused when the warning is not harmless.
    """
    stray = STRAY.search(complaint.text)
    if stray:
        return Flag.STRAY_BYTES, _without_stray(data, structure, int(stray["count"]), max_stray_bytes)
    for warning, flag, rewrite in _REWRITES:
        if warning in complaint.text:
            return flag, _rebuilt(data, structure, rewrite)
    raise _lost(complaint) from complaint


def _decode_checked(data: bytes) -> NDArray[np.uint8]:
    """Decode what warns although every part of it has been checked on its own."""
    try:
        return decode_small(data, strict=False)
    except DecoderComplaint as complaint:
        raise _lost(complaint) from complaint


def _lost(complaint: DecoderComplaint) -> Refused:
    return Refused(Reason.DAMAGED, detail=complaint.fault)


# --- bytes that belong to nothing ------------------------------------------------------------------------------------


def _without_stray(data: bytes, structure: Structure, count: int, max_stray_bytes: int) -> bytes | None:
    """Return the data without its stray bytes, of which the decoder saw ``count``; None when they were checked where
    they are.

    Between segments they can be seen; only the decoder knows of those at the end of a scan. Before the first scan any
    number is harmless when no scan and no table is missing: nothing of the picture is coded there. From it on, many may
    be coded data. Raises Refused when they are not harmless.
    """
    gaps = [segment for segment in (*structure.segments, structure.eoi) if segment.stray]
    header_is_whole = has_all_scans(data, structure) and has_own_tables(data, structure)
    for segment in gaps:
        if header_is_whole and segment.start <= structure.scans[0].start:
            continue
        if segment.stray > max_stray_bytes and data[segment.after : segment.stray_end].strip(b"\x00"):
            raise Refused(Reason.DAMAGED, detail=f"{segment.stray} bytes between its segments belong to nothing")
    if gaps:
        return _rebuilt(data, structure, lambda _, whole: whole)
    if restart_interval(data, structure):
        check_intervals(data, structure, max_stray_bytes)
        return None
    return _without_rest(data, structure, count, max_stray_bytes)


def _without_rest(data: bytes, structure: Structure, count: int, max_stray_bytes: int) -> bytes:
    """Return the data without what is left over at the end of its only scan. Raises Refused when that is not
    harmless."""
    scan = structure.scans[0]
    if scan.scan_end is None or len(structure.scans) != 1:
        raise Refused(Reason.DAMAGED, detail="bytes are left over in one of several scans")
    if not is_harmless(data[scan.end : scan.scan_end], count, max_stray_bytes):
        raise refuse_rest(count)
    return data[: scan.scan_end - count] + data[scan.scan_end :]


# --- odd segments ----------------------------------------------------------------------------------------------------


def _first_jfif_version(segment: Segment, whole: bytes) -> bytes:
    if segment.marker == jpeg.APP0 and whole[4:9] == b"JFIF\x00":
        return whole[:9] + b"\x01\x01" + whole[11:]
    return whole


def _ycc_transform(segment: Segment, whole: bytes) -> bytes:
    if segment.marker == jpeg.APP14 and whole[4:9] == b"Adobe" and len(whole) >= 16:
        return whole[:15] + b"\x01" + whole[16:]
    return whole


def _no_profile(segment: Segment, whole: bytes) -> bytes:
    return b"" if segment.marker == jpeg.APP2 else whole


def _sequential_scan(segment: Segment, whole: bytes) -> bytes:
    return whole[:-3] + b"\x00\x3f\x00" if segment.marker == jpeg.SOS else whole


_REWRITES: Final[tuple[tuple[str, Flag, _Rewrite], ...]] = (
    ("unknown JFIF revision number", Flag.JFIF_VERSION, _first_jfif_version),
    ("Unknown Adobe color transform code", Flag.ADOBE_TRANSFORM, _ycc_transform),
    ("bad ICC marker", Flag.ICC_PROFILE, _no_profile),
    ("Invalid SOS parameters for sequential JPEG", Flag.SCAN_PARAMETERS, _sequential_scan),
)
"""A warning that loses nothing, its flag, and what silences it."""

_MAX_MENDS: Final = len(_REWRITES) + 2  # stray bytes may need two: between segments and at the end of the scan


def _rebuilt(data: bytes, structure: Structure, rewrite: _Rewrite) -> bytes:
    """Return the picture with its segments rewritten, and nothing between them or after its end."""
    parts = [b"\xff\xd8"]
    for segment in structure.segments:
        parts.append(rewrite(segment, data[segment.start : segment.end]))
        if segment.scan_end is not None:
            parts.append(data[segment.end : segment.scan_end])
    return b"".join((*parts, b"\xff\xd9"))
