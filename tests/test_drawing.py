"""Pictures as people see them: what is drawn where, on small and large pictures, and that it can be read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.errors import InputRejected
from stages.imaging.annotate import (
    THREAT_BGR,
    Box,
    annotate,
    color_of,
    contrast,
    decode_bgr,
    encode_jpeg,
    fit,
    ink_on,
)

GREY = 128
FOOTER = "porch | 2025-11-22 08:00:00 UTC | people at the porch | model 580bd15a"


def plain(width_px, height_px, value=GREY):
    return np.full((height_px, width_px, 3), value, np.uint8)


def box(left, top, right, bottom, *, label="person", score=0.87, class_id=1, threat=False):
    return Box(box_xyxy_px=(left, top, right, bottom), label=label, score=score, class_id=class_id, threat=threat)


def changed(picture, drawn):
    """Return the pixels at which the picture's part of the drawing differs from it: (H, W) bool."""
    return (drawn[: picture.shape[0]] != picture).any(axis=2)


def has(drawn, color):
    return (drawn == np.array(color)).all(axis=2)


# --- reading and writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_rejected(data):
    with pytest.raises(InputRejected, match="cannot be decoded as a picture"):
        decode_bgr(data)


def test_a_picture_survives_the_way_there_and_back():
    picture = plain(64, 48, 200)
    picture[:24] = (10, 60, 220)
    back = decode_bgr(encode_jpeg(picture, 95))
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).mean() < 2


def test_quality_changes_the_size_and_is_checked():
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_jpeg(noise, 50)) < len(encode_jpeg(noise)) < len(encode_jpeg(noise, 95))
    for quality in (0, 101):
        with pytest.raises(ValueError, match=f"expected a quality from 1 to 100, got {quality}"):
            encode_jpeg(noise, quality)


@pytest.mark.parametrize(
    "picture", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_what_is_no_colour_picture_is_refused(picture):
    for function in (lambda: annotate(picture, [], ""), lambda: encode_jpeg(picture), lambda: fit(picture, 10)):
        with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8, got"):
            function()


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((1920, 1080), 1280, (1280, 720)),
        ((1280, 10), 1280, (1280, 10)),
        ((64, 64), 1280, (64, 64)),
        ((900, 3), 9, (9, 1)),
    ],
)
def test_a_picture_is_shrunk_to_the_width_and_never_enlarged(size, width, expected):
    assert fit(plain(*size), width).shape[1::-1] == expected


def test_a_picture_that_fits_is_the_same_array():
    picture = plain(100, 50)
    assert fit(picture, 100) is picture
    with pytest.raises(ValueError, match="at least 1 pixel"):
        fit(picture, 0)


# --- colours ---------------------------------------------------------------------------------------------------------


def test_labels_can_be_read_on_every_class_colour():
    for color in [*(color_of(class_id) for class_id in range(200)), THREAT_BGR]:
        assert contrast(ink_on(color), color) >= 4.5  # the guidelines' minimum for text


def test_a_class_keeps_its_colour_and_none_looks_like_a_threat():
    colors = [color_of(class_id) for class_id in range(1, 91)]
    assert colors == [color_of(class_id) for class_id in range(1, 91)]
    assert len(set(colors)) == 90
    for color in colors:
        assert np.abs(np.subtract(color, THREAT_BGR)).max() > 60
    assert min(np.abs(np.subtract(a, b)).max() for a, b in pairwise(colors)) > 60


def test_contrast_is_that_of_the_guidelines():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == 1


# --- boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", [(2, 0, 1, 1), (0, 2, 1, 1), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)])
def test_an_impossible_box_is_refused(corners):
    with pytest.raises(ValueError, match="expected a box with left <= right and top <= bottom"):
        box(*corners)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_an_impossible_score_is_refused(score):
    with pytest.raises(ValueError, match="expected a score from 0 to 1"):
        box(0, 0, 1, 1, score=score)


def test_nothing_to_draw_gives_an_equal_new_picture():
    picture = plain(80, 60)
    drawn = annotate(picture, [], "")
    assert drawn is not picture
    assert not np.shares_memory(drawn, picture)
    assert (drawn == picture).all()


def test_the_picture_given_is_not_modified():
    picture = plain(320, 240)
    before = picture.copy()
    annotate(picture, [box(10, 10, 200, 200, threat=True)], FOOTER)
    assert (picture == before).all()


def test_the_line_follows_the_box_in_the_colour_of_its_class():
    drawn = annotate(plain(640, 480), [box(100, 200, 400, 450, class_id=17)], "")
    assert drawn.shape == (480, 640, 3)
    line = has(drawn, color_of(17))
    assert line[450 - 1, 250]
    assert line[300, 100]
    assert line[300, 399]
    assert (drawn[260:440, 110:390] == GREY).all()  # the inside stays to be seen
    assert (drawn[:150] == GREY).all()


def test_a_threat_is_red_and_thicker():
    def line_px(threat):
        drawn = annotate(plain(640, 480), [box(100, 100, 400, 400, threat=threat)], "")
        return has(drawn, THREAT_BGR if threat else color_of(1))[300, :250].sum()

    assert line_px(True) >= 2 * line_px(False) > 0
    assert not has(annotate(plain(640, 480), [box(100, 100, 400, 400)], ""), THREAT_BGR).any()


def test_a_threat_is_drawn_over_what_is_none():
    same = (100, 100, 400, 400)
    drawn = annotate(plain(640, 480), [box(*same, threat=True, score=0.3), box(*same, score=0.9, class_id=3)], "")
    assert has(drawn, THREAT_BGR)[300, 100]


def test_lines_and_letters_grow_with_the_picture():
    def label_rows(side_px):
        drawn = annotate(plain(side_px, side_px), [box(side_px / 4, side_px / 2, side_px / 2, side_px * 0.75)], "")
        return has(drawn, color_of(1)).any(axis=1)[: side_px // 2 - 3].sum()

    assert label_rows(256) < label_rows(1024) < label_rows(4096)


CORNERS = [
    (0, 0, 40, 30),
    (600, 0, 640, 30),
    (0, 450, 40, 480),
    (600, 450, 640, 480),
    (0, 0, 640, 480),
    (-90, -90, 900, 900),
]


@pytest.mark.parametrize("corners", CORNERS)
def test_a_label_stays_inside_wherever_its_box_is(corners):
    label = "potted plant"
    alone = annotate(plain(640, 480), [box(200, 200, 400, 400, label=label)], "")
    there = annotate(plain(640, 480), [box(*corners, label=label)], "")
    full_label_px = has(alone, color_of(1))[150:198].sum()  # the filled part above the line
    assert has(there, color_of(1)).sum() >= full_label_px > 500


@pytest.mark.parametrize("side_px", [8, 16, 64])
def test_very_small_pictures_can_be_drawn_on(side_px):
    picture = plain(side_px, side_px)
    drawn = annotate(picture, [box(0, 0, side_px, side_px, label="a very long label indeed", threat=True)], FOOTER)
    assert drawn.shape[1] == side_px
    assert has(drawn, THREAT_BGR).any()


def test_a_box_of_one_pixel_or_outside_is_no_trouble():
    picture = plain(100, 100)
    for corners in [(50, 50, 50, 50), (-50, -50, -10, -10), (500, 500, 600, 600), (99.9, 99.9, 100, 100)]:
        assert changed(picture, annotate(picture, [box(*corners)], "")).any()


def test_labels_do_not_cover_each_other():
    boxes = box(200, 200, 500, 400, class_id=1), box(200, 200, 500, 300, class_id=17, score=0.5)

    def label_px(drawn, item):
        return has(drawn, color_of(item.class_id))[:195].sum()  # above the line

    together = annotate(plain(640, 480), boxes, "")
    for item in boxes:
        assert label_px(together, item) == label_px(annotate(plain(640, 480), [item], ""), item) > 500


def test_where_there_is_no_room_only_threats_keep_their_labels():
    crowd = [box(100, 100, 200, 200, class_id=3, score=0.9) for _ in range(40)]
    few = annotate(plain(320, 240), crowd[:5], "")
    many = annotate(plain(320, 240), crowd, "")
    assert (few == many).all()
    alarm = annotate(plain(320, 240), [*crowd, box(100, 100, 200, 200, score=0.5, threat=True)], "")
    assert has(alarm, THREAT_BGR).sum() > 1000


def test_many_boxes_on_a_large_picture_are_drawn():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 2000, (300, 2))
    boxes = [box(x, y, x + 50, y + 90, class_id=i, threat=i % 10 == 0) for i, (x, y) in enumerate(corners.tolist())]
    drawn = annotate(plain(4000, 3000), boxes, FOOTER)
    assert drawn.shape[1] == 4000


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.lists(
        st.tuples(
            st.tuples(*[st.floats(-500, 500)] * 4),
            st.text(max_size=20),
            st.floats(0, 1),
            st.integers(0, 99),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.text(max_size=120),
)
def test_any_boxes_and_texts_can_be_drawn(size, rows, footer):
    boxes = [
        box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), label=label, score=score, class_id=i, threat=threat)
        for (x1, y1, x2, y2), label, score, i, threat in rows
    ]
    drawn = annotate(plain(*size), boxes, footer)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == size[0]
    assert drawn.shape[0] >= size[1]


# --- the footer ------------------------------------------------------------------------------------------------------


def test_the_footer_stands_below_and_hides_nothing():
    picture = plain(640, 480)
    drawn = annotate(picture, [], FOOTER)
    assert (drawn[:480] == picture).all()
    bar = drawn[480:]
    assert 10 < bar.shape[0] < 60
    assert bar.min() < 40  # the ground
    assert bar.max() > 230  # the letters


def test_a_threat_underlines_the_picture_in_red():
    drawn = annotate(plain(640, 480), [box(10, 100, 60, 200, threat=True)], FOOTER)
    assert has(drawn, THREAT_BGR)[480].all()
    assert not has(annotate(plain(640, 480), [box(10, 100, 60, 200)], FOOTER), THREAT_BGR).any()


def test_a_long_footer_takes_more_lines_and_never_more_than_six():
    heights = [annotate(plain(320, 240), [], " ".join([FOOTER] * times)).shape[0] for times in (1, 2, 4, 50, 500)]
    assert heights == sorted(heights)
    assert heights[0] < heights[2]
    assert heights[3] == heights[4]


def test_a_footer_of_white_space_is_none():
    assert annotate(plain(64, 64), [], " \n\t ").shape == (64, 64, 3)
