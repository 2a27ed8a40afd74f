from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.object_detect.boxes import areas_xyxy, clip_xyxy, cxcywh_to_xyxy, iou_xyxy, nms, yxyx_to_xyxy

EMPTY = np.zeros((0, 4))


def test_no_boxes_stay_no_boxes():
    assert cxcywh_to_xyxy(EMPTY).shape == (0, 4)
    assert yxyx_to_xyxy(EMPTY).shape == (0, 4)
    assert clip_xyxy(EMPTY, 10, 10).shape == (0, 4)
    assert areas_xyxy(EMPTY).shape == (0,)
    assert iou_xyxy(EMPTY, np.ones((3, 4))).shape == (0, 3)
    assert nms(EMPTY, np.zeros(0), np.zeros(0, np.int64), 0.5, class_wise=True).tolist() == []


@pytest.mark.parametrize("function", [cxcywh_to_xyxy, yxyx_to_xyxy, areas_xyxy])
def test_other_shapes_are_refused_with_both_sides(function):
    with pytest.raises(ValueError, match=r"expected boxes of shape \(N, 4\), got \(4,\)"):
        function(np.zeros(4))


def test_formats_become_corners():
    assert cxcywh_to_xyxy(np.array([[10.0, 20, 4, 8]])).tolist() == [[8, 16, 12, 24]]
    assert yxyx_to_xyxy(np.array([[1.0, 2, 3, 4]])).tolist() == [[2, 1, 4, 3]]


def test_corners_outside_move_to_the_edge():
    clipped = clip_xyxy(np.array([[-5.0, -1, 200, 30], [150, 10, 160, 20]]), 100, 50)
    assert clipped.tolist() == [[0, 0, 100, 30], [100, 10, 100, 20]]


def test_overlap_of_known_boxes():
    one = np.array([[0.0, 0, 10, 10]])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [3, 3, 3, 3]])
    assert iou_xyxy(one, others)[0] == pytest.approx([1, 1 / 3, 0, 0])
    point = np.array([[3.0, 3, 3, 3]])
    assert iou_xyxy(point, point).tolist() == [[0]]


def test_only_greater_overlap_is_dropped():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    scores, classes = np.array([0.9, 0.8]), np.zeros(2, np.int64)
    assert nms(boxes, scores, classes, 0.5, class_wise=True).tolist() == [0, 1]
    assert nms(boxes, scores, classes, 0.4999, class_wise=True).tolist() == [0]


def test_classes_are_apart_only_if_asked():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    scores, classes = np.array([0.8, 0.9]), np.array([1, 2])
    assert nms(boxes, scores, classes, 0.5, class_wise=True).tolist() == [1, 0]
    assert nms(boxes, scores, classes, 0.5, class_wise=False).tolist() == [1]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 2, 1, 2"):
        nms(np.zeros((2, 4)), np.zeros(1), np.zeros(2, np.int64), 0.5, class_wise=True)


def naive_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def naive_nms(boxes, scores, classes, iou, class_wise):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(
            (class_wise and classes[index] != classes[other]) or naive_iou(boxes[index], boxes[other]) <= iou
            for other in kept
        ):
            kept.append(index)
    return kept


coordinate = st.integers(0, 12)
box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
rows = st.lists(st.tuples(box, st.integers(0, 8), st.integers(0, 2)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(rows, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans())
def test_suppression_is_that_of_the_naive_form(rows, iou, class_wise):
    boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    scores = np.array([row[1] / 8 for row in rows], np.float64)
    classes = np.array([row[2] for row in rows], np.int64)
    got = nms(boxes, scores, classes, iou, class_wise=class_wise).tolist()
    assert got == naive_nms(boxes.tolist(), scores.tolist(), classes.tolist(), iou, class_wise)
