"""Samplings that the decoder's binding does not know, written in a working copy as one that it knows.

The coded data of a sequential scan of all channels is a row of units, each with so many blocks of each channel; where
a block belongs in the picture changes nothing in it. So a header that gives the same number of units, and of blocks in
each, reads the same codes in the same order, and finds the same faults. Only the picture that comes out is in disorder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stages.validate.jpeg import Component, Frame, Structure

_UNKNOWN: Final = frozenset({((4, 1), (2, 1), (2, 1)), ((1, 4), (1, 2), (1, 2))})
"""Factors of which a unit has 4, 2 and 2 blocks. They halve one direction for colour, as 4:2:2 and 4:4:0 do."""
_KNOWN: Final = ((2, 2), (1, 2), (1, 2))
"""Factors with as many blocks that the binding takes: as 4:2:2."""
_MAX_SIDE_PX: Final = 65_500


def is_unknown(frame: Frame) -> bool:
    """Tell whether the binding does not know the sampling of a picture that decoders decode."""
    return tuple((part.horizontal, part.vertical) for part in frame.components) in _UNKNOWN


def as_known_sampling(data: bytes, structure: Structure) -> tuple[bytes, Structure]:
    """Return the same when its sampling is known or cannot be replaced, else a copy with another frame header."""
    frame = structure.frame
    scan, channels = structure.scans[0], len(frame.components)
    together = len(structure.scans) == 1 and data[scan.body] == channels
    if not is_unknown(frame) or frame.progressive or not together:
        return data, structure
    known = _resampled(frame)
    if max(known.width, known.height) > _MAX_SIDE_PX:
        return data, structure
    at = frame.segment.body
    header = bytes((known.precision,)) + known.height.to_bytes(2, "big") + known.width.to_bytes(2, "big")
    header += bytes((channels,))
    for number, part in enumerate(known.components):
        header += bytes((part.id, part.horizontal << 4 | part.vertical, data[at + 8 + 3 * number]))
    return data[:at] + header + data[frame.segment.end :], replace(structure, frame=known)


def _resampled(frame: Frame) -> Frame:
    """Return the frame with known factors, and as many units in a row and rows of them as before."""
    unit_width, unit_height = frame.mcu_px
    columns, rows = -(-frame.width // unit_width), -(-frame.height // unit_height)
    components = tuple(
        Component(id=part.id, horizontal=horizontal, vertical=vertical)
        for part, (horizontal, vertical) in zip(frame.components, _KNOWN, strict=True)
    )
    known = replace(frame, components=components)
    return replace(known, width=columns * known.mcu_px[0], height=rows * known.mcu_px[1])
