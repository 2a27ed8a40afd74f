"""EXIF tags of pictures: texts in both byte orders, and bytes that only look like tags."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.camera_names.exif_time import find_exif_time
from stages.camera_names.name_list import read_list
from stages.camera_names.names import Reading, Unread
from stages.imaging.exif import find_texts, orientation_of

PHOTO = Path(__file__).parents[2] / "examples" / "photos"
TEXTS = {0x9003: b"2025:07:15 12:32:56\0", 0x9011: b"-04:00\0", 0x9291: b"67\0"}


def tiff(order: str, texts: dict[int, bytes], model: bytes = b"HC600\0") -> bytes:
    """A TIFF block with a model, an orientation and a directory of EXIF tags."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    first_at, exif_at = 8, 8 + 2 + 3 * 12 + 4
    data_at = exif_at + 2 + 12 * len(texts) + 4
    data = bytearray()

    def entry(tag: int, text: bytes) -> bytes:
        if len(text) <= 4:
            return struct.pack(f"{order}HHI", tag, 2, len(text)) + text.ljust(4, b"\0")
        at = data_at + len(data)
        data.extend(text)
        return struct.pack(f"{order}HHII", tag, 7 if tag == 0x927C else 2, len(text), at)

    exif = struct.pack(f"{order}H", len(texts)) + b"".join(entry(tag, text) for tag, text in texts.items()) + bytes(4)
    first = struct.pack(f"{order}H", 3) + entry(0x0110, model)
    first += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(f"{order}HHII", 0x8769, 4, 1, exif_at)
    return mark + struct.pack(f"{order}I", first_at) + first + bytes(4) + exif + bytes(data)


def jpeg(block: bytes) -> bytes:
    segment = b"Exif\0\0" + block
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + b"\xff\xda"


@pytest.mark.parametrize("order", ["<", ">"])
def test_texts_of_both_directories_are_read(order: str) -> None:
    picture = jpeg(tiff(order, TEXTS))
    assert find_texts(picture) == {
        "Model": "HC600",
        "DateTimeOriginal": "2025:07:15 12:32:56",
        "OffsetTimeOriginal": "-04:00",
        "SubSecTimeOriginal": "67",
    }
    assert orientation_of(picture) == 6


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("version", "expected"), [(3, "2015-07-04T12:32:56"), (9, None)])
def test_the_time_of_a_reconyx_hyperfire_is_in_its_maker_note(order: str, version: int, expected: str | None) -> None:
    note = struct.pack("<HH", 0xF101, version) + bytes(18) + struct.pack("<6H", 56, 32, 12, 7, 4, 2015) + bytes(60)
    found = find_exif_time(find_texts(jpeg(tiff(order, {0x927C: note}))))
    assert (None if found is None else found.at.isoformat()) == expected


def test_a_time_in_exif_goes_before_that_of_the_maker_note() -> None:
    note = struct.pack("<HH", 0xF101, 3) + bytes(18) + struct.pack("<6H", 56, 32, 12, 7, 4, 2015)
    found = find_exif_time(find_texts(jpeg(tiff("<", {0x9003: TEXTS[0x9003], 0x927C: note}))))
    assert found is not None
    assert found.at.year == 2025


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("20250715123256", {"DateTimeOriginal": "2025:07:16 12:32:56"}, False),
        ("20250715123256", {"DateTimeOriginal": "2025:07:16 12:32:57"}, True),
        ("20250715123256", {"DateTimeOriginal": "2015:07:15 12:32:56"}, True),
        ("20250715123256", {"DateTimeDigitized": "2025:07:12 12:32:56"}, True),
        ("20250715123256", {"DateTimeOriginal": "2025:07:17 02:32:56", "OffsetTimeOriginal": "+00:00"}, False),
        ("20250715123256", {"DateTimeOriginal": "2025:07:17 02:32:57", "OffsetTimeOriginal": "+00:00"}, True),
        ("20250715123256+0200", {"DateTimeOriginal": "2025:07:16 10:32:56", "OffsetTimeOriginal": "+00:00"}, False),
        ("20250715123256+0200", {"DateTimeOriginal": "2025:07:16 10:32:57", "OffsetTimeOriginal": "+00:00"}, True),
        ("00010101000000+1400", {"DateTimeOriginal": "9999:12:31 23:59:59"}, True),
        ("20250715123256", {"DateTime": "2015:07:15 12:32:56"}, False),
        ("20250715123256", {}, False),
    ],
)
@pytest.mark.parametrize("source", ["name", "exif"])
def test_a_name_and_tags_more_than_a_day_apart_are_a_flag(
    name: str, tags: dict[str, str], expected: bool, source: str
) -> None:
    pattern = "{device}_{time:%Y%m%d%H%M%S%z}" if "+" in name else "{device}_{time:%Y%m%d%H%M%S}"
    names = read_list({"names": [{"pattern": pattern, "time": source}], "zone": "UTC"}, "")
    found = replace(names, earliest=datetime.min.replace(tzinfo=UTC)).read(f"gate_{name}.jpg", exif=tags)
    if source == "exif" and find_exif_time(tags) is None:
        assert isinstance(found, Unread)
    else:
        assert isinstance(found, Reading)
        assert ("exif-disagrees" in found.flags) == expected


def test_a_name_that_the_built_in_form_reads_is_compared_with_nothing() -> None:
    found = read_list({}, "").read("gate_1763798400.jpg", exif={"DateTimeOriginal": "2015:07:15 12:32:56"})
    assert isinstance(found, Reading)
    assert found.flags == ()


def test_a_picture_without_tags_has_none() -> None:
    picture = (PHOTO / "porch_1763798400.jpg").read_bytes()
    assert isinstance(find_texts(picture), dict)
    assert find_texts(b"") == {}
    assert find_texts(jpeg(b"II*\0")) == {}


@given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from("<>"))
@settings(max_examples=300, deadline=None)
def test_reading_never_raises(noise: bytes, at: int, order: str) -> None:
    block = bytearray(tiff(order, TEXTS))
    block[at : at + len(noise)] = noise
    for picture in (jpeg(bytes(block)), jpeg(noise), noise):
        find_texts(picture)
        assert 1 <= orientation_of(picture) <= 8
