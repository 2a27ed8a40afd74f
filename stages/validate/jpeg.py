"""The structure of a JPEG file: its segments, its frame, its scans, its end. Decodes nothing and allocates little.

Reads only markers and lengths, so it is cheap on any input and can refuse a bomb before a decoder sees it. Thumbnails
and second pictures hide inside segments or after the end; both are stepped over. Follows ITU-T T.81, annex B, and,
where files in the wild differ, what libjpeg does with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stages.validate.reasons import Reason, Refused

SOI, EOI, SOS, DQT, DHT, DRI, DNL, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xDC, 0xFE
APP0, APP2, APP14 = 0xE0, 0xE2, 0xEE
DAC: Final = 0xCC
MAX_SEGMENTS: Final = 10_000
MAX_SCANS: Final = 64
"""libjpeg's own progressive script has 10 scans; each may cost a pass over all the picture."""

_SOFS: Final = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
_BARE: Final = frozenset((0x01, *range(0xD0, 0xD8)))  # TEM and RST0-7 have no length
_WITH_LENGTH: Final = frozenset((DHT, DAC, DQT, DRI, DNL, SOS, COM, *range(0xE0, 0xF0))) | _SOFS
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_BUT_RST: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)

_CODINGS: Final = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic",
    0xCA: "arithmetic",
    0xCB: "lossless arithmetic",
    0xCD: "hierarchical arithmetic",
    0xCE: "hierarchical arithmetic",
    0xCF: "hierarchical arithmetic",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A marker with what belongs to it: ``data[start:end]`` from its last 0xFF on, ``data[body:end]`` after the length.

    ``data[after:stray_end]``, mostly empty, belongs to nothing and stands between the former segment and this one. A
    scan's coded data is ``data[end:scan_end]``.
    """

    marker: int
    start: int
    body: int
    end: int
    after: int
    stray_end: int
    scan_end: int | None = None

    @property
    def stray(self) -> int:
        """Return the number of bytes before it that belong to no segment."""
        return self.stray_end - self.after


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One channel: its id and its sampling factors."""

    id: int
    horizontal: int
    vertical: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Frame header (SOF). ``width`` and ``height`` are pixels, as stored."""

    segment: Segment
    precision: int
    width: int
    height: int
    components: tuple[Component, ...]

    @property
    def progressive(self) -> bool:
        return self.segment.marker == 0xC2

    @property
    def sampling(self) -> str:
        return ", ".join(f"{part.horizontal}x{part.vertical}" for part in self.components)

    @property
    def mcu_px(self) -> tuple[int, int]:
        """Width and height of the smallest unit of a scan of all channels; one channel alone has no interleaving."""
        if len(self.components) == 1:
            return 8, 8
        return 8 * max(c.horizontal for c in self.components), 8 * max(c.vertical for c in self.components)


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """All segments of the picture in their order, from the first after SOI to the last before EOI."""

    segments: tuple[Segment, ...]
    frame: Frame
    eoi: Segment

    @property
    def end(self) -> int:
        """Return the offset of the picture's end; what follows is not part of it."""
        return self.eoi.end

    @property
    def scans(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.marker == SOS)

    def has(self, marker: int) -> bool:
        return any(segment.marker == marker for segment in self.segments)


def read_frame(data: bytes) -> Frame:
    """Return the first frame header of bytes that start with SOI. Reads nothing behind it.

    Raises Refused: TRUNCATED, HEADER_UNREADABLE.
    """
    for segment in _walk(data):
        if segment.marker in _SOFS:
            return _frame(data, segment)
        if segment.marker in (SOS, EOI):
            break
    raise Refused(Reason.HEADER_UNREADABLE, detail="it has no frame header, which would say the picture's size")


def check_coding(frame: Frame) -> None:
    """Refuse what common decoders do not decode, or do not decode alike. Raises Refused: UNSUPPORTED_CODING."""
    coding = _CODINGS.get(frame.segment.marker)
    if coding:
        raise Refused(Reason.UNSUPPORTED_CODING, detail=f"{coding}; expected baseline or progressive Huffman coding")
    if frame.precision != 8:
        raise Refused(Reason.UNSUPPORTED_CODING, detail=f"{frame.precision} bits a sample; expected 8")


def read_structure(data: bytes) -> Structure:
    """Return all of the picture's structure, to its end. Raises Refused: TRUNCATED, HEADER_UNREADABLE, TOO_MANY_SCANS,
    DAMAGED."""
    segments: list[Segment] = []
    frame: Frame | None = None
    scans = 0
    for segment in _walk(data):
        if segment.marker == EOI:
            if frame is None or not scans:
                raise Refused(Reason.HEADER_UNREADABLE, detail="the picture ends before its data starts")
            return Structure(segments=tuple(segments), frame=frame, eoi=segment)
        if segment.marker in _SOFS:
            if frame is not None:
                raise _fault(scans > 0, "it has two frame headers")
            frame = _frame(data, segment)
        elif segment.marker == SOS:
            if frame is None:
                raise Refused(Reason.HEADER_UNREADABLE, detail="a scan starts before the frame header")
            scans += 1
            if scans > MAX_SCANS:
                raise Refused(Reason.TOO_MANY_SCANS, limit=MAX_SCANS)
        segments.append(segment)
    raise AssertionError("unreachable: the walk ends with EOI or raises")


def find_coded_end(data: bytes) -> int | None:
    """Return the end of the last coded data before the place from which on no structure can be read; None when all of
    it can, to the end marker, or when there is no coded data."""
    end = None
    try:
        for segment in _walk(data):
            end = segment.scan_end or end
    except Refused:
        return end
    return None


def _walk(data: bytes) -> Iterator[Segment]:
    """Yield the segments after SOI up to EOI, that one too. Raises Refused when the bytes end before it."""
    at = after = 2
    scanned = False
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            raise _ran_out(data, scanned)
        start, marker = found.start(), data[found.end() - 1]
        if marker in _BARE:
            at = start + 2
            continue
        stray_end = after + len(data[after:start].rstrip(b"\xff"))  # any number of 0xFF may stand before a marker
        if marker == EOI:
            yield Segment(marker=EOI, start=start, body=start + 2, end=start + 2, after=after, stray_end=stray_end)
            return
        if marker not in _WITH_LENGTH:
            raise _unexpected(scanned, marker)
        end, scan_end = _end_of(data, start, scanned), None
        if marker == SOS:
            scanned = True
            scan_end = _scan_end(data, end)
        yield Segment(
            marker=marker, start=start, body=start + 4, end=end, after=after, stray_end=stray_end, scan_end=scan_end
        )
        at = after = end if scan_end is None else scan_end
    raise _fault(scanned, f"it has more than {MAX_SEGMENTS} segments")


def _end_of(data: bytes, start: int, scanned: bool) -> int:
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    if start + 4 > len(data) or start + 2 + length > len(data):
        raise _ran_out(data, scanned)
    if length < 2:
        raise _fault(scanned, f"the segment 0x{data[start + 1]:02x} says that it has {length} bytes")
    return start + 2 + length


def _scan_end(data: bytes, start: int) -> int:
    """Return the end of the coded data that starts there, restarts included, without the 0xFF that may pad a marker;
    that of the file when no marker follows."""
    found = _MARKER_BUT_RST.search(data, start)
    coded = data[start : found.start()] if found else data[start:]
    return start + len(coded.rstrip(b"\xff"))


def _frame(data: bytes, segment: Segment) -> Frame:
    """Return the facts of a frame header. Raises Refused: HEADER_UNREADABLE."""
    body = data[segment.body : segment.end]
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise Refused(Reason.HEADER_UNREADABLE, detail="the frame header has a wrong length")
    components = tuple(
        Component(id=body[at], horizontal=body[at + 1] >> 4, vertical=body[at + 1] & 15)
        for at in range(6, len(body), 3)
    )
    frame = Frame(
        segment=segment,
        precision=body[0],
        height=int.from_bytes(body[1:3], "big"),
        width=int.from_bytes(body[3:5], "big"),
        components=components,
    )
    if not (frame.width and frame.height and components):
        detail = f"it says {frame.width} x {frame.height} pixels in {len(components)} channels"
        raise Refused(Reason.HEADER_UNREADABLE, detail=detail)
    if any(not (1 <= part.horizontal <= 4 and 1 <= part.vertical <= 4) for part in components):
        raise Refused(Reason.HEADER_UNREADABLE, detail=f"the sampling factors {frame.sampling} are not from 1 to 4")
    return frame


def _fault(scanned: bool, detail: str) -> Refused:
    """Return the refusal for a defect: of the header before the first scan, damage after it."""
    return Refused(Reason.DAMAGED if scanned else Reason.HEADER_UNREADABLE, detail=detail)


def _unexpected(scanned: bool, marker: int) -> Refused:
    detail = f"it has an unexpected marker, 0x{marker:02x}"
    return _fault(scanned, f"its end marker is missing: {detail}, after its coded data" if scanned else detail)


def _ran_out(data: bytes, scanned: bool) -> Refused:
    """Return the refusal for a walk beyond the last byte. A file that ends as a picture does was not cut: a length is
    wrong."""
    if len(data) > 2 and data.endswith(b"\xff\xd9"):
        return _fault(scanned, "a segment is longer than the file")
    return Refused(Reason.TRUNCATED)
