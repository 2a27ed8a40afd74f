"""Device and time of an uploaded picture, from what its request says, and the keys that follow."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from event_sources.intake.captures import Said, add_fields, describe, read_said, read_time
from event_sources.intake.device_tokens import DeviceTokens
from lookout.domain.errors import InputRejected
from stages.picture_names import find_name
from stages.time_zones import find_zone

NOW = datetime(2025, 11, 22, 8, 0, 0, 123_000, UTC)
SECOND = datetime(2025, 11, 22, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "headers", "devices", "name", "time"),
    [
        ("Front_Door_1763798400.jpg", {}, {"Front_Door"}, "Front_Door_1763798400.jpg", None),
        ("", {}, set(), None, None),
        ("snapshot.jpg", {}, set(), None, None),
        ("IMG_0001.JPG", {}, set(), None, None),
        ("porch", {}, {"porch"}, None, None),
        ("porch/", {}, {"porch"}, None, None),
        ("porch/2025/11/snapshot.jpg", {}, {"porch"}, None, None),
        ("porch_1763798400.jpg", {}, {"porch"}, "porch_1763798400.jpg", None),
        ("any/folder/porch_1763798400123.JPEG", {}, {"porch"}, "porch_1763798400123.jpg", None),
        ("gate/porch_1763798400.jpg", {"x-device": "porch"}, {"porch"}, "porch_1763798400.jpg", None),
        ("porch/a.jpg", {"x-device": "gate"}, {"porch", "gate"}, None, None),
        ("", {"x-device-id": "porch", "x-captured-at": "1763798400"}, {"porch"}, None, SECOND),
        ("", {"x-timestamp": "1763798400.123456"}, set(), None, NOW.replace(microsecond=123_456)),
        ("", {"x-timestamp": ""}, set(), None, None),
    ],
)
def test_path_and_headers_say_device_and_time(
    path: str, headers: dict[str, str], devices: set[str], name: str | None, time: datetime | None
) -> None:
    assert read_said(path, headers, find_name) == Said(devices=frozenset(devices), name=name, time=time)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1763798400", SECOND),
        ("1763798400.5", SECOND.replace(microsecond=500_000)),
        ("1763798400123", NOW),
        (" 2025-11-22T09:00:00+01:00 ", SECOND),
        ("2025-11-22T08:00:00.123Z", NOW),
        ("0946684800", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_read(text: str, at: datetime) -> None:
    assert read_time("x-captured-at", text) == at


@pytest.mark.parametrize("text", ["946684800", "yesterday", "17637984001", "2025-11-22 08:00", "\u0661763798400"])
def test_a_time_that_says_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InputRejected, match="captured_at: "):
        read_time("captured_at", text)


def test_fields_of_a_form_say_what_headers_do_not() -> None:
    said = Said(devices=frozenset(), time=SECOND)
    assert add_fields(said, {"device": "porch", "captured_at": "1763798401", "note": "x"}) == Said(
        devices=frozenset({"porch"}), time=SECOND
    )
    assert add_fields(Said(devices=frozenset({"gate"})), {"camera_id": "porch", "timestamp": "1763798400"}) == Said(
        devices=frozenset({"gate", "porch"}), time=SECOND
    )


def test_of_the_times_the_one_that_is_said_counts_then_that_in_the_picture_then_arrival() -> None:
    nothing, early = Said(devices=frozenset()), SECOND.replace(year=2024)
    assert describe(Said(devices=frozenset(), time=early), "porch", NOW, SECOND).at == early
    assert describe(nothing, "porch", NOW, SECOND).at == SECOND
    assert describe(nothing, "porch", NOW, None).at == NOW
    with pytest.raises(InputRejected, match="1970"):
        describe(Said(devices=frozenset(), time=SECOND.replace(year=1969)), "porch", NOW, None)


@pytest.mark.parametrize(
    ("at", "keys"),
    [
        (SECOND, ["porch_1763798400.jpg", "porch_1763798400001.jpg", "porch_1763798400002.jpg"]),
        (NOW, ["porch_1763798400123.jpg", "porch_1763798400124.jpg", "porch_1763798400125.jpg"]),
        (datetime(2000, 1, 1, tzinfo=UTC), ["porch_0946684800.jpg", "porch_0946684800001.jpg"]),
    ],
)
def test_a_key_is_in_the_original_form_and_further_pictures_of_a_second_have_milliseconds(
    at: datetime, keys: list[str]
) -> None:
    found = list(describe(Said(devices=frozenset(), time=at), "porch", NOW, None).candidates())
    assert found[: len(keys)] == keys
    assert all(find_name(key) is not None for key in found)
    assert len(set(found)) == len(found) > 10


def test_a_name_that_the_request_gives_is_the_only_key() -> None:
    said = Said(devices=frozenset({"porch"}), name="porch_1763798400.jpg")
    assert list(describe(said, "porch", NOW, None).candidates()) == ["porch_1763798400.jpg"]


# --- devices ----------------------------------------------------------------------------------------------------------


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def is_device(name: str) -> bool:
    found = find_name(f"{name}_0000000000.jpg")
    return found is not None and found.device == name


def test_a_token_is_that_of_its_devices_and_a_device_may_have_two(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    known = {
        "porch": {"tokens": [digest("old"), digest("new")], "zone": "Europe/Vienna"},
        "gate": {"tokens": [digest("new")]},
        "yard": {"tokens": []},
    }
    file.write_text(json.dumps(known))
    devices = DeviceTokens.read(file, is_device, find_zone)
    assert devices.of("old") == {"porch"}
    assert devices.of("new") == {"porch", "gate"}
    assert devices.of("other") == devices.of("") == devices.of(digest("old")) == frozenset()
    assert [(name, str(zone)) for name, zone in devices.zones.items()] == [("porch", "Europe/Vienna")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "Invalid JSON"),
        ("[]", "an object"),
        ('{"porch": "token"}', "porch"),
        ('{"porch": {}}', "porch.tokens"),
        ('{"porch": {"tokens": ["x"]}}', "a token of 'porch' is no sha256"),
        ('{"porch": {"tokens": [], "more": 1}}', "porch.more"),
        ('{"front/door": {"tokens": []}}', "'front/door' is not a valid device name"),
        ('{"porch": {"tokens": [], "zone": "Vienna"}}', "the zone of 'porch', 'Vienna', is not known"),
        ('{"porch": {"tokens": [], "zone": "../etc/passwd"}}', "is not known"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place_and_no_secret(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "tokens.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputRejected, match=said) as refused:
        DeviceTokens.read(file, is_device, find_zone)
    assert str(file) in str(refused.value)
