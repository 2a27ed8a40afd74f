"""Samplings that decoders decode and the binding of the strict decoder does not know."""

import random

import cv2
import numpy as np
import pytest

from bench.damage import KINDS
from stages.imaging.annotate import decode_bgr
from stages.validate import jpeg
from tests.validate.jpeg_maker import END, encoded, reason_of, sampled_4_2_2, scene, unusual, validate
from tests.validate.resampled import in_higher_units, in_wider_units

FLAG = "unusual-sampling"


def test_both_show_the_same_pixels():
    assert jpeg.read_frame(unusual()).sampling == "4x1, 2x1, 2x1"
    assert np.array_equal(decode_bgr(unusual()), decode_bgr(sampled_4_2_2()))


def test_a_picture_sampled_so_is_accepted_with_a_flag():
    result = validate(unusual())
    assert result.facts == {"flags": [FLAG], "width": 128, "height": 64}
    assert result.outputs[0].data == unusual()


def test_so_is_one_with_units_that_are_high():
    picture = np.ascontiguousarray(scene(160, 96, seed=6)[:64, :136])
    usual = encoded(picture, SAMPLING_FACTOR=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440)
    data = in_higher_units(usual)
    assert jpeg.read_frame(data).sampling == "1x4, 1x2, 1x2"
    assert np.array_equal(decode_bgr(data), decode_bgr(usual))
    assert validate(data).facts == {"flags": [FLAG], "width": 136, "height": 64}
    assert reason_of(validate(data[: len(data) // 2] + END)) == "damaged"


def test_one_that_is_gray_and_one_without_an_end_marker_have_these_flags_too():
    gray = np.full((64, 128, 3), 90, np.uint8)
    data = in_wider_units(encoded(gray, SAMPLING_FACTOR=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422))
    assert validate(data).facts["flags"] == [FLAG, "grey-looking"]
    assert set(validate(data[:-2]).facts["flags"]) == {FLAG, "grey-looking", "end-marker-missing"}


@pytest.mark.parametrize("kind", ["cut", "cut, end marker appended", "16 to 4,096 bytes zeroed"])
def test_lost_data_is_found(kind):
    scan = jpeg.read_structure(unusual()).scans[0]
    rng = random.Random(kind)
    for _ in range(40):
        assert reason_of(validate(KINDS[kind](unusual(), scan.end, scan.scan_end, rng))) in ("truncated", "damaged")


def test_damage_is_found_as_often_as_in_the_usual_one():
    found = []
    for data in (sampled_4_2_2(), unusual()):
        scan, rng = jpeg.read_structure(data).scans[0], random.Random(1)
        kinds = [KINDS[kind] for kind in ("16 to 4,096 bytes missing", "16 to 4,096 bytes doubled")]
        tries = [validate(kind(data, scan.end, scan.scan_end, rng)) for kind in kinds for _ in range(40)]
        found.append(sum(result.label is not None for result in tries))
    assert min(found) > 40
    assert abs(found[0] - found[1]) < 20


def with_factors(data, *factors):
    changed = bytearray(data)
    at = jpeg.read_frame(data).segment.body
    for number, factor in enumerate(factors):
        changed[at + 7 + 3 * number] = factor
    return bytes(changed)


def test_data_that_has_another_number_of_units_is_damaged():
    assert reason_of(validate(with_factors(sampled_4_2_2(), 0x41, 0x21, 0x21))) == "damaged"
    at = jpeg.read_frame(unusual()).segment.body
    for height in (72, 128):
        assert reason_of(validate(unusual()[: at + 1] + height.to_bytes(2, "big") + unusual()[at + 3 :])) == "damaged"


@pytest.mark.parametrize("data", [encoded(), encoded(PROGRESSIVE=1)])
@pytest.mark.parametrize("factors", [(0x31, 0x11, 0x11), (0x42, 0x11, 0x11), (0x44, 0x22, 0x22)])
def test_others_are_refused_with_a_sentence_that_says_what_is_expected(data, factors):
    result = validate(with_factors(data, *factors))
    assert reason_of(result) == "unsupported-coding"
    assert "expected one of 4:4:4, 4:2:2, 4:2:0, 4:4:0 and 4:1:1" in result.facts["sentence"]


def test_a_progressive_one_is_refused():
    progressive = encoded(PROGRESSIVE=1)
    assert reason_of(validate(with_factors(progressive, 0x41, 0x21, 0x21))) == "unsupported-coding"
    assert reason_of(validate(progressive[:-2] + END)) is None
