"""The reader of the fit of rules in force: what it reads of a ledger, when, and what changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devkit.contracts.ledger_kit import ManualClock, seen
from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accepted, Pipeline
from lookout.domain.records import ObjectRef, Reference
from lookout.domain.rule_fit.records import FitNote, Kind
from lookout.ledger.batches import BatchLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.references.fit import EVERY_S, FitReader
from stages.pipeline import PIPELINE
from stages.threat_detect.rules.rules import accept
from tests.device_health.test_reader import START_S, Site


@pytest.fixture(params=["memory", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    clock = ManualClock(START_S)
    ledger: BatchLedger = (
        memory_ledger(clock) if request.param == "memory" else SqliteLedger(tmp_path / "ledger", clock=clock)
    )
    with closing(ledger), ledger.session() as owner:
        yield Site(ledger, owner, clock)


def enforce_rules(ledger: BatchLedger, *rules: dict[str, Any], **fields: Any) -> None:
    given = {"name": "people", "user": "home", "classes": ["person"], "from": "a@example.com", "to": ["b@example.com"]}
    data = json.dumps({"rules": [{**given, **one} for one in rules], **fields}).encode()
    (unit,) = accept({"home.json": data})
    assert isinstance(unit, Accepted), unit
    ref = ObjectRef(bucket="rules", key="home.json/rules", sha256=sha256(data), size=len(data))
    ledger.enforce("rules", [Reference(bucket="rules", name="home.json", files={"rules": ref}, meta=unit.meta)])


def enforce_model(ledger: BatchLedger, **labels: int) -> None:
    ref = ObjectRef(bucket="model", key="m/weights", sha256=sha256(str(labels).encode()), size=1)
    meta = {"labels": list(labels), "class_ids": list(labels.values()), "threshold": 0.4}
    ledger.enforce("model", [Reference(bucket="model", name="m", files={"weights": ref}, meta=meta)])


def kinds(notes: tuple[FitNote, ...]) -> list[Kind]:
    return [note.kind for note in notes]


def reader(pipeline: Pipeline = PIPELINE, clock: ManualClock | None = None) -> FitReader:
    return FitReader(lambda: pipeline, uptime=clock or ManualClock(0.0))


def test_nothing_in_force_is_nothing_to_say(site: Site) -> None:
    assert reader().look(site.ledger) == ()


def test_another_model_and_other_rules_are_compared_with_the_next_look(site: Site) -> None:
    look = reader()
    enforce_rules(site.ledger, {})
    assert look.look(site.ledger) == (), "no model is in force yet"
    enforce_model(site.ledger, forklift=1001)
    assert kinds(look.look(site.ledger)) == [Kind.CLASS]
    enforce_model(site.ledger, person=1)
    assert look.look(site.ledger) == ()
    enforce_rules(site.ledger, {"classes": ["cat"]})
    assert kinds(look.look(site.ledger)) == [Kind.CLASS]


def test_the_threshold_is_that_of_the_stage_or_else_the_models(site: Site) -> None:
    enforce_rules(site.ledger, {"min_score": 0.45})
    enforce_model(site.ledger, person=1)
    assert kinds(reader().look(site.ledger)) == [Kind.MIN_SCORE]
    lower = PIPELINE.with_params({"object-detect": {"threshold": 0.3}})
    assert reader(lower).look(site.ledger) == ()
    of_model = PIPELINE.with_params({"object-detect": {"threshold": None}})
    assert reader(of_model).look(site.ledger) == ()
    enforce_rules(site.ledger, {"min_score": 0.35})
    assert kinds(reader(of_model).look(site.ledger)) == [Kind.MIN_SCORE]


def test_devices_are_those_with_a_picture_and_are_read_again_after_a_minute_or_with_other_rules(site: Site) -> None:
    clock = ManualClock(0.0)
    look = reader(clock=clock)
    site.take("porch", START_S)
    enforce_rules(site.ledger, {"devices": ["porch", "gate"]})
    assert kinds(look.look(site.ledger)) == [Kind.DEVICE]
    site.take("gate", START_S + 60)
    assert kinds(look.look(site.ledger)) == [Kind.DEVICE]
    clock.now_s += EVERY_S
    assert look.look(site.ledger) == ()
    site.take("yard", START_S + 120)
    enforce_rules(site.ledger, {"devices": ["porch", "gate", "yard"]})
    assert look.look(site.ledger) == ()


def test_a_picture_that_waits_counts_and_one_whose_name_says_no_device_defers_the_answer(site: Site) -> None:
    site.take("porch", START_S)
    enforce_rules(site.ledger, {"devices": ["gate"]})
    assert kinds(reader().look(site.ledger)) == [Kind.DEVICE]
    site.ledger.observe([seen("gate_1763798400.jpg", "1")], ["validate"])
    assert reader().look(site.ledger) == ()
    enforce_rules(site.ledger, {"devices": ["hall"]})
    assert kinds(reader().look(site.ledger)) == [Kind.DEVICE]
    site.ledger.observe([seen("IMG_1.jpg", "2")], ["validate"])
    assert reader().look(site.ledger) == (), "it may be of any device"


def test_a_device_whose_pictures_are_gone_is_not_known(site: Site) -> None:
    site.take("porch", START_S)
    site.take("gate", START_S)
    enforce_rules(site.ledger, {"devices": ["gate"]})
    assert reader().look(site.ledger) == ()
    site.retract("gate_2.jpg")
    assert kinds(reader().look(site.ledger)) == [Kind.DEVICE]


def test_what_would_be_in_force_is_compared_instead_of_what_is(site: Site) -> None:
    site.take("porch", START_S)
    enforce_model(site.ledger, person=1)
    enforce_rules(site.ledger, {"classes": ["cat"], "devices": ["gate"]})
    assert kinds(reader().look(site.ledger)) == [Kind.DEVICE, Kind.CLASS]
    assert kinds(reader().look(site.ledger, {"model": ()}, {"gate"})) == []
    assert reader().look(site.ledger, {"rules": ()}) == ()


class Counting:
    """A ledger that counts how often its tallies are read."""

    def __init__(self, ledger: BatchLedger) -> None:
        self._ledger, self.reads = ledger, 0

    def sums(self, name: str) -> dict[str, int]:
        self.reads += 1
        return self._ledger.sums(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def test_tallies_are_read_once_and_not_at_all_where_no_rule_names_a_device(site: Site) -> None:
    ledger: Any = Counting(site.ledger)
    look = reader()
    enforce_rules(site.ledger, {})
    look.look(ledger)
    assert ledger.reads == 0
    enforce_rules(site.ledger, {"devices": ["porch"]})
    for _ in range(5):
        look.look(ledger)
    assert ledger.reads == 1
