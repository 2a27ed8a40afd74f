"""``lookout explain`` on a state that the real pipeline has made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.alert_history import BASE_S, AlertHistory, Shot
from lookout.domain.policy.records import Silence
from lookout.ledger.rules import decisions
from stages.imaging.annotate import decode_bgr
from tests.cli.shell import World
from tests.pipeline.site import CAT, CUP, CUT, PERSON, Site, rule
from tests.policy.histories import rule_document

T_PERSON = 1_763_798_400


class Asked(World):
    """A site on which commands are run within this process."""

    def explain(self, *arguments: object, code: int = 0) -> str:
        done = self.call("explain", *arguments, "--state", "state", code=code)
        return done.out if code == 0 else done.err

    def of(self, *arguments: object) -> Any:
        return json.loads(self.explain(*arguments, "--json"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Four pictures of which two are judged by a rule of version 2 at once, and by rules of version 1."""
    root = tmp_path_factory.mktemp("explain")
    site = Site(root=root, now_s=T_PERSON + 200.0)
    site.begin(PERSON, CAT, CUP, CUT)
    zones = [{"name": "sky", "mode": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.05], [0, 0.05]]}]
    people = rule_document(classes=["person", {"class": "cat", "min_score": 0.99}], zones=zones)
    site.put_rule("home", json.dumps(people))
    site.put_as(PERSON, "porch_1763798430.jpg")
    site.run()
    return Asked(root=root)


def rules_of(answer: Any) -> dict[str, Any]:
    return {one["rule"][1]: one for one in answer["rules"]}


def test_a_picture_is_explained_by_each_stage_each_rule_and_its_alerts(world: Asked) -> None:
    assert world.explain(PERSON).splitlines()[:11] == [
        "porch_1763798400.jpg: porch, 2025-11-22 08:00:00 UTC",
        "  validate: It is valid, 512 x 512 pixels.",
        "  object-detect: Model ssdlite_mobilenet_v2_coco saw person 0.60, with scores from 0.50 on; object-detect "
        "keeps no object below this score, so none can be shown.",
        "  threat-detect: Threat: person; 2 rule files with rules for this device.",
        "  rule 'people' of home (home.json): sent",
        "    Told at once: the first picture of a new event.",
        "    person 0.60: It matters.",
        "    Alert " + rules_of(world.of(PERSON))["people"]["alerts"][0]["sentence"].removeprefix("Alert "),
        "  rule 'person at porch' of home@example.com (porch.json): sent",
        "    Told at once: a rule of version 1 tells each picture that matches.",
        "    person 0.60: It matters.",
    ]
    (alert,) = rules_of(world.of(PERSON))["people"]["alerts"]
    assert (alert["to"], alert["state"]) == ("b@example.com", "written")
    assert alert["sentence"].startswith(f"Alert {alert['id'][:12]} for b@example.com: written on Sat 2025-11-22 08:0")


def test_a_picture_that_was_held_back_names_the_one_that_was_told(world: Asked) -> None:
    found = rules_of(world.of("porch_1763798430.jpg"))["people"]
    assert (found["code"], found["n"], found["alerts"]) == ("merged_event", 2, [])
    assert found["numbers"]["told_by"] == PERSON
    assert found["sentence"] == f"Of this event the person was told 30 s before this picture, by {PERSON}."


def test_a_rule_that_does_not_match_says_why_also_of_version_1_and_of_each_object(world: Asked) -> None:
    found = rules_of(world.of(CAT))
    assert (found["people"]["code"], found["cat at yard"]["code"]) == ("below_score", "sent")
    assert found["people"]["sentence"] == "Best was cat 0.93; 0.99 is needed."
    assert [(one["class"], one["code"]) for one in found["people"]["objects"]] == [("cat", "below_score")]
    assert found["person at porch"]["sentence"] == "The rule does not watch yard; it watches porch."
    assert {one["code"] for one in world.of(CUP)["rules"]} == {"no_wanted_class", "other_device"}


def test_a_picture_is_named_by_its_path_too_and_one_rule_can_be_asked_for(world: Asked) -> None:
    whole, one = world.of(PERSON), world.of(f"photos/{PERSON}", "--rule", "people")
    assert [rule["rule"] for rule in one["rules"]] == [["home", "people"]]
    assert {**one, "rules": whole["rules"]} == whole
    assert world.of(PERSON, "--rule", "home|people") == one


def test_an_invalid_picture_is_explained_as_far_as_it_came(world: Asked) -> None:
    found = world.of(CUT)
    assert [(one["stage"], one["state"]) for one in found["stages"]] == [
        ("validate", "success"),
        ("object-detect", None),
        ("threat-detect", None),
    ]
    assert found["stages"][0]["sentence"].startswith("It is invalid (truncated): The picture is cut")
    assert found["rules"] == []


def test_the_picture_is_drawn_with_zones_and_the_boxes_that_do_not_matter(world: Asked) -> None:
    world.explain(CAT, "--rule", "people", "--picture", "drawn.jpg")
    before = decode_bgr((world.photos / CAT).read_bytes())
    after = decode_bgr((world.root / "drawn.jpg").read_bytes())
    assert after.shape[0] > before.shape[0]
    assert after.shape[1] == before.shape[1]
    changed = np.abs(after[: before.shape[0]].astype(int) - before).max(axis=2) > 40
    assert changed[:2].mean() > 0.5  # the zone's upper edge
    assert b"Exif" not in (world.root / "drawn.jpg").read_bytes()


def test_a_device_is_explained_in_one_line_a_picture(world: Asked) -> None:
    assert world.explain("--device", "porch", "--rule", "people").splitlines() == [
        f"2025-11-22 08:00:00 UTC  {PERSON}  sent: Told at once: the first picture of a new event.",
        "2025-11-22 08:00:30 UTC  porch_1763798430.jpg  merged_event: Of this event the person was told 30 s before "
        f"this picture, by {PERSON}.",
    ]
    assert world.explain("--device", "porch", "--since", str(T_PERSON + 1)).splitlines() == [
        "2025-11-22 08:00:30 UTC  porch_1763798430.jpg  people: merged_event; person at porch: sent",
    ]
    assert world.explain("--device", "porch", "--until", str(T_PERSON)) == ""
    (gate,) = map(json.loads, world.explain("--device", "gate", "--json").splitlines())
    assert (gate["key"], gate["stage"], gate["rules"]) == (CUT, "validate", [])


def test_what_the_real_stages_decided_is_replayed_and_checked(world: Asked) -> None:
    found = json.loads(world.call("replay", "--check", "--json", "--state", "state").out)
    assert found == {"groups": 1, "same": 2, "unknown": 0, "reasons": [], "difference": None}
    lines = world.call("replay", "--json", "--state", "state").lines
    assert [(one["rule"], one["key"], one["code"], one["was"]["code"]) for one in lines if "key" in one] == [
        ("home|people", PERSON, "sent", "sent"),
        ("home|people", "porch_1763798430.jpg", "merged_event", "merged_event"),
        ("home@example.com|person at porch", PERSON, "sent", "sent"),
        ("home@example.com|person at porch", "porch_1763798430.jpg", "sent", "sent"),
        ("home@example.com|cat at yard", CAT, "sent", "sent"),
    ]
    assert all(one["told"] == one["was"]["told"] for one in lines if "key" in one)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing_1.jpg"], "nothing_1.jpg: the ledger knows no such picture"),
        ([PERSON, "--rule", "cats"], "cats: no rule has this name"),
        (["--device", "attic"], "attic: the ledger knows no picture of this device"),
        (["--device", "porch", "--rule", "cats"], "cats: no rule has this name"),
        ([CUT, "--picture", "x.jpg"], f"{CUT}: nothing was detected on it"),
        ([PERSON, "--picture", "no/x.jpg"], "no/x.jpg: cannot be written"),
        (["--alert", "zz"], "zz: there is no such alert"),
        (["--alert", ""], "more than one alert begins so"),
        (["--alert", "zz", "--rule", "people"], "it does not go with --rule"),
        (["--alert", "zz", PERSON], "Name a PHOTO, or a device"),
        ([], "Name a PHOTO, or a device"),
        ([PERSON, "--since", "2025-11-22"], "--since and --until go with --device"),
        (["--device", "porch", "--picture", "x.jpg"], "--picture draws one PHOTO"),
    ],
)
def test_a_call_that_cannot_be_answered_is_refused(world: Asked, arguments: list[str], said: str) -> None:
    assert said in world.lookout("explain", *arguments, "--state", "state", code=2).err


def test_what_was_decided_is_said_after_the_rule_and_the_picture_are_gone(tmp_path: Path) -> None:
    site = Site(root=tmp_path, now_s=T_PERSON + 200.0)
    site.put(PERSON)
    site.put_rule("home", json.dumps(rule_document()))
    site.run()
    with site.ledger() as ledger:
        ledger.amend_policy(
            lambda unit: decisions.put_silences(
                unit, [Silence(id="s1", from_s=T_PERSON, until_s=T_PERSON + 3600, by="home")]
            )
        )
    site.put_as(PERSON, "porch_1763798430.jpg")
    site.run()
    world = Asked(root=tmp_path)
    silenced = rules_of(world.of("porch_1763798430.jpg"))["people"]
    assert silenced["sentence"] == "Silenced by home until 09:00 (silence s1)."
    site.put_rule("home", rule("porch", "dog"))
    site.run()
    found = world.of(PERSON)
    assert [(one["rule"][1], one["code"], one["file"]) for one in found["rules"]] == [
        ("dog at porch", "no_wanted_class", "home.json"),
        ("people", "withdrawn", None),
    ]
    assert found["rules"][1]["sentence"] == (
        "The picture is gone or matches no more; it was decided as sent. "
        "Told at once: the first picture of a new event."
    )
    (tmp_path / "photos" / PERSON).unlink()
    site.run()
    gone = world.of(PERSON)
    assert [one["state"] for one in gone["stages"]] == ["retracted"] * 3
    assert [one["code"] for one in gone["rules"]] == ["withdrawn"]


def test_an_alert_is_explained_by_the_pictures_of_its_event_and_those_it_held_back(tmp_path: Path) -> None:
    history = AlertHistory(tmp_path / "state")
    history.enforce(rule_document())
    history.take(Shot(device="porch", at_s=BASE_S + at_s) for at_s in (0, 30, 300, 5000))
    history.enforce({"rules": [{**rule_document()["rules"][0], "name": "each"}]})
    history.take([Shot(device="porch", at_s=BASE_S + 9000)])
    with history.ledger() as ledger:
        first, second, each = [alert.id for alert in ledger.alerts()]
    world = Asked(root=tmp_path)
    found = world.of("--alert", first[:10])
    assert {name: [one["key"] for one in found[name]] for name in ("pictures", "held_back")} == {
        "pictures": [f"porch_{BASE_S}.jpg", f"porch_{BASE_S + 30}.jpg"],
        "held_back": [f"porch_{BASE_S + 300}.jpg"],
    }
    assert (found["event"], found["place"], found["key"]) == (f"porch_{BASE_S}.jpg", "porch", f"porch_{BASE_S}.jpg")
    assert found["ended"] == (
        f"The last picture of its event is porch_{BASE_S + 30}.jpg, on Sat 2025-11-22 08:00:30 UTC; nothing matched "
        f"for 2 min after it. The next event began with porch_{BASE_S + 300}.jpg, on Sat 2025-11-22 08:05 UTC."
    )
    assert world.explain("--alert", second).splitlines() == [
        f"{second[:12]}: people of home at porch, porch_{BASE_S + 5000}.jpg",
        "  pictures of its event:",
        f"    2025-11-22 09:23:20 UTC  porch_{BASE_S + 5000}.jpg  sent: "
        "Told at once: the first picture of a new event.",
        f"  The last picture of its event is porch_{BASE_S + 5000}.jpg, on Sat 2025-11-22 09:23:20 UTC; the event ends "
        "when nothing matches for 2 min.",
    ]
    assert world.of("--alert", each)["ended"].startswith("It stands for this picture alone")
