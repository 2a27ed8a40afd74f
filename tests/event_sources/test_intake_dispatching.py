"""Landed objects become batches and workflows: soon, not too many at once, each in one batch, and none forgotten."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from event_sources.intake.dispatcher import HELD_S, LEFT_ALONE, SWEEP_S, Dispatcher, Pace
from lookout.batches.cutter import BACKFILL, ensure_run
from lookout.ledger.batches import LIVE, Batch, BatchLedger, BatchState
from tests.engine.world import World
from tests.event_sources.intake_kit import AWAY, PACE, Play


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(World(tmp_path))


def keys(batches: list[Batch]) -> list[list[str]]:
    return [list(batch.keys) for batch in batches]


def settle(play: Play, *dispatchers: Dispatcher, most: int = 60) -> None:
    """Steps, and workflows for what was posted, until nothing more happens."""
    worked = 0
    for _ in range(most):
        for dispatcher in dispatchers:
            dispatcher.step()
        fresh = [id_ for id_, _ in play.posts.said[worked:]]
        worked = len(play.posts.said)
        play.work(*fresh)
        play.later(1.0)


# --- size and age ----------------------------------------------------------------------------------------------------


def test_a_single_object_leaves_at_once_while_nothing_is_live(play: Play) -> None:
    dispatcher = play.dispatcher()
    dispatcher.step()
    for n in range(2):
        play.land(f"a/{n}", at=[dispatcher])
        landed_s = play.world.now_s
        dispatcher.step()
        batch = play.batches()[n]
        assert (batch.keys, batch.kind, batch.run) == ((f"a/{n}",), LIVE, "")
        assert play.posts.said[n:] == [(batch.id, 1)]
        assert play.world.now_s - landed_s < 0.1
        play.work(batch.id)
        play.later(10.0)


def test_what_lands_while_a_batch_is_live_waits_for_others(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/0", at=[dispatcher])
    dispatcher.step()
    play.land("a/1", at=[dispatcher])
    rest_s = dispatcher.step()
    assert keys(play.batches()) == [["a/0"]]
    assert PACE.age_s < rest_s <= 2 * PACE.age_s, "as long as both would have waited, for a burst has few workflows"
    play.land("a/2", at=[dispatcher])
    play.later(rest_s)
    dispatcher.step()
    assert keys(play.batches()) == [["a/0"], ["a/1", "a/2"]]


def test_what_waits_for_others_leaves_when_the_last_live_batch_is_done(play: Play) -> None:
    dispatcher = play.dispatcher(pace=Pace(age_s=60.0))
    play.land("a/0", at=[dispatcher])
    dispatcher.step()
    play.land("a/1", at=[dispatcher])
    dispatcher.step()
    play.work(play.posts.said[0][0])
    assert dispatcher.step() > 0
    assert keys(play.batches()) == [["a/0"], ["a/1"]]


def test_batches_of_runs_are_nothing_to_wait_for(play: Play) -> None:
    dispatcher = play.dispatcher()
    dispatcher.step()
    play.land("old/1")
    with play.world.ledger() as ledger:
        assert isinstance(ledger, BatchLedger)
        ensure_run(ledger, "run", play.world.clock(), BACKFILL)
        ledger.add_batches([Batch(id="x-1", kind=BACKFILL, run="run", keys=("old/1",), created_at_s=1.0)])
    play.land("a/1", at=[dispatcher])
    dispatcher.step()
    assert [batch.keys for batch in play.batches(run="")] == [("a/1",)]


def test_what_lands_together_leaves_together_and_a_full_batch_does_not_wait(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land(*(f"a/{n:02}" for n in range(13)), at=[dispatcher])
    dispatcher.step()
    assert [len(batch.keys) for batch in play.batches()] == [10]
    play.later(PACE.age_s)
    dispatcher.step()
    assert [len(batch.keys) for batch in play.batches()] == [10, 3]


def test_a_batch_notes_the_bases_so_that_its_worker_does_nothing_twice(play: Play) -> None:
    play.land("a/0")
    play.world.run()
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    (batch,) = play.batches()
    with play.world.ledger() as ledger:
        assert batch.basis == {stage.name: ledger.basis(stage.name) for stage in play.world.pipeline.stages}


def test_an_intake_never_moves_the_basis(play: Play) -> None:
    """An older one beside newer workers would have all done again."""
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    with play.world.ledger() as ledger:
        assert [ledger.basis(stage.name) for stage in play.world.pipeline.stages] == [None] * 4


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_a_repeat_of_what_is_done_starts_nothing(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    settle(play, dispatcher, most=3)
    assert len(play.posts.said) == 1
    play.enter("a/1", at=[dispatcher])
    settle(play, dispatcher, most=3)
    assert len(play.posts.said) == 1
    assert not len(dispatcher.line)


def test_what_lands_again_while_it_is_in_a_batch_has_another_one_afterwards(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    (first,) = play.batches()
    play.land("a/1", at=[dispatcher], text="alarm")
    play.later(1)
    dispatcher.step()
    assert play.batches() == [first], "it is in an unfinished batch"
    play.work(first.id)  # it does the newest
    play.land("a/1", at=[dispatcher], text="alarm, again")
    play.later(HELD_S)
    dispatcher.step()
    assert keys(play.batches()) == [["a/1"], ["a/1"]]


def test_what_somebody_else_has_done_meanwhile_is_in_no_batch(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", "a/2", at=[dispatcher])
    play.world.run()
    play.land("a/3", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    assert keys(play.batches()) == [["a/3"]]


def test_what_is_deleted_has_a_batch_that_retracts_it(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", "a/2", at=[dispatcher])
    settle(play, dispatcher, most=3)
    assert any("a/1" in path for path in play.world.results())
    (play.world.source / "a/1").unlink()
    play.enter("a/1", at=[dispatcher])
    settle(play, dispatcher, most=3)
    assert not any("a/1" in path for path in play.world.results())
    assert any("a/2" in path for path in play.world.results())


# --- holding back ----------------------------------------------------------------------------------------------------


def test_while_enough_are_live_nothing_is_cut_and_the_next_batch_is_the_larger(play: Play) -> None:
    dispatcher = play.dispatcher()
    for n in range(2):
        play.land(f"a/{n}", at=[dispatcher])
        play.later(1)
        dispatcher.step()
    for n in range(2, 9):
        play.land(f"a/{n}", at=[dispatcher])
        play.later(1)
        assert 0 < dispatcher.step() <= 1.0
    assert keys(play.batches()) == [["a/0"], ["a/1"]]
    play.work(play.posts.said[0][0])
    dispatcher.step()
    assert keys(play.batches())[2:] == [[f"a/{n}" for n in range(2, 9)]]
    assert len(play.posts.said) == 3


def test_a_burst_has_few_workflows(play: Play) -> None:
    """Workflows that each take five seconds: 120 texts in as many tenths of a second."""
    dispatcher = play.dispatcher(pace=Pace(size=100, age_s=0.5, most=2))
    ends: list[tuple[float, str]] = []
    worked = 0
    for n in range(220):
        if n < 120:
            play.land(f"a/{n:03}", at=[dispatcher])
        dispatcher.step()
        ends += [(play.world.now_s + 5, id_) for id_, _ in play.posts.said[len(ends) :]]
        while worked < len(ends) and ends[worked][0] < play.world.now_s:
            play.work(ends[worked][1])
            worked += 1
        play.later(0.1)
    assert play.done() == {f"a/{n:03}" for n in range(120)}
    assert len(play.posts.said) < 10


def test_a_burst_has_as_many_workflows_as_if_its_first_picture_had_waited_too(play: Play) -> None:
    """Two seconds, four workflows that take longer than that: nothing waits for one to end."""
    dispatcher = play.dispatcher(pace=Pace(age_s=0.5, most=4))
    for n in range(40):
        play.land(f"a/{n:02}", at=[dispatcher])
        dispatcher.step()
        play.later(0.05)
    play.later(0.5)
    dispatcher.step()
    first, *others = [len(batch.keys) for batch in play.batches()]
    assert first == 1
    assert len(others) == 3
    assert sum(others) == 39


@pytest.mark.parametrize("kind", [BACKFILL, LIVE])
def test_batches_of_runs_hold_nothing_back_and_are_left_to_their_own_workers(play: Play, kind: str) -> None:
    dispatcher = play.dispatcher()
    dispatcher.step()
    play.land(*(f"old/{n}" for n in range(5)))
    with play.world.ledger() as ledger:
        assert isinstance(ledger, BatchLedger)
        ensure_run(ledger, "run", play.world.clock(), kind)
        ledger.add_batches(
            [Batch(id=f"x-{n}", kind=kind, run="run", keys=(f"old/{n}",), created_at_s=1.0) for n in range(5)]
        )
    play.land("a/new", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    assert [batch.keys for batch in play.batches(run="")] == [("a/new",)]
    assert [id_ for id_, _ in play.posts.said] == [batch.id for batch in play.batches(run="")]


def test_a_key_that_a_backfill_has_waits_beside_the_line_and_not_in_it(play: Play) -> None:
    dispatcher = play.dispatcher()
    dispatcher.step()
    play.land("old/1")
    with play.world.ledger() as ledger:
        assert isinstance(ledger, BatchLedger)
        ensure_run(ledger, "run", play.world.clock(), BACKFILL)
        ledger.add_batches([Batch(id="x-1", kind=BACKFILL, run="run", keys=("old/1",), created_at_s=1.0)])
    play.enter("old/1", at=[dispatcher])
    play.land("a/1", at=[dispatcher])
    play.later(1)
    assert dispatcher.step() > 0
    assert [batch.keys for batch in play.batches(run="")] == [("a/1",)]
    play.work("x-1")
    settle(play, dispatcher, most=8)
    assert not len(dispatcher.line)
    assert play.done() == {"old/1", "a/1"}


def test_what_a_backfill_has_for_long_is_asked_for_ever_more_seldom(play: Play) -> None:
    asked: list[float] = []

    class Asked:
        def __init__(self, ledger: BatchLedger) -> None:
            self._ledger = ledger

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ledger, name)

        def add_batches(self, batches: list[Batch]) -> list[Batch]:
            asked.append(play.world.now_s)
            return self._ledger.add_batches(batches)

    dispatcher = play.dispatcher(open_ledger=lambda: Asked(play.ledger()))  # type: ignore[arg-type, return-value]
    dispatcher.step()
    play.land("old/1")
    with play.world.ledger() as ledger:
        assert isinstance(ledger, BatchLedger)
        ensure_run(ledger, "run", play.world.clock(), BACKFILL)
        ledger.add_batches([Batch(id="x-1", kind=BACKFILL, run="run", keys=("old/1",), created_at_s=1.0)])
    play.enter("old/1", at=[dispatcher])
    for _ in range(3600):
        dispatcher.step()
        play.later(1.0)
    assert 10 < len(asked) < 40
    assert asked[1] - asked[0] < 7
    play.work("x-1")
    play.land("old/1", text="newer")
    for _ in range(1000):
        dispatcher.step()
        play.later(1.0)
    assert [batch.keys for batch in play.batches(run="")] == [("old/1",)]


# --- again -----------------------------------------------------------------------------------------------------------


def test_a_batch_that_nobody_takes_is_posted_again_less_and_less_often(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    (batch,) = play.batches()
    posted_at_s = []
    for _ in range(500):
        before = len(play.posts.said)
        dispatcher.step()
        if len(play.posts.said) > before:
            posted_at_s.append(round(play.world.now_s - batch.created_at_s))
        play.later(1.0)
    assert play.posts.said == [(batch.id, 1), (batch.id, 2), (batch.id, 3), (batch.id, 4)]
    for at_s, due_s in zip(posted_at_s, (60, 180, 420), strict=True):
        assert 0 <= at_s - due_s <= 2


def test_the_rest_ends_when_a_batch_is_to_be_posted_again(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    rest_s = dispatcher.step()
    while len(play.posts.said) < 2:
        play.later(rest_s)
        rest_s = dispatcher.step()
    assert play.world.now_s - play.batches()[0].created_at_s < 61


@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.TAKEN])
def test_a_batch_that_a_workflow_has_had_in_hand_is_not_posted_again_soon(play: Play, state: BatchState) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    with play.world.ledger() as ledger, ledger.session() as owner:
        assert isinstance(ledger, BatchLedger)
        taken = ledger.take_batch(owner, 10_000.0)
        assert taken is not None
        if state is BatchState.OPEN:
            ledger.release_batch(taken)
        for _ in range(9):
            play.later(60.0)
            assert dispatcher.step() > 0
        assert len(play.posts.said) == 1
        play.later(LEFT_ALONE * 60.0)
        dispatcher.step()
        assert len(play.posts.said) == (2 if state is BatchState.OPEN else 1)


def test_a_post_that_fails_is_tried_again_and_nothing_is_cut_twice(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/1", at=[dispatcher])
    play.later(1)
    play.posts.trouble = AWAY
    for _ in range(3):
        with pytest.raises(type(AWAY)):
            dispatcher.step()
        play.later(1)
    play.posts.trouble = None
    dispatcher.step()
    (batch,) = play.batches()
    assert play.posts.said == [(batch.id, 1)]


# --- restarts and crashes --------------------------------------------------------------------------------------------


def test_what_was_entered_and_in_no_batch_when_it_died_is_cut_after_the_restart(play: Play) -> None:
    play.land("a/1", "a/2", at=[play.dispatcher()])
    after = play.dispatcher("bbbb")
    after.step()
    play.later(PACE.age_s)
    after.step()
    assert keys(play.batches()) == [["a/1", "a/2"]]


def test_a_batch_that_was_cut_and_not_posted_is_posted_after_the_restart(play: Play) -> None:
    before = play.dispatcher()
    play.land("a/1", at=[before])
    play.later(1)
    play.posts.trouble = AWAY
    with pytest.raises(type(AWAY)):
        before.step()
    play.posts.trouble = None
    play.dispatcher("bbbb").step()
    (batch,) = play.batches()
    assert play.posts.said == [(batch.id, 1)]


def test_a_restart_posts_what_nobody_took_as_the_same_workflow_and_later_another(play: Play) -> None:
    before = play.dispatcher()
    play.land("a/1", at=[before])
    play.later(1)
    before.step()
    after = play.dispatcher("bbbb")
    play.later(30)
    after.step()
    (batch,) = play.batches()
    assert play.posts.said == [(batch.id, 1), (batch.id, 1)]
    play.later(31)
    after.step()
    assert play.posts.said[2:] == [(batch.id, 2)]


class Crash(Exception):
    """The process ends here."""


class CrashingLedger:
    """Ends the process at the n-th call, before or after it had its effect."""

    def __init__(self, ledger: BatchLedger, at: int, *, after: bool) -> None:
        self._ledger, self._left, self._after = ledger, at, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._ledger, name)

        def call(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if not self._left and not self._after:
                raise Crash(name)
            found = method(*args, **more)
            if not self._left:
                raise Crash(name)
            return found

        return call


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_of_the_ledger_loses_nothing_and_doubles_nothing(tmp_path: Path, after: bool) -> None:
    for at in count(1):
        play = Play(World(tmp_path / str(at)))
        ledger = CrashingLedger(play.ledger(), at, after=after)
        first = play.dispatcher(open_ledger=lambda ledger=ledger: ledger)  # type: ignore[misc]
        play.land(*(f"a/{n:02}" for n in range(13)), at=[first])
        crashed = False
        try:
            for _ in range(2):
                first.step()
                play.later(1)
        except Crash:
            crashed = True
        settle(play, play.dispatcher("bbbb"), most=4)
        assert play.done() == {f"a/{n:02}" for n in range(13)}
        together = [key for batch in play.batches() for key in batch.keys]
        assert len(together) == len(set(together)) == 13
        assert {id_ for id_, _ in play.posts.said} == {batch.id for batch in play.batches()}
        if not crashed:
            assert at > 10, "it has as many calls as there are moments"
            return


def test_when_the_ledger_is_away_for_a_moment_the_line_keeps_what_was_taken(play: Play) -> None:
    """An answer that was lost: the batch is there, and is posted as one of its own."""

    class Forgetful(CrashingLedger):
        def __getattr__(self, name: str) -> Callable[..., Any]:
            method = getattr(self._ledger, name)
            if name != "add_batches" or not self._left:
                return method
            self._left = 0

            def call(*args: Any, **more: Any) -> Any:
                if self._after:
                    method(*args, **more)
                raise AWAY

            return call

    for after in (False, True):
        ledger = Forgetful(play.ledger(), 1, after=after)
        dispatcher = play.dispatcher(open_ledger=lambda ledger=ledger: ledger)  # type: ignore[misc]
        play.land(f"a/{after}", at=[dispatcher])
        play.later(1)
        with pytest.raises(type(AWAY)):
            dispatcher.step()
        settle(play, dispatcher, most=8)
    assert play.done() == {"a/False", "a/True"}
    assert keys(play.batches()) == [["a/False"], ["a/True"]]


# --- two at once -----------------------------------------------------------------------------------------------------


def test_two_intakes_put_each_object_into_one_batch_and_post_the_same_workflows(play: Play) -> None:
    both = [play.dispatcher("aaaa"), play.dispatcher("bbbb")]
    for dispatcher in both:
        dispatcher.step()
    for n in range(6):
        play.land(f"a/{n}", at=both)
        play.later(1)
        for dispatcher in both:
            dispatcher.step()
        play.work(*{id_ for id_, _ in play.posts.said})
    settle(play, *both, most=8)
    assert play.done() == {f"a/{n}" for n in range(6)}
    together = [key for batch in play.batches() for key in batch.keys]
    assert sorted(together) == sorted(set(together))
    assert len(play.posts.said) == len(set(play.posts.said)), "only its cutter posts a new one"


def test_what_nobody_takes_both_post_as_one_workflow(play: Play) -> None:
    both = [play.dispatcher("aaaa"), play.dispatcher("bbbb")]
    for dispatcher in both:
        dispatcher.step()
    play.land("a/1", at=both[:1])
    play.later(1)
    for dispatcher in both:
        dispatcher.step()
    play.later(61)
    for dispatcher in both:
        dispatcher.step()
    (batch,) = play.batches()
    assert play.posts.said == [(batch.id, 1), (batch.id, 2), (batch.id, 2)]


def test_what_an_intake_took_that_is_gone_the_other_finds(play: Play) -> None:
    gone, left = play.dispatcher("aaaa"), play.dispatcher("bbbb")
    left.step()
    play.land("a/1", at=[gone])
    play.later(SWEEP_S)
    left.step()
    assert not play.batches(), "its intake may be about to cut it"
    play.later(SWEEP_S)
    left.step()
    play.later(PACE.age_s)
    left.step()
    assert keys(play.batches()) == [["a/1"]]


def test_together_they_start_little_more_than_one_would(play: Play) -> None:
    both = [play.dispatcher("aaaa"), play.dispatcher("bbbb")]
    for n in range(40):
        play.land(f"a/{n:02}", at=[both[n % 2]])
        play.later(1)
        for dispatcher in both:
            dispatcher.step()
    assert len(play.batches()) <= PACE.most


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_what_landed_before_the_clock_was_set_back_leaves_as_soon_as_ever(play: Play) -> None:
    dispatcher = play.dispatcher()
    play.land("a/0", at=[dispatcher])
    dispatcher.step()
    play.land("a/1", at=[dispatcher])
    dispatcher.step()
    play.later(-86400.0)
    assert dispatcher.step() <= PACE.age_s
    play.later(PACE.age_s)
    dispatcher.step()
    assert sorted(keys(play.batches())) == [["a/0"], ["a/1"]]


def test_what_waits_in_the_ledger_alone_is_looked_for_when_the_clock_was_set_back(play: Play) -> None:
    dispatcher = play.dispatcher()
    dispatcher.step()
    play.land("a/1")
    play.later(-86400.0)
    for _ in range(2):
        dispatcher.step()
        play.later(SWEEP_S)
    for _ in range(2):
        dispatcher.step()
        play.later(PACE.age_s)
    assert keys(play.batches()) == [["a/1"]]
