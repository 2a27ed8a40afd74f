"""Batches are cut and worked: each key once, whoever dies, and never on anything but what is in force."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devkit.contracts.ledger_kit import SKIP
from devkit.toy_pipeline import toy_pipeline
from lookout.batches.closing import look_back
from lookout.batches.cutter import BACKFILL, KEEP_S, Cutter, ensure_run
from lookout.batches.worker import BatchWorker
from lookout.domain.errors import ClaimLost, InputRejected, Unavailable
from lookout.domain.records import Mark, Reference, State
from lookout.engine.in_force import recipe_digests
from lookout.execution.executor import InlineWorkers
from lookout.ledger.batches import UNFINISHED, Batch, BatchState
from lookout.ledger.port import Settled
from lookout.runs.runner import Runner
from lookout.sources.ingest import Intake

from .test_kill import dies_at
from .world import World

DEADLINE_S = 60.0


def observe(world: World, *keys: str) -> None:
    """Take the source in, without working on it; of these keys only, if given."""
    with world.ledger() as ledger:
        readers = tuple(stage.name for stage in world.pipeline.readers("texts"))
        intake = Intake(ledger=ledger, bucket="texts", readers=readers, clock=world.clock)
        if keys:
            intake.take_changes(world.source, keys)
        else:
            intake.take_folder(world.source, allow_deletions=True)


def fill(world: World, count: int) -> list[str]:
    keys = [f"a/{n:03}" for n in range(count)]
    for key in keys:
        world.put(key, "alarm" if key.endswith("1") else "calm")
    observe(world)
    return keys


@contextmanager
def cutter(world: World, **how: Any) -> Iterator[Cutter]:
    with world.runner() as runner:
        yield Cutter(pipeline=world.pipeline, ledger=runner.ledger, store=runner.store, clock=world.clock, **how)


def cut(world: World, *, run: str = "", size: int = 10, **how: Any) -> list[Batch]:
    with cutter(world, size=size) as knife:
        if run:
            ensure_run(knife.ledger, run, world.clock())
        return knife.cut(run=run, kind=BACKFILL if run else "live", **how)


@dataclass(frozen=True)
class Source:
    """The source of a world, as a worker asks it."""

    world: World

    def observe_again(self, key: str) -> None:
        observe(self.world, key)


@contextmanager
def working(world: World, **how: Any) -> Iterator[BatchWorker]:
    with world.runner() as runner, runner.ledger.session() as owner:
        yield BatchWorker(
            pipeline=world.pipeline,
            ledger=runner.ledger,
            store=runner.store,
            workers=runner.workers,
            owner=owner,
            code="test",
            source=Source(world),
            clock=world.clock,
            **how,
        )


def batches(world: World, **how: Any) -> dict[str, Batch]:
    with world.ledger() as ledger:
        return {batch.id: batch for batch in ledger.batches(**how)}


def dirty(world: World) -> set[str]:
    with world.ledger() as ledger:
        return {key for stage in world.pipeline.stages for key in ledger.dirty(stage.name)}


def runs(world: World) -> dict[str, str]:
    with world.ledger() as ledger:
        return {run.id: run.state for run in ledger.runs()}


# --- cutting ---------------------------------------------------------------------------------------------------------


def test_what_is_dirty_is_cut_into_pieces_in_order_and_only_once(world: World) -> None:
    keys = fill(world, 25)
    cut_ = cut(world)
    assert [len(batch.keys) for batch in cut_] == [10, 10, 5]
    assert [key for batch in cut_ for key in batch.keys] == keys
    assert [batch.id for batch in cut_] == sorted(batch.id for batch in cut_)
    assert cut(world) == []
    world.put("b/new", "x")
    observe(world)
    assert [batch.keys for batch in cut(world)] == [("b/new",)]


def test_a_key_that_is_dirty_in_several_stages_is_cut_once(world: World) -> None:
    world.put("k", "x")
    world.run()
    with world.ledger() as ledger:
        ledger.mark([Mark(stage=stage.name, key="k") for stage in world.pipeline.stages])
    assert [batch.keys for batch in cut(world)] == [("k",)]


def test_nothing_dirty_gives_no_batch(world: World) -> None:
    assert cut(world) == []
    world.put("k", "x")
    world.run()
    assert cut(world) == []


def test_a_cut_keeps_to_its_prefix_and_to_what_is_wanted(world: World) -> None:
    keys = fill(world, 20)
    assert [batch.keys for batch in cut(world, prefix="a/00")] == [tuple(keys[:10])]
    assert [batch.keys for batch in cut(world, wanted=lambda keys: [key for key in keys if key.endswith("5")])] == [
        ("a/015",)
    ]


def test_the_rest_leaves_when_one_of_it_has_waited_long_enough(world: World) -> None:
    fill(world, 12)
    with cutter(world, size=10, age_s=30.0) as knife:
        assert [len(batch.keys) for batch in knife.cut()] == [10]
        world.now_s += 25
        world.put("a/011", "changed again and again")  # its slot is marked anew, and still the rest does not wait
        observe(world)
        assert knife.cut() == []
        world.put("a/010", "too")
        world.now_s += 4
        observe(world)
        assert knife.cut() == []
        world.now_s += 2
        assert [batch.keys for batch in knife.cut()] == [("a/010", "a/011")]


def test_a_cut_without_memory_goes_by_the_marks(world: World) -> None:
    fill(world, 3)
    with cutter(world, size=10, age_s=30.0) as knife:
        assert knife.cut() == []
    world.now_s += 31
    with cutter(world, size=10, age_s=30.0) as knife:
        assert [len(batch.keys) for batch in knife.cut()] == [3]


def test_a_cut_forgets_batches_that_were_done_long_ago(world: World) -> None:
    fill(world, 3)
    cut(world, run="r")
    with working(world) as hand:
        hand.pull("r")
    cut(world)
    assert len(batches(world)) == 1
    world.now_s += KEEP_S + 60
    world.put("b/new", "x")
    observe(world, "b/new")
    (new,) = cut(world)
    assert batches(world).keys() == {new.id}


def test_a_batch_pins_what_the_ledger_goes_by(world: World) -> None:
    fill(world, 1)
    (batch,) = cut(world)
    with world.runner() as runner:
        assert batch.basis == recipe_digests(world.pipeline, runner.ledger.references)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_size_that_no_batch_can_have_is_refused(world: World, size: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"), cutter(world, size=size):
        pass


def test_two_cuts_at_once_give_no_key_twice(world: World) -> None:
    keys = fill(world, 60)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=_cut, args=(world.root, barrier)) for _ in range(2)]
    _run_all(both)
    assert sorted(key for batch in batches(world).values() for key in batch.keys) == keys


def test_a_cut_killed_between_any_two_writes_loses_nothing(tmp_path: Path) -> None:
    boundary, died = 0, True
    while died:
        boundary += 11
        world = World(root=tmp_path / str(boundary))
        keys = fill(world, 25)
        died = dies_at(boundary, lambda world=world: cut(world, run="r"))
        cut(world, run="r")
        assert sorted(key for batch in batches(world).values() for key in batch.keys) == keys
        with working(world) as hand:
            assert hand.pull("r").closed
        assert (dirty(world), runs(world)["r"]) == (set(), "success")
    assert boundary > 14


# --- working ---------------------------------------------------------------------------------------------------------


def test_a_pulled_run_ends_as_an_ordinary_run_does(tmp_path: Path) -> None:
    alone, pulled = World(root=tmp_path / "alone"), World(root=tmp_path / "pulled")
    for world in (alone, pulled):
        fill(world, 25)
        world.put("a/bad", "bad")
        observe(world)
    alone.run()
    cut(pulled, run="r")
    with working(pulled) as hand:
        worked = hand.pull("r")
    assert set(worked.batches.values()) == {"done"}
    assert worked.closed
    assert worked.report.success == {"first": 26, "second": 25, "third": 25, "sums": 2}
    assert (pulled.results(), pulled.live()) == (alone.results(), alone.live())
    assert runs(pulled) == {"r": "success"}
    with pulled.ledger() as ledger:
        assert {slot.record.run for slot in ledger.slots() if slot.record} == {"r"}


def test_one_stage_after_the_other_gives_the_batch_back_until_all_is_done(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)
    ended = []
    for stage in world.pipeline.stages:
        with working(world) as hand:
            worked = hand.one_batch(batch.id, stage)
        ended.append(worked.batches.get(batch.id))
        assert set(worked.report.success) == {stage.name}
    assert ended == ["open", "open", "done", None]
    assert dirty(world) == set()
    with working(world) as hand:
        assert hand.one_batch(batch.id, world.pipeline.stages[0]).batches == {batch.id: "done"}
    with world.ledger() as ledger:
        assert {slot.record.run for slot in ledger.slots() if slot.record} == {batch.id}


def test_a_batch_outside_a_run_is_worked_with_its_charts(world: World) -> None:
    fill(world, 2)
    (batch,) = cut(world)
    with working(world) as hand:
        assert hand.one_batch(batch.id).report.success["sums"] == 2
    assert dirty(world) == set()


def test_one_object_is_looked_at_and_worked_through(world: World) -> None:
    world.put("a/other", "x")
    observe(world)
    world.put("a/new", "alarm")
    with working(world) as hand:
        report = hand.one_object("a/new", "run").report
    assert report.success == {"first": 1, "second": 1, "third": 1, "sums": 2}
    assert dirty(world) == {"a/other"}
    (world.source / "a/new").unlink()
    with working(world) as hand:
        assert hand.one_object("a/new", "run").report.retracted["third"] == 1
    assert not [path for path in world.results() if "new" in path]


def test_an_object_in_a_batch_that_waits_can_go_before_it(world: World) -> None:
    fill(world, 3)
    cut(world, run="r")
    with working(world) as hand:
        assert hand.one_object("a/001", "run").report.success["third"] == 1
    with working(world) as hand:
        assert hand.pull("r").report.success["third"] == 2


def test_a_failed_datum_does_not_keep_its_batch_open_and_fails_the_run(world: World) -> None:
    world.put("a/fails", "fail")
    world.put("a/fine", "x")
    observe(world)
    cut(world, run="r")
    with working(world) as hand:
        assert set(hand.pull("r").batches.values()) == {"done"}
    assert runs(world) == {"r": "failed"}
    with world.ledger() as ledger:
        found = look_back(world.pipeline, ledger, "r")
        assert [(slot.stage, slot.key) for slot in found.failures] == [("first", "a/fails")]
        assert (found.pictures, found.waiting) == (2, 0)
        (run,) = ledger.runs()
        assert run.summary == {"batches": 1, "failed": 1, "stages": {"first": 1}}


def test_what_nobody_knows_is_refused(world: World) -> None:
    with working(world) as hand:
        with pytest.raises(InputRejected, match="no such batch"):
            hand.one_batch("never")
        with pytest.raises(InputRejected, match="no such run"):
            hand.pull("never")


def test_a_batch_in_other_hands_is_to_be_tried_again(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)
    with working(world) as other, working(world) as hand:
        other.ledger.take_batch(other.owner, 60.0)
        with pytest.raises(Unavailable, match=other.owner):
            hand.one_batch(batch.id)


def test_datums_in_other_hands_leave_their_batch_open_and_the_others_are_done(world: World) -> None:
    fill(world, 30)
    first, *_ = cut(world, run="r")
    with working(world) as other:
        claims = other.ledger.claim("first", other.owner, 2, 600.0)
        with working(world) as hand, pytest.raises(Unavailable, match="2 datums"):
            hand.pull("r")
        assert [batch.id for batch in batches(world, states=UNFINISHED).values()] == [first.id]
        assert runs(world) == {"r": "running"}
        assert len(claims) == 2
    with working(world) as hand:
        assert hand.pull("r").closed
    assert dirty(world) == set()


def test_a_stopped_worker_hands_its_batch_back(world: World) -> None:
    fill(world, 25)
    cut(world, run="r")
    with working(world) as hand:
        hand.on_progress = lambda _: hand.stop()
        hand.pull("r")
        assert {batch.state for batch in batches(world).values()} == {BatchState.OPEN}
    with working(world) as hand:
        assert hand.pull("r").closed
    assert dirty(world) == set()


def test_a_batch_is_kept_while_it_takes_longer_than_its_lease(world: World) -> None:
    fill(world, 1)
    (batch,) = cut(world)
    waiting: list[Callable[[], None]] = []
    ends: list[float] = []

    class Slow(InlineWorkers):
        """Tells of the end of a job when the lease has been begun anew three times."""

        def submit(self, jobs: Any, timeout_s: float, done: Callable[..., None]) -> None:
            super().submit(jobs, timeout_s, lambda *end: waiting.append(partial(done, *end)))

    with working(world, lease_s=0.15) as hand:
        hand.workers = Slow(hand.store)
        extend = hand.ledger.extend_batches

        def extended(taken: Any, lease_s: float) -> list[bool]:
            answer = extend(taken, lease_s)
            ends.append(batches(world)[batch.id].lease_end_s)
            if len(ends) == 3:
                for tell in waiting:
                    tell()
            return answer

        hand.ledger.extend_batches = extended  # type: ignore[method-assign]
        assert hand.one_batch(batch.id, world.pipeline.stages[0]).batches == {batch.id: "open"}
    assert ends == sorted(set(ends))


def test_a_lost_batch_is_told_and_what_it_did_stays(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)
    with working(world, lease_s=60.0) as hand, working(world) as other:

        class Losing:
            def send(self, is_stopped: Callable[[], bool]) -> None:
                if "other" not in taken:
                    world.now_s += 61
                    taken["other"] = other.ledger.take_batch(other.owner, 60.0)

        taken: dict[str, Batch | None] = {}
        hand.sender = Losing()
        assert hand.one_batch(batch.id).batches == {batch.id: "lost"}
        held = taken["other"]
        assert held is not None
        other.ledger.end_batch(held)
        with pytest.raises(ClaimLost):
            hand.ledger.end_batch(held)
    assert world.states()["third"] == {"success": 3}


# --- what is in force changes ----------------------------------------------------------------------------------------


def enforce(world: World, runner: Runner, word: str) -> None:
    """Bring a word into force and have the ledger go by it, as a run with references does."""
    put = runner.store.put("words", "all.txt/word", word.encode(), "text/plain")
    unit = Reference(bucket="words", name="all.txt", files={"word": put})
    runner.ledger.enforce("words", [unit])
    for stage, basis in recipe_digests(world.pipeline, runner.ledger.references).items():
        if runner.ledger.basis(stage) != basis:
            runner.ledger.rebase(stage, basis)


def loud(world: World) -> set[bytes]:
    return {data for path, data in world.results().items() if path.endswith(".loud")}


def test_a_word_that_comes_into_force_after_the_cut_is_used(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)
    with world.runner() as runner:
        enforce(world, runner, "!")
    with working(world) as hand:
        assert hand.one_batch(batch.id).batches == {batch.id: "done"}
    assert loud(world) == {b"CALM!", b"ALARM!"}


def test_a_word_that_comes_into_force_while_a_batch_is_worked_is_used_for_all_of_it(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)

    def change(progress: Any) -> None:
        if progress.stage == "second" and not changed:
            changed.append(progress)
            with world.runner() as runner:
                enforce(world, runner, "!")

    changed: list[object] = []
    with working(world, on_progress=change) as hand:
        assert hand.one_batch(batch.id).batches == {batch.id: "done"}
    assert loud(world) == {b"CALM!", b"ALARM!"}
    assert dirty(world) == set()


def test_what_a_dead_worker_settled_on_what_was_in_force_before_is_done_again(world: World) -> None:
    """The worst moment: it planned before the change, settled after it, and died before it compared."""
    fill(world, 3)
    (batch,) = cut(world)
    with working(world) as hand:
        hand.one_object("a/000", "run")
        hand.ledger.take_batch(hand.owner, 60.0)
        with world.runner() as runner:
            enforce(world, runner, "!")
        claims = hand.ledger.claim("second", hand.owner, 10, 60.0, ["a/000"])
        assert hand.ledger.commit([(claim, SKIP) for claim in claims]) == [Settled.DONE]
        world.now_s += 61
        with working(world) as next_hand:
            assert next_hand.one_batch(batch.id).batches == {batch.id: "done"}
    assert loud(world) == {b"CALM!", b"ALARM!"}


def test_another_recipe_than_the_ledgers_is_refused_and_the_batch_waits(world: World) -> None:
    fill(world, 3)
    (batch,) = cut(world)
    newer = World(root=world.root, pipeline=toy_pipeline(version=2), now_s=world.now_s)
    with working(newer) as hand, pytest.raises(Unavailable, match=r"stage second.*cut again with this version"):
        hand.one_batch(batch.id)
    assert batches(world)[batch.id].state is BatchState.OPEN
    assert world.states()["first"] == {"pending": 3}
    cut(newer)
    with working(world) as hand, pytest.raises(Unavailable, match="stage second"):
        hand.one_batch(batch.id)  # now it is the older one that may not undo it
    with working(newer) as hand:
        assert hand.one_batch(batch.id).batches == {batch.id: "done"}


# --- several processes -----------------------------------------------------------------------------------------------


def _cut(root: Path, barrier: Any) -> None:
    world = World(root=root)
    barrier.wait()
    cut(world, size=7)


def _pull(root: Path, barrier: Any) -> None:
    world = World(root=root)
    with working(world) as hand:
        barrier.wait()
        hand.pull("r")


def _stall(root: Path, batch: str, key: str, ready: Any) -> None:
    """Work on a batch until this key is at its turn, then wait to be killed."""
    world = World(root=root)

    def stall(progress: Any) -> None:
        if (progress.stage, progress.key) == ("second", key):
            ready.set()
            signal.pause()

    with working(world, on_progress=stall) as hand:
        hand.one_batch(batch)


def _run_all(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE_S)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_two_processes_pull_one_list_and_one_of_them_ends_the_run(tmp_path: Path) -> None:
    alone, shared = World(root=tmp_path / "alone"), World(root=tmp_path / "shared")
    for world in (alone, shared):
        fill(world, 120)
    alone.run()
    cut(shared, run="r")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    _run_all([context.Process(target=_pull, args=(shared.root, barrier)) for _ in range(2)])
    assert {batch.state for batch in batches(shared).values()} == {BatchState.DONE}
    assert (shared.results(), shared.live()) == (alone.results(), alone.live())
    assert runs(shared) == {"r": "success"}


def test_a_batch_whose_worker_was_killed_is_resumed_at_once(tmp_path: Path) -> None:
    world, alone = World(root=tmp_path / "world"), World(root=tmp_path / "alone")
    keys = fill(world, 40)
    fill(alone, 40)
    alone.run()
    (batch,) = cut(world, size=40)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_stall, args=(world.root, batch.id, keys[20], ready))
    process.start()
    assert ready.wait(DEADLINE_S)
    assert batches(world)[batch.id].state is BatchState.TAKEN
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    began_s = time.monotonic()
    with working(world) as hand:
        assert hand.one_batch(batch.id).batches == {batch.id: "done"}
        assert hand.worked.report.success["first"] == 0, "what was done is not done again"
    assert time.monotonic() - began_s < 30
    assert batches(world)[batch.id].losses == 1
    assert world.live() == alone.live()
    assert world.states()["third"] == {State.SUCCESS.value: 40}
