"""Foreign bytes between the segments of a header: harmless in any number, and no cover for lost data."""

import random
import time

import cv2
import numpy as np
import pytest

from bench.damage import KINDS
from stages.imaging.annotate import decode_bgr
from stages.validate import jpeg
from tests.validate.jpeg_maker import (
    END,
    encoded,
    inserted_before,
    photo,
    reason_of,
    rewritten,
    scene,
    validate,
    with_restarts,
    without_tables,
)

STRAY = "decoder-warning: stray-bytes"
COMMENT = b"\xff\xfe\x00\x06some"
PICTURES = {
    "photograph": photo(),
    "progressive": encoded(PROGRESSIVE=1),
    "restarts": with_restarts(),
    "without tables": without_tables(),
    "one channel": encoded(np.ascontiguousarray(scene()[:, :, :1])),
}
JUNK = {
    "14": b"something else",
    "16": b"\x8a\x01\x00\x7f" * 4,
    "608": random.Random(1).randbytes(608).replace(b"\xff", b"\xfe"),
    "with stuffed zeros": b"ab\xff\x00cd" * 9,
    "with restarts": b"ab\xff\xd3cd\xff\x01" * 9,
    "many": b"\x55" * 100_000,
}


def with_comment(data):
    return data[:2] + COMMENT + data[2:]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("picture", PICTURES)
def test_any_number_of_bytes_before_any_segment_of_the_header_is_a_flag(picture, junk):
    data = with_comment(PICTURES[picture])
    usual = set(validate(data).facts["flags"])
    header = [segment.start for segment in jpeg.read_structure(data).segments]
    first_scan = jpeg.read_structure(data).scans[0].start
    for start in header[1:]:
        if start > first_scan:
            break
        spoiled = data[:start] + JUNK[junk] + data[start:]
        result = validate(spoiled)
        assert set(result.facts["flags"]) == usual | {STRAY}
        assert result.outputs[0].data == spoiled
        if start == first_scan:
            assert np.array_equal(decode_bgr(spoiled), decode_bgr(data))


def test_bytes_before_every_segment_at_once_are_one_flag():
    spoiled = rewritten(photo(), lambda marker, whole: whole if marker == jpeg.APP0 else b"z" * 100 + whole)
    assert validate(spoiled).facts["flags"] == [STRAY]


@pytest.mark.parametrize("name", ["photograph", "progressive", "restarts"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_as_without_them(name, kind):
    picture = PICTURES[name]
    scan, *_, last = (*jpeg.read_structure(picture).scans,) * 2
    rng = random.Random(f"{name}/{kind}")
    for _ in range(8):
        spoiled = KINDS[kind](picture, scan.end, last.scan_end, rng)
        with_junk = spoiled[: scan.start] + JUNK["608"] + spoiled[scan.start :]
        assert reason_of(validate(with_junk)) == reason_of(validate(spoiled))


@pytest.mark.parametrize("marker", [jpeg.DQT, jpeg.DHT, 0xC0, jpeg.SOS])
def test_a_segment_that_has_lost_its_marker_is_no_foreign_data(marker):
    data = encoded(OPTIMIZE=1)
    segment = next(part for part in jpeg.read_structure(data).segments if part.marker == marker)
    assert reason_of(validate(data[: segment.start] + b"\x00" + data[segment.start + 1 :])) is not None


@pytest.mark.parametrize("marker", [jpeg.DHT, jpeg.SOS])
def test_a_scan_that_has_lost_its_marker_is_no_foreign_data(marker):
    data = encoded(PROGRESSIVE=1)
    for segment in (part for part in jpeg.read_structure(data).segments if part.marker == marker):
        assert reason_of(validate(data[: segment.start] + b"\x00" + data[segment.start + 1 :])) == "damaged"


@pytest.mark.parametrize(("extra", "reason"), [(8, None), (14, "damaged"), (608, "damaged")])
def test_between_scans_the_limit_for_coded_data_applies(extra, reason):
    data = encoded(PROGRESSIVE=1)
    second = jpeg.read_structure(data).scans[1].start
    assert reason_of(validate(data[:second] + b"z" * extra + data[second:])) == reason


def test_one_table_of_several_that_is_lost_is_damage():
    data = encoded(OPTIMIZE=1)
    tables = [part for part in jpeg.read_structure(data).segments if part.marker == jpeg.DHT]
    assert len(tables) > 1
    for table in tables:
        lost = data[: table.start] + JUNK["608"] + data[table.end :]
        assert reason_of(validate(lost)) == "damaged"


@pytest.mark.parametrize(("junk", "times"), [(b"z", 30_000_000), (b"\xff\x00", 15_000_000), (b"\xff\xd0", 9_000)])
def test_much_of_it_takes_little_time(junk, times):
    data = inserted_before(photo(), 0xC0, b"z" * (30_000_000 - len(junk) * times) + junk * times)
    before = time.process_time()
    assert validate(data).facts["flags"] == [STRAY]
    assert time.process_time() - before < 5


def test_what_no_decoder_steps_over_is_refused():
    data = inserted_before(photo(), 0xC0, b"ab\xff\x22cd")
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None
    assert reason_of(validate(data)) == "header-unreadable"
    assert reason_of(validate(data[:-2] + END)) == "header-unreadable"


@pytest.mark.parametrize("picture", PICTURES)
def test_fill_bytes_before_every_segment_are_no_stray_bytes(picture):
    data = with_comment(PICTURES[picture])
    filled = rewritten(data, lambda marker, whole: b"\xff" * 700 + whole)
    assert validate(filled).facts == validate(data).facts
    assert np.array_equal(decode_bgr(filled), decode_bgr(data))
