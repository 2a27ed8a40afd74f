"""Pictures decoded at a reduced scale, which libjpeg does in its transform: fewer pixels, less time.

What is to be seen in a large picture is mostly decided by far fewer pixels than it has. Sizes and boxes stay those of
the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.imaging.annotate import decode_bgr
from stages.imaging.exif import frame_size, orientation_of
from stages.imaging.opencv import cv2

FACTORS: Final = (2, 4, 8)
"""Factors by which libjpeg can reduce a picture while it decodes it, as far as OpenCV has them."""
_FLAGS: Final = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_LYING: Final = (5, 6, 7, 8)
"""Orientations of EXIF that exchange width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Picture of ``size_px`` of which every ``factor``-th pixel in both directions was decoded, upright, (H, W, 3)."""

    pixels_bgr: NDArray[np.uint8]
    size_px: tuple[int, int]
    factor: int = 1

    @property
    def seen_px(self) -> tuple[int, int]:
        """Width and height of what was decoded."""
        return self.pixels_bgr.shape[1], self.pixels_bgr.shape[0]

    @classmethod
    def of(cls, pixels_bgr: NDArray[np.uint8]) -> Picture:
        """Return the picture of which these are all pixels."""
        return cls(pixels_bgr=pixels_bgr, size_px=(pixels_bgr.shape[1], pixels_bgr.shape[0]))


def decode_reduced(data: bytes, choose: Callable[[tuple[int, int]], int]) -> Picture:
    """Return the picture in the bytes, upright, reduced by the factor that ``choose`` gives for its width and height: 1
    or one of ``FACTORS``. Where the header names no size, or another one than the decoder, all pixels are decoded.

    Raises InputRejected if it cannot be decoded or has more than ``MAX_PICTURE_PIXELS``.
    """
    size = frame_size(data)
    if size is not None:
        size_px = size[::-1] if orientation_of(data) in _LYING else size
        factor = choose(size_px)
        if factor > 1:
            pixels = decode_bgr(data, _FLAGS[factor])
            if pixels.shape[1::-1] == tuple(-(-side // factor) for side in size_px):
                return Picture(pixels_bgr=pixels, size_px=size_px, factor=factor)
    return Picture.of(decode_bgr(data))
