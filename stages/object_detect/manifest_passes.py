"""Passes over a picture beside that over the whole of it: a larger input, or tiles, for what is small.

A manifest names them; the stage's parameter ``passes`` replaces them in a short form, one text for all.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from lookout.domain.errors import InputRejected
from stages.object_detect.manifest_parts import Fraction, ManifestPart

MODEL: Final = "model"
"""Passes as the manifest names them."""
WHOLE: Final = "whole"
"""The whole picture only."""
EXPECTED: Final = "expected 'model', 'whole', sizes as 768x448,1280x736, or tiles:N"
_OVER_PX: Final = 640
_MARGIN: Final = 0.2
_MULTIPLE: Final = 32
_OVERLAP: Final = 0.2
_SIZE: Final = re.compile(r"(\d{2,4})x(\d{2,4})", re.ASCII)
_TILES: Final = re.compile(r"tiles:([2-8])", re.ASCII)
_LEAST_SIDE: Final = 32
_MOST_SIDE: Final = 4096
_MOST_PASSES: Final = 4


class _Further(ManifestPart):
    """``over`` is the longer side in pixels above which a picture gets the pass; ``margin`` the part of the way from
    the threshold to 1 that the score of a box needs which no pass before has."""

    over: Annotated[int, Field(ge=0, le=100_000)]
    margin: Fraction


class AreaPass(_Further):
    """The whole picture in an input of about ``pixels`` pixels that keeps its proportions; both sides are multiples of
    ``multiple``. For networks that take an input of any size."""

    kind: Literal["area"]
    pixels: Annotated[int, Field(ge=1024, le=16_777_216)]
    multiple: Annotated[int, Field(ge=1, le=256)]


class TilesPass(_Further):
    """Tiles, each in an input of the network's own size: ``along`` of them on the longer side, as many on the shorter
    as keep them about square. Neighbours share ``overlap`` of a tile."""

    kind: Literal["tiles"]
    along: Annotated[int, Field(ge=2, le=8)]
    overlap: Annotated[float, Field(ge=0.05, le=0.5, allow_inf_nan=False)]


PassSpec: TypeAlias = Annotated[AreaPass | TilesPass, Field(discriminator="kind")]


def choose_passes(text: str, of_model: tuple[PassSpec, ...]) -> tuple[PassSpec, ...]:
    """Return the further passes that the text names; ``of_model`` for ``model``. Raises InputRejected."""
    if text == MODEL:
        return of_model
    if text == WHOLE:
        return ()
    if found := _TILES.fullmatch(text):
        return (TilesPass(kind="tiles", along=int(found[1]), overlap=_OVERLAP, over=_OVER_PX, margin=_MARGIN),)
    sizes = [_SIZE.fullmatch(part) for part in text.split(",")]
    if len(sizes) > _MOST_PASSES or not all(sizes):
        raise InputRejected(f"{EXPECTED}, got {text!r}", "passes")
    return tuple(_area(int(size[1]), int(size[2])) for size in sizes if size is not None)


def _area(width_px: int, height_px: int) -> AreaPass:
    if not (min(width_px, height_px) >= _LEAST_SIDE and max(width_px, height_px) <= _MOST_SIDE):
        what = f"expected sides from {_LEAST_SIDE} to {_MOST_SIDE} pixels, got {width_px}x{height_px}"
        raise InputRejected(what, "passes")
    return AreaPass(kind="area", pixels=width_px * height_px, multiple=_MULTIPLE, over=_OVER_PX, margin=_MARGIN)
