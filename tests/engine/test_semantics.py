"""The rules of incremental processing: what is done, skipped, replaced, retracted, refused.

Tests named in brackets are those of the system that this one replaces: what they assert holds here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from devkit.toy_pipeline import toy_pipeline
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Mark, State
from lookout.engine.planner import MAX_LONE_LOSSES
from lookout.execution.executor import Done, InlineWorkers, Workers
from lookout.execution.jobs import Job
from lookout.runs.runner import Ran, Runner
from lookout.sources.deletion_guard import find_held

from .world import World, folder_only, words


def done(ran) -> dict[str, int]:
    return dict(ran.engine.report.success)


def test_a_new_text_goes_through_all_stages(world: World) -> None:
    world.put("a/1", "alarm one")
    assert done(world.run()) == {"first": 1, "second": 1, "third": 1, "sums": 2}
    assert world.results() == {
        "first/good/a/1": b"alarm one",
        "second/a/1.loud": b"ALARM ONE",
        "third/a/1.alarm": b"alarm one\nALARM ONE",
        "sums/groups/a.txt": b"a alarms 1\na texts 1\na/1",
        "sums/overview.txt": b"a alarms 1\na texts 1",
    }


def test_the_same_again_does_nothing(world: World) -> None:
    """[TestDatumDedup, TestSkippedDatums]"""
    world.put("a/1", "one")
    world.put("a/2", "two")
    world.run()
    before = world.live()
    assert done(world.run()) == {}
    assert world.live() == before


def test_ten_old_and_ten_new_skip_exactly_ten(world: World) -> None:
    """[TestPipelineWithStatsAcrossJobs]"""
    for i in range(10):
        world.put(f"a/{i}", f"text {i}")
    world.run()
    for i in range(10, 20):
        world.put(f"a/{i}", f"text {i}")
    assert done(world.run()) == {"first": 10, "second": 10, "third": 10, "sums": 2}


def test_a_changed_text_replaces_its_results_and_touches_no_other(world: World) -> None:
    """[TestPipelineInputDataModification]"""
    world.put("a/1", "alarm one")
    world.put("a/2", "alarm two")
    world.run()
    world.put("a/1", "calm")
    assert done(world.run()) == {"first": 1, "second": 1, "third": 1, "sums": 2}
    results = world.results()
    assert results["second/a/1.loud"] == b"CALM"
    assert "third/a/1.alarm" not in results, "an output that the new datum does not write is removed"
    assert results["third/a/2.alarm"] == b"alarm two\nALARM TWO"


def test_a_text_that_becomes_bad_takes_its_results_downstream_with_it(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.put("a/1", "bad")
    world.run()
    assert set(world.results()) == {"first/bad/a/1", "sums/groups/a.txt", "sums/overview.txt"}
    assert world.states() == {"first": {"success": 1}, "sums": {"success": 2}}


def test_a_deleted_text_is_retracted_everywhere(world: World) -> None:
    path = world.put("a/1", "alarm one")
    world.put("b/1", "two")
    world.run()
    path.unlink()
    ran = world.run()
    assert ran.taken.gone == 1
    assert set(world.results()) == {"first/good/b/1", "second/b/1.loud", "sums/groups/b.txt", "sums/overview.txt"}


def test_deleting_the_only_text_leaves_nothing(world: World) -> None:
    """[TestJobSerialDelete, TestMetaRepoContents]"""
    path = world.put("a/1", "alarm one")
    world.run()
    path.unlink()
    ran = world.run()
    assert not ran.engine.report.failed
    assert world.results() == {}
    assert world.live() == {}
    assert world.states() == {}


def test_back_to_an_old_text_republishes_without_running(world: World) -> None:
    world.put("a/1", "alarm A")
    world.run()
    results, live = world.results(), world.live()
    world.put("a/1", "B")
    world.run()
    world.put("a/1", "alarm A")
    ran = world.run()
    assert done(ran) == {}, "A -> B -> A finds A's datums in history"
    assert world.results() == results
    assert world.live() == live


def test_a_new_reference_reprocesses_what_depends_on_it_and_nothing_else(world: World) -> None:
    """[TestUpdatePipeline]"""
    for key in ("a/1", "b/1"):
        world.put(key, "alarm")
    world.run(references=words(world, a="!"))
    assert world.results()["second/a/1.loud"] == b"ALARM!"
    ran = world.run(references=words(world, a="?"))
    assert done(ran) == {"second": 1, "third": 1, "sums": 1}
    assert world.results()["third/a/1.alarm"] == b"alarm\nALARM?"
    assert world.results()["second/b/1.loud"] == b"ALARM"


def test_a_new_parameter_reprocesses_its_stage_and_what_follows(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.pipeline = toy_pipeline(mark="+")
    assert done(world.run()) == {"second": 1, "third": 1, "sums": 1}
    assert world.results()["second/a/1.loud"] == b"ALARM+"


def test_a_new_recipe_whose_results_are_the_same_stops_there(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.pipeline = toy_pipeline(version=2)
    assert done(world.run()) == {"second": 1}


def test_a_refused_reference_leaves_the_last_good_one_in_force(world: World) -> None:
    world.put("a/1", "one")
    world.run(references=words(world, a="!", b="?"))
    ran = world.run(references=words(world, a=""))
    assert [(item.name, item.reason) for item in ran.refused] == [("a.txt", "a.txt: expected a word, got nothing")]
    assert world.results()["second/a/1.loud"] == b"ONE!"
    world.put("a/2", "two")
    world.run(references=words(world, b="??"))
    assert world.results()["second/a/2.loud"] == b"TWO!"


def test_a_reference_that_is_not_given_any_more_is_not_in_force(world: World) -> None:
    world.put("a/1", "one")
    given = words(world, a="!", b="?")
    world.run(references=given)
    (given["words"] / "a.txt").unlink()
    world.run(references=given)
    assert world.results()["second/a/1.loud"] == b"ONE"


def test_nothing_usable_given_at_first_is_an_error(world: World) -> None:
    world.put("a/1", "one")
    with pytest.raises(InputRejected, match=r"a\.txt: expected a word"):
        world.run(references=words(world, a=""))
    assert world.states() == {}


def test_one_failed_datum_stops_no_other_and_what_needs_it_is_unrunnable(world: World) -> None:
    """[TestPipelineWithStatsFailedDatums, TestPipelineErrorHandling, TestInputFailure]"""
    for i in range(9):
        world.put(f"a/{i}", "alarm")
    world.put("a/9", "fail")
    ran = world.run()
    assert world.states()["first"] == {"success": 9, "failed": 1}
    assert world.states()["third"] == {"success": 9, "unrunnable": 1}
    with world.ledger() as ledger:
        assert "told to fail" in (ledger.find_slots("first", ["a/9"])["a/9"].error or "")
        assert "first of a/9" in (ledger.find_slots("third", ["a/9"])["a/9"].error or "")
        assert ledger.runs(1)[0].state == "failed"
    assert ran.engine.report.failed == {"first": 1}
    assert world.results()["sums/groups/a.txt"].startswith(b"a alarms 9")


def test_a_failed_datum_heals_with_its_text(world: World) -> None:
    world.put("a/1", "alarm fail")
    world.run()
    world.put("a/1", "alarm")
    world.run()
    assert world.states() == {
        "first": {"success": 1},
        "second": {"success": 1},
        "third": {"success": 1},
        "sums": {"success": 2},
    }


def test_what_failed_keeps_its_last_good_results_until_it_succeeds_again(world: World) -> None:
    world.put("a/1", "alarm one")
    world.run()
    world.put("a/1", "fail")
    world.run()
    assert world.states()["first"] == {"failed": 1}
    assert world.results()["second/a/1.loud"] == b"ALARM ONE"
    world.put("a/1", "alarm one")
    world.run()
    assert world.states()["third"] == {"success": 1}


def test_tries_are_counted_to_exactly_n(world: World) -> None:
    """[TestDatumTries]"""
    world.pipeline = toy_pipeline(tries=5)
    world.put("a/1", "fail")
    world.run()
    with world.ledger() as ledger:
        assert ledger.find_slots("first", ["a/1"])["a/1"].tries == 5


def test_a_rejected_input_is_not_tried_again(world: World) -> None:
    world.put("a/1", "reject")
    world.run()
    with world.ledger() as ledger:
        slot = ledger.find_slots("first", ["a/1"])["a/1"]
    assert (slot.state, slot.tries) == (State.FAILED, 1)
    assert slot.error == "a/1: told to reject"


def test_the_next_run_tries_failed_datums_again(world: World) -> None:
    """[TestRerunPipeline]"""
    world.put("a/1", "fail")
    world.run()
    ran = world.run()
    assert ran.engine.report.failed == {"first": 1}


def test_one_wrongly_successful_datum_can_be_invalidated(world: World) -> None:
    world.put("a/1", "alarm")
    world.put("a/2", "alarm")
    world.run()
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="second", key="a/1")], salt="again")
    assert done(world.run()) == {"second": 1}, "the result is the same, so nothing after it is touched"


def test_nothing_is_made_of_a_result_that_is_about_to_be_replaced(world: World) -> None:
    for i in range(5):
        world.put(f"a/{i}", "calm")
    world.run(references=words(world, all="!"))
    for i in range(5):
        world.put(f"a/{i}", "alarm")
    jobs: Counter[str] = Counter()

    class Counting(InlineWorkers):
        def submit(self, given, timeout_s, done) -> None:
            jobs.update(job.stage for job in given)
            super().submit(given, timeout_s, done)

    with world.runner() as runner:
        given = words(world, all="?")
        replace(runner, workers=Counting(runner.store)).run(world.order(references=given))
    assert jobs == {"first": 5, "second": 5, "third": 5, "sums": 2}
    assert [letter.evidence[letter.id] for letter in world.postbox.letters] == [b"alarm\nALARM?"] * 5


def test_two_datums_that_write_one_path_are_an_error_that_heals(world: World) -> None:
    """[TestTemporaryDuplicatedPath]"""
    one = world.put("a/1", "as a/x alarm")
    world.put("a/2", "as a/x alarm twice")
    world.run()
    assert world.states()["first"] == {"success": 1, "failed": 1}
    assert world.states()["third"] == {"success": 1, "unrunnable": 1}
    with world.ledger() as ledger:
        assert "a/1" in (ledger.find_slots("first", ["a/2"])["a/2"].error or ""), "the error names the other datum"
    assert world.results()["first/good/a/x"] == b"as a/x alarm"
    one.unlink()
    world.run()
    world.run()
    assert world.states()["third"] == {"success": 1}
    assert world.results()["first/good/a/x"] == b"as a/x alarm twice"


@folder_only
def test_single_files_add_and_never_retract(world: World) -> None:
    """[TestDeferredProcessing: what is not named waits]"""
    one, two = world.put("a/1", "one"), world.put("a/2", "two")
    world.run()
    one.unlink()
    world.put("a/3", "three")
    ran = world.run(two)
    assert done(ran) == {}
    assert "second/a/1.loud" in world.results()
    assert "second/a/3.loud" not in world.results()


@folder_only
def test_a_file_named_first_is_keyed_by_its_name(world: World) -> None:
    world.run(world.put("x", "one"))
    assert "first/good/x" in world.results()


@folder_only
def test_two_files_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(InputRejected, match="two files named 'x'"):
        world.run(world.put("a/x", "one"), world.put("b/x", "two"))


@folder_only
def test_a_state_belongs_to_one_source(world: World) -> None:
    world.put("a/1", "one")
    world.run()
    other = world.root / "other"
    other.mkdir()
    with pytest.raises(InputRejected, match="belongs to the source"):
        world.run(other)
    assert "second/a/1.loud" in world.results()


@folder_only
def test_a_source_that_is_gone_retracts_nothing(world: World) -> None:
    world.put("a/1", "one")
    world.run()
    world.source.rename(world.root / "unmounted")
    with pytest.raises(InputRejected, match="no such folder"):
        world.run()
    world.source.mkdir()
    assert world.run().taken.held == 1
    assert "second/a/1.loud" in world.results()
    world.source.rmdir()
    (world.root / "unmounted").rename(world.source)
    assert done(world.run()) == {}


def test_mass_deletion_needs_a_word(world: World) -> None:
    paths = [world.put(f"a/{i}", f"text {i}") for i in range(60)]
    world.run()
    for path in paths[:30]:
        path.unlink()
    world.put("a/new", "new")
    taken = world.run().taken
    assert (taken.differed, taken.gone, taken.held) == (1, 0, 30)
    assert world.states()["first"] == {"success": 61}
    assert world.run().taken.held == 30, "until somebody decides"
    world.run(allow_deletions=True)
    assert world.states()["first"] == {"success": 31}
    with world.ledger() as ledger:
        assert find_held(ledger) is None


def test_a_lost_result_is_made_again_by_verify(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    results = world.results()
    world.lose("second/a/1.loud")
    assert done(world.run()) == {}
    assert done(world.run(verify=True)) == {"second": 1}
    assert world.results() == results


def test_a_lost_result_that_is_needed_is_made_again_by_itself(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.lose("first/good/a/1")
    world.pipeline = toy_pipeline(mark="+")
    ran = world.run()
    assert not ran.engine.report.failed
    assert world.results()["second/a/1.loud"] == b"ALARM+"
    assert world.results()["first/good/a/1"] == b"alarm"


class Unanswering(Workers):
    """Takes jobs and never ends one."""

    size = 2

    def submit(self, jobs, timeout_s, done) -> None:
        pass

    def stop(self) -> None:
        pass


def test_a_stopped_run_leaves_its_datums_to_the_next(world: World) -> None:
    """[TestStopJob]"""
    for i in range(5):
        world.put(f"a/{i}", "alarm")
    with world.runner(Unanswering()) as runner:
        ran = stopped(runner, world)
    assert ran.stopped
    assert world.states() == {"first": {"killed": 5}}
    with world.ledger() as ledger:
        assert ledger.runs(1)[0].state == "stopped"
        assert ledger.find_slots("first", ["a/0"])["a/0"].tries == 0
    assert done(world.run())["first"] == 5


class Interrupted(InlineWorkers):
    """Runs jobs here, and something else once, before the first job of a stage."""

    def __init__(self, world: World, stage: str, action: Callable[[], None]) -> None:
        super().__init__(world.open_store())
        self._stage, self._action = stage, action

    def submit(self, jobs, timeout_s, done) -> None:
        if jobs and jobs[0].stage == self._stage and self._action is not None:
            action, self._action = self._action, None
            action()
        super().submit(jobs, timeout_s, done)


def test_a_parameter_that_changes_while_a_run_works_wins_and_the_old_run_says_so(world: World) -> None:
    """[TestUpdatePipelineRunningJob]"""
    for i in range(5):
        world.put(f"a/{i}", "alarm")
    newer = replace(world, pipeline=toy_pipeline(mark="+"))
    with pytest.raises(Unavailable, match="stage second: another run has changed its recipe"):
        world.run(workers=Interrupted(world, "second", newer.run))
    newer.run()
    assert newer.states() == {
        "first": {"success": 5},
        "second": {"success": 5},
        "third": {"success": 5},
        "sums": {"success": 2},
    }
    assert newer.results()["second/a/0.loud"] == b"ALARM+"
    assert {data for path, data in newer.results().items() if path.startswith("third/")} == {b"alarm\nALARM+"}


def test_a_word_that_comes_into_force_while_a_run_works_is_used_by_it(world: World) -> None:
    """[TestUpdatePipelineRunningJob]"""
    for i in range(5):
        world.put(f"a/{i}", "alarm")
    world.run(references=words(world, all="!"))
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="second", key=f"a/{i}") for i in range(5)], salt="again")
    given = words(world, all="?")
    world.run(workers=Interrupted(world, "second", lambda: world.run(references=given) and None))
    assert world.states() == {
        "first": {"success": 5},
        "second": {"success": 5},
        "third": {"success": 5},
        "sums": {"success": 2},
    }
    assert {data for path, data in world.results().items() if path.startswith("second/")} == {b"ALARM?"}


def test_an_alert_is_sent_once_whatever_is_done_again(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.run()
    world.pipeline = toy_pipeline(mark="+")
    world.run()
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="third", key="a/1")], salt="again")
    world.run()
    assert len(world.postbox.letters) == 1


def test_many_outputs_of_one_run(world: World) -> None:
    """[TestManyFilesSingleOutputCommit]"""
    for i in range(world.many):
        world.put(f"a/{i:05}", "alarm")
    assert done(world.run(max_letters=0))["third"] == world.many
    assert len(world.results()) == world.many * 3 + 2
    assert len(world.postbox.letters) == 1
    assert len(world.postbox.letters[0].alerts) == world.many


class Listed(InlineWorkers):
    """Runs jobs here, and remembers which were handed over together."""

    def __init__(self, world: World) -> None:
        super().__init__(world.open_store())
        self.handed: list[list[str]] = []

    def submit(self, jobs, timeout_s, done) -> None:
        self.handed += [[f"{job.stage} {job.key}" for job in jobs]] if jobs else []
        super().submit(jobs, timeout_s, done)


def stopped(runner: Runner, world: World) -> Ran:
    """Begin a run that was told to stop."""
    runner.stop()
    return runner.run(world.order())


def enter(world: World) -> None:
    """Have everything in the source known, and nothing worked on."""
    with world.runner() as runner:
        stopped(replace(runner, workers=Unanswering()), world)


def die_with(world: World, number: int, times: int) -> None:
    """Have that many owners die, each with this many datums of the first stage in hand."""
    with world.ledger() as ledger:
        for _ in range(times):
            with ledger.session() as owner:
                assert ledger.claim("first", owner, number, lease_s=1.0)
                world.now_s += 2.0
                ledger.claim("third", owner, 1, lease_s=1.0)


def test_what_a_dead_engine_held_comes_last_and_alone(world: World) -> None:
    for key in ("a/1", "a/2", "b/1"):
        world.put(key, "calm")
    enter(world)
    die_with(world, 2, times=1)
    workers = Listed(world)
    world.run(workers=workers)
    one_by_one = [["first b/1"], ["second b/1"], ["first a/1"], ["second a/1"], ["first a/2"], ["second a/2"]]
    assert [jobs for jobs in workers.handed if not jobs[0].startswith(("third", "sums"))] == one_by_one
    assert world.states()["third"] == {"success": 3}


def test_what_took_engines_down_is_not_tried_again_by_a_run_but_by_a_word(world: World) -> None:
    world.put("a/1", "calm")
    enter(world)
    die_with(world, 1, times=MAX_LONE_LOSSES + 1)
    for _ in range(2):
        world.run()
        assert world.states()["first"] == {"failed": 1}
    with world.ledger() as ledger:
        slot = ledger.find_slots("first", ["a/1"])["a/1"]
        assert (slot.losses, slot.error) == (
            MAX_LONE_LOSSES,
            "its worker died 3 times while it worked on this datum alone",
        )
        ledger.mark([Mark(stage="first", key="a/1")], revive=True)
    world.run()
    assert world.states()["first"] == {"success": 1}


def test_a_datum_that_is_given_up_makes_those_behind_it_unrunnable(world: World) -> None:
    """Whoever it is that finds the dead engine: here one that has nothing to do with the stage."""
    world.put("a/1", "alarm")
    enter(world)
    die_with(world, 1, times=MAX_LONE_LOSSES + 1)
    assert world.states() == {"first": {"pending": 1}}
    world.run(workers=Unanswering())
    assert world.states() == {"first": {"failed": 1}, "second": {"unrunnable": 1}, "third": {"unrunnable": 1}}


def test_what_was_changed_after_it_had_been_given_up_is_tried(world: World) -> None:
    world.put("a/1", "alarm")
    enter(world)
    die_with(world, 1, times=MAX_LONE_LOSSES + 1)
    world.run()
    world.put("a/1", "calm")
    world.run()
    assert world.states()["third"] == {"success": 1}


@folder_only
def test_a_source_that_goes_away_while_a_run_reads_it_is_not_retracted(world: World) -> None:
    for i in range(5):
        world.put(f"a/{i}", "alarm")
    world.run()
    before = world.results()
    for i in range(5):
        world.put(f"a/{i}", "alarm again")

    class Unmounting(InlineWorkers):
        def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
            if world.source.exists():
                world.source.rename(world.root / "unmounted")
                world.source.mkdir()
            super().submit(jobs, timeout_s, done)

    with pytest.raises(Unavailable, match="unmounted"):
        world.run(workers=Unmounting(world.open_store()))
    assert world.results() == before
    world.source.rmdir()
    (world.root / "unmounted").rename(world.source)
    world.run()
    assert world.states()["first"] == {"success": 5}
