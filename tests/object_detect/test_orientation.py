from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.imaging.annotate import decode_bgr
from stages.imaging.exif import orientation_of

from .exif import with_orientation
from .models import jpeg, plain


def marked():
    """A picture wider than high, whose top left corner is red."""
    picture = plain(64, 32)
    picture[:8, :8] = (0, 0, 255)
    return picture


# where the marked corner is when the picture is turned upright: (right?, bottom?)
CORNERS = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_tag_read_is_the_one_that_the_decoder_obeys(orientation, order):
    data = with_orientation(jpeg(marked()), orientation, order)
    assert orientation_of(data) == orientation
    picture = decode_bgr(data)
    assert picture.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))
    right, bottom = CORNERS[orientation]
    assert picture[-4 if bottom else 3, -4 if right else 3, 2] > 200
    assert np.median(picture) < 10


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_tag_means_upright(orientation):
    data = with_orientation(jpeg(marked()), orientation, ">")
    assert orientation_of(data) == 1
    assert decode_bgr(data).shape == (32, 64, 3)


def test_without_a_tag_a_picture_is_upright():
    assert orientation_of(jpeg(marked())) == 1
    assert orientation_of(b"") == 1


@given(st.integers(0, 120), st.binary(max_size=40))
def test_no_damage_raises(cut, junk):
    data = with_orientation(jpeg(marked()), 6, "<")
    assert 1 <= orientation_of(data[:cut]) <= 8
    assert 1 <= orientation_of(data[:cut] + junk + data[cut + len(junk) :]) <= 8
