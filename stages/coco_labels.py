"""The 80 classes of COCO by the ids of its annotations, for stages that let a person name a class.

The ids run from 1 to 90 and leave out ten that were planned and never used. Source: "Microsoft COCO: Common Objects in
Context" (Lin et al., 2014), categories of the 2017 instances. A custom model has labels of its own; this table knows
nothing of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

UNUSED_IDS: Final = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

_IN_ORDER: Final = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

NAMES: Final[Mapping[int, str]] = MappingProxyType(
    dict(zip((number for number in range(1, 91) if number not in UNUSED_IDS), _IN_ORDER, strict=True))
)
"""Class id to name, in the order of the ids."""

IDS: Final[Mapping[str, int]] = MappingProxyType({name: number for number, name in NAMES.items()})
"""Name to class id."""

_EVERYDAY: Final = {
    "aeroplane": "airplane",
    "bike": "bicycle",
    "fridge": "refrigerator",
    "human": "person",
    "lorry": "truck",
    "man": "person",
    "motorbike": "motorcycle",
    "people": "person",
    "phone": "cell phone",
    "plane": "airplane",
    "sofa": "couch",
    "television": "tv",
    "van": "truck",
    "woman": "person",
}
"""What people call a class, for suggestions only: a rule must say the name itself."""


def find_name(name: str) -> str | None:
    """Return the COCO name that is meant, or None: case, underscores and hyphens do not matter (``Traffic_Light``)."""
    plain = _plain(name)
    return plain if plain in IDS else None


def suggest(name: str) -> tuple[str, ...]:
    """At most three COCO names that somebody who wrote ``name`` may have meant, the likeliest first."""
    plain = _plain(name)
    known = _EVERYDAY.get(plain)
    close = difflib.get_close_matches(plain, _IN_ORDER, n=3, cutoff=0.6)
    return tuple(dict.fromkeys([*([known] if known else []), *close]))[:3]


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
