"""Scenes in which the objects are known: composed of the sample photographs, or any folder of pictures with their boxes
in COCO's JSON.

A composed scene is one object of a photograph, cut out by its box, at a given height and a random place on a blurred
photograph. It is a proxy: nothing else is in it, and its edges are seen.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.pictures import PHOTOS
from lookout.domain.errors import InputRejected
from stages.imaging.annotate import decode_bgr
from stages.imaging.opencv import cv2

Box = tuple[float, float, float, float]

HEIGHTS_PX: Final = (60, 90, 130, 180, 260, 360, 540, 800)
BACKGROUND: Final = "field_1763798580.jpg"
OBJECTS: Final[Sequence[tuple[str, str, tuple[int, int, int, int]]]] = (
    ("person", "porch_1763798400.jpg", (20, 10, 370, 488)),
    ("cat", "gate_1763809200.jpg", (535, 276, 920, 531)),
    ("cup", "kitchen_1763798520.jpg", (173, 22, 415, 248)),
)
"""Label, photograph and box (left, top, right, bottom in pixels) of the objects that scenes are composed of."""
_BLUR: Final = 1 / 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Object that is in a picture. ``height_px`` is that of its box, or the one that it was made for."""

    label: str
    box_xyxy_px: Box
    height_px: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Picture with all objects that are known in it."""

    name: str
    pixels_bgr: NDArray[np.uint8]
    objects: tuple[Known, ...]


def compose(places: int, size_px: tuple[int, int] = (1920, 1080)) -> Iterator[Scene]:
    """Yield each object at each height in so many places, from fixed seeds."""
    width_px, height_px = size_px
    background = cv2.resize(_photo(BACKGROUND), size_px, interpolation=cv2.INTER_LINEAR)
    background = cv2.GaussianBlur(background, (0, 0), width_px * _BLUR)
    for tall_px in HEIGHTS_PX:
        for label, photo, (left, top, right, bottom) in OBJECTS:
            wide_px = round(tall_px * (right - left) / (bottom - top))
            how = cv2.INTER_AREA if tall_px < bottom - top else cv2.INTER_CUBIC
            cut = cv2.resize(_photo(photo)[top:bottom, left:right], (wide_px, tall_px), interpolation=how)
            for place in range(places):
                dice = random.Random(f"{label}/{tall_px}/{place}")
                x, y = dice.randint(0, width_px - wide_px), dice.randint(0, height_px - tall_px)
                scene = np.array(background, np.uint8)
                scene[y : y + tall_px, x : x + wide_px] = cut
                known = Known(label=label, box_xyxy_px=(x, y, x + wide_px, y + tall_px), height_px=tall_px)
                yield Scene(name=f"{label}-{tall_px}-{place}", pixels_bgr=scene, objects=(known,))


def read_coco(file: Path, folder: Path) -> Iterator[Scene]:
    """Yield the pictures of a folder with their objects as COCO's JSON has them: ``images``, ``annotations`` with
    ``bbox`` (left, top, width, height in pixels), ``categories``. Crowds are left out. Raises InputRejected."""
    try:
        tree = json.loads(file.read_bytes())
        names = {one["id"]: str(one["name"]) for one in tree["categories"]}
        objects: dict[Any, list[Known]] = {one["id"]: [] for one in tree["images"]}
        for one in tree["annotations"]:
            if not one.get("iscrowd"):
                objects[one["image_id"]].append(_known(one, names))
        images = [(folder / str(one["file_name"]), tuple(objects[one["id"]])) for one in tree["images"]]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        what = f"cannot be read as COCO's JSON: {type(exc).__name__}: {exc}"
        raise InputRejected(what, str(file), "expected images, annotations and categories") from exc
    for path, known in images:
        try:
            yield Scene(name=path.name, pixels_bgr=decode_bgr(path.read_bytes()), objects=known)
        except OSError as exc:
            raise InputRejected(f"cannot be read: {exc.strerror}", str(path)) from exc


def _known(annotation: Mapping[str, Any], names: Mapping[Any, str]) -> Known:
    left, top, width_px, height_px = (float(value) for value in annotation["bbox"])
    return Known(
        label=names[annotation["category_id"]],
        box_xyxy_px=(left, top, left + width_px, top + height_px),
        height_px=height_px,
    )


def _photo(name: str) -> NDArray[np.uint8]:
    return decode_bgr((PHOTOS / name).read_bytes())
