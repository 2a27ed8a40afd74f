"""The declaration of the four stages, by what the real pipeline does with sample photographs when something changes.

A wrong line in ``stages/pipeline.py`` shows here: an input or a reference left out, another bucket, a parameter that is
no part of the recipe.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lookout.domain.identity import MAX_INPUT_BYTES

from .conftest import Finished
from .site import CAT, CUP, CUT, NOW_S, PERSON, PHOTOS, ROOT, Site, rule

VALID = [PERSON, CAT, CUP]
ALL = {"validate": 4, "object-detect": 3, "threat-detect": 3, "plot": 5}
"""plot draws a chart for each of four devices and days, and the overview."""


def test_each_stage_works_on_each_datum_once(finished: Finished) -> None:
    assert finished.did == ALL


def test_each_stage_reads_what_it_needs_and_writes_where_it_should(site: Site) -> None:
    read = {slot: {(seen.role, seen.ref.path) for seen in record.inputs} for slot, record in site.records().items()}
    for key in PHOTOS:
        assert read["validate", key] == {("picture", f"images/{key}")}
    model = {(f"model:{role}", f"model/ssdlite_mobilenet_v2_coco/{role}") for role in ("manifest", "weights")}
    for key, rules in ((PERSON, {"porch"}), (CAT, {"yard"}), (CUP, set())):
        picture = ("picture", f"validate/valid/{key}")
        detections = f"object-detect/{key.replace('_', '/').replace('.jpg', '.json')}"
        assert read["object-detect", key] == {picture} | model
        assert read["threat-detect", key] == {picture, ("detections", detections)} | {
            ("rules:rules", f"rules/{name}.json/rules") for name in rules
        }
    assert {slot for slot in read if slot[0] in ("object-detect", "threat-detect")} == {
        (stage, key) for stage in ("object-detect", "threat-detect") for key in VALID
    }
    assert {role: path.partition("/")[0] for slot in read if slot[0] == "plot" for role, path in read[slot]} == {
        "members": "threat-detect"
    }
    assert {path for path in site.results() if "/invalid/" in path} == {
        f"validate/invalid/{CUT}",
        f"validate/invalid/{CUT}.json",
    }
    assert {path for path in site.results() if path.startswith("threat-detect/")} == {
        f"threat-detect/{threat}.{ending}"
        for threat in ("porch/1763798400", "yard/1763798460")
        for ending in ("jpg", "json")
    }


def test_a_second_run_does_nothing(site: Site) -> None:
    before = site.end()
    assert site.run() == {}
    assert site.end() == before


def test_without_rules_there_is_no_threat_and_no_alert(tmp_path: Path) -> None:
    site = Site(root=tmp_path)
    site.put(PERSON)
    assert site.run() == {"validate": 1, "object-detect": 1, "threat-detect": 1, "plot": 2}
    assert not any(path.startswith("threat-detect/") for path in site.results())
    assert not site.end()["alerts"]


def test_a_changed_rule_is_applied_to_the_pictures_of_its_device_only(site: Site) -> None:
    site.put_rule("porch", rule("porch", "dog"))
    assert site.run() == {"threat-detect": 1, "plot": 2}
    assert "threat-detect/porch/1763798400.json" not in site.results()
    assert "threat-detect/yard/1763798460.json" in site.results()


def test_a_rule_and_back_makes_the_same_visible_again_without_work(site: Site) -> None:
    before = site.end()
    site.put_rule("porch", rule("porch", "dog"))
    site.run()
    site.put_rule("porch", rule("porch", "person"))
    assert site.run() == {}
    assert site.end() == before


def test_another_threshold_detects_again_and_nothing_before_that(site: Site) -> None:
    site.pipeline = site.pipeline.with_params({"object-detect": {"threshold": 0.99}})
    assert site.run() == {"object-detect": 3, "threat-detect": 3, "plot": 4}
    assert not any(path.startswith("threat-detect/") for path in site.results())


def test_another_model_detects_again_and_nothing_before_that(site: Site, tmp_path: Path) -> None:
    for file in (ROOT / "models").glob("ssdlite*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = tmp_path / "ssdlite_mobilenet_v2_coco.json"
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', '"threshold": 0.99'))
    before = site.end()
    threats = {path for path in site.results() if path.startswith("threat-detect/")}
    shipped, site.model = site.model, tmp_path / site.model.name
    did = site.run()
    assert (did.get("validate"), did["object-detect"]) == (None, 3)
    # The threshold that the pipeline declares holds, whatever the manifest says.
    assert {path for path in site.results() if path.startswith("threat-detect/")} == threats
    site.model = shipped
    assert site.run() == {}
    assert site.end() == before


def test_a_deleted_photograph_takes_its_results_with_it(site: Site) -> None:
    (site.root / "photos" / PERSON).unlink()
    assert site.run() == {"validate": 1, "object-detect": 1, "threat-detect": 1, "plot": 2}
    assert not any("1763798400" in path or path.startswith("plot/data/porch") for path in site.results())
    site.put(PERSON)
    assert site.run() == {}


def test_a_smaller_limit_of_validate_refuses_what_is_larger(site: Site) -> None:
    limit = (ROOT / "examples" / "photos" / PERSON).stat().st_size - 1
    site.pipeline = site.pipeline.with_params({"validate": {"max_bytes": limit}})
    assert site.run()["validate"] == 4
    invalid = {path for path in site.results() if path.startswith("validate/invalid/") and path.endswith(".jpg")}
    assert f"validate/invalid/{PERSON}" in invalid
    assert not any("1763798400" in path for path in site.results() if path.startswith(("object", "threat")))


def test_a_picture_larger_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    site = Site(root=tmp_path)
    validate = site.pipeline.stage("validate")
    assert validate.params["max_bytes"] == validate.reads[0].max_bytes
    site.put(PERSON)
    with (tmp_path / "photos" / PERSON).open("r+b") as file:
        file.truncate(MAX_INPUT_BYTES + 1)
    assert site.run() == {"validate": 1, "plot": 2}
    (record,) = (record for slot, record in site.records().items() if slot[0] == "validate")
    assert record.label == "invalid: too-large"
    assert [ref.path for ref in record.outputs] == [f"validate/invalid/{PERSON}.json"]


def test_a_picture_of_the_future_is_looked_at_again_when_its_time_has_come(tmp_path: Path) -> None:
    site = Site(root=tmp_path, now_s=1_763_000_000.0)
    site.put(PERSON)
    assert site.run() == {"validate": 1, "plot": 2}
    site.now_s = NOW_S
    assert site.run() == {"validate": 1, "object-detect": 1, "threat-detect": 1, "plot": 2}


@pytest.mark.parametrize(
    ("stage", "again"),
    [
        ("validate", {"validate": 4}),
        ("object-detect", {"object-detect": 3}),
        ("threat-detect", {"threat-detect": 3, "plot": 2}),
        ("plot", {"plot": 5}),
    ],
)
def test_a_raised_version_has_its_stage_done_again_and_what_reads_a_change(
    site: Site, stage: str, again: dict[str, int]
) -> None:
    before = site.results()
    stages = tuple(
        replace(each, version=each.version + 1) if each.name == stage else each for each in site.pipeline.stages
    )
    site.pipeline = replace(site.pipeline, stages=stages)
    assert site.run() == again
    after = site.results()
    assert {path for path in before if before[path] != after[path] and not path.startswith("plot/")} == set()
