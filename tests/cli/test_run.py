"""``lookout run`` as a person calls it, with the real stages."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

from .conftest import Finished
from .shell import CALM, CUT, NEW, PHOTOS, THREAT, UNNAMED, World, but_the_page

STAGES = ("validate", "object-detect", "threat-detect", "plot")


def only(stages: dict[str, dict[str, int]], name: str) -> dict[str, int]:
    return {stage: counts[name] for stage, counts in stages.items()}


# --- the first run and what --json promises --------------------------------------------------------------------------


def test_the_json_of_a_first_run_has_the_promised_fields(finished: Finished) -> None:
    said = finished.first
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{6}", said["run"])
    assert said["state"] == "state"
    assert said["page"].endswith("/state/objects/plot/index.html")
    assert said["pictures"] == 4
    assert tuple(said["stages"]) == STAGES
    assert all(set(counts) == {"success", "skipped", "failed", "unrunnable"} for counts in said["stages"].values())
    assert only(said["stages"], "success") == {"validate": 4, "object-detect": 2, "threat-detect": 2, "plot": 5}
    assert set(only(said["stages"], "skipped").values()) == {0}
    assert {item["key"]: item["reason"] for item in said["invalid"]} == {UNNAMED: "name", CUT: "truncated"}
    assert all(item["sentence"] for item in said["invalid"])
    assert said["threats"] == {"porch": 1}
    assert said["alerts"] == {
        "sent": 0, "written": 2, "pending": 0, "unknown": 0, "dead": 0, "canceled": 0, "digests": 0
    }  # fmt: skip
    assert (said["failures"], said["refused"], said["retracted"], said["pending"]) == ([], [], 0, 0)
    assert said["stopped"] is False
    assert 0 < said["elapsed_s"] < 120


def test_the_state_is_laid_out_as_promised(finished: Finished) -> None:
    world = finished.begin()
    assert (world.state / "ledger.sqlite").is_file()
    assert finished.results[f"validate/valid/{THREAT}"] == (PHOTOS / THREAT).read_bytes()
    assert finished.results[f"validate/invalid/{CUT}"] == (PHOTOS / CUT).read_bytes()
    assert json.loads(finished.results[f"validate/invalid/{CUT}.json"])["reason"]
    assert {
        "object-detect/kitchen/1763798520.json",
        "object-detect/kitchen/1763798520.jpg",
        "threat-detect/porch/1763798400.json",
        "threat-detect/porch/1763798400.jpg",
        "plot/threats.png",
        "plot/index.html",
    } <= finished.results.keys()
    assert "threat-detect/kitchen/1763798520.json" not in finished.results
    assert len(world.letters()) == 2


# --- again -----------------------------------------------------------------------------------------------------------


def test_a_rerun_skips_everything_and_still_says_how_the_source_stands(world: World, finished: Finished) -> None:
    said = world.run()
    assert set(only(said["stages"], "success").values()) == {0}
    assert only(said["stages"], "skipped") == {"validate": 4, "object-detect": 2, "threat-detect": 2, "plot": 5}
    assert (said["threats"], said["invalid"]) == (finished.first["threats"], finished.first["invalid"])
    assert set(said["alerts"].values()) == {0}
    assert len(world.letters()) == 2
    assert world.results() == finished.results


def test_the_summary_for_a_person_goes_to_stdout_and_nothing_else_does(world: World) -> None:
    done = world.lookout("run", "photos", "--state", "state")
    for text in ("skipped", UNNAMED, "truncated", "porch", "Alerts: none new.", "file://", "index.html"):
        assert text in done.out
    assert done.err == ""


def test_a_changed_picture_is_redone_and_a_deleted_one_takes_its_results_along(world: World) -> None:
    world.put(NEW)
    (world.photos / NEW).rename(world.photos / CALM)  # another picture under a known name
    (world.photos / THREAT).unlink()
    said = world.run()
    assert said["stages"]["validate"] == {"success": 1, "skipped": 2, "failed": 0, "unrunnable": 0}
    assert (said["retracted"], said["threats"]) == (1, {})
    found = world.results()
    assert not [path for path in found if "porch/1763798400" in path or THREAT in path]
    assert found[f"validate/valid/{CALM}"] == (PHOTOS / NEW).read_bytes()


def test_single_files_are_added_and_retract_nothing(world: World, finished: Finished) -> None:
    world.put(NEW)
    (world.photos / UNNAMED).unlink()
    done = world.lookout("run", f"photos/{NEW}", f"photos/{THREAT}", "--state", "state", "--json").json
    assert done["stages"]["validate"] == {"success": 1, "skipped": 1, "failed": 0, "unrunnable": 0}
    assert (done["retracted"], done["threats"]) == (0, {"gate": 1, "porch": 1})
    assert finished.results.keys() < world.results().keys()


def test_paths_of_one_folder_may_be_written_in_any_way(world: World) -> None:
    for way in ("photos/", "./photos", "rules/../photos", world.photos):
        said = world.lookout("run", way, "--state", "state", "--json").json
        assert only(said["stages"], "skipped")["validate"] == 4
    world.lookout("run", f"rules/../photos/{THREAT}", "--state", "state")


# --- options that stay in force --------------------------------------------------------------------------------------


def test_a_threshold_stays_in_force_until_another_is_given(world: World, finished: Finished) -> None:
    strict = world.run("--threshold", "0.99")
    assert only(strict["stages"], "success")["object-detect"] == 2
    assert strict["stages"]["validate"]["success"] == 0
    assert strict["threats"] == {}
    assert only(world.run()["stages"], "skipped")["object-detect"] == 2
    assert json.loads(world.results()["object-detect/porch/1763798400.json"])["threshold"] == 0.99
    back = world.run("--threshold", "0.5")
    assert back["threats"] == finished.first["threats"]
    assert set(back["alerts"].values()) == {0}
    assert len(world.letters()) == 2


def test_a_broken_rule_file_is_refused_by_name_and_the_last_good_one_stays(world: World, finished: Finished) -> None:
    (world.root / "rules" / "home.json").write_text('{"version": 1, "rules": [')
    said = world.run("--rules", "rules")
    assert [item["name"] for item in said["refused"]] == ["home.json"]
    assert "line 1" in said["refused"][0]["reason"]
    assert said["threats"] == finished.first["threats"]
    assert said["stages"]["threat-detect"]["skipped"] == 2
    text = world.lookout("run", "photos", "--state", "state", "--rules", "rules").out
    assert "Refused" in text
    assert "home.json" in text


def test_rules_and_model_stay_in_force_without_being_named_again(world: World) -> None:
    shutil.rmtree(world.root / "rules")
    world.put(NEW)
    said = world.run()
    assert said["threats"] == {"gate": 1, "porch": 1}
    assert said["alerts"]["written"] == 2
    in_force = world.lookout("status", "--state", "state", "--json").json["in_force"]
    assert in_force == {"devices": [], "model": ["ssdlite_mobilenet_v2_coco"], "rules": ["home.json"]}


def test_an_empty_rules_folder_is_said_to_be_empty_and_changes_nothing(world: World) -> None:
    (world.root / "none").mkdir()
    for option in ("--rules", "--model"):
        said = world.run(option, "none")
        assert ["no usable file" in item["reason"] for item in said["refused"]] == [True]
        assert said["threats"] == {"porch": 1}


def test_more_alerts_than_max_mails_become_one_digest_a_recipient(empty_world: World) -> None:
    empty_world.put(THREAT, NEW)
    rules = PHOTOS.parent / "rules"
    said = empty_world.run("--rules", rules, "--max-mails", "1")
    assert said["alerts"]["written"] == 4
    assert said["alerts"]["digests"] == 2
    assert len(empty_world.letters()) == 2


# --- lost results and lost sources -----------------------------------------------------------------------------------


def test_verify_makes_again_what_was_lost_from_the_state(world: World, finished: Finished) -> None:
    lost = world.state / "objects" / "threat-detect" / "porch" / "1763798400.jpg"
    lost.unlink()
    found = world.lookout("doctor", "--state", "state", code=1)
    assert "1 lost or changed" in found.out
    assert world.run("--verify")["stages"]["threat-detect"]["success"] == 1
    assert but_the_page(world.results()) == but_the_page(finished.results)
    assert len(world.letters()) == 2
    world.lookout("doctor", "--state", "state", "--objects")


def test_an_unmounted_source_retracts_nothing(world: World, finished: Finished) -> None:
    away = world.photos.rename(world.root / "away")
    assert "mounted" in world.refused("run", "photos", "--state", "state")
    world.photos.mkdir()
    said = world.run(code=2)
    assert (said["held_back"], said["retracted"]) == (4, 0)
    assert world.results() == finished.results
    world.photos.rmdir()
    away.rename(world.photos)
    said = world.run()
    assert (said["retracted"], only(said["stages"], "skipped")["validate"]) == (0, 4)


def test_many_deletions_at_once_need_a_flag(empty_world: World) -> None:
    for number in range(30):
        (empty_world.photos / f"note{number}.jpg").write_text("no picture")
    assert len(empty_world.run()["invalid"]) == 30
    for number in range(25):
        (empty_world.photos / f"note{number}.jpg").unlink()
    (empty_world.photos / "new.jpg").write_text("no picture either")
    said = empty_world.run(code=2)
    assert (said["held_back"], said["retracted"], len(said["invalid"])) == (25, 0, 31)
    assert "Held back: 25 of 31 pictures are gone; the results of 25 are kept (if they were deleted on purpose," in (
        empty_world.lookout("run", "photos", "--state", "state", code=2).out
    )
    status = empty_world.lookout("status", "--state", "state", "--json").json
    assert status["held_back"]["pictures"] == 25
    assert "held back 25 of 31" in empty_world.lookout("status", "--state", "state").out
    assert "BAD  deletions" in empty_world.lookout("doctor", "--state", "state", code=1).out
    said = empty_world.run("--allow-deletions")
    assert (said["retracted"], said["held_back"], len(said["invalid"])) == (25, 0, 6)
    assert empty_world.lookout("status", "--state", "state", "--json").json["held_back"] is None
    empty_world.lookout("doctor", "--state", "state")


def test_a_retention_lets_old_pictures_go_and_stays_in_force(empty_world: World) -> None:
    for number in range(30):
        (empty_world.photos / f"note{number}.jpg").write_text(f"no picture {number}")
    empty_world.run("--retention", "1s")
    time.sleep(1.1)  # the retention itself
    for number in range(25):
        (empty_world.photos / f"note{number}.jpg").unlink()
    said = empty_world.run()
    assert (said["retracted"], said["held_back"]) == (25, 0)
    assert "is not a valid time" in empty_world.lookout("run", "photos", "--retention", "soon", code=2).err


def test_a_failed_datum_ends_the_run_with_1_and_is_named_on_both_streams(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(b"x")
    link = world.photos / "porch_1763798999.jpg"
    link.symlink_to(elsewhere)
    done = world.lookout("run", "photos", "--state", "state", "--json", code=1)
    assert [(item["stage"], item["key"]) for item in done.json["failures"]] == [("validate", link.name)]
    assert "leads outside" in done.json["failures"][0]["error"]
    assert link.name in done.err
    assert done.json["stages"]["validate"]["skipped"] == 4
    assert link.name in world.lookout("datums", "list", "--in", "failed", "--state", "state").out
    link.unlink()
    assert world.run()["failures"] == []
