"""Makes JPEG files, whole and spoiled, and the work that the stage is given."""

from __future__ import annotations

import hashlib
import random
import struct
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from lookout.domain.records import Input, JsonObject, ObjectRef, Result, Work
from stages.validate import jpeg
from stages.validate.core import prepare
from tests.validate.resampled import in_wider_units

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
GOOD_PHOTOS = tuple(
    sorted(
        path.name
        for path in PHOTOS.glob("*.jpg")
        if path.name not in ("IMG_0001.jpg", "gate_1763798760.jpg", "yard_1763798700.jpg")
    )
)
KEY = "porch_1763798400.jpg"
SEEN_AT_S = 1_763_900_000.0
END = b"\xff\xd9"
VIDEO = b"\x00\x00\x00\x18ftypmp42" + random.Random(3).randbytes(20_000)


@cache
def photo(name=KEY):
    return (PHOTOS / name).read_bytes()


@cache
def scene(width=160, height=96, seed=1):
    """A picture with edges, noise and colour, (height, width, 3) uint8 BGR."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return (picture // 2 + rng.integers(0, 128, picture.shape, dtype=np.uint8)).copy()


def encoded(picture=None, **options):
    """``options`` are names of OpenCV's flags without IMWRITE_JPEG_."""
    flags = [value for name, n in options.items() for value in (getattr(cv2, f"IMWRITE_JPEG_{name}"), n)]
    done, data = cv2.imencode(".jpg", scene() if picture is None else picture, flags)
    assert done
    return data.tobytes()


@cache
def with_restarts():
    return encoded(RST_INTERVAL=3)


def without_tables():
    """As one frame of a motion JPEG stream: standard Huffman tables, not sent along."""
    return rewritten(
        simplejpeg.encode_jpeg(scene(), colorspace="BGR"), lambda marker, whole: b"" if marker == jpeg.DHT else whole
    )


def samsung_trailer(video_first=False):
    """Trailer as phones of Samsung write it behind a picture: blocks with a name, a directory of them, and a mark."""
    body, entries = b"", []
    blocks = [(0x0A01, b"Image_UTC_Data", b"1763798400000"), (0x0A30, b"MotionPanorama_Data", VIDEO)]
    for kind, name, content in blocks[::-1] if video_first else blocks:
        block = struct.pack("<HHI", 0, kind, len(name)) + name + content
        entries.append((kind, len(body), len(block)))
        body += block
    directory = b"SEFH" + struct.pack("<II", 106, len(entries))
    directory += b"".join(struct.pack("<HHII", 0, kind, len(body) - at, size) for kind, at, size in entries)
    return body + directory + struct.pack("<I", len(directory)) + b"SEFT"


@cache
def sampled_4_2_2():
    picture = np.ascontiguousarray(scene(160, 96, seed=5)[:64, :128])
    return encoded(picture, SAMPLING_FACTOR=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422)


@cache
def unusual():
    """The same picture with the factors 4x1, 2x1, 2x1."""
    return in_wider_units(sampled_4_2_2())


def rewritten(data, change):
    """The picture with each segment's bytes replaced by ``change(marker, bytes)``; the coded data stays."""
    structure = jpeg.read_structure(data)
    parts = [b"\xff\xd8"]
    for segment in structure.segments:
        parts.append(change(segment.marker, data[segment.start : segment.end]))
        if segment.scan_end is not None:
            parts.append(data[segment.end : segment.scan_end])
    return b"".join((*parts, END))


def inserted_before(data, marker, extra):
    return rewritten(data, lambda found, whole: extra + whole if found == marker else whole)


def resized_header(data, width, height, **changes):
    """The file with another size in its frame header, or other ``precision`` or ``marker``."""
    at = jpeg.read_frame(data).segment.start
    spoiled = bytearray(data)
    spoiled[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    spoiled[at + 1] = changes.get("marker", spoiled[at + 1])
    spoiled[at + 4] = changes.get("precision", spoiled[at + 4])
    return bytes(spoiled)


def coded_range(data):
    """Return the bounds of the first scan's coded data."""
    scan = jpeg.read_structure(data).scans[0]
    return scan.end, scan.scan_end


def work(data, key=KEY, observed_at_s: float | None = SEEN_AT_S, size=None, known=None):
    ref = ObjectRef(
        bucket="images", key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data) if size is None else size
    )
    seen = Input(role="picture", ref=ref, data=data, observed_at_s=observed_at_s, planned_at_s=observed_at_s)
    return Work(key=key, inputs={"picture": seen}, known=known)


def validate(data, key=KEY, params: JsonObject | None = None, **more) -> Result:
    return prepare(params or {}, ())(work(data, key, **more))


def reason_of(result: Result):
    return result.facts.get("reason")


def prepare_with(references):
    """The stage with parts of a devices file."""
    return prepare({}, references)
