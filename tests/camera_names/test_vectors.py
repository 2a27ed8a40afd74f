"""Names of cameras, recorders and phones as they were found: what each says, or why it cannot be read."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lookout.domain.errors import InputRejected
from stages.camera_names.name_list import read_entries, zone_of
from stages.camera_names.names import Device, Entry, Ignored, Names, Reading, Unread

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).with_name("vectors.json")).read_text("utf-8"))["vectors"]


def read_entry(document: dict[str, Any], place: str) -> Entry:
    (entry,) = read_entries(document, place)
    return entry


def names_of(vector: dict[str, Any]) -> Names:
    entries = [read_entry(entry, f"names[{number}]") for number, entry in enumerate(vector["entries"])]
    zone = vector["device_zone"]
    device = Device(
        name=vector["expected"].get("device", "x"),
        zone=None if zone is None else zone_of(zone, "zone"),
        earliest=None if vector["earliest"] is None else datetime.fromisoformat(vector["earliest"]),
    )
    devices = {name: device for name in (vector["expected"].get("device"), "yard", "mpt") if name}
    return Names(entries=entries, devices=devices, zone=device.zone)


def read(vector: dict[str, Any]) -> Reading | Unread | Ignored:
    first_seen = None if vector["first_seen"] is None else datetime.fromisoformat(vector["first_seen"])
    return names_of(vector).read(vector["path"], first_seen=first_seen, exif=vector["exif"])


@pytest.mark.parametrize("vector", [one for one in VECTORS if "device" in one["expected"]], ids=lambda one: one["why"])
def test_a_name_is_read(vector: dict[str, Any]) -> None:
    found, expected = read(vector), vector["expected"]
    assert isinstance(found, Reading), found
    flags = (expected["flag"],) if expected["flag"] else ()
    said = (found.device, found.captured_at, found.seq, found.flags)
    assert said == (expected["device"], datetime.fromisoformat(expected["utc"]), expected["seq"], flags)


@pytest.mark.parametrize("vector", [one for one in VECTORS if "reason" in one["expected"]], ids=lambda one: one["why"])
def test_a_name_is_refused_with_its_reason(vector: dict[str, Any]) -> None:
    found = read(vector)
    assert isinstance(found, Unread), found
    assert found.reason == vector["expected"]["reason"]
    assert found.sentence.endswith(".")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"pattern": "IMG-{time:%Y%m%d}-WA{seq}.jpg", "device": "x"}, "no hour"),
        ({"pattern": "{device}/{time:%m%d%H%M%S}.jpg"}, "no year"),
        ({"pattern": "{time:%Y%-m%d%H%M%S}.jpg", "device": "x"}, "touches another digit"),
        ({"pattern": "{device}{event}_{time:%s}.jpg"}, "touch"),
        ({"pattern": "{device}*_{time:%s}.jpg"}, "touch"),
        ({"pattern": "{device}_{time:%Y%m%d%H%M%S}{seq}.jpg"}, "give its width"),
        ({"pattern": "{device}_{time}.jpg"}, "needs a format"),
        ({"pattern": "{camera}_{time:%s}.jpg"}, "unknown field"),
        ({"pattern": "{device}_{time:%YYYY%MM%DD}.jpg"}, "write %Y%m%d"),
        ({"pattern": "{device}_{time:%V}.jpg"}, "unknown conversion"),
        ({"pattern": "/abs/{device}_{time:%s}.jpg"}, "slash"),
        ({"pattern": "{device}_{seq}.jpg"}, "no time"),
        ({"pattern": "{time:%s}.jpg"}, "names the device"),
        ({"pattern": "{device}/{time:%Y-%m-%d %I.%M}.jpg"}, "%p"),
        ({"pattern": "a{b_{time:%s}.jpg"}, "brace"),
        ({"pattern": "{device}.jpg", "time": "arrival"}, "no text"),
        ({"pattern": "a**/{device}_{time:%s}.jpg"}, "segment of its own"),
        ({"pattern": "*a*b*c*d*_{time:%s}.jpg", "device": "x"}, "at most 4"),
        ({"pattern": "{device}_{time:%s}.jpg", "zone": "Europe/Wien"}, "not a time zone"),
        ({"pattern": "{device}_{time:%s}.jpg", "time": "file"}, "name, exif or arrival"),
        ({"pattern": "{device}_{time:%s}.jpg", "devices": "x"}, "unknown name"),
        ({"device": "x"}, "either a pattern or a preset"),
        ({"pattern": 5}, "expected text"),
    ],
)
def test_an_entry_that_cannot_be_clear_is_refused_with_its_place(entry: dict[str, Any], why: str) -> None:
    with pytest.raises(InputRejected, match=rf"^names\[0\]: .*{why}"):
        read_entry(entry, "names[0]")


def test_the_sentence_names_the_part_that_differs_from_the_nearest_entry() -> None:
    entries = [
        read_entry({"pattern": "{device}_{time:%Y%m%d%H%M%S}.jpg"}, "names[0]"),
        read_entry({"pattern": "snap-{time:%s}.jpg", "device": "x"}, "names[1]"),
    ]
    found = Names(entries=entries).read("camera-a_2022111523353.jpg")
    assert isinstance(found, Unread)
    assert "expected 2 digits after 'camera-a_202211152335', got '3.jpg'" in found.sentence


def test_an_ignored_file_is_passed_over_by_the_first_entry_that_matches() -> None:
    entries = [
        read_entry({"pattern": "**/thumbnails/**", "ignore": True}, "names[0]"),
        read_entry({"pattern": "*.json", "ignore": True}, "names[1]"),
        read_entry(
            {"pattern": "images/**/image-{time:%Y%m%d%H%M%S}.jpg", "device": "allsky", "zone": "UTC"}, "names[2]"
        ),
    ]
    names = Names(entries=entries)
    assert names.read("images/20230101/thumbnails/image-20230102013000.jpg") == Ignored(entry="names[0]")
    assert names.read("images/20230101/a.json") == Ignored(entry="names[1]")
    assert isinstance(names.read("images/20230101/image-20230102013000.jpg"), Reading)
