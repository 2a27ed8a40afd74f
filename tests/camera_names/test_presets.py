"""Presets read the names of their families; lists of names are checked as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lookout.domain.errors import InputRejected
from stages.camera_names.name_list import read_list
from stages.camera_names.names import Ignored, Names, Reading, Unread
from stages.camera_names.presets import PRESETS

SEEN = datetime(2026, 11, 30, tzinfo=UTC)
EXIF = {"DateTimeOriginal": "2025:07:15 12:32:56"}
EXAMPLES = [pytest.param(name, path, id=f"{name}-{path}") for name, one in PRESETS.items() for path in one.examples]


def names_of(name: str) -> Names:
    needs_device = not any("{device}" in str(entry["pattern"]) for entry in PRESETS[name].entries)
    line: dict[str, Any] = {"preset": name, **({"device": "here"} if needs_device else {})}
    return read_list({"names": [line], "zone": "Europe/Vienna"}, "devices.json")


@pytest.mark.parametrize(("name", "path"), EXAMPLES)
def test_a_preset_reads_its_examples(name: str, path: str) -> None:
    found = names_of(name).read(path, first_seen=SEEN, exif=EXIF)
    assert isinstance(found, Reading), found
    assert found.entry == f"devices.json: names[0] ({name})" or "_1748772000" in path
    assert found.device


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("motion", "porch/lastsnap.jpg"),
        ("motion", "porch/01-20240101120000-00m.jpg"),
        ("zoneminder", "events/3/24/01/15/14/30/05/snapshot.jpg"),
        ("zoneminder", "events/3/24/01/15/14/30/05/00001-analyse.jpg"),
        ("allsky", "images/20230101/thumbnails/image-20230102013000.jpg"),
        ("spypoint-cloud", "66985496c6eb10dbad5c51f6/20240717/PICT0001_S_202407172350OQVSP.jpg"),
        ("rpi-cam-web", "media/im_0001_20240101_123456.th.jpg"),
        ("naturewatch", "photos/thumb_2021-02-25-10-11-12.jpg"),
        ("phenocam", "dukehw_IR_2013_04_04_040140.jpg"),
        ("dahua", "b1/AMC002A3_K2G7HH/DVRWorkDirectory"),
        ("axis-fixedit", "ACCC8E012345/2025-11-29/timelapse-10-38-33.json"),
    ],
)
def test_a_preset_passes_over_what_is_no_picture_of_its_own(name: str, path: str) -> None:
    assert isinstance(names_of(name).read(path, first_seen=SEEN), Ignored)


def test_the_form_with_unix_seconds_is_always_the_last_entry() -> None:
    found = read_list({}, "devices.json").read("front door_1763798400.jpg")
    assert isinstance(found, Reading)
    assert (found.device, found.captured_at.timestamp(), found.entry) == ("front door", 1763798400, "built in")


def test_devices_have_names_zones_and_a_first_day() -> None:
    devices = {"192.168.1.64_01": {"name": "gate", "zone": "Europe/London", "earliest": "2020-01-01"}}
    names = read_list({"names": [{"preset": "hikvision"}], "zone": "Europe/Vienna", "devices": devices}, "devices.json")
    found = names.read("192.168.1.64_01_20210306121007711_MOTION_DETECTION.jpg")
    assert isinstance(found, Reading)
    assert (found.device, found.captured_at.hour, found.event) == ("gate", 12, "MOTION_DETECTION")
    early = names.read("192.168.1.64_01_20190306121007711_MOTION_DETECTION.jpg")
    assert isinstance(early, Unread)
    assert "2020-01-01 00:00:00 UTC" in early.sentence


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "expected an object"),
        ({"name": []}, "unknown name 'name'"),
        ({"names": "x"}, "expected a list"),
        ({"names": [5]}, "names\\[0\\]: expected an object"),
        ({"names": [{"preset": "nikon"}]}, "unknown preset 'nikon'"),
        ({"names": [{"preset": "pixel"}]}, "nothing names the device"),
        ({"names": [{"preset": "motion", "time": "exif"}]}, "cannot be given beside a preset"),
        ({"names": [{"pattern": "a.jpg", "preset": "motion"}]}, "either a pattern or a preset"),
        ({"names": [{"pattern": "a.jpg", "ignore": "yes"}]}, "true or false"),
        ({"zone": "Mars"}, "zone: 'Mars' is not a time zone"),
        ({"devices": {"a": {"zone": ""}}}, "devices\\['a'\\]: expected text"),
        ({"devices": {"a": {"earliest": "soon"}}}, "expected a date"),
        ({"devices": {"a": {"colour": "red"}}}, "unknown name 'colour'"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_place(document: object, why: str) -> None:
    with pytest.raises(InputRejected, match=why):
        read_list(document, "devices.json")
