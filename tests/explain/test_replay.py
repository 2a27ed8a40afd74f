"""``lookout replay`` by the real command, on a state with a history of pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bench.alert_history import BASE_S, CAR, AlertHistory, Shot
from lookout.domain.policy import codec
from lookout.domain.policy.records import Silence
from lookout.ledger.rules import decisions
from tests.cli.shell import World
from tests.policy.histories import rule_document
from tests.threat_detect.made import jpeg

MINUTE_S = 60


def shots(*minutes: float, device: str = "porch", **more: Any) -> list[Shot]:
    return [Shot(device=device, at_s=round(BASE_S + minute * MINUTE_S), **more) for minute in minutes]


def rules(**fields: Any) -> dict[str, Any]:
    return rule_document(classes=["person"], **fields)


class Replayed(World):
    """A state with a history."""

    @property
    def history(self) -> AlertHistory:
        return AlertHistory(self.state)

    def replay(self, *arguments: object, code: int = 0) -> str:
        return self.call("replay", *arguments, "--state", "state", code=code).out

    def lines(self, *arguments: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.replay(*arguments, "--json").splitlines()]

    def by(self, document: Mapping[str, Any], *arguments: object) -> list[dict[str, Any]]:
        (self.root / "new.json").write_text(json.dumps(document))
        return self.lines("--rules", "new.json", *arguments)

    def files(self) -> dict[str, str]:
        """The digest of each file of the state, but for SQLite's own index of its log."""
        return {
            str(path): sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.state.rglob("*"))
            if path.is_file() and not path.name.endswith("-shm")
        }


@pytest.fixture
def world(tmp_path: Path) -> Replayed:
    """Two events of two devices, by a rule with a cooldown of ten minutes."""
    world = Replayed(root=tmp_path)
    history = world.history
    history.enforce(rules())
    history.take([*shots(0, 0.5, 5, 12), *shots(1, device="gate"), *shots(30, objects=(CAR,)), *shots(40)])
    return world


def differences(lines: list[dict[str, Any]]) -> list[tuple[str, str, str | None, str]]:
    return [
        (one["difference"], one["key"], None if one["was"] is None else one["was"]["code"], one["code"])
        for one in lines
        if one.get("difference")
    ]


def test_the_rules_in_force_tell_what_was_told(world: Replayed) -> None:
    lines = world.lines()
    assert [(one["key"], one["code"], one["told"], one["was"]["code"]) for one in lines if "key" in one] == [
        (key, code, code == "sent", code)
        for key, code in (
            (f"porch_{BASE_S}.jpg", "sent"),
            (f"porch_{BASE_S + 30}.jpg", "merged_event"),
            (f"gate_{BASE_S + 60}.jpg", "sent"),
            (f"porch_{BASE_S + 300}.jpg", "cooldown"),
            (f"porch_{BASE_S + 720}.jpg", "sent"),
            (f"porch_{BASE_S + 2400}.jpg", "sent"),
        )
    ]
    assert differences(lines) == []
    assert lines[-1] == {
        "rule": "home|people",
        "day": "2025-11-22",
        "matches": 6,
        "told": 4,
        "was_told": 4,
        "only_now": 0,
        "only_before": 0,
    }


def test_other_rules_say_what_they_would_tell_and_what_not_with_both_codes(world: Replayed) -> None:
    assert differences(world.by(rules(cooldown="1m", event={"gap": "1m"}, reorder="10s"))) == [
        ("only_now", f"porch_{BASE_S + 300}.jpg", "cooldown", "sent"),
    ]
    longer = world.by(rules(cooldown="1h"))
    assert differences(longer) == [
        ("only_before", f"porch_{BASE_S + 720}.jpg", "sent", "cooldown"),
        ("only_before", f"porch_{BASE_S + 2400}.jpg", "sent", "cooldown"),
    ]
    assert (longer[-1]["told"], longer[-1]["was_told"], longer[-1]["only_before"]) == (2, 4, 2)
    cars = world.by(rule_document(classes=["car"]))
    assert [one[:2] for one in differences(cars)] == [
        ("only_before", f"porch_{BASE_S}.jpg"),
        ("only_before", f"gate_{BASE_S + 60}.jpg"),
        ("only_before", f"porch_{BASE_S + 720}.jpg"),
        ("only_now", f"porch_{BASE_S + 1800}.jpg"),
        ("only_before", f"porch_{BASE_S + 2400}.jpg"),
    ]


def test_a_rule_that_is_gone_renamed_or_watches_other_devices_tells_no_more(world: Replayed) -> None:
    renamed = {"version": 2, "rules": [{**rules()["rules"][0], "name": "folk"}]}
    found = world.by(renamed)
    assert {(rule, day["told"], day["was_told"]) for day in found if "day" in day for rule in [day["rule"]]} == {
        ("home|folk", 4, 0),
        ("home|people", 0, 4),
    }
    gone = [one for one in found if one.get("code") == "no_rule"]
    assert {one["sentence"] for one in gone} == {"These rules have no rule of this name."}
    other = world.by(rules(devices=["gate"]))
    assert {one["code"] for one in other if one.get("difference") == "only_before"} == {"other_device"}


def test_pictures_are_chosen_by_time_and_device_and_those_before_are_known(world: Replayed) -> None:
    some = world.lines("--since", BASE_S + 300, "--until", BASE_S + 2400)
    assert [(one["key"], one["code"]) for one in some if "key" in one] == [
        (f"porch_{BASE_S + 300}.jpg", "cooldown"),
        (f"porch_{BASE_S + 720}.jpg", "sent"),
    ]
    assert [one["key"] for one in world.lines("--device", "gat*") if "key" in one] == [f"gate_{BASE_S + 60}.jpg"]
    whole = world.by(rules(group="all"), "--device", "gate")
    assert [(one["key"], one["code"]) for one in whole if "key" in one] == [(f"gate_{BASE_S + 60}.jpg", "merged_event")]
    assert whole[-1]["matches"] == 1


def test_rules_of_version_1_tell_each_match(world: Replayed) -> None:
    found = world.by({"rules": rules()["rules"]})
    assert (found[-1]["told"], found[-1]["was_told"], found[-1]["only_now"]) == (6, 4, 2)
    history = world.history
    history.enforce({"rules": [{**rules()["rules"][0], "name": "each"}]})
    history.take(shots(100))
    (each,) = (one for one in world.lines() if one.get("rule") == "home|each" and one.get("was"))
    assert (each["key"], each["told"], each["was"], each["difference"]) == (
        f"porch_{BASE_S + 6000}.jpg",
        True,
        {"code": "sent", "told": True},
        None,
    )


def test_the_same_event_told_by_another_picture_is_no_difference(tmp_path: Path) -> None:
    world = Replayed(root=tmp_path)
    history = world.history
    history.enforce(rules())
    history.take([*shots(0.5), *shots(0, delay_s=40.0)])
    first, second, day = world.lines()
    assert [(one["code"], one["was"]["code"]) for one in (first, second)] == [
        ("sent", "merged_event"),
        ("merged_event", "sent"),
    ]
    assert (day["told"], day["was_told"], day["only_now"], day["only_before"]) == (1, 1, 0, 0)


def test_quiet_times_and_silences_are_replayed(world: Replayed) -> None:
    with world.history.ledger() as ledger:
        silence = Silence(id="s1", from_s=BASE_S, until_s=BASE_S + 60, devices=("porch",))
        ledger.amend_policy(lambda unit: decisions.put_silences(unit, [silence]))
    codes = {one["key"]: one["code"] for one in world.lines() if "key" in one}
    assert codes[f"porch_{BASE_S}.jpg"] == codes[f"porch_{BASE_S + 30}.jpg"] == "silenced"
    quiet = [one for one in world.by(rules(quiet=[{"from": "08:10", "to": "09:00"}])) if "key" in one]
    held = [one for one in quiet if one["code"] == "held_quiet"]
    assert [one["key"] for one in held] == [f"porch_{BASE_S + 720}.jpg", f"porch_{BASE_S + 2400}.jpg"]
    assert all(one["told"] for one in held)


def test_a_replay_leaves_the_state_as_it_was_to_the_byte(world: Replayed) -> None:
    before = world.files()
    world.by(rules(cooldown="1h"), "--html", "page.html")
    world.replay("--check")
    world.replay()
    assert world.files() == before
    assert not (world.state / "outbox").exists()


def test_the_page_shows_both_sides_and_needs_nothing_from_elsewhere(world: Replayed) -> None:
    world.history.add_drawing(shots(5)[0], jpeg())
    world.by(rules(cooldown="1m", event={"gap": "1m"}, reorder="10s", name="<b>people"), "--html", "page.html")
    page = (world.root / "page.html").read_text()
    assert "Told before and not now: 4" in page
    assert "Told now and not before: 5" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "The picture is not kept any more." in page
    assert "<b>people" not in page.replace("&lt;b&gt;people", "")
    assert re.findall(r"<script|https?:|src=\"(?!data:)", page) == []


def test_the_text_shows_days_and_differences(world: Replayed) -> None:
    (world.root / "new.json").write_text(json.dumps(rules(cooldown="1h")))
    lines = world.replay("--rules", "new.json").splitlines()
    assert lines[0].split() == ["rule", "day", "matches", "told", "was", "told", "only", "now", "only", "before"]
    assert lines[1].split() == ["home|people", "2025-11-22", "6", "2", "4", "0", "2"]
    assert lines[2] == "Told before and not now: 2"
    assert lines[3].startswith(
        f"  home|people  porch_{BASE_S + 720}.jpg: sent -> cooldown: The person was told of another"
    )


def test_pictures_whose_detections_are_gone_are_counted(world: Replayed) -> None:
    (path,) = (one for one in (world.state / "objects").rglob("*") if one.is_file() and b'"gate"' in one.read_bytes())
    path.unlink()
    done = world.call("replay", "--json", "--state", "state")
    (gate,) = (one for one in done.lines if one.get("device") == "gate")
    assert (gate["code"], gate["difference"]) == ("unknown", None)
    assert done.lines[-1] == {"note": "1 pictures could not be judged: their detections are not kept any more."}
    assert "1 pictures could not be judged" in done.err


# --- check -----------------------------------------------------------------------------------------------------------


def test_a_check_folds_all_decisions_again(world: Replayed) -> None:
    history = world.history
    history.enforce(rules(cooldown="1m", event={"gap": "1m"}, reorder="10s"))
    history.take(shots(50, 52))
    found = json.loads(world.replay("--check", "--json"))
    assert found == {"groups": 2, "same": 8, "unknown": 0, "reasons": [], "difference": None}
    assert world.replay("--check") == "2 groups, 8 decisions come out the same, 0 cannot be known.\n"


def test_a_check_of_what_stands_still_knows_pictures_outside_of_the_schedule(tmp_path: Path) -> None:
    world = Replayed(root=tmp_path)
    history = world.history
    schedule = [{"from": "08:10", "to": "09:00"}]
    history.enforce(rule_document(classes=["car"], static={"classes": ["car"]}, schedule=schedule))
    history.take([*shots(0, 12, 20, objects=(CAR,))])
    found = json.loads(world.replay("--check", "--json"))
    assert (found["same"], found["difference"]) == (2, None)
    codes = {one["key"]: one["code"] for one in world.lines() if "key" in one}
    assert codes == dict.fromkeys((f"porch_{BASE_S + 720}.jpg", f"porch_{BASE_S + 1200}.jpg"), "static_object")


def test_a_check_ends_with_1_and_the_first_difference(world: Replayed) -> None:
    key = f"porch_{BASE_S + 300}.jpg"

    def alter(unit: decisions.PolicyUnit) -> None:
        name = (decisions.DECISIONS, key, "threat-detect")
        (made,) = codec.decisions_from_json(unit.policy_text(name) or "[]")
        text = codec.decisions_to_json([made]).replace('"left_s":300', '"left_s":299')
        assert text != codec.decisions_to_json([made])
        unit.put_policy_text(name, text)

    with world.history.ledger() as ledger:
        ledger.amend_policy(alter)
    found = json.loads(world.replay("--check", "--json", code=1))
    assert found["difference"] == {
        "rule": ["home", "people"],
        "place": "porch",
        "key": key,
        "n": 3,
        "where": "left_s",
        "kept": 299.0,
        "made": 300.0,
    }
    assert f"DIFFERS  home|people at porch, decision 3, {key}: left_s:" in world.replay("--check", code=1)


def test_a_picture_that_was_taken_back_leaves_what_follows_unknown_and_says_so(world: Replayed) -> None:
    history = world.history
    history.delete(shots(5)[0])
    found = json.loads(world.replay("--check", "--json"))
    assert (found["same"], found["unknown"], found["difference"]) == (3, 2, None)
    (reason,) = found["reasons"]
    assert reason["place"] == "porch"
    assert reason["reason"].startswith("decision 3 is not kept any more")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--check", "--rules", "new.json"], "--check takes all decisions"),
        (["--check", "--device", "porch"], "--check takes all decisions"),
        (["--rules", "bad.json"], "bad.json: rules[0].cooldown"),
        (["--html", "no/page.html"], "no/page.html: cannot be written"),
    ],
)
def test_a_call_that_cannot_be_answered_is_refused(world: Replayed, arguments: list[str], said: str) -> None:
    (world.root / "bad.json").write_text(json.dumps(rules(cooldown="often")))
    assert said in world.lookout("replay", *arguments, "--state", "state", code=2).err


def test_a_state_without_rules_is_told_to_name_some(tmp_path: Path) -> None:
    world = Replayed(root=tmp_path)
    assert world.history.state.is_dir()
    assert "no rules are in force" in world.lookout("replay", "--state", "state", code=2).err
    assert world.replay("--check") == "0 groups, 0 decisions come out the same, 0 cannot be known.\n"
