"""Large pictures are decoded at a reduced scale; sizes and boxes stay those of the whole picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.imaging.annotate import decode_bgr
from stages.imaging.exif import frame_size
from stages.imaging.opencv import cv2
from stages.imaging.reduced import decode_reduced
from stages.object_detect.core import DRAWN_PX, prepare

from .exif import with_orientation
from .models import ROOT, jpeg, loaded, loaded_fixture, plain, work_of

KEY = "porch_1763798400.jpg"


@pytest.mark.parametrize("size", [(64, 32), (61, 33), (8, 8), (1, 1), (1000, 7)])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_reduced_picture_is_upright_and_knows_its_size(size, factor, orientation):
    data = with_orientation(jpeg(plain(*size, (200, 100, 50))), orientation, "<")
    seen = []
    picture = decode_reduced(data, lambda size_px: seen.append(size_px) or factor)
    upright = size[::-1] if orientation in (6, 8) else size
    assert picture.size_px == upright
    assert seen == [upright]
    assert picture.seen_px == tuple(-(-side // factor) for side in upright)
    assert picture.factor == factor
    assert np.abs(picture.pixels_bgr.astype(int) - [200, 100, 50]).max() < 8


def test_a_picture_of_one_channel_is_reduced_to_three_equal_ones():
    picture = decode_reduced(jpeg(plain(64, 32)[:, :, 0]), lambda _size: 2)
    assert picture.pixels_bgr.shape == (16, 32, 3)


def test_a_header_without_a_size_or_with_another_one_costs_only_time():
    data = jpeg(plain(64, 32))
    at = data.index(b"\xff\xc0")
    wrong = data[: at + 5] + b"\x00\x10" + data[at + 7 :]
    assert frame_size(wrong) == (64, 16)
    assert frame_size(b"") is None
    png = cv2.imencode(".png", plain(64, 32))[1].tobytes()
    picture = decode_reduced(png, lambda _size: 8)
    assert (picture.size_px, picture.factor) == ((64, 32), 1)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples/photos").glob("*.jpg")))
def test_the_header_names_the_size_of_each_sample(name):
    data = (ROOT / "examples/photos" / name).read_bytes()
    size = frame_size(data)
    if size is not None:
        assert decode_bgr(data).shape[:2] in (size[::-1], size)


@given(st.binary(max_size=60))
def test_no_bytes_have_a_size_that_raises(junk):
    frame_size(b"\xff\xd8" + junk)
    frame_size(junk)


@pytest.fixture(scope="module")
def shipped():
    return loaded({path.name: path.read_bytes() for path in (ROOT / "models").iterdir()})


def large(photo, size):
    picture = decode_bgr((ROOT / "examples/photos" / photo).read_bytes())
    grain = np.random.default_rng(3).normal(0, 4, (size[1], size[0], 1))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) + grain
    return jpeg(np.clip(scaled, 0, 255).astype(np.uint8), 92)


@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ("gate_1763809200.jpg", (7680, 4320)),
        ("yard_1763798460.jpg", (6000, 3992)),
        ("gate_1763798760.jpg", (5000, 5000)),
    ],
)
def test_boxes_are_those_of_the_whole_picture_within_a_pixel_of_the_input(shipped, photo, size, monkeypatch):
    data = large(photo, size)
    stage = prepare({"threshold": 0.5, "passes": "whole"}, [shipped])
    reduced = json.loads(stage(work_of(KEY, data)).outputs[0].data)
    whole = prepare({"threshold": 0.5, "passes": "whole"}, [shipped])
    monkeypatch.setattr("stages.object_detect.core.FACTORS", ())
    exact = json.loads(whole(work_of(KEY, data)).outputs[0].data)
    assert reduced["image"] == exact["image"]
    assert [one["label"] for one in reduced["objects"]] == [one["label"] for one in exact["objects"]]
    pixel = max(size) / 300
    for one, other in zip(reduced["objects"], exact["objects"], strict=True):
        assert one["box"] == pytest.approx(other["box"], abs=pixel)
        assert one["score"] == pytest.approx(other["score"], abs=0.02)


def test_a_large_picture_is_drawn_smaller_with_its_boxes_in_place():
    picture = plain(4 * DRAWN_PX, 2 * DRAWN_PX)
    picture[1000:2000, 2000:4000] = 255
    result = prepare({}, [loaded_fixture("spot")])(work_of(KEY, jpeg(picture)))
    report = json.loads(result.outputs[0].data)
    assert (report["image"]["width"], report["image"]["height"]) == (4 * DRAWN_PX, 2 * DRAWN_PX)
    (found,) = report["objects"]
    assert found["box"] == pytest.approx([2000, 1000, 4000, 2000], abs=4 * DRAWN_PX / 64)
    drawn = decode_bgr(result.outputs[1].data)
    assert drawn.shape[1] == DRAWN_PX
    left, top = round(found["box"][0] / 4), round(found["box"][1] / 4)
    assert np.ptp(drawn[top - 4 : top + 4, left + 40].astype(int), axis=1).max() > 20  # the coloured line
