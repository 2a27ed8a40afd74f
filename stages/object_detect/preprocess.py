"""From a picture to the network's input, and from places in the input back to the picture.

Follows the manifest to the letter and knows nothing of what the network makes of it. Resizing is bilinear; where a
picture is twice as large as the input or more, it is halved before, as bilinear resizing would skip pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.imaging.opencv import cv2
from stages.object_detect.boxes import Floats
from stages.object_detect.manifest_schema import InputSpec, Letterbox
from stages.object_detect.readings import Size

_SKIPS: Final = 2
"""Times larger than the input from which on bilinear resizing looks at some of the pixels only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Placement of the picture in an input of ``input_px``: its size there, and the padding left of it and above it, in
    pixels."""

    input_px: Size
    picture_width_px: int
    picture_height_px: int
    width_px: int
    height_px: int
    left_px: int = 0
    top_px: int = 0

    def to_picture(self, boxes_xyxy_px: Floats) -> Floats:
        """(N, 4) x1 y1 x2 y2 in pixels of the input -> the same in pixels of the picture, not clipped."""
        offset = np.array([self.left_px, self.top_px] * 2, np.float64)
        ratio_x, ratio_y = self.picture_width_px / self.width_px, self.picture_height_px / self.height_px
        return (boxes_xyxy_px - offset) * np.array([ratio_x, ratio_y] * 2, np.float64)


def place(width_px: int, height_px: int, spec: InputSpec, input_px: Size | None = None) -> Placement:
    """Return the placement of a picture of this size in an input, by default of the manifest's size."""
    wide_px, high_px = input_px or spec.size
    if not isinstance(spec.resize, Letterbox):
        return Placement(
            input_px=(wide_px, high_px),
            picture_width_px=width_px,
            picture_height_px=height_px,
            width_px=wide_px,
            height_px=high_px,
        )
    ratio = min(wide_px / width_px, high_px / height_px)
    fitted_width_px = min(wide_px, max(1, round(width_px * ratio)))
    fitted_height_px = min(high_px, max(1, round(height_px * ratio)))
    centered = spec.resize.align == "center"
    return Placement(
        input_px=(wide_px, high_px),
        picture_width_px=width_px,
        picture_height_px=height_px,
        width_px=fitted_width_px,
        height_px=fitted_height_px,
        left_px=(wide_px - fitted_width_px) // 2 if centered else 0,
        top_px=(high_px - fitted_height_px) // 2 if centered else 0,
    )


def make_input(picture_bgr: NDArray[np.uint8], placement: Placement, spec: InputSpec) -> NDArray[Any]:
    """Return the tensor for one picture (H, W, 3), of the manifest's layout and type, contiguous."""
    fitted = _resized(picture_bgr, (placement.width_px, placement.height_px))
    if isinstance(spec.resize, Letterbox):
        canvas = np.full((placement.input_px[1], placement.input_px[0], 3), spec.resize.pad_value, np.uint8)
        top, left = placement.top_px, placement.left_px
        canvas[top : top + placement.height_px, left : left + placement.width_px] = fitted
        fitted = canvas
    if spec.color == "RGB":
        fitted = np.asarray(cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB), np.uint8)
    values: NDArray[Any] = fitted
    if not spec.is_raw:
        std = np.array(spec.std, np.float64)
        factor, shift = spec.scale / std, -np.array(spec.mean, np.float64) / std
        values = fitted * factor.astype(np.float32) + shift.astype(np.float32)
    if spec.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], dtype=spec.dtype)


def _resized(picture_bgr: NDArray[np.uint8], size_px: Size) -> NDArray[np.uint8]:
    """Return the picture in this size. An odd row or column at its end, less than half a pixel of the input, is left
    out where it is halved."""
    fitted: Any = picture_bgr
    while fitted.shape[1] >= _SKIPS * size_px[0] and fitted.shape[0] >= _SKIPS * size_px[1]:
        width_px, height_px = fitted.shape[1] // 2, fitted.shape[0] // 2
        even = fitted[: 2 * height_px, : 2 * width_px]
        fitted = cv2.resize(even, (width_px, height_px), interpolation=cv2.INTER_AREA)
    if fitted.shape[1::-1] != size_px:
        fitted = cv2.resize(fitted, size_px, interpolation=cv2.INTER_LINEAR)
    return np.asarray(fitted, np.uint8)
