"""Notes on rules that do not fit the model, the threshold or the devices, from rule files of every form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accepted
from lookout.domain.records import ObjectRef, Reference
from lookout.domain.rule_fit.codec import devices_from_meta, file_from_meta, file_to_meta, rule_to_meta
from lookout.domain.rule_fit.judge import find_notes
from lookout.domain.rule_fit.records import (
    DeviceFacts,
    FileFacts,
    FitNote,
    Kind,
    ModelFacts,
    RuleFacts,
    Surroundings,
    Wish,
)
from stages.threat_detect.rules.rules import accept
from stages.validate.devices_file import accept as accept_devices

COCO = ModelFacts(name="coco", labels={1: "person", 3: "car", 17: "cat", 18: "dog"})
WILD = ModelFacts(name="wild", labels={1: "animal", 2: "person", 3: "vehicle"})
AROUND = Surroundings(model=COCO, threshold=0.5, devices=frozenset({"porch", "yard", "gate-1"}))


def rule(**fields: Any) -> dict[str, Any]:
    given = {"name": "people", "user": "home", "classes": ["person"], "from": "a@example.com", "to": ["b@example.com"]}
    return {**given, **fields}


def document(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"rules": [rule(**one) for one in rules or ({},)], **fields}


def facts(tree: dict[str, Any], file: str = "home.json") -> FileFacts:
    """The facts of a document, as the ledger gives them back."""
    data = json.dumps(tree).encode()
    (unit,) = accept({file: data})
    assert isinstance(unit, Accepted), unit
    ref = ObjectRef(bucket="rules", key=file, sha256=sha256(data), size=len(data))
    return file_from_meta(
        Reference(bucket="rules", name=unit.name, files={"rules": ref}, meta=json.loads(json.dumps(unit.meta)))
    )


def notes(tree: dict[str, Any], **around: Any) -> list[FitNote]:
    fields = {name: around.get(name, getattr(AROUND, name)) for name in ("model", "threshold", "devices", "listed")}
    return list(find_notes([facts(tree)], Surroundings(**fields)))


VERSIONS = [{"version": 1}, {"version": 2}]


@pytest.mark.parametrize("version", VERSIONS)
def test_rules_that_fit_have_no_note(version: dict[str, int]) -> None:
    devices = ["porch", "gate-*", "y[aeiou]rd", "*"]
    wanted = [{"class": "person", "min_score": 0.5}, "cat", 3]
    assert notes(document({"devices": devices, "classes": wanted}, **version)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_class_that_the_model_does_not_have_is_named_and_one_that_is_close_too(version: dict[str, int]) -> None:
    tree = document({"classes": ["Persons", "car"]}, labels="custom", **version)
    assert notes(tree) == [
        FitNote(
            kind=Kind.CLASS,
            file="home.json",
            rule="people",
            what="the model coco has no class persons (did you mean person?)",
        )
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rule_all_of_whose_classes_are_unknown_is_without_effect(version: dict[str, int]) -> None:
    (note,) = notes(document({"classes": ["bear", 23 + 1]}, **version))
    assert (note.kind, note.without_effect) == (Kind.CLASS, True)
    assert note.sentence == (
        "home.json: rule 'people': the model coco has no class bear or 24 (it has person, car, cat and dog): "
        "this rule can match nothing"
    )


@pytest.mark.parametrize("spelled", ["PERSON", "Person", "person"])
def test_capitals_of_a_class_do_not_matter_on_either_side(spelled: str) -> None:
    model = ModelFacts(name="m", labels={1: "PeRson"})
    assert notes(document({"classes": [spelled]}, labels="custom"), model=model) == []


def test_the_original_form_is_compared_by_its_ids() -> None:
    tree = {"from_email": "a@example.com", "to_email": "b@example.com", "threat_classes": [1, 3, 4, 8]}
    (note,) = notes(tree)
    assert (note.rule, note.without_effect) == ("home", False)
    assert note.what == "the model coco has no class 4 or 8 (it has person, car, cat and dog)"


@pytest.mark.parametrize("tree", [document({"classes": [1]}), document({"classes": [1]}, version=2)])
def test_an_id_of_coco_that_the_model_gives_to_another_class_is_named(tree: dict[str, Any]) -> None:
    (note,) = notes(tree, model=WILD)
    assert (note.kind, note.without_effect) == (Kind.CLASS_ID, False)
    assert note.what == "class 1 is person in COCO and animal in the model wild: write the name"
    assert notes({**tree, "labels": "custom"}, model=WILD) == [], "these ids are the model's own"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_min_score_below_the_threshold_is_named_and_one_at_it_is_not(version: dict[str, int]) -> None:
    wanted = [{"class": "person", "min_score": 0.5}, {"class": "cat", "min_score": 0.25}, "dog"]
    (note,) = notes(document({"classes": wanted, "min_score": 0.3}, **version))
    assert note.kind is Kind.MIN_SCORE
    assert note.what == "min_score 0.25 and 0.3 is below the detection threshold 0.5: no object below that is detected"
    assert notes(document({"classes": wanted, "min_score": 0.3}, **version), threshold=0.25) == []
    assert notes(document({}, **version), threshold=0.9) == [], "a rule without a score of its own follows it"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pattern_that_matches_no_device_is_named(version: dict[str, int]) -> None:
    (note,) = notes(document({"devices": ["porch", "Yard", "garage-*"]}, **version))
    assert (note.kind, note.without_effect) == (Kind.DEVICE, False)
    assert note.what == "no known device matches Yard or garage-* (did you mean yard?)"


def test_a_rule_that_watches_no_known_device_is_without_effect() -> None:
    (note,) = notes(document({"devices": ["hall-?"]}))
    assert note.without_effect
    assert note.what == "no known device matches hall-? (known are gate-1, porch and yard): this rule can match nothing"


def test_many_devices_are_counted() -> None:
    (note,) = notes(document({"devices": ["x"]}), devices=frozenset(f"porch-{number}" for number in range(12)))
    assert "(known are porch-0, porch-1, porch-10, porch-11, porch-2 and 7 more)" in note.what


def test_nothing_is_said_of_devices_while_none_is_known_and_of_classes_without_a_model() -> None:
    tree = document({"devices": ["hall"], "classes": ["forklift"]}, labels="custom")
    listed = (DeviceFacts(file="devices.json", said="1", name="gate"),)
    assert notes(tree, devices=frozenset(), model=None, listed=listed) == []


def test_sites_clocks_and_zones_of_version_2_are_compared_too() -> None:
    zone = {"name": "drive", "polygon": [[0, 0], [1, 0], [1, 1]], "devices": ["gate-*", "gait-1"]}
    tree = document(
        {"zones": [zone, {**zone, "name": "all", "devices": ["*"]}]},
        version=2,
        sites={"home": ["porch"], "cabin": ["cabin-*"]},
        clocks=[{"devices": ["yard"], "offset": "-1h"}, {"devices": ["trail-*"], "use": "received"}],
    )
    assert [(note.kind, note.rule, note.what.partition(" (")[0]) for note in notes(tree)] == [
        (Kind.ZONE, "people", "zone 'drive': no known device matches gait-1"),
        (Kind.SITE, None, "site 'cabin': no known device matches cabin-*"),
        (Kind.CLOCK, None, "clocks[1]: no known device matches trail-*"),
    ]


def test_devices_of_a_devices_file_without_a_picture_are_named_once_and_not_with_each_rule() -> None:
    devices = {"10.0.0.1": {"name": "porch"}, "10.0.0.2": {"name": "hall"}, "cellar": {}}
    data = json.dumps({"names": [], "devices": devices}).encode()
    units = [unit for unit in accept_devices({"devices.json": data}) if isinstance(unit, Accepted)]
    listed = tuple(
        devices_from_meta(Reference(bucket="devices", name=unit.name, files={}, meta=unit.meta) for unit in units)
    )
    found = notes(document({"devices": ["hall", "cellar"]}), listed=listed)
    assert [(note.kind, note.file, note.what) for note in found] == [
        (
            Kind.DEVICES_FILE,
            "devices.json",
            "no picture of the device 'hall' (in names of pictures '10.0.0.2') is known",
        ),
        (Kind.DEVICES_FILE, "devices.json", "no picture of the device 'cellar' is known"),
    ]


def test_a_file_that_an_older_version_accepted_is_not_called_fitting() -> None:
    old = Reference(
        bucket="rules", name="a.json", files={}, meta={"rules": [{"name": "x", "user": "u", "devices": ["*"]}]}
    )
    (note,) = find_notes([file_from_meta(old)], AROUND)
    assert (note.kind, note.rule, note.without_effect) == (Kind.NOT_COMPARED, "x", False)


def test_what_is_kept_of_a_file_is_read_back_as_it_was() -> None:
    file = FileFacts(
        file="a.json",
        rules=(
            RuleFacts(
                name="x",
                devices=("a", "b*"),
                wishes=(Wish(classes=(1, "dog")), Wish(classes=("cat",), min_score=0.25)),
                zones={"z": ("a",)},
            ),
        ),
        sites={"s": ("a", "b")},
        clocks=(("a",), ("b",)),
        meanings={1: "person"},
    )
    plain = [{"name": one.name, "devices": list(one.devices), **rule_to_meta(one)} for one in file.rules]
    meta = json.loads(json.dumps({"rules": plain, **file_to_meta(file)}))
    assert file_from_meta(Reference(bucket="rules", name="a.json", files={}, meta=meta)) == file


@pytest.mark.parametrize("meta", [{}, {"rules": 5}, {"rules": [5, {}]}, {"rules": [{"wanted": 3, "devices": "x"}]}])
def test_meta_of_another_shape_is_no_error(meta: dict[str, Any]) -> None:
    find_notes([file_from_meta(Reference(bucket="rules", name="a.json", files={}, meta=meta))], AROUND)


def test_what_is_kept_is_about_as_long_as_the_file() -> None:
    rules = [rule(name=f"r{number}", classes=list(range(1, 12)), devices=[f"d{number}"]) for number in range(500)]
    data = json.dumps({"rules": rules}).encode()
    (unit,) = accept({"home.json": data})
    assert isinstance(unit, Accepted)
    assert len(json.dumps(unit.meta)) < len(data)
