"""Verdicts of a clock that was behind: made again when it is right, by whatever comes next; and no others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lookout.domain.records import Mark, State
from lookout.maintenance.renewal import renew
from lookout.reports.preview import Action, plan
from stages.pipeline import PIPELINE

from .world import World

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
PICTURE = "porch_1763798400.jpg"
TAKEN_S = 1_763_798_400.0
BOOTED_S = 1_577_836_800.0
"""2020: a small computer without a clock, before it has asked for the time."""
FIRST_ONLY = replace(PIPELINE, stages=PIPELINE.stages[:1])


@pytest.fixture
def world(tmp_path) -> World:
    made = World(tmp_path, pipeline=FIRST_ONLY, now_s=BOOTED_S)
    shutil.copyfile(PHOTOS / PICTURE, made.source / PICTURE)
    made.run()
    assert verdict(made) == "time-in-future"
    return made


def verdict(world: World) -> object:
    with world.ledger() as ledger:
        record = ledger.find_slots("validate", [PICTURE])[PICTURE].record
    assert record is not None
    return record.facts.get("reason")


def test_a_picture_of_the_future_is_judged_again_when_its_time_has_come(world: World) -> None:
    world.now_s = TAKEN_S + 60
    assert world.run().engine.report.success == {"validate": 1}
    assert verdict(world) is None
    assert f"validate/valid/{PICTURE}" in world.results()
    assert not [path for path in world.results() if "invalid" in path]
    assert world.run().engine.report.success == {}, "once"


def test_a_plan_shows_what_is_outdated_as_soon_as_it_is(world: World) -> None:
    with world.runner() as runner:
        assert list(plan(world.pipeline, runner.ledger, runner.store, now_s=world.now_s)) == []
        items = list(plan(world.pipeline, runner.ledger, runner.store, now_s=TAKEN_S + 60))
        assert [(item.stage, item.key, item.action, item.reason, item.sure) for item in items] == [
            ("validate", PICTURE, Action.PROCESS, "outdated", True)
        ]
        assert list(runner.ledger.dirty("validate")) == []


def test_while_its_time_has_not_come_nothing_is_done_again(world: World) -> None:
    world.now_s = BOOTED_S + 3600
    ran = world.run()
    assert ran.engine.report.success == {}
    with world.ledger() as ledger:
        assert renew(world.pipeline, ledger, world.now_s) == 0
        assert ledger.count_dirty("validate") == 0


def test_a_datum_that_is_invalidated_is_judged_by_the_time_at_which_it_is_done(world: World) -> None:
    world.now_s = TAKEN_S + 60
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="validate", key=PICTURE)], salt="somebody asked")
    world.run()
    assert verdict(world) is None


def test_a_clock_that_is_behind_again_takes_no_verdict_back(world: World) -> None:
    world.now_s = TAKEN_S + 60
    world.run()
    world.now_s = BOOTED_S
    world.run(verify=True)
    assert verdict(world) is None


def test_a_picture_that_went_and_came_back_is_judged_again(world: World) -> None:
    (world.source / PICTURE).rename(world.root / PICTURE)
    world.run()
    (world.root / PICTURE).rename(world.source / PICTURE)
    world.now_s = TAKEN_S + 60
    for _ in range(2):  # history has a verdict, which is looked at by the run after
        world.run()
    assert verdict(world) is None


def test_only_labelled_datums_are_looked_at_and_one_that_waits_is_left_alone(world: World) -> None:
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="validate", key=PICTURE)])
        assert renew(world.pipeline, ledger, TAKEN_S) == 0
        with ledger.session() as owner:
            (claim,) = ledger.claim("validate", owner, 1, 60.0)
        assert claim.slot.state is State.SUCCESS
