"""Sizes and views of passes, and passes on networks whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.errors import InputRejected
from stages.imaging.reduced import Picture
from stages.object_detect.core import prepare
from stages.object_detect.detector import detect
from stages.object_detect.manifest_passes import AreaPass, TilesPass, choose_passes
from stages.object_detect.passes import area_input, most_reduced, plan_passes

from .models import ROOT, jpeg, loaded, loaded_fixture, manifest_of, network_of, plain, work_of

AREA = AreaPass(kind="area", pixels=768 * 448, multiple=32, over=640, margin=0.2)
TILES = TilesPass(kind="tiles", along=3, overlap=0.2, over=640, margin=0.2)
SPEC = manifest_of("ssd_decoded").input


def sizes(picture_px, *further):
    return [one.views[0].placement.input_px for one in plan_passes(picture_px, picture_px, SPEC, further)]


@pytest.mark.parametrize(
    ("picture_px", "input_px"),
    [
        ((1920, 1080), (768, 448)),
        ((1080, 1920), (448, 768)),
        ((1280, 960), (672, 512)),
        ((1000, 1000), (576, 576)),
        ((40_000, 20), (4096, 32)),
    ],
)
def test_a_larger_input_keeps_the_pictures_proportions(picture_px, input_px):
    assert area_input(picture_px, AREA) == input_px


def test_only_larger_pictures_get_further_passes():
    assert sizes((640, 480), AREA) == [(32, 32)]
    assert sizes((641, 480), AREA) == [(32, 32), (672, 512)]
    assert sizes((480, 641), AREA) == [(32, 32), (512, 672)]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(2, 8), st.sampled_from([0.05, 0.2, 0.5]))
def test_tiles_cover_the_picture_and_no_more(width_px, height_px, along, overlap):
    tiles = TilesPass(kind="tiles", along=along, overlap=overlap, over=0, margin=0.0)
    _, one = plan_passes((width_px, height_px), (width_px, height_px), SPEC, [tiles])
    parts = [
        (view.left_px, view.top_px, view.placement.picture_width_px, view.placement.picture_height_px)
        for view in one.views
    ]
    assert all(left >= 0 and top >= 0 and left + wide <= width_px and top + high <= height_px
               for left, top, wide, high in parts)  # fmt: skip
    for start, length, side_px in ((0, 2, width_px), (1, 3, height_px)):
        reached = 0
        for begin, size in sorted({(part[start], part[length]) for part in parts}):
            assert begin <= reached
            reached = max(reached, begin + size)
        assert reached == side_px


def test_tiles_are_about_square():
    wide = plan_passes((1920, 1080), (1920, 1080), SPEC, [TILES])[1]
    high = plan_passes((1080, 1920), (1080, 1920), SPEC, [TILES])[1]
    assert (len(wide.views), len(high.views)) == (6, 6)
    shapes = {(view.placement.picture_width_px, view.placement.picture_height_px) for view in wide.views}
    assert shapes == {(739, 600)}


@pytest.mark.parametrize(
    ("picture_px", "further", "factor"),
    [((640, 480), (), 1), ((8160, 6144), (AREA,), 4), ((3840, 2160), (AREA,), 2), ((8160, 6144), (TILES,), 8)],
)
def test_a_picture_is_reduced_as_far_as_all_passes_allow(picture_px, further, factor):
    passes = plan_passes(picture_px, picture_px, manifest_of("yolov8").input if TILES in further else SPEC, further)
    assert most_reduced(passes, (2, 4, 8) if factor > 1 else ()) == factor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model", (AREA,)),
        ("whole", ()),
        ("768x448", (AREA,)),
        ("640x384,1280x736", (AREA.model_copy(update={"pixels": 245760}), AREA.model_copy(update={"pixels": 942080}))),
        ("tiles:3", (TILES,)),
    ],
)
def test_passes_have_a_short_form(text, expected):
    assert choose_passes(text, (AREA,)) == expected


@pytest.mark.parametrize(
    "text", ["", "none", "768", "768x", "8x8", "9999x9999", "tiles:1", "tiles:9", "1x2,3x4", "a,b"]
)
def test_another_form_is_refused(text):
    with pytest.raises(InputRejected, match="passes: expected"):
        choose_passes(text, ())


def test_one_size_only_takes_no_larger_input():
    with pytest.raises(
        InputRejected, match=r"an input of any size, but that of the model is \[1, 32, 32, 3\] .*use tiles"
    ):
        prepare({"passes": "768x448"}, [loaded_fixture("ssd_decoded")])
    with pytest.raises(InputRejected, match="expected a text for the passes"):
        prepare({"passes": 2}, [loaded_fixture("ssd_decoded")])


# --- with networks ---------------------------------------------------------------------------------------------------


def spots(width_px, height_px, *boxes):
    picture = plain(width_px, height_px)
    for left, top, right, bottom in boxes:
        picture[top:bottom, left:right] = 255
    return Picture.of(picture)


def boxes_of(picture, *further):
    return sorted(item.box_xyxy_px for item in detect(network_of("spot"), picture, 0.5, further))


def test_tiles_find_what_the_whole_pass_takes_for_one():
    """This network sees one box around all that is bright: the tiles see each by itself."""
    picture = spots(1600, 800, (100, 100, 140, 140), (1400, 600, 1450, 660))
    (one,) = boxes_of(picture)
    assert one == pytest.approx((100, 100, 1450, 660), abs=30)
    tiles = TilesPass(kind="tiles", along=2, overlap=0.2, over=0, margin=0.2)
    found = [box for box in boxes_of(picture, tiles) if box[2] - box[0] < 200]
    assert len(found) == 0  # they lie inside the box of the whole pass, and so are parts of it
    alone = spots(1600, 800, (1400, 600, 1450, 660))
    assert boxes_of(alone, tiles)[0] == pytest.approx((1400, 600, 1450, 660), abs=30)


def test_what_a_tile_cuts_is_left_to_its_neighbour():
    tiles = TilesPass(kind="tiles", along=2, overlap=0.2, over=0, margin=0.0)
    (one,) = plan_passes((1600, 800), (1600, 800), network_of("spot").manifest.input, [tiles])[1:]
    left, right = one.views
    cut = np.array([[700.0, 100, 889, 200], [850, 100, 1000, 200], [0, 0, 100, 800], [1500, 0, 1600, 90]])
    assert left.find_cut(cut, (1600, 800)).tolist() == [True, True, False, True]
    assert right.find_cut(cut, (1600, 800)).tolist() == [True, False, True, False]


def test_the_shipped_model_finds_a_small_person_with_its_second_pass():
    files = {path.name: path.read_bytes() for path in (ROOT / "models").iterdir()}
    photo = (ROOT / "examples/photos/porch_1763798400.jpg").read_bytes()
    from stages.imaging.annotate import decode_bgr
    from stages.imaging.opencv import cv2

    person = cv2.resize(decode_bgr(photo)[10:488, 20:370], (190, 260), interpolation=cv2.INTER_AREA)
    scene = plain(1920, 1080, (90, 100, 95))
    scene[500:760, 900:1090] = person
    reports = {}
    for passes in ("whole", "model"):
        result = prepare({"threshold": 0.5, "passes": passes}, [loaded(files)])(
            work_of("porch_1763798400.jpg", jpeg(scene))
        )
        reports[passes] = json.loads(result.outputs[0].data)
    assert [one["input"] for one in reports["whole"]["passes"]["done"]] == [[300, 300]]
    assert [one["input"] for one in reports["model"]["passes"]["done"]] == [[300, 300], [768, 448]]
    assert reports["model"]["passes"]["chosen"] == "model"
    assert "person" not in {one["label"] for one in reports["whole"]["objects"]}
    (found,) = (one for one in reports["model"]["objects"] if one["label"] == "person")
    assert found["box"] == pytest.approx([900, 500, 1090, 760], abs=40)
