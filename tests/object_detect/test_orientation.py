"""One reader of the orientation: pixels are turned as it says, and the JSON says what it says."""

from __future__ import annotations

import json
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.imaging.annotate import decode_bgr
from stages.imaging.exif import orientation_of
from stages.object_detect.core import prepare

from .exif import exif_segment, with_orientation
from .models import jpeg, loaded_fixture, plain, work_of


def marked():
    """A picture wider than high, whose top left corner is red."""
    picture = plain(64, 32)
    picture[:8, :8] = (0, 0, 255)
    return picture


PLAIN = jpeg(marked())
COMMENT = b"\xff\xfe\x00\x06some"
XMP = b"\xff\xe1\x00\x23http://ns.adobe.com/xap/1.0/\x00<x/>"
PROFILE = b"\xff\xe2\x00\x06some"

# where the marked corner is when the picture is turned upright: (right?, bottom?)
CORNERS = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


def inserted(*parts, at=2):
    return PLAIN[:at] + b"".join(parts) + PLAIN[at:]


def turned_by_opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_tag_read_is_the_one_that_turns_the_picture(orientation, order):
    data = with_orientation(PLAIN, orientation, order)
    assert orientation_of(data) == orientation
    picture = decode_bgr(data)
    assert picture.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))
    right, bottom = CORNERS[orientation]
    assert picture[-4 if bottom else 3, -4 if right else 3, 2] > 200
    assert np.median(picture) < 10
    assert np.array_equal(picture, turned_by_opencv(data))


PLACES = {
    "fill bytes": lambda exif: inserted(b"\xff\xff\xff", exif),
    "stray bytes": lambda exif: inserted(COMMENT, b"stray", exif),
    "stray bytes that look like data": lambda exif: inserted(COMMENT, b"\x00\xff\x00\xff\xd3\xff\x01\x80", exif),
    "many stray bytes": lambda exif: inserted(COMMENT, b"z" * 100_000, exif),
    "after XMP": lambda exif: inserted(XMP, exif),
    "after a comment and a profile": lambda exif: inserted(COMMENT, PROFILE, exif),
    "before the tables": lambda exif: inserted(exif, at=PLAIN.index(b"\xff\xdb")),
    "before the frame": lambda exif: inserted(exif, at=PLAIN.index(b"\xff\xc0")),
    "before the scan": lambda exif: inserted(exif, at=PLAIN.index(b"\xff\xda")),
    "after a broken one": lambda exif: inserted(b"\xff\xe1\x00\x0cExif\x00\x00junk", exif),
    "before another one": lambda exif: inserted(exif, exif_segment(3, ">")),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("place", PLACES)
def test_the_tag_is_found_wherever_a_decoder_finds_it(place, orientation, order):
    data = PLACES[place](exif_segment(orientation, order))
    assert orientation_of(data) == orientation
    assert np.array_equal(decode_bgr(data), turned_by_opencv(data))


@pytest.mark.parametrize("place", PLACES)
def test_the_json_says_how_the_pixels_were_turned(place):
    data = PLACES[place](exif_segment(6, "<"))
    run = prepare({}, [loaded_fixture("spot")])
    image = json.loads(run(work_of("porch_1763798400.jpg", data)).outputs[0].data)["image"]
    assert (image["orientation"], image["width"], image["height"]) == (6, 32, 64)


@pytest.mark.parametrize(
    "data",
    [
        *(with_orientation(PLAIN, impossible, ">") for impossible in (0, 9, 65535)),
        inserted(COMMENT.replace(b"\x06some", b"\x22" + exif_segment(6, "<")[:32])),
        inserted(exif_segment(6, "<").replace(b"Exif\x00\x00", b"Exif\x00\xff")),
        inserted(exif_segment(6, "<").replace(b"II*\x00", b"MM\x00*")),
        inserted(exif_segment(6, "<").replace(struct.pack("<I", 8), struct.pack("<I", 4000))),
        PLAIN[:-2] + exif_segment(6, "<") + PLAIN[-2:],
    ],
)
def test_an_impossible_or_misplaced_tag_means_upright(data):
    assert orientation_of(data) == 1
    assert decode_bgr(data).shape == (32, 64, 3)


def test_without_a_tag_a_picture_is_upright():
    assert orientation_of(PLAIN) == 1
    assert orientation_of(b"") == 1


@given(st.integers(0, 120), st.binary(max_size=40))
def test_no_damage_raises(cut, junk):
    data = with_orientation(PLAIN, 6, "<")
    assert 1 <= orientation_of(data[:cut]) <= 8
    assert 1 <= orientation_of(data[:cut] + junk + data[cut + len(junk) :]) <= 8


TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}
ENTRY = 34
"""Start of the entry of the orientation in a file made by ``with_orientation``; it has 12 bytes."""


def edited(order, edits):
    data = bytearray(with_orientation(PLAIN, 6, order))
    for at, junk in edits:
        data[at : at + len(junk)] = junk
    return bytes(data)


def stored(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def edits_of(start, end):
    return st.lists(st.tuples(st.integers(start, end - 2), st.binary(min_size=1, max_size=2)), max_size=3)


@pytest.mark.parametrize("orientation", TURNS)
def test_the_turns_of_this_test_are_those_of_opencv(orientation):
    assert np.array_equal(
        turned_by_opencv(with_orientation(PLAIN, orientation, "<")), TURNS[orientation](stored(PLAIN))
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("<>"), edits_of(ENTRY, ENTRY + 12))
def test_whatever_the_entry_says_pictures_are_turned_as_opencv_turns_them(order, edits):
    data = edited(order, edits)
    assert np.array_equal(decode_bgr(data), turned_by_opencv(data))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("<>"), edits_of(2, ENTRY + 20))
def test_whatever_is_wrong_with_exif_pixels_are_turned_as_the_reader_says(order, edits):
    data = edited(order, edits)
    as_stored = stored(data)
    if as_stored is not None:
        assert np.array_equal(decode_bgr(data), TURNS[orientation_of(data)](as_stored))
