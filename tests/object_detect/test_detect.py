from __future__ import annotations

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from stages.imaging.reduced import Picture
from stages.object_detect.detector import MAX_OBJECTS, detect
from stages.object_detect.onnx_model import Network

from .models import manifest_of, network_of, plain

LETTERBOX = {"mode": "letterbox", "pad_value": 114, "align": "center"}


class Session:
    """A network that gives the same for any picture."""

    def __init__(self, outputs):
        self.outputs = outputs

    def run(self, names, _feed, _options):
        return [self.outputs[name] for name in names]


def giving(manifest, outputs):
    return Network(manifest=manifest, session=Session(outputs), output_names=tuple(outputs), provider="none")


def found_in(fixture, picture, threshold=0.5, **changes):
    return [
        (item.class_id, item.label, item.score, item.box_xyxy_px)
        for item in detect(network_of(fixture, **changes), Picture.of(picture), threshold)
    ]


def test_ssd_decoded_boxes_are_mapped_suppressed_and_clipped():
    assert found_in("ssd_decoded", plain(200, 100)) == [
        (1, "person", 0.9, (20.0, 20.0, 100.0, 60.0)),
        (3, "car", 0.7, (20.0, 20.0, 100.0, 60.0)),
        (1, "person", 0.5, (100.0, 50.0, 200.0, 90.0)),
    ]


def test_suppression_happens_only_if_needed():
    nms = {"needed": False, "iou": 0.5, "class_wise": True}
    assert [item[2] for item in found_in("ssd_decoded", plain(200, 100), nms=nms)] == [0.9, 0.8, 0.7, 0.5]
    among_all = {"needed": True, "iou": 0.5, "class_wise": False}
    assert [item[2] for item in found_in("ssd_decoded", plain(200, 100), nms=among_all)] == [0.9, 0.5]


def test_ssd_raw_boxes():
    assert found_in("ssd_raw", plain(200, 100)) == [
        (1, "person", 0.9, (20.0, 20.0, 100.0, 60.0)),
        (8, "truck", 0.75, (100.0, 0.0, 200.0, 50.0)),
    ]


@pytest.mark.parametrize("fixture", ["yolov8", "yolov8_rows"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # 128 x 64 lies in rows 16 to 48 at half its size: the box around (8, 4) is in the padding
        ((128, 64), [(1, 0.9, (48.0, 24.0, 80.0, 40.0)), (8, 0.6, (24.0, 32.0, 40.0, 64.0))]),
        # 64 x 128 lies in columns 16 to 48
        ((64, 128), [(1, 0.9, (16.0, 56.0, 48.0, 72.0)), (8, 0.6, (0.0, 64.0, 8.0, 96.0))]),
        (
            (64, 64),
            [
                (1, 0.9, (24.0, 28.0, 40.0, 36.0)),
                (3, 0.8, (6.0, 2.0, 10.0, 6.0)),
                (8, 0.6, (12.0, 32.0, 20.0, 48.0)),
            ],
        ),
    ],
)
def test_yolov8_boxes_come_back_through_the_letterbox(fixture, size, expected):
    assert [(item[0], item[2], item[3]) for item in found_in(fixture, plain(*size))] == expected


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (300, 900), (64, 64), (97, 41)])
@pytest.mark.parametrize("resize", [LETTERBOX, {**LETTERBOX, "align": "top-left"}, {"mode": "stretch"}])
def test_a_spot_is_found_where_it_is(size, resize):
    width_px, height_px = size
    picture = plain(width_px, height_px)
    left, top, right, bottom = width_px // 4, height_px // 2, width_px // 4 + width_px // 3, height_px - height_px // 8
    picture[top:bottom, left:right] = 255
    ((_, label, score, box),) = found_in("spot", picture, input__resize=resize)
    pixel = max(width_px, height_px) / 64  # one pixel of the input
    assert (label, score) == ("spot", 1.0)
    assert box == pytest.approx((left, top, right, bottom), abs=pixel)


@pytest.mark.parametrize(("threshold", "found"), [(0.5, 3), (0.5001, 2), (0.7, 2), (0.9, 1), (0.9001, 0), (1.0, 0)])
def test_a_score_at_the_threshold_counts(threshold, found):
    assert len(found_in("ssd_decoded", plain(64, 64), threshold)) == found


def test_what_rounds_to_the_threshold_counts_and_says_so():
    manifest = manifest_of("ssd_decoded")
    outputs = {
        "scores": np.array([[[0.49996, 0], [0.49994, 0]]], np.float32),
        "boxes": np.array([[[0, 0, 0.2, 0.2], [0.5, 0.5, 1, 1]]], np.float32),
    }
    found = detect(giving(manifest, outputs), Picture.of(plain(100, 100)), 0.5)
    assert [item.score for item in found] == [0.5]


def test_a_box_without_area_in_the_picture_is_none():
    manifest = manifest_of("ssd_decoded")
    boxes = [[1.1, 0, 1.3, 0.5], [0.2, 0.2, 0.2, 0.6], [0.6, 0.6, 0.4, 0.4], [0.2, 0.2, 0.2001, 0.9], [-9, -9, 9, 9]]
    outputs = {"boxes": np.array([boxes], np.float32), "scores": np.full((1, 5, 2), 0.9, np.float32)}
    found = detect(giving(manifest, outputs), Picture.of(plain(100, 50)), 0.5)
    assert [item.box_xyxy_px for item in found] == [(0.0, 0.0, 100.0, 50.0)]


def test_even_a_threshold_of_nothing_ends():
    manifest = manifest_of("ssd_decoded")
    rng = np.random.default_rng(1)
    corners = rng.random((1, 20_000, 2), np.float32)
    outputs = {
        "boxes": np.concatenate([corners, corners + 0.01], axis=2),
        "scores": rng.random((1, 20_000, 2), np.float32),
    }
    found = detect(giving(manifest, outputs), Picture.of(plain(1000, 1000)), 0.0)
    assert len(found) == MAX_OBJECTS
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)


def test_what_is_no_number_is_a_clear_error():
    network = network_of("nan")
    assert [item.score for item in detect(network, Picture.of(plain(40, 40)), 0.5)] == [0.7071]
    with pytest.raises(InputRejected, match="scores: the model gave values that are no numbers"):
        detect(network, Picture.of(plain(40, 40, (255, 255, 255))), 0.5)
