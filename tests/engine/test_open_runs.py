"""A keeper and followers on one ledger in memory: what lands is worked on at once, in small claims, until the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.states import Unchanging
from devkit.contracts.ledger_batches import batch
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from devkit.toy_pipeline import toy_pipeline
from lookout.batches.cutter import abandoned
from lookout.batches.follower import RunFollower
from lookout.batches.keeper import RELEASE_NOTE, Ending, Keeper, Pace
from lookout.batches.run_watch import RunWatch
from lookout.domain.errors import Unavailable
from lookout.domain.records import Mark, State
from lookout.engine.engine import Engine
from lookout.engine.session import EngineSession
from lookout.execution.executor import Done, InlineWorkers, Workers
from lookout.execution.jobs import Job
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.batches import UNFINISHED
from lookout.ledger.kv import KvLedger, keys
from lookout.ledger.open_runs import OpenRunLedger, opening
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.routing import Routes
from lookout.sources.folder import FolderSource, observe_file
from lookout.sources.folder_keys import origin_of

DEADLINE_S = 30.0
STAGES = ("first", "second", "third", "sums")


class Noting(InlineWorkers):
    """Workers that note which keys they got together."""

    def __init__(self, store: Routes) -> None:
        super().__init__(store)
        self.got: list[list[str]] = []

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        self.got.append([job.key for job in jobs])
        super().submit(jobs, timeout_s, done)


class Hall:
    """A source, a store and a ledger, and threads that keep and follow the run ``run``."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.source = root / "source"
        self.source.mkdir()
        self.kept, self.stack = MemoryStore(time.time), stack
        self.store = Routes({"texts": FolderSource()}, FolderStore(root / "objects", durable=False))
        self.pipeline = toy_pipeline()
        self.ledger = self.open()
        self.threads = stack.enter_context(ThreadPoolExecutor(8))
        self.followers: dict[str, RunFollower] = {}
        self.keeper: Keeper | None = None
        stack.callback(self.stop)
        self.ledger.start_run(opening("run", "1", time.time()))

    def open(self) -> KvLedger:
        ledger = memory_ledger(time.time, self.kept)
        self.stack.callback(ledger.close)
        return ledger

    def stop(self) -> None:
        for each in (*self.followers.values(), self.keeper):
            if each is not None:
                each.stop()

    def land(self, id_: str, **texts: str) -> None:
        for key, text in texts.items():
            (self.source / key).write_text(text)
        seen = [observe_file(self.source, key, "texts", time.time()) for key in texts]
        self.ledger.put_note("source", origin_of(self.source))
        self.ledger.observe(seen, ["first"])
        assert self.ledger.assign_batch(batch(id_, *sorted(texts), run="run")) is not None

    def follow(self, stage: str, workers: Workers | None = None) -> Future[None]:
        ready: Future[None] = Future()
        done = self.threads.submit(self._follow, stage, workers or InlineWorkers(self.store), ready)
        ready.result(DEADLINE_S)
        return done

    def _follow(self, stage: str, workers: Workers, ready: Future[None]) -> None:
        ledger = self.open()
        with ledger.session() as owner:
            follower = self.followers[stage] = RunFollower(
                ledger=ledger,
                run="run",
                stage=self.pipeline.stage(stage),
                owner=owner,
                make_engine=lambda: Engine(
                    pipeline=self.pipeline,
                    ledger=ledger,
                    store=self.store,
                    workers=workers,
                    source=Unchanging(),
                    session=EngineSession(owner=owner, run="run", code="test"),
                    publishes=(stage,),
                ),
            )
            watch = RunWatch(self.open, "run", [stage], follower.wake)
            watch.start()
            ready.set_result(None)
            try:
                follower.follow()
            finally:
                watch.stop()
                workers.stop()

    def keep(self, **pace: float) -> Future[Ending]:
        ready: Future[None] = Future()
        done = self.threads.submit(self._keep, Pace(**pace), ready)
        ready.result(DEADLINE_S)
        return done

    def _keep(self, pace: Pace, ready: Future[None]) -> Ending:
        ledger = self.open()
        with ledger.session() as owner:
            self.keeper = Keeper(pipeline=self.pipeline, ledger=ledger, run="run", owner=owner, pace=pace)
            watch = RunWatch(self.open, "run", STAGES, self.keeper.wake)
            watch.start()
            ready.set_result(None)
            try:
                return self.keeper.keep()
            finally:
                watch.stop()

    def state(self, key: str, stage: str = "third") -> State | None:
        slot = self.ledger.find_slots(stage, [key]).get(key)
        return slot.state if slot is not None and not slot.dirty else None


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with ExitStack() as stack:
        yield Hall(tmp_path, stack)


def until(ready: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_run_goes_through_all_stages_lingers_and_ends(hall: Hall) -> None:
    hall.land("1", a="calm", b="alarm")
    following = [hall.follow(stage) for stage in STAGES]
    keeping = hall.keep(linger_s=1.0)
    until(lambda: hall.state("a") is hall.state("b") is State.SUCCESS)
    hall.land("2", c="alarm")
    until(lambda: hall.state("c") is State.SUCCESS)
    assert keeping.result(DEADLINE_S) is Ending.CLOSED
    for each in following:
        each.result(DEADLINE_S)
    assert all(follower.over for follower in hall.followers.values())
    view = hall.ledger.find_run("run")
    assert view is not None
    assert (view.record.state, view.unfinished) == ("success", {})
    assert (view.record.summary or {})["batches"] == 2
    assert {one.key for one in hall.store.list("third")} == {"b.alarm", "c.alarm"}
    assert hall.state("", "sums") is State.SUCCESS, "the charts are drawn before the end"


def test_a_follower_claims_a_few_of_the_oldest_batch_of_its_run_and_nothing_else(hall: Hall) -> None:
    hall.ledger.mark([Mark(stage="first", key="other")])
    hall.land("1", **{f"z{n:02}": "calm" for n in range(10)})
    hall.land("2", **{f"a{n:02}": "calm" for n in range(3)})
    workers = Noting(hall.store)
    hall.follow("first", workers)
    until(lambda: hall.state("a02", "first") is State.SUCCESS)
    assert [len(some) for some in workers.got] == [8, 5]
    assert workers.got[0] == [f"z{n:02}" for n in range(8)]
    assert hall.ledger.find_slots("first", ["other"])["other"].dirty


def test_a_text_that_kills_its_process_fails_alone_and_the_stage_goes_on(hall: Hall) -> None:
    hall.follow("first", ProcessWorkers(store=hall.store, size=1, kept=2))
    hall.land("1", deadly="die", calm="calm")
    until(lambda: hall.state("deadly", "first") is State.FAILED and hall.state("calm", "first") is State.SUCCESS)
    hall.land("2", later="calm")
    until(lambda: hall.state("later", "first") is State.SUCCESS)


def test_a_follower_that_is_told_to_stop_hands_back_what_it_has(hall: Hall) -> None:
    following = hall.follow("first", ProcessWorkers(store=hall.store, size=1))
    hall.land("1", hanging="hang")
    until(lambda: hall.ledger.find_slots("first", ["hanging"])["hanging"].owner is not None)
    hall.followers["first"].stop()
    following.result(DEADLINE_S)
    slot = hall.ledger.find_slots("first", ["hanging"])["hanging"]
    assert (hall.followers["first"].over, slot.owner, slot.tries, bool(slot.dirty)) == (False, None, 0, True)


def test_a_follower_whose_session_is_over_ends_though_nothing_waits(hall: Hall) -> None:
    following = hall.follow("first")
    until(lambda: (view := hall.ledger.find_run("run", ["first"])) is not None and bool(view.present))
    hall.kept.end_lease_of(keys.ledger("/lookout") + keys.ALIVE + keys.text(hall.followers["first"].owner))
    with pytest.raises(Unavailable, match="session"):
        following.result(DEADLINE_S)


def test_a_keeper_hands_back_the_batches_when_it_is_told_to_stop(hall: Hall) -> None:
    for stage in STAGES[:2]:
        hall.follow(stage)
    keeping = hall.keep()
    hall.follow("third", Held())
    hall.land("1", a="alarm")
    until(lambda: any(one.owner for one in hall.ledger.batches(states=UNFINISHED)))
    assert hall.keeper is not None
    hall.keeper.stop()
    assert keeping.result(DEADLINE_S) is Ending.HANDED_BACK
    view = hall.ledger.find_run("run")
    assert view is not None
    assert (view.lease, list(view.unfinished), view.record.state) == (None, ["1"], "running")


def test_a_keeper_gives_the_run_up_without_a_stage(hall: Hall) -> None:
    following = [hall.follow(stage) for stage in STAGES[:3]]
    keeping = hall.keep(patience_s=0.2)
    until(lambda: (view := hall.ledger.find_run("run")) is not None and view.lease is not None)
    hall.followers["second"].stop()
    following[1].result(DEADLINE_S)
    with pytest.raises(Unavailable, match="second has been gone"):
        keeping.result(DEADLINE_S)
    view = hall.ledger.find_run("run")
    assert view is not None
    assert view.lease is None


def test_a_keeper_whose_stages_do_not_come_says_which(hall: Hall) -> None:
    hall.follow("first")
    with pytest.raises(Unavailable, match="second, third did not come"):
        hall.keep(begin_s=0.2).result(DEADLINE_S)


@pytest.mark.parametrize("why", ["age", "release"])
def test_a_run_that_is_old_or_of_another_release_drains_and_ends_without_lingering(hall: Hall, why: str) -> None:
    following = [hall.follow(stage) for stage in STAGES]
    keeping = hall.keep(linger_s=600.0, drain_after_s=0.5 if why == "age" else 600.0)
    if why == "release":
        until(lambda: (view := hall.ledger.find_run("run")) is not None and view.lease is not None)
        hall.ledger.put_note(RELEASE_NOTE, "2")
        assert hall.keeper is not None
        hall.keeper.wake()
    assert keeping.result(DEADLINE_S) is Ending.CLOSED
    for each in following:
        each.result(DEADLINE_S)


def test_a_cut_does_not_take_over_the_batches_of_an_open_run(hall: Hall) -> None:
    hall.land("1", a="calm")
    hall.ledger.add_batches([batch("2", "b")])
    assert [one.id for one in abandoned(hall.ledger, time.time() + 1.0)] == ["2"]


def test_a_watch_whose_connection_breaks_wakes_and_connects_again(hall: Hall) -> None:
    woken = threading.Semaphore(0)
    broken = iter([True, True])

    def open_ledger() -> OpenRunLedger:
        if next(broken, False):
            raise Unavailable("etcd", "does not answer")
        return hall.open()

    watch = RunWatch(open_ledger, "run", ["first"], woken.release)
    watch.start()
    for _ in range(3):
        assert woken.acquire(timeout=DEADLINE_S)
    hall.ledger.mark([Mark(stage="first", key="a")])
    assert woken.acquire(timeout=DEADLINE_S)
    watch.stop()
    hall.ledger.mark([Mark(stage="first", key="a")])
    watch.join()


class Held(Workers):
    """Workers that never end a job."""

    size = 1

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        """Keep the jobs."""

    def stop(self) -> None:
        """Nothing runs."""
