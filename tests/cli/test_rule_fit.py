"""Rules that do not fit the model, the threshold or the devices, told by the real command wherever state is shown."""

from __future__ import annotations

import json
import shutil
from typing import Any

from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import parse
from tests.engine.test_watch import until
from tests.object_detect.models import manifest_bytes, weights

from .shell import THREAT, World


def put_rules(world: World, *rules: dict[str, Any], folder: str = "rules", **fields: Any) -> None:
    given = {"name": "people", "user": "home", "classes": ["person"], "from": "a@example.com", "to": ["b@example.com"]}
    (world.root / folder).mkdir(exist_ok=True)
    document = {"rules": [{**given, **one} for one in rules], **fields}
    (world.root / folder / "home.json").write_text(json.dumps(document))


def put_model(world: World) -> None:
    """A model that has neither persons nor dogs."""
    folder = world.root / "other"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(weights("yolov8"))
    (folder / "m.json").write_bytes(
        manifest_bytes("yolov8", labels=["cat", "Forklift", "tin"], class_ids=[17, 1001, 1002])
    )


def notes(found: dict[str, Any]) -> list[tuple[str, str | None, bool]]:
    return [(one["kind"], one["rule"], one["without_effect"]) for one in found["rule_notes"]]


def on_page(world: World) -> dict[str, Any]:
    file = world.state / "objects" / "plot" / STATUS_KEY
    return parse(file.read_bytes()) if file.exists() else {}


def doctor(world: World) -> list[str]:
    checks = world.lookout("doctor", "--state", "state", "--json").json["checks"]
    return [one["found"] for one in checks if one["name"] == "fit" and one["warning"]]


def test_rules_that_fit_are_not_spoken_of(empty_world: World) -> None:
    empty_world.put(THREAT)
    put_rules(empty_world, {"devices": ["por*"]})
    assert empty_world.run("--rules", "rules")["rule_notes"] == []
    assert empty_world.lookout("status", "--state", "state", "--json").json["rule_notes"] == []
    assert "do not fit" not in empty_world.lookout("status", "--state", "state").out
    assert doctor(empty_world) == []
    assert on_page(empty_world)["rule_notes"] == 0


def test_a_rule_that_does_not_fit_is_told_in_each_place(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    put_rules(
        world,
        {"classes": ["person", "forklift"], "devices": ["Porch", "por*"]},
        {"name": "low b@example.com", "min_score": 0.2},
        {"name": "never", "classes": ["forklift"]},
        labels="custom",
    )
    expected = [
        ("device", "people", False),
        ("class", "people", False),
        ("min_score", "low b@example.com", False),
        ("class", "never", True),
    ]
    assert notes(world.run("--rules", "rules")) == expected
    text = world.lookout("run", "photos", "--state", "state").out
    assert "Rules that do not fit:\n  home.json: rule 'never': the model ssdlite_mobilenet_v2_coco has no class" in text
    assert "home.json: rule 'people': no known device matches Porch (did you mean porch?)" in text
    status = world.lookout("status", "--state", "state")
    assert "this rule can match nothing" in status.out
    assert notes(world.lookout("status", "--state", "state", "--json").json) == expected
    assert notes(world.lookout("plan", "--state", "state", "--json").json) == expected
    assert "Rules that would not fit:" in world.lookout("plan", "--state", "state").out
    assert len(doctor(world)) == 4
    said = on_page(world)
    assert (said["rule_notes"], said["rules_without_effect"]) == (4, 1)
    assert "rule 'never'" in said["rule_notes_said"][0], "what can match nothing comes first"
    assert "b@example.com" not in str(said)
    metrics = world.lookout("metrics", "--once", "--state", "state").out
    assert "\nlookout_rules_without_effect 1.0\n" in metrics
    assert '\nlookout_rule_notes{kind="class"} 2.0\n' in metrics


def test_a_dry_run_compares_what_would_be_in_force(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    put_rules(world, {"classes": ["person", "cat"], "min_score": 0.5})
    put_model(world)
    assert world.run("--rules", "rules")["rule_notes"] == []
    plan = ("plan", "photos", "--state", "state", "--json")
    assert notes(world.lookout(*plan, "--model", "other").json) == [("class", "people", False)]
    assert notes(world.lookout(*plan, "--threshold", "0.7").json) == [("min_score", "people", False)]
    put_rules(world, {"devices": ["gate"]}, folder="next")
    assert notes(world.lookout(*plan, "--rules", "next").json) == [("device", "people", True)]
    shutil.copyfile(world.photos / THREAT, world.photos / "gate_1763809200.jpg")
    assert notes(world.lookout(*plan, "--rules", "next").json) == []
    assert world.lookout("status", "--state", "state", "--json").json["rule_notes"] == []


def test_a_threshold_that_is_raised_later_is_compared(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    put_rules(world, {"min_score": 0.6})
    assert world.run("--rules", "rules")["rule_notes"] == []
    assert notes(world.run("--threshold", "0.7")) == [("min_score", "people", False)]
    assert notes(world.lookout("status", "--state", "state", "--json").json) == [("min_score", "people", False)]


def test_a_channel_that_is_not_set_up_where_alerts_are_sent_is_told(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    rule = {"name": "r", "user": "u", "classes": ["person"], "channels": [{"type": "webhook", "name": "home"}]}
    (world.root / "rules").mkdir()
    (world.root / "rules" / "r.json").write_text(json.dumps({"version": 2, "rules": [rule]}))
    found = world.run("--rules", "rules")
    assert notes(found) == [("channel", None, False)]
    assert "LOOKOUT_CHANNEL_HOME_URL" in found["rule_notes"][0]["note"]


def test_rules_that_are_replaced_while_a_watch_is_at_work_are_compared(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    put_rules(world, {})
    put_model(world)
    with world.start("watch", "photos", "--state", "state", "--rules", "rules", "--json") as watch:
        watch.expect(stage="threat-detect", state="success")
        until(lambda: on_page(world).get("rule_notes") == 0)
        world.lookout("run", "photos", "--state", "state", "--model", "other", "--json")
        until(lambda: on_page(world).get("rules_without_effect") == 1 and on_page(world)["watching"] is True)
        until(lambda: "rules do not fit" in watch.talk())
        put_rules(world, {"classes": ["forklift", "CAT"]}, labels="custom")
        world.lookout("run", "photos", "--state", "state", "--rules", "rules", "--json")
        until(lambda: on_page(world).get("rule_notes") == 0)


def test_a_file_that_an_older_version_accepted_is_compared_once_it_is_given_again(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    put_rules(world, {"classes": ["forklift"]}, labels="custom")
    world.run("--rules", "rules")
    with world.ledger(writing=True) as ledger:
        (unit,) = ledger.references("rules")
        old = {"rules": [{"name": "people", "user": "home", "devices": ["*"]}]}
        ledger.enforce("rules", [type(unit)(bucket=unit.bucket, name=unit.name, files=unit.files, meta=old)])
        ledger.put_note("given:rules", "as an older version wrote it")
    assert notes(world.run()) == [("not_compared", "people", False)]
    again = world.run("--rules", "rules")
    assert notes(again) == [("class", "people", True)]
    assert all(row["success"] == 0 for row in again["stages"].values()), "no datum depends on it"
