"""Workers that pull the batches of a run stage by stage, as containers one after the other do, at different moments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lookout.batches.closing import close, give_up, look_back
from lookout.batches.cutter import abandoned, end_open
from lookout.domain.errors import Unavailable
from lookout.domain.records import Mark
from lookout.ledger.batches import UNFINISHED, BatchState

from .test_batches import batches, cut, dirty, fill, observe, runs, working
from .world import World

STAGES = ("first", "second", "third")


def pull(world: World, name: str, run: str = "r") -> Any:
    with working(world) as hand:
        return hand.pull(run, world.pipeline.stage(name))


def end(world: World, run: str = "r") -> Any:
    with world.ledger() as ledger:
        give_up(ledger, run, [])
        found = look_back(world.pipeline, ledger, run)
        close(ledger, run, found, world.clock())
        return found


def states(world: World) -> set[BatchState]:
    return {batch.state for batch in batches(world).values()}


def test_each_stage_takes_each_batch_once_and_the_last_one_ends_it(world: World) -> None:
    keys = fill(world, 25)
    cut(world, run="r")
    for name, left in zip(STAGES, (BatchState.OPEN, BatchState.OPEN, BatchState.DONE), strict=True):
        worked = pull(world, name)
        assert worked.report.success[name] == len(keys)
        assert set(worked.batches.values()) == {left.value}
        assert len(worked.batches) == 3
    assert states(world) == {BatchState.DONE}
    pull(world, "sums")
    found = end(world)
    assert (found.pictures, found.waiting, found.failures, dirty(world)) == (25, 0, [], set())
    assert runs(world) == {"r": "success"}


@pytest.mark.parametrize("seed", range(6))
def test_whoever_comes_and_goes_in_whatever_order_nothing_is_left(world: World, seed: int) -> None:
    """Each worker goes through the stages; between two stages of one, others do theirs, in any order."""
    chance = random.Random(seed)
    keys = fill(world, 12)
    cut(world, run="r", size=2)
    with ExitStack() as stack:
        hands = [stack.enter_context(working(world)) for _ in range(3)]
        todo = [(hand, iter(STAGES)) for hand in hands]
        while todo:
            turn = chance.choice(todo)
            name = next(turn[1], None)
            if name is None:
                todo.remove(turn)
            else:
                turn[0].pull("r", world.pipeline.stage(name))
        assert sum(hand.worked.report.success["third"] for hand in hands) == len(keys)
    assert states(world) == {BatchState.DONE}
    assert end(world).waiting == 0


def test_a_batch_in_the_hands_of_another_is_left_to_it(world: World) -> None:
    fill(world, 4)
    cut(world, run="r", size=2)
    with working(world) as slow:
        held = slow.ledger.take_batch(slow.owner, 60.0, run="r")
        assert held is not None
        for name in STAGES:
            assert pull(world, name).report.success[name] == 2
        with (
            world.ledger() as ledger,
            pytest.raises(Unavailable, match=f"1 of its batches are still held, by {slow.owner}"),
        ):
            give_up(ledger, "r", [])
        slow.ledger.release_batch(held)
        for name in STAGES:
            assert slow.pull("r", world.pipeline.stage(name)).report.success[name] == 2
    assert end(world).waiting == 0


def test_what_is_marked_again_meanwhile_keeps_no_worker_busy_and_waits_for_the_next_cut(world: World) -> None:
    keys = fill(world, 3)
    cut(world, run="r")
    pull(world, "first")
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="first", key=keys[0])])
    assert pull(world, "second").report.success["second"] == 2
    assert pull(world, "third").report.success["third"] == 2
    found = end(world)
    assert found.waiting >= 1
    assert runs(world) == {"r": "stopped"}
    (again,) = cut(world, run="s")
    assert again.keys == (keys[0],)


def test_a_batch_that_somebody_else_has_done_is_ended_by_whoever_sees_it(world: World) -> None:
    fill(world, 2)
    cut(world, run="r")
    world.run()
    assert set(pull(world, "first").batches.values()) == {"done"}


# --- what others left ------------------------------------------------------------------------------------------------


@pytest.fixture
def left(world: World) -> Iterator[World]:
    """Three runs of two batches: of one nobody ever came, at one somebody is, one was worked on a while ago."""
    for run in ("never", "at work", "paused"):
        for n in range(4):
            world.put(f"{run}/{n}", "x")
        observe(world)
        cut(world, run=run, size=2, prefix=f"{run}/")
    world.now_s += 100
    with working(world) as one, working(world) as other:
        assert one.ledger.take_batch(one.owner, 600.0, run="at work") is not None
        taken = other.ledger.take_batch(other.owner, 600.0, run="paused")
        assert taken is not None
        other.ledger.end_batch(taken)
        yield world


def test_a_run_is_abandoned_when_nobody_is_and_nobody_was_at_it(left: World) -> None:
    def found(idle_s: float, but: str = "") -> set[str]:
        with left.ledger() as ledger:
            return {batch.run for batch in abandoned(ledger, left.clock() - idle_s, but)}

    assert found(50) == {"never"}
    assert found(0) == {"never", "paused"}
    assert found(0, but="never") == {"paused"}
    assert found(200) == set()
    with left.ledger() as ledger:
        ended = end_open(ledger, list(ledger.batches(states=UNFINISHED)))
        assert {batch.run for batch in ended} == {"never", "paused", "at work"}
        assert {batch.run for batch in ledger.batches(states=UNFINISHED)} == {"at work"}
