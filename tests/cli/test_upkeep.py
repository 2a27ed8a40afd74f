"""Proof, upkeep and backup as a person does them, on a finished state."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .conftest import Finished
from .shell import CALM, NEW, PHOTOS, THREAT, World

LONG_AGO_S = 1_000_000_000
JPG = "threat-detect/porch/1763798400.jpg"


def first_alert(world: World) -> str:
    alert = world.lookout("alerts", "list", "--state", "state", "--json").lines[0]
    return str(alert["id"])


def leave(world: World, path: str) -> Path:
    place = world.state / "objects" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("left over")
    os.utime(place, (LONG_AGO_S, LONG_AGO_S))
    return place


# --- verify ----------------------------------------------------------------------------------------------------------


def test_an_alert_is_proved_from_its_record(world: World) -> None:
    alert = first_alert(world)
    said = world.lookout("verify", alert[:12], "--state", "state", "--json").json
    assert (said["alert"], said["verdict"]) == (alert, "same")
    assert [(step["stage"], step["same"]) for step in said["steps"]] == [
        ("validate", True),
        ("object-detect", True),
        ("threat-detect", True),
    ]
    assert not any(said[name] for name in ("differences", "expired", "obstacles", "remarks"))
    assert world.lookout("verify", alert, "--state", "state").out.startswith(f"SAME  {alert[:12]}")


def test_an_alert_is_proved_after_model_rules_and_threshold_have_changed(world: World) -> None:
    alert = first_alert(world)
    rule = world.root / "rules" / "home.json"
    rule.write_text(rule.read_text().replace("people at home", "others"))
    world.run("--rules", "rules", "--threshold", "0.9")
    assert world.lookout("verify", alert, "--state", "state", "--json").json["verdict"] == "same"


def test_what_expired_is_named_and_is_no_proof(world: World) -> None:
    alert = first_alert(world)
    (world.photos / THREAT).unlink()
    world.run()
    assert world.lookout("verify", alert, "--state", "state", "--json").json["verdict"] == "same"
    world.lookout("gc", "--older-than", "0s", "--state", "state")
    done = world.lookout("verify", alert, "--state", "state", "--json", code=1)
    assert done.json["verdict"] == "unknown"
    assert [item.split(" ")[0] for item in done.json["expired"]] == [f"images/{THREAT}"]
    assert "expired: images/" in world.lookout("verify", alert, "--state", "state", code=1).out


@pytest.mark.parametrize("alert", ["zzz", ""])
def test_an_unknown_or_empty_id_cannot_be_verified(world: World, alert: str) -> None:
    assert "lookout alerts list" in world.refused("verify", alert, "--state", "state")


# --- gc and upkeep ---------------------------------------------------------------------------------------------------


def test_gc_removes_what_no_record_names_and_nothing_else(world: World, finished: Finished) -> None:
    leave(world, "validate/valid/nobody.jpg")
    dry = world.lookout("gc", "--dry-run", "--state", "state", "--json").json
    assert (dry["orphans"], dry["removed"], dry["versions_freed"], dry["dry_run"]) == (1, 0, None, True)
    done = world.lookout("gc", "--older-than", "0s", "--state", "state", "--json").json
    assert (done["orphans"], done["removed"], done["young"]) == (1, 1, 0)
    assert done["versions_freed"] >= 1
    assert world.results() == finished.results
    assert "0 removed" in world.lookout("gc", "--state", "state").out


@pytest.mark.parametrize("given", ["1", "-1h", "1y", "99999999999d", "1.5h", "\u0661h", ""])
def test_a_time_that_is_none_is_refused(world: World, given: str) -> None:
    assert "is not a valid time" in world.lookout("gc", "--grace", given, "--state", "state", code=2).err


def test_repair_shows_the_named_version_and_has_lost_ones_made_again(world: World, finished: Finished) -> None:
    (world.state / "objects" / JPG).write_bytes(b"late")
    (world.state / "objects" / "plot" / "index.html").unlink()
    dry = world.lookout("upkeep", "repair", "--dry-run", "--state", "state", "--json").json
    assert (dry["lost"], dry["marked"]) == (2, 0)
    done = world.lookout("upkeep", "repair", "--state", "state", "--json").json
    assert (done["lost"], done["marked"], done["stale"]) == (2, 2, 0)
    world.run()
    assert world.results()[JPG] == finished.results[JPG]
    assert "plot/index.html" in world.results()
    assert len(world.letters()) == 2, "nobody is told again"
    assert "0 corrected, 0 lost" in world.lookout("upkeep", "repair", "--thorough", "--state", "state").out


def test_reconcile_takes_in_what_came_and_went_and_the_next_run_does_it(world: World) -> None:
    shutil.copyfile(PHOTOS / NEW, world.photos / NEW)
    new = world.lookout("upkeep", "reconcile", "--recent", "--state", "state", "--json").json
    assert (new["changed"], new["gone"]) == (1, 0)
    (world.photos / CALM).unlink()
    done = world.lookout("upkeep", "reconcile", "--state", "state", "--json").json
    assert done == {"seen": 4, "changed": 0, "gone": 1, "held_back": 0, "unlistable": {}, "resumed": False}
    assert "4 pictures compared" in world.lookout("upkeep", "reconcile", "--state", "state").out
    ran = world.run()
    assert (ran["pictures"], ran["stages"]["validate"]["success"]) == (4, 1)
    assert world.datums("--prefix", "kitchen_", "--in", "success") == {}
    assert "neither" in world.refused("upkeep", "reconcile", "--recent", "--verify", "--state", "state")


def test_retract_finds_nothing_in_a_sound_state(world: World) -> None:
    done = world.lookout("upkeep", "retract", "--state", "state", "--json").json
    assert (done["found"], done["gone"], done["marked"]) == (0, 0, 0)
    assert done["checked"] > 0
    assert "0 datums will be planned again" in world.lookout("upkeep", "retract", "--state", "state").out


def test_without_a_source_there_is_nothing_to_compare_with(empty_world: World) -> None:
    empty_world.put(CALM)
    empty_world.lookout("run", f"photos/{CALM}", "--state", "state", "--workers", "1")
    for command in (("upkeep", "reconcile"), ("upkeep", "retract")):
        assert "no source" in empty_world.refused(*command, "--state", "state")


# --- backup ----------------------------------------------------------------------------------------------------------


def test_a_restored_ledger_goes_on_and_tells_nobody_twice(world: World, finished: Finished) -> None:
    shutil.copyfile(PHOTOS / NEW, world.photos / NEW)
    world.lookout("upkeep", "reconcile", "--state", "state")  # the new picture waits
    saved = world.lookout("ledger", "backup", "saved", "--state", "state", "--json").json
    assert saved["entries"]["alert"] == 2
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (world.state / name).unlink(missing_ok=True)
    restored = world.lookout("ledger", "restore", "saved", "--state", "state", "--json").json
    assert restored == saved
    assert world.lookout("verify", first_alert(world), "--state", "state", "--json").json["verdict"] == "same"
    ran = world.run()
    assert (ran["stages"]["validate"]["success"], ran["stages"]["validate"]["skipped"]) == (1, 4)
    assert (ran["alerts"]["written"], ran["pending"]) == (2, 0)
    told = world.lookout("alerts", "list", "--run", ran["run"], "--state", "state", "--json").lines
    assert {alert["draft"]["picture_key"] for alert in told} == {NEW}
    assert len(world.letters()) == 4, "two more, for the new picture"
    kept = {path: data for path, data in finished.results.items() if not path.startswith("plot/")}
    assert kept.items() <= world.results().items()


def test_a_backup_that_cannot_be_used_is_refused_and_leaves_no_state(world: World) -> None:
    world.lookout("ledger", "backup", "saved", "--state", "state")
    assert "exists already" in world.refused("ledger", "backup", "saved", "--state", "state")
    assert "not empty" in world.refused("ledger", "restore", "saved", "--state", "state")
    whole = (world.root / "saved").read_bytes()
    (world.root / "cut").write_bytes(whole[: len(whole) // 2])
    for name in ("cut", "nowhere", f"photos/{THREAT}"):
        world.refused("ledger", "restore", name, "--state", "new")
    assert not (world.root / "new").exists()


def test_the_size_is_shown(world: World) -> None:
    size = world.lookout("ledger", "size", "--state", "state", "--json").json
    assert (size["inputs"], size["alerts"], size["runs"]) == (4, 2, 1)
    assert size["stages"]["validate"]["success"] == 4
    assert size["bytes"] > 10_000
    assert "records" in world.lookout("ledger", "size", "--state", "state").out
