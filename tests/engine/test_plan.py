"""The plan says what a run would do and why, and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.toy_pipeline import toy_pipeline
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Mark, Observation, Reference, State
from lookout.engine.report import Progress
from lookout.reports.preview import Action, Item, plan, suppose
from lookout.runs.runner import Order
from lookout.sources.folder import observe_file, scan

from .test_semantics import die_with, enter
from .world import World, words


def snapshot(world: World) -> tuple[list[str], dict[str, bytes]]:
    """All that the ledger holds, and every file beside it."""
    connection = sqlite3.connect(world.root / "state" / "ledger.sqlite")
    dump = list(connection.iterdump())
    connection.close()
    files = {
        path.relative_to(world.root).as_posix(): path.read_bytes()
        for path in world.root.rglob("*")
        if path.is_file() and not path.name.startswith("ledger.sqlite")
    }
    return dump, files


def foresee(
    world: World,
    *,
    look: bool = False,
    pipeline: Pipeline | None = None,
    seen: Iterable[Observation] = (),
    references: Mapping[str, Sequence[Reference]] | None = None,
) -> list[Item]:
    """The plan; the ledger and all files are the same before and after."""
    before = snapshot(world)
    with world.runner() as runner:
        if look:
            found = scan(world.source, "texts", runner.ledger.inputs("texts"), world.now_s)
            seen = [*found.changed, *found.gone]
        items = list(plan(pipeline or world.pipeline, runner.ledger, runner.store, seen=seen, references=references))
    assert snapshot(world) == before
    return items


def said(items: Iterable[Item]) -> set[tuple[str, str, str, str]]:
    """(stage, key, action, reason); with a question mark where it is not sure."""
    return {(item.stage, item.key, item.action.value + ("" if item.sure else "?"), item.reason) for item in items}


def check(items: Iterable[Item], world: World) -> None:
    """A run does what the plan was sure of, and of the rest only what the plan thought possible."""
    expected = {}
    for action, state in ((Action.PROCESS, State.SUCCESS), (Action.RETRACT, State.RETRACTED)):
        sure = {(item.stage, item.key) for item in items if item.sure and item.action is action}
        possible = {(item.stage, item.key) for item in items if item.action in (action, Action.PROCESS)}
        expected[state] = sure, possible
    steps: list[Progress] = []
    with world.runner() as runner:
        replace(runner, on_progress=steps.append).run(Order(sources=(world.source,)))
    for state, (sure, possible) in expected.items():
        done = {(step.stage, step.key) for step in steps if step.state is state and not step.skipped}
        assert sure <= done <= possible


@pytest.fixture
def finished(world: World) -> World:
    """Two texts that are done, one of them alarming, and a word in force."""
    world.put("a/calm", "calm")
    world.put("a/loud", "alarm")
    world.run(references=words(world, all="!"))
    return world


def test_nothing_to_do_is_an_empty_plan(finished: World) -> None:
    assert foresee(finished) == []
    assert foresee(finished, look=True) == []


def test_a_new_input_is_new_in_every_stage_and_its_group_is_drawn_again(finished: World) -> None:
    finished.put("b/new", "x")
    assert foresee(finished) == []
    assert said(foresee(finished, look=True)) == {
        ("first", "b/new", "process", "new"),
        ("second", "b/new", "process?", "new"),
        ("third", "b/new", "process?", "new"),
        ("sums", "b", "process?", "new"),
        ("sums", "", "process?", "changed"),
    }


def test_a_changed_input_is_changed_and_what_follows_only_perhaps(finished: World) -> None:
    finished.put("a/calm", "other")
    assert said(foresee(finished, look=True)) == {
        ("first", "a/calm", "process", "changed"),
        ("second", "a/calm", "process?", "changed"),
        ("third", "a/calm", "process?", "changed"),
        ("sums", "a", "process?", "changed"),
        ("sums", "", "process?", "changed"),
    }


def test_a_deleted_input_takes_its_results_with_it(finished: World) -> None:
    (finished.source / "a/loud").unlink()
    assert said(foresee(finished, look=True)) == {
        ("first", "a/loud", "retract", "gone"),
        ("second", "a/loud", "retract", "gone"),
        ("third", "a/loud", "retract", "gone"),
        ("sums", "a", "process?", "changed"),
        ("sums", "", "process?", "changed"),
    }


def test_what_was_observed_and_not_worked_is_planned_without_a_look(finished: World) -> None:
    finished.put("a/new", "x")
    with finished.ledger() as ledger:
        ledger.observe([observe_file(finished.source, "a/new", "texts", 1.0)], ["first"])
    assert ("first", "a/new", "process", "new") in said(foresee(finished))


def test_another_word_is_planned_for_whom_it_applies_to_and_is_not_brought_into_force(finished: World) -> None:
    words(finished, a="?")
    with finished.runner() as runner:
        uses = finished.pipeline.stage("second").references
        assert uses is not None
        given, refused = suppose(runner.ledger, runner.workers, uses, finished.root / "words")
        assert [unit.name for unit in runner.ledger.references("words")] == ["all.txt"]
    assert [unit.name for unit in given] == ["a.txt", "all.txt"]
    assert refused == ()
    items = foresee(finished, references={"words": given})
    assert {item for item in said(items) if item[0] == "second"} == {
        ("second", "a/calm", "process", "words"),
        ("second", "a/loud", "process", "words"),
    }
    assert ("third", "a/calm", "process?", "words") in said(items)


def test_a_word_that_would_be_refused_leaves_the_last_good_one(finished: World) -> None:
    words(finished, all="", b="?")
    with finished.runner() as runner:
        uses = finished.pipeline.stage("second").references
        assert uses is not None
        given, refused = suppose(runner.ledger, runner.workers, uses, finished.root / "words")
        assert [unit.name for unit in given] == ["all.txt", "b.txt"]
        assert given[0] == runner.ledger.references("words")[0]
    assert [answer.name for answer in refused] == ["all.txt"]
    assert foresee(finished, references={"words": given[:1]}) == []


def test_another_recipe_or_parameter_is_planned_for_all_of_its_stage(finished: World) -> None:
    for pipeline in (toy_pipeline(version=2), toy_pipeline(mark="+")):
        items = said(foresee(finished, pipeline=pipeline))
        assert {item for item in items if item[0] in ("first", "second")} == {
            ("second", "a/calm", "process", "recipe"),
            ("second", "a/loud", "process", "recipe"),
        }


def test_a_failed_datum_would_be_tried_again_and_what_waits_for_it_perhaps(finished: World) -> None:
    finished.put("a/bad", "fail")
    finished.run()
    assert {item for item in said(foresee(finished)) if item[1] == "a/bad"} == {
        ("first", "a/bad", "process", "failed"),
        ("second", "a/bad", "process?", "failed"),
        ("third", "a/bad", "process?", "failed"),
    }


def test_what_a_run_gave_up_is_no_part_of_the_plan_until_somebody_asks_for_it(world: World) -> None:
    world.put("a/deadly", "calm")
    enter(world)
    die_with(world, 1, times=4)
    world.run()
    assert world.states()["first"] == {"failed": 1}
    assert foresee(world) == []
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="first", key="a/deadly")], revive=True)
    assert ("first", "a/deadly", "process", "failed") in said(foresee(world))


def test_an_input_that_cannot_be_read_would_fail(finished: World) -> None:
    (finished.source / "a/link").symlink_to("nowhere")
    assert ("first", "a/link", "fail", "failed") in said(foresee(finished, look=True))


def test_an_invalidated_datum_is_forced(finished: World) -> None:
    with finished.ledger() as ledger:
        ledger.mark([Mark(stage="third", key="a/loud")], salt="again")
    assert ("third", "a/loud", "process", "forced") in said(foresee(finished))


def test_what_comes_back_as_it_was_is_only_published_again(finished: World) -> None:
    finished.put("a/loud", "alarm, other")
    finished.run()
    finished.put("a/loud", "alarm")
    assert {item for item in said(foresee(finished, look=True)) if item[0] == "first"} == {
        ("first", "a/loud", "publish", "changed"),
    }


def test_a_mark_without_a_cause_is_no_item(finished: World) -> None:
    with finished.ledger() as ledger:
        ledger.mark([Mark(stage=stage.name, key="a/loud") for stage in finished.pipeline.stages[:3]])
    assert foresee(finished) == []


def test_a_run_does_what_the_plan_said(finished: World) -> None:
    finished.put("a/new", "alarm")
    finished.put("a/calm", "bad")
    (finished.source / "a/loud").unlink()
    finished.put("c/one", "x")
    check(foresee(finished, look=True), finished)


def test_many_datums_are_planned_in_order(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    keys = [f"a/{n:04}" for n in range(1100)]
    for key in keys:
        world.put(key, "x")
    with world.ledger():
        pass
    items = foresee(world, look=True)
    assert [item.key for item in items if item.stage == "first"] == keys
    assert len(items) == 3 * 1100 + 2
