from __future__ import annotations

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from stages.object_detect.decoders import decode, output_names

from .models import manifest_of


def table(rows, boxes=None):
    scores = np.array([rows], np.float32)
    return {"scores": scores, "boxes": np.zeros((1, scores.shape[1], 4), np.float32) if boxes is None else boxes}


def raw_outputs(classes=(1, 8), scores=(0.9, 0.8), count=2.0):
    rows = len(classes)
    boxes = np.tile(np.array([0.25, 0.5, 0.75, 1.0], np.float32), (1, rows, 1))
    return {
        "detection_boxes": boxes,
        "detection_classes": np.array([classes], np.float32),
        "detection_scores": np.array([scores], np.float32),
        "num_detections": np.array([count], np.float32),
    }


def test_the_decoder_reads_the_outputs_that_the_manifest_names():
    assert output_names(manifest_of("ssd_decoded")) == ("boxes", "scores")
    assert output_names(manifest_of("yolov8")) == ("output0",)
    assert output_names(manifest_of("ssd_raw")) == (
        "detection_boxes", "detection_classes", "detection_scores", "num_detections",
    )  # fmt: skip


# --- ssd-decoded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("background", "rows", "labels"),
    [
        ("none", [[0.9, 0.1], [0.2, 0.7]], [0, 1]),
        ("first", [[0.95, 0.9, 0.1], [0.1, 0.2, 0.7]], [0, 1]),
        ("last", [[0.9, 0.1, 0.95], [0.2, 0.7, 0.1]], [0, 1]),
    ],
)
def test_the_background_is_no_class(background, rows, labels):
    found = decode(manifest_of("ssd_decoded", outputs__scores__background=background), table(rows), 0.5)
    assert found.labels.tolist() == labels
    assert found.scores == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize(
    ("box_format", "normalized", "given"),
    [
        ("xyxy", True, [0.25, 0.5, 0.75, 1.0]),
        ("yxyx", True, [0.5, 0.25, 1.0, 0.75]),
        ("cxcywh", True, [0.5, 0.75, 0.5, 0.5]),
        ("xyxy", False, [8, 16, 24, 32]),
    ],
)
def test_every_box_format_gives_corners_in_pixels_of_the_input(box_format, normalized, given):
    manifest = manifest_of("ssd_decoded", outputs__boxes__format=box_format, outputs__boxes__normalized=normalized)
    found = decode(manifest, table([[0.9, 0.1]], np.array([[given]], np.float32)), 0.5)
    assert found.boxes_xyxy_px.tolist() == [[8, 16, 24, 32]]


def test_logits_become_scores():
    manifest = manifest_of("ssd_decoded", outputs__scores__activation="sigmoid")
    found = decode(manifest, table([[0.0, 2.0], [-1e9, -1e9], [1e9, 0]]), 0.5)
    assert found.labels.tolist() == [1, 0]
    assert found.scores == pytest.approx([1 / (1 + np.exp(-2)), 1.0])


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@pytest.mark.parametrize("min_score", [-1e-4, 0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_chosen_rows_are_those_of_the_plain_way(activation, min_score, dtype):
    rng = np.random.default_rng(5)
    rows = rng.random((200, 2)) if activation == "none" else rng.normal(0, 6, (200, 2))
    rows[:3] = [[0.0, 0.0], [1.0, 0.5], [0.5, 0.5]]
    manifest = manifest_of("ssd_decoded", outputs__scores__activation=activation)
    outputs = table(rows)
    outputs["scores"] = outputs["scores"].astype(dtype)
    found = decode(manifest, outputs, min_score)
    plain = outputs["scores"][0].astype(float)
    if activation == "sigmoid":
        plain = 1 / (1 + np.exp(-plain))
    wanted = plain.max(axis=1) >= min_score
    assert found.labels.tolist() == plain[wanted].argmax(axis=1).tolist()
    assert found.scores == pytest.approx(plain[wanted].max(axis=1))


def test_logits_without_activation_are_refused():
    with pytest.raises(InputRejected, match=r"expected scores from 0 to 1, got -3 to 4 .*sigmoid"):
        decode(manifest_of("ssd_decoded"), table([[4, -3], [-2, -3]]), 0.5)


def test_no_rows_give_no_candidates():
    found = decode(manifest_of("ssd_decoded"), table(np.zeros((0, 2))), 0.0)
    assert (found.boxes_xyxy_px.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["boxes", "scores"])
def test_what_is_no_number_is_an_error_that_names_the_output(value, output):
    outputs = table([[0.9, 0.1], [0.0, 0.0]])
    outputs[output][0, -1, 0] = value
    with pytest.raises(InputRejected, match=f"{output}: the model gave values that are no numbers"):
        decode(manifest_of("ssd_decoded"), outputs, 0.5)


@pytest.mark.parametrize(
    ("scores", "boxes", "message"),
    [
        ((1, 5, 3), (1, 5, 4), r"scores: expected the shape \[1, N, 2\] .*each of the 2 labels.* got \[1, 5, 3\]"),
        ((1, 5, 2), (1, 4, 4), r"boxes: expected the shape \[1, 5, 4\] .* got \[1, 4, 4\]"),
        ((5, 2), (1, 5, 4), r"got \[5, 2\]"),
        ((2, 5, 2), (2, 5, 4), r"got \[2, 5, 2\]"),
    ],
)
def test_other_shapes_are_refused(scores, boxes, message):
    outputs = {"scores": np.zeros(scores, np.float32), "boxes": np.zeros(boxes, np.float32)}
    with pytest.raises(InputRejected, match=message):
        decode(manifest_of("ssd_decoded"), outputs, 0.5)


# --- yolov8 ----------------------------------------------------------------------------------------------------------


def test_both_arrangements_read_alike():
    rows = np.array([[[32, 16, 8, 4, 0.9, 0, 0], [10, 10, 4, 4, 0, 0, 0.6], [1, 1, 1, 1, 0.1, 0, 0]]], np.float32)
    first = decode(manifest_of("yolov8"), {"output0": rows.transpose(0, 2, 1)}, 0.5)
    last = decode(manifest_of("yolov8_rows"), {"output0": rows}, 0.5)
    for found in (first, last):
        assert found.boxes_xyxy_px.tolist() == [[28, 14, 36, 18], [8, 8, 12, 12]]
        assert found.labels.tolist() == [0, 2]
        assert found.scores == pytest.approx([0.9, 0.6])


def test_the_arrangement_is_never_guessed():
    rows = np.zeros((1, 9, 7), np.float32)
    with pytest.raises(
        InputRejected, match=r"\[1, 7, N\] \(4 for the box and 3 labels, channels-first\), got \[1, 9, 7\]"
    ):
        decode(manifest_of("yolov8"), {"output0": rows}, 0.5)


# --- ssd-raw ---------------------------------------------------------------------------------------------------------


def test_classes_are_ids_of_the_manifest():
    found = decode(manifest_of("ssd_raw"), raw_outputs(), 0.5)
    assert found.labels.tolist() == [0, 2]
    assert found.boxes_xyxy_px[0].tolist() == [16, 8, 32, 24]  # y comes first


def test_classes_may_be_positions_instead():
    manifest = manifest_of("ssd_raw", outputs__classes__values="label-index")
    assert decode(manifest, raw_outputs(classes=(0, 2)), 0.5).labels.tolist() == [0, 2]


def test_only_the_counted_rows_are_read():
    outputs = raw_outputs(classes=(1, 77), scores=(0.9, np.nan), count=1)
    assert decode(manifest_of("ssd_raw"), outputs, 0.5).labels.tolist() == [0]
    assert decode(manifest_of("ssd_raw"), raw_outputs(count=0), 0.5).scores.shape == (0,)


@pytest.mark.parametrize("count", [-1, 3, 1.5, np.nan])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(InputRejected, match="num_detections: expected a number of objects from 0 to 2"):
        decode(manifest_of("ssd_raw"), raw_outputs(count=count), 0.5)


@pytest.mark.parametrize("class_id", [2, 1.5])
def test_a_class_without_label_is_refused(class_id):
    with pytest.raises(InputRejected, match=f"detection_classes: the manifest has no label for the class {class_id}"):
        decode(manifest_of("ssd_raw"), raw_outputs(classes=(1, class_id)), 0.5)
