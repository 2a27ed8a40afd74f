"""Merging of several passes: suppression among all, a better score for what only a larger pass has, no fragments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.object_detect.manifest_schema import Nms
from stages.object_detect.merging import merge
from stages.object_detect.readings import Candidates

RULE = Nms(needed=True, iou=0.5, class_wise=True)
NEEDED = (0.5, 0.6)
PERSON, CAR = 0, 1
BOX = (0.0, 0.0, 100.0, 100.0)


def found(*objects):
    """Objects as (score, label, box), in any order."""
    ordered = sorted(objects, key=lambda one: -one[0])
    return Candidates(
        boxes_xyxy_px=np.array([box for _, _, box in ordered], np.float64).reshape(-1, 4),
        scores=np.array([score for score, _, _ in ordered], np.float64),
        labels=np.array([label for _, label, _ in ordered], np.int64),
    )


def merged(whole, larger, rule=RULE):
    result = merge([found(*whole), found(*larger)], NEEDED, rule)
    return [
        (score, label, tuple(box))
        for score, label, box in zip(
            result.scores.tolist(), result.labels.tolist(), result.boxes_xyxy_px.tolist(), strict=True
        )
    ]


def test_nothing_and_nothing_is_nothing():
    assert merged([], []) == []


@pytest.mark.parametrize("needed", [True, False])
def test_one_pass_is_suppressed_only_if_the_rule_says_so(needed):
    rule = Nms(needed=needed, iou=0.5, class_wise=True)
    alone = merge([found((0.9, PERSON, BOX), (0.8, PERSON, BOX))], (0.5,), rule)
    assert alone.scores.tolist() == ([0.9] if needed else [0.9, 0.8])


@pytest.mark.parametrize("needed", [True, False])
def test_the_same_thing_in_two_passes_is_one_with_the_better_score(needed):
    rule = Nms(needed=needed, iou=0.5, class_wise=True)
    near = (2.0, 0.0, 100.0, 100.0)
    assert merged([(0.55, PERSON, BOX)], [(0.9, PERSON, near)], rule) == [(0.9, PERSON, near)]
    assert merged([(0.9, PERSON, BOX)], [(0.55, PERSON, near)], rule) == [(0.9, PERSON, BOX)]


def test_a_box_that_only_the_larger_pass_has_needs_a_better_score():
    assert merged([], [(0.59, PERSON, BOX)]) == []
    assert merged([], [(0.6, PERSON, BOX)]) == [(0.6, PERSON, BOX)]


def test_a_box_that_both_have_needs_no_more_than_the_threshold():
    assert merged([(0.5, PERSON, BOX)], [(0.55, PERSON, BOX)]) == [(0.55, PERSON, BOX)]
    assert merged([(0.55, CAR, BOX)], [(0.55, PERSON, BOX)]) == [(0.55, CAR, BOX)]  # another class is none


def test_a_fragment_of_what_the_whole_pass_has_is_dropped():
    half_inside = (60.0, 0.0, 130.0, 100.0)
    assert merged([(0.7, PERSON, BOX)], [(0.9, PERSON, half_inside)]) == [(0.7, PERSON, BOX)]
    assert len(merged([(0.7, CAR, BOX)], [(0.9, PERSON, half_inside)])) == 2
    less = (61.0, 0.0, 150.0, 100.0)
    assert len(merged([(0.7, PERSON, BOX)], [(0.9, PERSON, less)])) == 2


def test_a_fragment_of_what_only_the_larger_pass_has_is_dropped_if_that_is_better():
    inside = (0.0, 0.0, 50.0, 80.0)
    assert merged([], [(0.9, PERSON, BOX), (0.8, PERSON, inside)]) == [(0.9, PERSON, BOX)]
    assert len(merged([], [(0.8, PERSON, BOX), (0.9, PERSON, inside)])) == 2


def test_what_the_whole_pass_has_is_no_fragment():
    inside = (0.0, 0.0, 50.0, 80.0)
    assert len(merged([(0.9, PERSON, BOX), (0.8, PERSON, inside)], [])) == 2
    assert len(merged([(0.8, PERSON, inside)], [(0.9, PERSON, BOX)])) == 2


coordinate = st.integers(0, 12)
boxes = st.tuples(coordinate, coordinate, st.integers(1, 12), st.integers(1, 12)).map(
    lambda c: (float(c[0]), float(c[1]), float(c[0] + c[2]), float(c[1] + c[3]))
)
objects = st.lists(st.tuples(st.integers(50, 100).map(lambda s: s / 100), st.sampled_from([0, 1]), boxes), max_size=12)


@settings(max_examples=200, deadline=None)
@given(objects, objects)
def test_whatever_is_found_the_result_is_a_part_of_it_in_order(whole, larger):
    result = merged(whole, larger)
    assert set(result) <= {(score, label, box) for score, label, box in [*whole, *larger]}
    scores = [score for score, _, _ in result]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=200, deadline=None)
@given(objects)
def test_a_larger_pass_without_a_box_changes_nothing(whole):
    alone = merge([found(*whole)], (0.5,), RULE)
    both = merge([found(*whole), found()], NEEDED, RULE)
    assert both.boxes_xyxy_px.tolist() == alone.boxes_xyxy_px.tolist()
    assert both.scores.tolist() == alone.scores.tolist()
