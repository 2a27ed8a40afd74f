"""One datum that fails at a step of the engine for ever: the others are done, it is named, and a later run heals it."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged, ObjectMissing, ObjectUnreadable
from lookout.domain.records import Claim, Mark, ObjectRef, Observation, Outcome, State
from lookout.engine.engine import Engine
from lookout.engine.session import EngineSession
from lookout.execution.executor import Done, InlineWorkers
from lookout.execution.jobs import Job
from lookout.ledger.port import Ledger, Settled
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import ObjectStore, Publish
from lookout.object_store.routing import Routes
from lookout.sources.folder import FolderSource
from lookout.sources.ingest import Intake

from .watch_kit import Mute, until, watching
from .world import World

BAD = "a/bad"
GOOD = ("a/1", "a/2", "b/3")

ERRORS: list[Callable[[], Exception]] = [
    lambda: OSError(errno.EIO, "Input/output error"),
    lambda: ValueError("no"),
    lambda: KeyError("no"),
    lambda: MemoryError(),
    lambda: Corrupt("record", "this", "that"),
    lambda: InputRejected("no"),
    lambda: ObjectUnreadable("texts/a/bad", "Input/output error"),
]
NAMES = ["OSError", "ValueError", "KeyError", "MemoryError", "Corrupt", "InputRejected", "ObjectUnreadable"]


@dataclass
class Fault:
    """One step that fails whenever it is about the bad text."""

    step: str
    make: Callable[[], Exception]
    met: int = 0
    was_met: threading.Event = field(default_factory=threading.Event)
    before_extending: Callable[[], None] = lambda: None
    has_changed: bool = False

    def meet(self, step: str, keys: Iterable[str]) -> None:
        if step == self.step and any(BAD in key for key in keys):
            self.met += 1
            self.was_met.set()
            raise self.make()


class FaultyStore(Routes):
    """The store of the world, with a fault."""

    fault: Fault

    def get(self, ref: ObjectRef) -> bytes:
        self.fault.meet("get", [ref.key] if ref.bucket == "first" else [])
        self.fault.meet("get the picture", [ref.key] if ref.bucket == "texts" else [])
        if self.fault.step == "reobserve" and (ref.bucket, ref.key) == ("texts", BAD):
            self.fault.has_changed = True
            raise ObjectChanged(ref.bucket, ref.key, ref.sha256, "other")
        return super().get(ref)

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        self.fault.meet("has", [ref.key for ref in refs])
        return super().has(refs)

    def put(self, bucket: str, key: str, *args: object, **more: object) -> ObjectRef:
        self.fault.meet("put", [key])
        return super().put(bucket, key, *args, **more)  # type: ignore[arg-type]

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        self.fault.meet("flush", [ref.key for ref in refs])
        super().flush(refs)

    def publish(self, changes: Sequence[Publish]) -> None:
        self.fault.meet("publish", [change.key for change in changes])
        super().publish(changes)

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        self.fault.meet("discard", [ref.key for ref in refs])
        super().discard(refs)


class FaultyLedger(SqliteLedger):
    """The ledger of the world, with a fault."""

    fault: Fault

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        self.fault.meet("plan", keys)
        return super().find_inputs(bucket, keys)

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        seen = list(observations)
        self.fault.meet("reobserve", [each.key for each in seen] if self.fault.has_changed else [])
        return super().observe(seen, readers)

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        self.fault.before_extending()
        self.fault.meet("extend", [claim.key for claim in claims])
        return super().extend(claims, lease_s)

    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        self.fault.meet("commit", [claim.key for claim, outcome in outcomes if outcome.record is not None])
        self.fault.meet("commit anything", [claim.key for claim, _ in outcomes])
        return super().commit(outcomes)

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        todo = list(marks)
        self.fault.meet("mark", [mark.key for mark in todo] if salt is not None else [])
        return super().mark(todo, revive=revive, salt=salt)


class FaultyWorkers(InlineWorkers):
    """Workers that cannot be handed some jobs."""

    def __init__(self, store: ObjectStore, fault: Fault) -> None:
        super().__init__(store)
        self.fault = fault

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        self.fault.meet("submit", [job.key for job in jobs])
        super().submit(jobs, timeout_s, done)


class LateWorkers(InlineWorkers):
    """Workers that do the bad datum's job when the fault was met; before that, ``late`` is called."""

    def __init__(self, store: ObjectStore, fault: Fault, late: Callable[[], None] = lambda: None) -> None:
        super().__init__(store)
        self._fault, self._late = fault, late
        self._threads: list[threading.Thread] = []

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        super().submit([job for job in jobs if job.key != BAD], timeout_s, done)
        if waiting := [job for job in jobs if job.key == BAD]:
            self._threads.append(threading.Thread(target=self._wait, args=(waiting, timeout_s, done)))
            self._threads[-1].start()

    def _wait(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        assert self._fault.was_met.wait(60.0)
        self._late()
        super().submit(jobs, timeout_s, done)

    def stop(self) -> None:
        for thread in self._threads:
            thread.join()


@dataclass
class FaultyWorld(World):
    """A world in which one step fails for one text."""

    fault: Fault | None = None

    def open_ledger(self) -> Ledger:
        if self.fault is None:
            return super().open_ledger()
        ledger = FaultyLedger(self.root / "state" / "ledger.sqlite", clock=self.clock)
        ledger.fault = self.fault
        return ledger

    def open_store(self) -> ObjectStore:
        store = FaultyStore({self.pipeline.inputs: FolderSource()}, FolderStore(self.objects, durable=False))
        store.fault = self.fault or Fault("none", ValueError)
        return store

    def failed(self) -> dict[tuple[str, str], str]:
        with closing(self.open_ledger()) as ledger:
            return {(slot.stage, slot.key): slot.error or "" for slot in ledger.slots(states=[State.FAILED])}


@pytest.fixture
def world(tmp_path: Path) -> FaultyWorld:
    world = FaultyWorld(tmp_path / "world")
    for key in (*GOOD, BAD):
        world.put(key, f"alarm {key}")
    return world


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, bytes]:
    """Return the state that a run without a fault leaves."""
    world = World(tmp_path / "fresh")
    for key in (*GOOD, BAD):
        world.put(key, f"alarm {key}")
    world.run()
    return world.results()


def good(results: dict[str, bytes]) -> dict[str, bytes]:
    """Those of the good texts."""
    return {path: data for path, data in results.items() if BAD not in path and not path.startswith("sums/")}


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
@pytest.mark.parametrize("step", ["plan", "submit", "get the picture", "get", "put", "flush", "commit", "publish"])
def test_a_step_that_fails_for_one_datum_fails_that_datum_and_no_other(
    world: FaultyWorld, fresh: dict[str, bytes], step: str, make: Callable[[], Exception]
) -> None:
    world.fault = Fault(step, make)
    workers = FaultyWorkers(world.open_store(), world.fault)
    world.run(workers=workers)
    assert world.fault.met
    assert good(world.results()) == good(fresh)
    assert {key for _, key in world.failed()} == {BAD}
    assert len(world.postbox.sent()) >= len(GOOD)
    world.fault = None
    world.run()
    assert world.failed() == {}
    assert world.results() == fresh
    assert len(world.postbox.sent()) == len(GOOD) + 1


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_a_datum_whose_end_the_ledger_cannot_take_at_all_is_named_when_all_else_is_done(
    world: FaultyWorld, fresh: dict[str, bytes], make: Callable[[], Exception]
) -> None:
    world.fault = Fault("commit anything", make)
    with pytest.raises(Corrupt, match=BAD):
        world.run()
    stages = ("first/", "second/", "third/")
    assert good(world.results()) == {path: data for path, data in good(fresh).items() if path.startswith(stages)}
    world.fault = None
    world.run()
    assert world.results() == fresh


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_a_lease_that_cannot_be_extended_serves_for_as_long_as_it_lasts(
    world: FaultyWorld, fresh: dict[str, bytes], make: Callable[[], Exception]
) -> None:
    world.fault = Fault("extend", make)
    ran = world.run(workers=LateWorkers(world.open_store(), world.fault))
    assert world.fault.met
    assert world.failed() == {}
    assert world.results() == fresh
    assert ran.engine.report.success["first"] == len(GOOD) + 1


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_a_datum_that_outlives_each_lease_is_failed_alone(
    world: FaultyWorld, fresh: dict[str, bytes], make: Callable[[], Exception]
) -> None:
    fault = world.fault = Fault("extend", make)

    def late() -> None:
        world.now_s += 120.0

    world.run(workers=LateWorkers(world.open_store(), fault, late))
    assert fault.met
    assert good(world.results()) == good(fresh)
    assert world.failed() == {("first", BAD): "its worker died 3 times while it worked on this datum alone"}
    world.fault = None
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="first", key=BAD)], revive=True)
    world.run()
    assert world.failed() == {}
    assert world.results() == fresh


def test_the_last_datum_is_claimed_again_when_its_lease_was_lost(world: FaultyWorld) -> None:
    for key in GOOD:
        (world.source / key).unlink()
    fault = world.fault = Fault("none", ValueError)
    extended: list[float] = []

    def sleep() -> None:
        extended.append(world.now_s)
        if len(extended) == 2:  # the first comes at once
            world.now_s += 120.0
            fault.was_met.set()

    fault.before_extending = sleep
    with world.runner() as runner, world.ledger() as ledger, ledger.session() as owner:
        Intake(ledger=ledger, bucket="texts", readers=("first",), clock=world.clock).take_folder(world.source)
        workers = LateWorkers(runner.store, fault)
        engine = Engine(
            pipeline=world.pipeline,
            ledger=ledger,
            store=runner.store,
            workers=workers,
            source=Intake(ledger=ledger, bucket="texts", readers=("first",), clock=world.clock),
            session=EngineSession(owner=owner, run="run", code="test", clock=world.clock, lease_s=0.3),
        )
        report = engine.work([world.pipeline.stage("first")])
        workers.stop()
    assert report.success["first"] == 1


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_an_input_that_cannot_be_looked_at_again_fails_its_datum_only(
    world: FaultyWorld, fresh: dict[str, bytes], make: Callable[[], Exception]
) -> None:
    world.fault = Fault("reobserve", make)
    world.run()
    assert world.fault.met
    assert good(world.results()) == good(fresh)
    assert world.failed().keys() == {("first", BAD)}
    world.fault = None
    world.run()
    assert world.failed() == {}
    assert world.results() == fresh


@pytest.mark.parametrize("heals", [True, False])
def test_a_watch_tries_a_datum_whose_end_the_ledger_cannot_take_with_each_new_lease(
    world: FaultyWorld, heals: bool
) -> None:
    fault = world.fault = Fault("commit anything", lambda: ValueError("no"))
    mute = Mute()
    with nullcontext() if heals else pytest.raises(Corrupt, match=BAD), watching(world, lambda *_: mute):
        until(lambda: {f"third/{key}.alarm" for key in GOOD} <= world.results().keys())
        met = fault.met
        assert met
        fault.step = "none" if heals else fault.step
        world.now_s += 120.0
        world.put("a/later", "alarm")
        until(lambda: "third/a/later.alarm" in world.results())
        until(lambda: f"third/{BAD}.alarm" in world.results() if heals else fault.met > met)
        world.put("a/last", "alarm")
        until(lambda: "third/a/last.alarm" in world.results())
    assert (f"third/{BAD}.alarm" in world.results()) is heals


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_old_outputs_that_cannot_be_looked_for_fail_their_datum_only(
    world: FaultyWorld, make: Callable[[], Exception]
) -> None:
    world.run()
    was = world.results()
    for key in (*GOOD, BAD):
        world.put(key, "calm")
    world.run()
    for key in (*GOOD, BAD):
        world.put(key, f"alarm {key}")
    world.fault = Fault("has", make)
    world.run()
    assert world.fault.met
    assert good(world.results()) == good(was)
    assert {key for _, key in world.failed()} == {BAD}
    world.fault = None
    world.run()
    assert world.results() == was


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_what_cannot_be_discarded_stops_nothing(world: FaultyWorld, make: Callable[[], Exception]) -> None:
    world.put("a/0", f"as {BAD}")
    world.fault = Fault("discard", make)
    world.run()
    assert world.fault.met
    assert {key for _, key in world.failed()} == {BAD}, "its path belongs to a/0"
    assert all(f"second/{key}.loud" in world.results() for key in GOOD)


@pytest.mark.parametrize("make", ERRORS, ids=NAMES)
def test_a_lost_result_that_cannot_be_marked_fails_what_reads_it(
    world: FaultyWorld, make: Callable[[], Exception]
) -> None:
    world.run()
    for key in (*GOOD, BAD):
        world.lose(f"first/good/{key}")
    world.pipeline = replace(world.pipeline, stages=tuple(_again(stage) for stage in world.pipeline.stages))
    world.fault = Fault("mark", make)
    world.run()
    assert world.fault.met
    assert ("second", BAD) in world.failed()
    assert {key for _, key in world.failed()} == {BAD}


def _again(stage):
    return replace(stage, version=2) if stage.name == "second" else stage


def test_a_version_that_is_nowhere_before_it_is_visible_is_made_again(
    world: FaultyWorld, fresh: dict[str, bytes]
) -> None:
    world.fault = Fault("publish", lambda: KeyboardInterrupt())  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.fault = None
    for version in (world.objects / ".staging").iterdir():
        version.unlink()
    world.run()
    assert world.failed() == {}
    assert world.results() == fresh


def test_a_store_that_loses_what_it_shows_for_ever_ends_with_a_failed_datum(world: FaultyWorld) -> None:
    world.fault = Fault("publish", lambda: ObjectMissing("first", BAD))
    world.run()
    assert {key for _, key in world.failed()} == {BAD}


def test_a_live_record_that_cannot_be_read_fails_its_datum_until_it_can(
    world: FaultyWorld, fresh: dict[str, bytes]
) -> None:
    world.run()
    body = _spoil(world, "second", "junk")
    for key in (*GOOD, BAD):
        world.put(key, f"alarm, changed {key}")
    world.run()
    assert "cannot" not in world.failed()["second", BAD]
    assert "record" in world.failed()["second", BAD]
    assert {key for _, key in world.failed()} == {BAD}
    assert all(world.results()[f"second/{key}.loud"].startswith(b"ALARM, CHANGED") for key in GOOD)
    assert len(world.postbox.sent()) == 2 * len(GOOD) + 1
    _spoil(world, "second", body)
    for key in (*GOOD, BAD):
        world.put(key, f"alarm {key}")
    world.run()
    assert world.failed() == {}
    assert world.results() == fresh


def test_a_record_of_history_that_cannot_be_read_is_made_again(world: FaultyWorld) -> None:
    world.run()
    was = world.results()
    for key in (*GOOD, BAD):
        world.put(key, f"alarm, changed {key}")
    _spoil(world, "second", "junk")
    world.run()
    with closing(sqlite3.connect(world.root / "state" / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM slots WHERE key = ? AND stage = 'second'", (BAD,))
    for key in (*GOOD, BAD):
        world.put(key, f"alarm {key}")
    world.run()
    assert world.failed() == {}
    assert good(world.results()) == good(was)
    assert world.results()[f"second/{BAD}.loud"] == was[f"second/{BAD}.loud"]


def _spoil(world: World, stage: str, body: str) -> str:
    """Put a text in the place of the bad datum's first record; gives the one that was there."""
    with closing(sqlite3.connect(world.root / "state" / "ledger.sqlite")) as connection, connection:
        where = "WHERE id = (SELECT min(id) FROM records WHERE stage = ? AND key = ?)"
        ((was,),) = connection.execute(f"SELECT body FROM records {where}", (stage, BAD)).fetchall()
        connection.execute(f"UPDATE records SET body = ? {where}", (body, stage, BAD))
    return str(was)
