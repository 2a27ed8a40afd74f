"""Views of a picture, each of which the network looks at once: the whole, the whole in a larger input, tiles.

Pure arithmetic on sizes: knows neither pixels nor networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.object_detect.boxes import Floats
from stages.object_detect.manifest_passes import AreaPass, PassSpec
from stages.object_detect.manifest_schema import InputSpec
from stages.object_detect.preprocess import Placement, place
from stages.object_detect.readings import Size

LONGEST_SIDE_PX: Final = 4096
_EDGE_PX: Final = 2
"""Pixels of the input within which a box counts as one that ends at the edge of its view."""
_SPARE: Final = 2
"""Pixels that are left for each one of an input, so that resizing has something to choose from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Part of a picture from ``left_px``, ``top_px`` on, of the size that its placement says, in an input."""

    placement: Placement
    left_px: int = 0
    top_px: int = 0

    def crop(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of the picture (H, W, 3), not copied."""
        right_px = self.left_px + self.placement.picture_width_px
        return pixels[self.top_px : self.top_px + self.placement.picture_height_px, self.left_px : right_px]

    def to_picture(self, boxes_xyxy_px: Floats) -> Floats:
        """(N, 4) x1 y1 x2 y2 in pixels of the input -> the same in pixels of the whole picture, not clipped."""
        return self.placement.to_picture(boxes_xyxy_px) + np.array([self.left_px, self.top_px] * 2, np.float64)

    def find_cut(self, boxes_xyxy_px: Floats, picture_px: Size) -> NDArray[np.bool_]:
        """(N,) whether a box in pixels of the whole picture ends at an edge of the view that is none of the picture: a
        neighbour sees more of that object."""
        place, (width_px, height_px) = self.placement, picture_px
        edge_x = _EDGE_PX * place.picture_width_px / place.width_px
        edge_y = _EDGE_PX * place.picture_height_px / place.height_px
        right_px, bottom_px = self.left_px + place.picture_width_px, self.top_px + place.picture_height_px
        inner = (self.left_px > 0, self.top_px > 0, right_px < width_px, bottom_px < height_px)
        ends = np.stack(
            [
                boxes_xyxy_px[:, 0] <= self.left_px + edge_x,
                boxes_xyxy_px[:, 1] <= self.top_px + edge_y,
                boxes_xyxy_px[:, 2] >= right_px - edge_x,
                boxes_xyxy_px[:, 3] >= bottom_px - edge_y,
            ]
        )
        return np.asarray(ends[np.array(inner)].any(axis=0), np.bool_)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One pass: all its views, and the part of the way from the threshold to 1 that a box needs which no pass before
    has."""

    kind: str
    views: tuple[View, ...]
    margin: float = 0.0


def plan_passes(seen_px: Size, picture_px: Size, spec: InputSpec, further: Sequence[PassSpec]) -> tuple[Pass, ...]:
    """Return the passes over a picture of this size of which ``seen_px`` pixels were decoded; the first is that over
    the whole. Views are in pixels of what was decoded."""
    whole = Pass(kind="whole", views=(View(placement=place(*seen_px, spec)),))
    return (whole, *(_pass(seen_px, picture_px, spec, one) for one in further if max(picture_px) > one.over))


def most_reduced(passes: Sequence[Pass], factors: Sequence[int]) -> int:
    """Return the greatest of these factors by which the picture may be smaller with enough left for each view."""
    shrunk = min(
        min(place.picture_width_px / place.width_px, place.picture_height_px / place.height_px)
        for one in passes
        for place in (view.placement for view in one.views)
    )
    return max((factor for factor in factors if factor * _SPARE <= shrunk), default=1)


def area_input(picture_px: Size, spec: AreaPass) -> Size:
    """Return the size of an input with about so many pixels and the picture's proportions."""
    aspect = picture_px[0] / picture_px[1]
    sides = (math.sqrt(spec.pixels * aspect), math.sqrt(spec.pixels / aspect))
    most = LONGEST_SIDE_PX // spec.multiple
    width, height = (min(most, max(1, round(side / spec.multiple))) * spec.multiple for side in sides)
    return width, height


def _pass(seen_px: Size, picture_px: Size, spec: InputSpec, further: PassSpec) -> Pass:
    if isinstance(further, AreaPass):
        views: tuple[View, ...] = (View(placement=place(*seen_px, spec, area_input(picture_px, further))),)
    else:
        along = further.along
        across = max(1, round(along * min(picture_px) / max(picture_px)))
        columns, rows = (along, across) if picture_px[0] >= picture_px[1] else (across, along)
        views = tuple(
            View(placement=place(wide_px, high_px, spec), left_px=left_px, top_px=top_px)
            for top_px, high_px in _parts(seen_px[1], rows, further.overlap)
            for left_px, wide_px in _parts(seen_px[0], columns, further.overlap)
        )
    return Pass(kind=further.kind, views=views, margin=further.margin)


def _parts(side_px: int, number: int, overlap: float) -> Iterator[tuple[int, int]]:
    """Yield start and length of each of so many parts of a side, of which neighbours share a part of their length."""
    length_px = min(side_px, math.ceil(side_px / (number - (number - 1) * overlap)))
    for index in range(number):
        start_px = round(index * (side_px - length_px) / max(1, number - 1))
        yield start_px, length_px
