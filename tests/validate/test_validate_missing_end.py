"""Pictures without an end marker: accepted when all of them is there, refused as before when anything is missing."""

import random

import numpy as np
import pytest

from stages.imaging.annotate import decode_bgr
from stages.validate import jpeg
from tests.validate.jpeg_maker import (
    VIDEO,
    coded_range,
    encoded,
    photo,
    reason_of,
    samsung_trailer,
    scene,
    validate,
    with_restarts,
    without_tables,
)

MISSING = "end-marker-missing"
BASELINE = {
    "photograph": photo(),
    "small": encoded(),
    "restarts": with_restarts(),
    "without tables": without_tables(),
    "one channel": encoded(np.ascontiguousarray(scene()[:, :, :1])),
}
PICTURES = BASELINE | {"progressive": encoded(PROGRESSIVE=1)}


TRAILERS = {
    "Samsung panorama": samsung_trailer(),
    "Samsung video first": samsung_trailer(video_first=True),
    "the next frame of a stream": photo(),
    "a marker that no picture has": b"\xff\x22" + bytes(range(200)),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("rest", [b"", b"\xff", b"\xff\xff\xff"])
def test_a_whole_picture_that_ends_with_its_data_is_accepted_with_a_flag(name, rest):
    data = PICTURES[name][:-2] + rest
    result = validate(data)
    assert result.facts["flags"] == [MISSING, *validate(PICTURES[name]).facts["flags"]]
    assert result.outputs[0].data == data
    assert np.array_equal(decode_bgr(data), decode_bgr(PICTURES[name]))


@pytest.mark.parametrize("name", BASELINE)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_whole_picture_with_a_trailer_is_accepted_with_a_flag(name, trailer):
    data = BASELINE[name][:-2] + TRAILERS[trailer]
    flags = validate(data).facts["flags"]
    assert set(flags) == {MISSING, "trailing-data", *validate(BASELINE[name]).facts["flags"]}
    assert np.array_equal(decode_bgr(data), decode_bgr(BASELINE[name]))


def test_what_looks_like_a_trailer_in_the_header_is_none():
    block = b"\x00\x00\x01\x0a\x0e\x00\x00\x00Image_UTC_Data1763798400000"
    data = photo()[:2] + b"\xff\xfe" + (2 + len(block)).to_bytes(2, "big") + block + photo()[2:-2] + samsung_trailer()
    assert validate(data).facts["flags"] == [MISSING, "trailing-data"]


@pytest.mark.parametrize("name", PICTURES)
def test_not_one_byte_of_the_data_may_be_missing(name):
    picture = PICTURES[name]
    end = jpeg.read_structure(picture).scans[-1].scan_end
    start, _ = coded_range(picture)
    for cut in [*range(end - 64, end), *range(start, end, 499)]:
        if picture[cut - 1] == 0xFF and cut == end - 1:
            continue
        assert reason_of(validate(picture[:cut])) == "truncated", cut


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("trailer", [*TRAILERS, "zeros", "random", "a few zeros"])
def test_a_cut_picture_is_refused_whatever_follows(name, trailer):
    tails = {"zeros": bytes(70_000), "random": random.Random(7).randbytes(90_000), "a few zeros": bytes(5)}
    tail = (TRAILERS | tails)[trailer]
    start, end = coded_range(PICTURES[name])
    for cut in (end - 3, end - 40, (start + end) // 2, start + 100):
        assert reason_of(validate(PICTURES[name][:cut] + tail)) in ("truncated", "damaged", "header-unreadable"), cut


def test_zeros_behind_a_picture_without_an_end_may_be_lost_data():
    for size in (2, 8, 4096):
        assert reason_of(validate(photo()[:-2] + bytes(size))) == "truncated"


def test_a_progressive_picture_that_lacks_its_last_scans_is_truncated():
    data = encoded(PROGRESSIVE=1)
    for scan in jpeg.read_structure(data).scans[1:]:
        assert reason_of(validate(data[: scan.start])) == "truncated"


def test_of_a_progressive_picture_with_a_trailer_decoders_show_nothing():
    data = encoded(PROGRESSIVE=1)[:-2] + b"\xff\x22ab"
    result = validate(data)
    assert reason_of(result) == "damaged"
    assert "its end marker is missing" in result.facts["sentence"]


def test_the_sentence_says_what_is_missing():
    result = validate(photo()[:-2] + VIDEO[:5_000].replace(b"\xff", b"\xfe") + b"\xff\x22")
    assert result.facts["sentence"] == (
        "The picture's data is damaged: its end marker is missing: it has an unexpected marker, 0x22, after its coded "
        "data."
    )
