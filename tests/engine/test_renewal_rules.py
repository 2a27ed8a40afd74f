"""Refusals by an earlier edition of the checks: made again once by one that refuses less; and nothing else is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stages.pipeline import PIPELINE
from stages.validate.reasons import EDITION, Reason
from stages.validate.times import RECONSIDERED, is_outdated

from .world import World

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
GOOD, CUT, NAMELESS = "porch_1763798400.jpg", "yard_1763798700.jpg", "IMG_0001.jpg"
NOW_S = 1_764_000_000.0
VALIDATE = PIPELINE.stage("validate")
TODAY = replace(PIPELINE, stages=(VALIDATE,))
BEFORE = replace(PIPELINE, stages=(replace(VALIDATE, prepare="tests.engine.older_rules:prepare"),))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A state of an older version, which has refused everything."""
    made = World(tmp_path, pipeline=BEFORE, now_s=NOW_S)
    for name in (GOOD, CUT, NAMELESS):
        shutil.copyfile(PHOTOS / name, made.source / name)
    assert made.run().engine.report.success == {"validate": 3}
    made.pipeline = TODAY
    return made


def facts(world: World, key: str) -> dict[str, object]:
    with world.ledger() as ledger:
        record = ledger.find_slots("validate", [key])[key].record
    assert record is not None
    return dict(record.facts)


def test_what_is_refused_no_more_is_accepted_by_the_first_run_after_an_upgrade(world: World) -> None:
    assert facts(world, GOOD)["reason"] == "too-many-pixels"
    assert world.run().engine.report.success == {"validate": 3}
    assert "reason" not in facts(world, GOOD)
    assert f"validate/valid/{GOOD}" in world.results()
    assert not [path for path in world.results() if "invalid" in path and GOOD in path]


def test_what_is_still_refused_is_not_judged_again(world: World) -> None:
    world.run()
    assert (facts(world, CUT)["reason"], facts(world, CUT)["edition"]) == ("truncated", EDITION)
    for _ in range(2):
        assert world.run().engine.report.success == {}


def test_the_recipe_is_that_of_the_older_version() -> None:
    assert VALIDATE.recipe == "1b20bff458f05079d5df5d18b77e57618efffc41e7c34b45c4d4e2d3460f2ba3"
    assert VALIDATE.params == {"max_bytes": 32 * 1024 * 1024}


@pytest.mark.parametrize("reason", Reason)
def test_only_reasons_that_refuse_less_are_outdated_and_only_of_an_earlier_edition(reason: Reason) -> None:
    if reason != Reason.TIME_IN_FUTURE:
        first, today = {"reason": reason.value}, {"reason": reason.value, "edition": EDITION}
        assert is_outdated(GOOD, first, {}, NOW_S) == (reason in RECONSIDERED)
        assert not is_outdated(GOOD, today, {}, NOW_S)
