"""Batches, work and the plan as a person or a container calls them, on a finished state of four pictures."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from .conftest import Finished
from .shell import CALM, CUT, MODELS, NEW, RULES, THREAT, UNNAMED, World, but_the_page


def invalidate(world: World, *arguments: str) -> set[tuple[str, str]]:
    """The datums that wait afterwards."""
    said = world.lookout("datums", "invalidate", *arguments, "--state", "state", "--json").json
    listed = world.lookout("datums", "list", "--state", "state", "--json").lines
    waiting = {(item["stage"], item["key"]) for item in listed if item["waiting"]}
    assert said == {"marked": len(waiting)}
    return waiting


def plan(world: World, *arguments: object) -> Any:
    """The plan; nothing in the state has changed by it."""
    before = snapshot(world)
    said = world.lookout("plan", "--state", "state", "--json", *arguments).json
    assert snapshot(world) == before
    return said


def snapshot(world: World) -> tuple[list[str], dict[str, bytes]]:
    connection = sqlite3.connect(world.state / "ledger.sqlite")
    dump = list(connection.iterdump())
    connection.close()
    files = (path for path in world.state.rglob("*") if path.is_file() and not path.name.startswith("ledger.sqlite"))
    return dump, {str(path): path.read_bytes() for path in files}


def cut(world: World, *arguments: object) -> Any:
    return world.lookout("batches", "cut", "--state", "state", "--json", *arguments).json


def work(world: World, *arguments: object) -> Any:
    return world.lookout("work", "--state", "state", "--workers", "1", "--json", *arguments).json


# --- invalidating ----------------------------------------------------------------------------------------------------


def test_one_stage_a_prefix_a_time_or_all_can_be_reprocessed(finished: Finished) -> None:
    detected = {(stage, key) for stage, key in finished.datums if stage == "object-detect"}
    assert invalidate(finished.begin(), "object-detect", "--all") == detected
    assert invalidate(finished.begin(), "--prefix", "porch") == {
        (stage, key) for stage, key in finished.datums if key.startswith("porch")
    }
    early = invalidate(finished.begin(), "--since", "1763798400", "--until", "2025-11-22T08:01:00Z")
    assert early == {
        *((stage, THREAT) for stage in ("validate", "object-detect", "threat-detect")),
        *(("plot", key) for stage, key in finished.datums if stage == "plot" and key.endswith("/2025-11-22")),
    }
    assert invalidate(finished.begin(), "validate", "--prefix", "k", "--since", "2025-11-22") == {("validate", CALM)}
    assert invalidate(finished.begin(), "--all") == set(finished.datums)


def test_what_to_invalidate_must_be_said_and_only_once(world: World) -> None:
    for arguments in ([], ["validate"], ["validate", CALM, "--all"], ["--all", "--since", "2025-11-22"]):
        assert "expected one of" in world.refused("datums", "invalidate", *arguments, "--state", "state")
    done = world.lookout("datums", "invalidate", "--since", "soon", "--state", "state", code=2)
    assert "'soon' is no date" in done.err


# --- cutting and working ---------------------------------------------------------------------------------------------


def test_a_run_cut_and_pulled_ends_as_a_run_does_and_mails_nobody_again(world: World, finished: Finished) -> None:
    invalidate(world, "--all")
    made = cut(world, "--size", "3")
    assert [batch["keys"] for batch in made["batches"]] == [3, 1]
    assert cut(world, "--take-over", "60")["batches"] == []
    done = work(world, "--pull", made["run"])
    assert set(done["batches"].values()) == {"done"}
    assert (done["run"], done["run_ended"]) == (made["run"], True)
    assert done["stages"]["validate"]["success"] == 4
    assert done["stages"]["plot"]["success"] > 0
    assert but_the_page(world.results()) == but_the_page(finished.results)
    assert len(world.letters()) == 2
    runs = world.lookout("status", "--state", "state", "--json").json["runs"]
    assert ("backfill", "success") in [(run["kind"], run["state"]) for run in runs]


def test_a_batch_goes_through_one_container_a_stage_and_is_listed_on_its_way(world: World) -> None:
    world.lookout("datums", "invalidate", "--prefix", THREAT, "--state", "state")
    (batch,) = cut(world, "--kind", "live")["batches"]
    assert batch["run"] is None
    for stage, state in {"validate": "open", "object-detect": "open", "threat-detect": "done"}.items():
        done = work(world, "--batch", batch["id"], "--stage", stage)
        assert done["batches"] == {batch["id"]: state}
        assert done["stages"][stage]["success"] == 1
        shown = world.lookout("batches", "show", batch["id"], "--state", "state", "--json").json
        assert (shown["state"], shown["pictures"]) == (state, [THREAT])
    listed = world.lookout("batches", "list", "--in", "done", "--state", "state", "--json").lines
    assert [item["id"] for item in listed] == [batch["id"]]
    assert batch["id"] in world.lookout("batches", "list", "--state", "state").out
    assert THREAT in world.lookout("batches", "show", batch["id"], "--state", "state").out


def test_one_new_picture_is_taken_from_file_to_mail(world: World) -> None:
    world.put(NEW)
    done = work(world, "--object", NEW)
    assert done["stages"]["threat-detect"]["success"] == 1
    assert len(world.letters()) > 2
    (world.photos / NEW).unlink()
    assert work(world, "--object", NEW)["stages"]["threat-detect"]["retracted"] == 1


def test_a_failed_datum_is_no_failure_of_the_worker(world: World) -> None:
    (world.photos / "porch_1763798999.jpg").symlink_to("nowhere")
    done = world.lookout("work", "--object", "porch_1763798999.jpg", "--state", "state", "--json", "--workers", "1")
    assert done.json["stages"]["validate"]["failed"] == 1
    assert "failed: validate of porch_1763798999.jpg" in done.err


def test_what_cannot_be_worked_is_refused(world: World) -> None:
    for arguments in ([], ["--batch", "x", "--pull", "y"]):
        assert "expected one of" in world.refused("work", *arguments, "--state", "state")
    assert "no such batch" in world.refused("work", "--batch", "x", "--state", "state")
    assert "no such run" in world.refused("work", "--pull", "x", "--state", "state")
    assert "no such batch" in world.refused("batches", "show", "x", "--state", "state")
    run = cut(world)["run"]
    world.lookout("datums", "invalidate", "validate", CALM, "--state", "state")
    assert "has ended" in world.refused("batches", "cut", "--run", run, "--state", "state")


def test_a_backfill_leaves_alone_what_was_cut_live_and_is_not_begun(world: World) -> None:
    world.lookout("datums", "invalidate", "validate", THREAT, "--state", "state")
    (live,) = cut(world, "--kind", "live")["batches"]
    world.lookout("datums", "invalidate", "validate", CALM, "--state", "state")
    (after,) = cut(world)["batches"]
    assert (live["keys"], after["keys"]) == (1, 1)
    assert world.lookout("batches", "show", live["id"], "--state", "state", "--json").json["state"] == "open"
    assert cut(world, "--take-over", "0")["keys"] == 2


# --- the plan --------------------------------------------------------------------------------------------------------


def test_a_finished_state_has_nothing_to_plan(world: World) -> None:
    assert plan(world)["items"] == []
    assert "Nothing would be done." in world.lookout("plan", "--scan", "--state", "state").out


def test_the_plan_of_a_look_names_what_is_new_changed_and_gone(world: World) -> None:
    world.put(NEW)
    (world.photos / CALM).write_bytes((world.photos / THREAT).read_bytes())
    (world.photos / THREAT).unlink()
    said = plan(world, "photos")
    assert {(item["key"], item["action"], item["reason"]) for item in said["items"] if item["stage"] == "validate"} == {
        (NEW, "process", "new"),
        (CALM, "process", "changed"),
        (THREAT, "retract", "gone"),
    }
    assert said["stages"]["threat-detect"] == {"perhaps": {"new": 1, "changed": 1}, "retract": {"gone": 1}}
    text = world.lookout("plan", "--scan", "--state", "state", "--limit", "1").out
    assert NEW in text
    assert "perhaps" in text


def test_the_plan_says_what_a_model_rules_or_a_threshold_would_cause_without_having_them(world: World) -> None:
    (world.root / "other").mkdir()
    (world.root / "other" / "home.json").write_text(
        (RULES / "home.json").read_text(encoding="utf-8").replace("person", "car"), encoding="utf-8"
    )
    (world.root / "other" / "bad.json").write_text("{", encoding="utf-8")
    said = plan(world, "--rules", "other")
    assert said["stages"]["object-detect"] == {}
    assert said["stages"]["threat-detect"]["process"] == {"rules": 1}
    assert [one["name"] for one in said["refused"]] == ["bad.json"]
    assert plan(world, "--threshold", "0.6")["stages"]["object-detect"] == {"process": {"recipe": 2}}
    assert plan(world, "--model", MODELS)["items"] == []


def test_an_emptied_source_is_planned_with_a_warning(world: World) -> None:
    for picture in world.photos.iterdir():
        picture.unlink()
    said = plan(world, "photos")
    assert said["stages"]["validate"] == {"retract": {"gone": 4}}
    assert said["warning"] is None, "four are too few to look like an accident"


@pytest.mark.parametrize("source", ["elsewhere", "nowhere", f"photos/{CUT}"])
def test_a_source_that_is_not_this_states_is_refused(world: World, source: str) -> None:
    (world.root / "elsewhere").mkdir()
    assert UNNAMED not in world.refused("plan", source, "--state", "state")
