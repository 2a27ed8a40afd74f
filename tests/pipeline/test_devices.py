"""A devices file in the real pipeline: names as cameras write them, corrections afterwards, and alerts that know their
picture wherever it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lookout.domain.identity import digest
from stages.camera_names.files import try_names
from stages.camera_names.presets import PRESETS
from tests.camera_names.test_exif import jpeg, tiff

from .site import CAT, CUP, PERSON, ROOT, Site, rule

REOLINK = "porch/2025/11/22/porch_20251122090000.jpg"
"""The person's picture, by a camera whose clock shows the time of Vienna: 08:00 UTC, as in the sample's own name."""
VIENNA = {"names": [{"preset": "reolink"}], "zone": "Europe/Vienna"}
ALL_STAGES = {"validate": 1, "object-detect": 1, "threat-detect": 1}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(root=tmp_path)
    site.put_rule("porch", rule("porch", "person"))
    return site


def named(site: Site, key: str) -> dict[str, object]:
    found = site.results()[f"validate/names/{key}.json"]
    return dict(json.loads(found))


def test_a_camera_s_name_is_read_and_its_results_are_in_the_device_s_folder(site: Site) -> None:
    site.put_as(PERSON, REOLINK)
    site.put_devices(VIENNA)
    site.run()
    said = named(site, REOLINK)
    assert (said["device"], said["captured_at_s"]) == ("porch", 1763798400.0)
    stem = said["stem"]
    assert str(stem).startswith("porch/20251122T080000.000Z-0-")
    assert f"threat-detect/{stem}.json" in site.results()
    assert {record.group for slot, record in site.records().items() if slot[0] != "plot"} == {"porch/2025-11-22"}
    assert site.run() == {}


def test_without_the_file_the_same_name_is_refused_and_afterwards_accepted(site: Site) -> None:
    site.put_as(PERSON, REOLINK)
    assert site.run()["validate"] == 1
    assert f"validate/invalid/{REOLINK}.json" in site.results()
    site.put_devices(VIENNA)
    assert site.run()["threat-detect"] == 1
    assert f"validate/invalid/{REOLINK}.json" not in site.results()


def test_pictures_of_the_built_in_form_are_not_done_again_for_a_devices_file(site: Site) -> None:
    site.put(PERSON, CAT, CUP)
    site.run()
    before = site.records()
    site.put_devices({**VIENNA, "devices": {"garage": {"zone": "UTC"}}})
    assert site.run() == {}
    assert site.records() == before


def test_a_zone_that_is_corrected_moves_the_pictures_of_this_device_to_their_day_and_mails_nobody(site: Site) -> None:
    site.put_as(PERSON, "porch_20251122003000.jpg")
    site.put_as(CAT, "yard_20251122003000.jpg")
    site.put_devices({**VIENNA, "zone": "UTC"})
    site.run()
    alerts = site.end()["alerts"]
    assert len(alerts) == 1
    site.put_devices({**VIENNA, "zone": "UTC", "devices": {"porch": {"zone": "Europe/Vienna"}}})
    assert site.run() == {**ALL_STAGES, "plot": 3}
    assert named(site, "porch_20251122003000.jpg")["captured_at_s"] == 1763767800.0  # 2025-11-21 23:30 UTC
    groups = {tally.group for tally in site.end()["tallies"]}
    assert groups == {"porch/2025-11-21", "yard/2025-11-22"}
    assert site.end()["alerts"] == alerts
    assert len(list((site.root / "state" / "outbox").glob("*.eml"))) == 1


@pytest.mark.parametrize(
    ("clock", "at_s", "flags"),
    [
        ([{"written": "2025-11-22T00:00:00", "true": "2025-11-22T02:00:00Z"}], 1763778600.0, ["clock-corrected"]),
        ([{"until": "2025-11-22", "written": "2025-11-20", "true": "2025-11-21T00:00:00Z"}], 1763771400.0, []),
        (
            [
                {
                    "drift": [
                        {"written": "2025-11-20T00:30:00", "true": "2025-11-20T00:30:00Z"},
                        {"written": "2025-11-24T00:30:00", "true": "2025-11-24T02:30:00Z"},
                    ]
                }
            ],
            1763775000.0,
            ["clock-corrected"],
        ),
        ([{"from": "2025-10-26", "zone": "+02:00"}], 1763764200.0, ["clock-corrected"]),
        ([{"void": True}], None, ["time-unknown"]),
    ],
)
def test_a_clock_is_corrected(site: Site, clock: object, at_s: float | None, flags: list[str]) -> None:
    key = "porch_20251122003000.jpg"
    site.put_as(PERSON, key)
    site.put_devices({**VIENNA, "zone": "UTC", "devices": {"porch": {"clock": clock}}})
    site.run()
    said = named(site, key)
    assert said["flags"] == flags
    if at_s is None:
        assert abs(float(str(said["captured_at_s"])) - site.now_s) < 10
    else:
        assert said["captured_at_s"] == at_s


def test_a_refused_devices_file_leaves_the_one_in_force(site: Site) -> None:
    site.put_as(PERSON, REOLINK)
    site.put_devices(VIENNA)
    site.run()
    before = site.end()
    site.put_devices({"names": [{"pattern": "{device}{event}_{time:%s}.jpg"}]})
    assert site.run() == {}
    assert site.end() == before


def test_what_is_no_photograph_is_left_alone(site: Site) -> None:
    site.put(PERSON)
    for name in ("Thumbs.db", "clip.mp4", "@eaDir/porch_1763798400.jpg/SYNOPHOTO_THUMB_M.jpg", "x_1763798400.jpg.part"):
        path = site.root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"nothing to see")
    site.run()
    assert not any("/invalid/" in path for path in site.results())
    (tally,) = (tally for tally in site.end()["tallies"] if tally.group == "porch/2025-11-22")
    assert tally.counts["pictures"] == 1
    assert {tally.group for tally in site.end()["tallies"]} == {"porch/2025-11-22"}


FAMILIES = (
    "reolink",
    "hikvision",
    "dahua",
    "foscam",
    "hi3510",
    "vivotek",
    "motion",
    "motioneye",
    "blue-iris",
    "zoneminder",
    "browning",
    "reconyx",
    "pixel",
    "dji",
)
TAKEN = {0x9003: b"2024:07:15 12:32:56\0"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_a_family_is_in_service_with_the_file_that_is_proposed_for_it(site: Site, family: str) -> None:
    site.now_s = 1_798_000_000.0  # after all examples
    path = PRESETS[family].examples[0]
    photo = (ROOT / "examples" / "photos" / CUP).read_bytes()
    place = site.root / "photos" / path
    place.parent.mkdir(parents=True)
    place.write_bytes(jpeg(tiff("<", TAKEN))[:-2] + photo[2:])
    found = try_names(site.root / "photos", None)
    site.put_devices({"zone": "Europe/Vienna", **dict(found["proposal"])})  # type: ignore[arg-type]
    site.run()
    assert f"validate/valid/{path}" in site.results(), found
    said = named(site, path)
    assert f"object-detect/{said['stem']}.json" in site.results()


# --- the identity of an alert ----------------------------------------------------------------------------------------


def mails(site: Site) -> int:
    return len(list((site.root / "state" / "outbox").glob("*.eml")))


@pytest.mark.parametrize(
    "place", ["2025/11/porch_1763798400.jpg", "porch_1763798400.JPG", "#recycle/porch_1763798400.jpg"]
)
@pytest.mark.parametrize("copied", [False, True])
def test_a_picture_that_is_moved_or_copied_mails_nobody_again(site: Site, place: str, copied: bool) -> None:
    site.put(PERSON)
    site.run()
    assert mails(site) == 1
    site.put_as(PERSON, place)
    if not copied:
        (site.root / "photos" / PERSON).unlink()
    site.run()
    assert mails(site) == 1
    assert len(site.end()["alerts"]) == 1


def test_two_pictures_whose_names_differ_in_their_ending_have_results_of_their_own(site: Site) -> None:
    site.put(PERSON)
    site.put_as(CAT, "porch_1763798400.JPG")
    site.run()
    made = [path for path in site.results() if path.startswith("object-detect/porch/") and path.endswith(".json")]
    assert len(made) == 2


def test_an_alert_of_an_older_version_is_known_when_its_picture_moves(site: Site) -> None:
    site.put(PERSON)
    site.run()
    make_alerts_old(site)
    site.put_as(PERSON, "day/porch_1763798400.jpg")
    (site.root / "photos" / PERSON).unlink()
    site.run()
    assert mails(site) == 1


def make_alerts_old(site: Site) -> None:
    """Give each alert of the state the identity that versions before subjects gave it."""
    with site.ledger() as ledger:
        database = ledger._db
        with database.write() as connection:
            for id_, body in list(connection.execute("SELECT id, body FROM alerts")):
                draft, *rest = json.loads(body)
                user, rule_name, key, sha256, _subject = draft
                (_, recipient, _, _), *_ = rest
                old = digest("alert/1", user, rule_name, key, sha256, recipient)
                connection.execute(
                    "UPDATE alerts SET id = ?, body = ? WHERE id = ?", (old, json.dumps([draft[:4], *rest]), id_)
                )
                for hash_, record in list(
                    connection.execute("SELECT hash, body FROM records WHERE stage = 'threat-detect'")
                ):
                    connection.execute("UPDATE records SET body = ? WHERE hash = ?", (record.replace(id_, old), hash_))


def test_the_list_read_otherwise_mails_nobody_again(site: Site) -> None:
    site.put_rule("all", rule("*", "person"))
    site.put_as(PERSON, "porch_20251122003000.jpg")
    site.put_devices({**VIENNA, "zone": "UTC"})
    site.run()
    sent = mails(site)
    site.put_devices({"names": [{"pattern": "*_{time:%Y%m%d%H%M%S}.jpg", "device": "front", "zone": "UTC"}]})
    assert site.run()["threat-detect"] == 1
    assert mails(site) == sent


def test_the_original_rule_file_without_a_recipient_records_threats_and_tells_nobody(site: Site) -> None:
    site.put_rule("porch", json.dumps({"from_email": "", "to_email": "", "threat_classes": [1]}))
    site.put(PERSON)
    site.run()
    assert "threat-detect/porch/1763798400.json" in site.results()
    assert not site.end()["alerts"]
