"""Pictures to measure with, made from the sample photographs: seeded, so that every run works on the same bytes.

Each is distinct in its content and not in its kind: the photograph a few shades lighter or darker, encoded again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from stages.imaging.annotate import decode_bgr, encode_jpeg

PHOTOS: Final = Path(__file__).parents[1] / "examples" / "photos"
VALID: Final = (
    "field_1763798580.jpg",
    "gate_1763809200.jpg",
    "kitchen_1763798520.jpg",
    "porch_1763798400.jpg",
    "porch_1763802000.jpg",
    "porch_1763884800.jpg",
    "yard_1763798460.jpg",
)
"""The sample photographs that are valid."""
PERSON: Final = "porch_1763802000.jpg"
DEVICES: Final = ("field", "gate", "kitchen", "porch", "yard")
FIRST_DAY_S: Final = 1_763_769_600
"""2025-11-22 00:00 UTC."""
DAY_S: Final = 86_400
QUALITY: Final = 88
"""Like the sample photographs': the copies are about as large as they are."""


def varied(photo: bytes, seed: int) -> bytes:
    """Return the photograph with slightly other brightness and faint noise, as a JPEG of about the same size."""
    rng = random.Random(seed)
    noise = np.random.default_rng(seed)
    picture = decode_bgr(photo).astype(np.float32)
    picture = picture * rng.uniform(0.97, 1.03) + rng.uniform(-4, 4)
    grain = noise.normal(0.0, 0.8, (*picture.shape[:2], 1)).astype(np.float32)
    return encode_jpeg(np.clip(picture + grain, 0, 255).astype(np.uint8), QUALITY)


def tiny(seed: int) -> bytes:
    """Return a distinct JPEG of 64 x 64 pixels."""
    colour = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return encode_jpeg(np.kron(colour, np.ones((16, 16, 1), np.uint8)), 80)


def key_of(number: int, total: int) -> str:
    """Return the name of one of ``total`` pictures, spread over the five sample devices and two days."""
    device = DEVICES[number % len(DEVICES)]
    step_s = 2 * DAY_S / total
    return f"{device}_{FIRST_DAY_S + int(number * step_s)}.jpg"


def write_varied(folder: Path, total: int) -> None:
    """``total`` distinct pictures made from the valid photographs in turn, named by ``key_of``."""
    folder.mkdir(parents=True)
    photos = [(PHOTOS / name).read_bytes() for name in VALID]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_write, folder, photos, total), range(total), chunksize=20))


def _write(folder: Path, photos: Sequence[bytes], total: int, number: int) -> None:
    (folder / key_of(number, total)).write_bytes(varied(photos[number % len(photos)], number))


def persons(total: int, first_s: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of distinct pictures of one device with a person in each, a second apart."""
    photo = (PHOTOS / PERSON).read_bytes()
    for number in range(total):
        yield f"porch_{first_s + number}.jpg", varied(photo, first_s + number)
