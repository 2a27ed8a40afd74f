"""Forms that people export: each is read as its makers mean it, on networks whose objects are known."""

from __future__ import annotations

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from stages.imaging.reduced import Picture
from stages.object_detect.decoders import decode
from stages.object_detect.detector import detect

from .models import manifest_of, network_of, plain

PERSON = (1, "person", (24.0, 28.0, 40.0, 36.0))
TRUCK = (8, "truck", (12.0, 32.0, 20.0, 48.0))


def objects(fixture, threshold=0.3, **changes):
    found = detect(network_of(fixture, **changes), Picture.of(plain(64, 64)), threshold)
    return {(item.class_id, item.label, item.box_xyxy_px): item.score for item in found}


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("yolov5", {PERSON: 0.81, TRUCK: 0.6}),
        ("end_to_end", {PERSON: 0.9, TRUCK: 0.6}),
        ("detr", {PERSON: 0.9, TRUCK: 0.75, (3, "car", (32.0, 32.0, 64.0, 64.0)): 0.5}),
    ],
)
def test_each_form_gives_its_objects(fixture, expected):
    assert objects(fixture) == expected


def test_boxes_of_raw_grids_are_those_of_their_cells():
    # cell (3, 4) of stride 8 with an offset of (1, 0); cell (1, 2) of stride 16 with an offset of (0, 0.5)
    person = (1, "person", (24.0, 28.0, 40.0, 36.0))
    truck = (8, "truck", (12.0, 32.0, 20.0, 48.0))
    assert objects("yolox") == {person: 0.81, truck: 0.6}


def test_a_good_class_without_an_object_is_none():
    found = decode(manifest_of("yolov5"), {"output0": np.array([[[8, 4, 4, 4, 0.01, 0, 0.99, 0]]], np.float32)}, 0.3)
    assert len(found.scores) == 0


@pytest.mark.parametrize("fixture", ["yolov5", "yolox"])
def test_objectness_is_read_in_both_arrangements_and_as_logits(fixture):
    cells = 84
    rows = np.full((cells, 8), -9.0, np.float32)
    rows[5] = [0, 0, 0, 0, 2.0, 1.0, -9, -9]
    last = manifest_of(fixture, outputs__predictions__activation="sigmoid")
    first = manifest_of(
        fixture, outputs__predictions__activation="sigmoid", outputs__predictions__arrangement="channels-first"
    )
    expected = 1 / (1 + np.exp(-2.0)) / (1 + np.exp(-1.0))
    for manifest, array in ((last, rows), (first, rows.T)):
        found = decode(manifest, {"output0": array[None]}, 0.5)
        assert found.scores == pytest.approx([expected])
        assert found.labels.tolist() == [0]


def test_grids_are_those_of_the_input_that_was_fed():
    rows = np.zeros((1, 4 * 2 + 2 * 1 + 1 * 0, 8), np.float32)
    rows[0, 7] = [0.5, 0.5, 0, 0, 0.9, 0.9, 0, 0]  # column 3, row 1 of stride 8
    found = decode(manifest_of("yolox"), {"output0": rows}, 0.5, (32, 16))
    assert found.boxes_xyxy_px.tolist() == [[24, 8, 32, 16]]


def test_another_number_of_cells_is_refused_with_the_remedy():
    with pytest.raises(
        InputRejected, match=r"expected 84 cells of the strides \[8, 16, 32\] .* 64 x 64 .*, got 80 .*yolov5"
    ):
        decode(manifest_of("yolox"), {"output0": np.zeros((1, 80, 8), np.float32)}, 0.5)


def test_a_size_beyond_all_numbers_stays_a_box():
    rows = np.zeros((1, 84, 8), np.float32)
    rows[0, 0] = [0, 0, 5000, 5000, 0.9, 0.9, 0, 0]
    assert np.isfinite(decode(manifest_of("yolox"), {"output0": rows}, 0.5).boxes_xyxy_px).all()


def rows_of(*rows):
    return {"output0": np.array([rows], np.float32).reshape(1, len(rows), 6)}


def test_rows_that_fill_an_array_are_no_objects():
    manifest = manifest_of("end_to_end")
    found = decode(manifest, rows_of([0, 0, 9, 9, 0.9, 1], [0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0]), 0.0)
    assert (found.scores.tolist(), found.labels.tolist()) == ([pytest.approx(0.9)], [1])
    assert len(decode(manifest, rows_of(), 0.0).scores) == 0


@pytest.mark.parametrize("value", [3, 0.5, -1])
def test_a_class_without_label_is_refused(value):
    with pytest.raises(InputRejected, match=f"no label for the class {value}.*positions in labels"):
        decode(manifest_of("end_to_end"), rows_of([0, 0, 9, 9, 0.9, value]), 0.5)


def test_normalized_rows_are_in_parts_of_the_input():
    manifest = manifest_of("end_to_end", outputs__predictions__normalized=True)
    found = decode(manifest, rows_of([0.25, 0.5, 0.75, 1, 0.9, 0]), 0.5)
    assert found.boxes_xyxy_px.tolist() == [[16, 32, 48, 64]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("fixture", ["yolov5", "yolox", "end_to_end"])
@pytest.mark.parametrize("column", [0, 4, 5])
def test_what_is_no_number_is_refused(fixture, column, value):
    array = np.zeros((1, 84, 6 if fixture == "end_to_end" else 8), np.float32)
    array[0, 3, column] = value
    with pytest.raises(InputRejected, match="output0: the model gave values that are no numbers"):
        decode(manifest_of(fixture), {"output0": array}, 0.5)


# --- detr ------------------------------------------------------------------------------------------------------------


def queries(logits, boxes=None):
    values = np.array([logits], np.float32)
    return {"logits": values, "pred_boxes": np.zeros((1, values.shape[1], 4), np.float32) if boxes is None else boxes}


@pytest.mark.parametrize(
    ("background", "logits"),
    [
        ("last", [np.log(6), 0, np.log(1), np.log(2)]),
        ("first", [np.log(2), np.log(6), 0, np.log(1)]),
        ("none", [np.log(6), 0, np.log(3)]),
    ],
)
def test_a_softmax_is_over_all_columns_the_background_too(background, logits):
    manifest = manifest_of("detr", outputs__logits__activation="softmax", outputs__logits__background=background)
    found = decode(manifest, queries([logits]), 0.5)
    assert (found.labels.tolist(), found.scores.tolist()) == ([0], [pytest.approx(0.6)])


def test_a_query_of_which_the_background_is_the_best_is_no_object():
    manifest = manifest_of("detr", outputs__logits__activation="softmax", outputs__logits__background="last")
    assert len(decode(manifest, queries([[0, 0, 0, 9]]), 0.5).scores) == 0
    assert len(decode(manifest, queries(np.zeros((0, 4))), 0.0).scores) == 0


def test_huge_logits_are_no_overflow():
    manifest = manifest_of("detr", outputs__logits__activation="softmax")
    assert decode(manifest, queries([[1e30, -1e30, 0]]), 0.5).scores.tolist() == [1.0]


def test_queries_and_labels_must_agree():
    with pytest.raises(
        InputRejected, match=r"logits: expected the shape \[1, N, 3\] \(a column for each of the 3 labels"
    ):
        decode(manifest_of("detr"), queries([[0, 0, 0, 0]]), 0.5)
    with pytest.raises(InputRejected, match=r"pred_boxes: expected the shape \[1, 1, 4\] \(one box for each query"):
        decode(manifest_of("detr"), queries([[0, 0, 0]], np.zeros((1, 2, 4), np.float32)), 0.5)
    with pytest.raises(InputRejected, match="logits: the model gave values that are no numbers"):
        decode(manifest_of("detr", outputs__logits__activation="softmax"), queries([[0, 0, np.nan]]), 0.5)
