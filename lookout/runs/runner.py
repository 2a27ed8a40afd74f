"""The embedded runner: one process (and its workers) takes a source through a whole pipeline, once or as files come.

Puts intake, references, engine and outbox together in the order that a crash anywhere leaves sound: every step's
result is in the ledger before the next begins, and each step begins by looking what the ledger says is still to do.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, LookoutError, ObjectChanged, ObjectMissing, ObjectUnreadable
from lookout.domain.identity import digest
from lookout.domain.pipeline import Pipeline, Refused
from lookout.domain.records import Json, Mark, ObjectRef, State
from lookout.engine.engine import Engine
from lookout.engine.planner import MAX_LONE_LOSSES
from lookout.engine.report import Progress, Report
from lookout.engine.session import EngineSession
from lookout.execution.executor import Workers
from lookout.ledger.port import Ledger, RunRecord
from lookout.log import get_logger
from lookout.maintenance.renewal import renew
from lookout.object_store.port import ObjectStore
from lookout.outbox.factory import OutboxFactory
from lookout.outbox.sender import OutboxSender
from lookout.references.activation import propose
from lookout.runs.change_feed import ChangeFeed, Watcher
from lookout.runs.status_file import StatusFile
from lookout.runs.version_collector import VersionCollector
from lookout.sources.ingest import BucketIntake, IngestResult, Intake
from lookout.sources.input_source import InputSource
from lookout.sources.merge import Bucket

log = get_logger(__name__)

WINDOW_S: Final = 3600.0
DIGEST_EVERY_S: Final = 300.0
"""Of a watch, which has no end: the window in which so many letters leave singly, and the time between two digests."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Order for one run. ``sources`` is one folder, or files; none: the runner's bucket. ``references`` are
    paths by bucket. ``allow_deletions`` is for the first look at the sources."""

    sources: tuple[Path, ...] = ()
    references: Mapping[str, Path] = field(default_factory=dict)
    verify: bool = False
    allow_deletions: bool = False


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Account of a run: enough to sum it up from the ledger."""

    run: str
    engine: Engine
    taken: IngestResult
    digests: int
    refused: tuple[Refused, ...]
    elapsed_s: float
    troubles: Mapping[str, int] = field(default_factory=dict)
    """Of a watch: what went wrong with it, in numbers."""

    @property
    def stopped(self) -> bool:
        return self.engine.stopped


@dataclass(kw_only=True)
class _Session:
    owner: str
    run: str
    summary: dict[str, Json] = field(default_factory=dict)


@dataclass(kw_only=True)
class Runner:
    """Runner of one run or watch, with all that it needs, chosen by the entry point. ``open_ledger`` gives another
    connection for a thread."""

    pipeline: Pipeline
    ledger: Ledger
    open_ledger: Callable[[], Ledger]
    store: ObjectStore
    workers: Workers
    outboxes: OutboxFactory
    code: str
    bucket: Bucket | None = None
    exclude: tuple[Path, ...] = ()
    on_references: Callable[[], None] = lambda: None
    """Called when the references given are in force, before anything else is done; may raise LookoutError."""
    on_turn: Callable[[], None] = lambda: None
    """Called with each turn of a watch's loop, each second or so, in the loop's thread."""
    status_file: StatusFile | None = None
    """Kept up during a watch, and at the end of each run."""
    clock: Callable[[], float] = time.time
    on_progress: Callable[[Progress], None] = lambda _: None
    _engine: Engine | None = field(default=None, init=False)
    _asked_to_stop: bool = field(default=False, init=False)

    def stop(self) -> None:
        """End the run soon, as ``Engine.stop``; one that has not begun to work ends as soon as it would. For any
        thread, and for signal handlers."""
        self._asked_to_stop = True
        if self._engine is not None:
            self._engine.stop()

    @property
    def stopped(self) -> bool:
        """True if the engine was stopped, by ``stop`` or by what kept it from going on."""
        return self._engine is not None and self._engine.stopped

    def run(self, order: Order) -> Ran:
        """Take the sources in, work until nothing is left, send what is due. Raises LookoutError; a failed datum is no
        error here but part of what the ledger says afterwards."""
        started_s = time.monotonic()
        with self._session("run") as session:
            refused = self._enforce(order)
            intake = self._intake() if order.sources else self._bucket_intake()
            engine = self._make_engine(intake, session)
            taken = self._take(intake, order)
            if order.verify:
                self._verify()
            self._renew()
            self._revive(taken.keys)
            engine.rebase(self.pipeline.stages)
            engine.work([stage for stage in self.pipeline.stages if not stage.grouped], taken.keys)
            with self._sender(self.outboxes, session.owner, engine, once=True) as sender:
                if not engine.stopped:
                    sender.start()
                    engine.work([stage for stage in self.pipeline.stages if stage.grouped])
            self._collector().collect()
        return Ran(
            run=session.run,
            engine=engine,
            taken=taken,
            digests=sender.digests,
            refused=refused,
            elapsed_s=time.monotonic() - started_s,
        )

    def watch(self, order: Order, watcher: Watcher, on_ready: Callable[[IngestResult], None] = lambda _: None) -> Ran:
        """As ``run`` on one folder, and then on every change below it, until the engine is stopped."""
        started_s = time.monotonic()
        with self._session("watch") as session:
            refused = self._enforce(order)
            intake = self._intake()
            engine = self._make_engine(intake, session)
            outboxes = replace(self.outboxes, window_s=WINDOW_S, digest_every_s=DIGEST_EVERY_S)
            with self._sender(outboxes, session.owner, engine) as sender:
                sender.start()
                engine.on_alerts = sender.wake
                root = order.sources[0].absolute()
                feed = ChangeFeed(engine, intake, root, renew=self._renew)
                collector = self._collector()
                with watcher(root, feed) as watch:
                    taken = feed.begin(watch, allow_deletions=order.allow_deletions)
                    self._revive(None)
                    engine.rebase(self.pipeline.stages)
                    on_ready(taken)
                    sender.wake()
                    engine.follow(self.pipeline.stages, look_after=partial(self._look_after, feed, collector))
                    troubles = session.summary["watch"] = feed.end()
                if feed.error is not None:
                    raise feed.error
            collector.collect()
        return Ran(
            run=session.run,
            engine=engine,
            taken=taken,
            digests=sender.digests,
            refused=refused,
            elapsed_s=time.monotonic() - started_s,
            troubles=troubles,
        )

    def _collector(self) -> VersionCollector:
        return VersionCollector(ledger=self.ledger, store=self.store, clock=self.clock)

    def _look_after(self, feed: ChangeFeed, collector: VersionCollector) -> None:
        feed.look_after()
        collector.collect()
        if self.status_file is not None:
            self.status_file.keep_up()
        self.on_turn()

    # --- the steps --------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self, kind: str) -> Iterator[_Session]:
        """Open an owner and a run for the length of the context; the run's record is closed however it ends."""
        run = f"{datetime.fromtimestamp(self.clock(), UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        with self.ledger.session() as owner:
            self.ledger.start_run(RunRecord(id=run, kind=kind, owner=owner, started_at_s=self.clock()))
            session = _Session(owner=owner, run=run)
            summary = session.summary
            state, broken = "failed", True
            try:
                yield session
                failed = sum(1 for _ in self.ledger.slots(states=(State.FAILED,)))
                summary["failed"] = failed
                state, broken = "stopped" if self.stopped else "failed" if failed else "success", False
            except LookoutError as exc:
                summary["error"] = str(exc)
                raise
            finally:
                self.ledger.end_run(run, state, self.clock(), summary)
                if self.status_file is not None:
                    self.status_file.end(broken=broken)

    def _enforce(self, order: Order) -> tuple[Refused, ...]:
        """Bring the references given into force. The workers try all of them at once, and, for a state that is new,
        start and load meanwhile: there is work for them for sure."""
        proposals = [
            propose(self.ledger, self.store, self.workers, stage.references, path)
            for stage in self.pipeline.stages
            if stage.references is not None and (path := order.references.get(stage.references.bucket)) is not None
        ]
        ordinary = [stage for stage in self.pipeline.stages if not stage.grouped]
        if self.ledger.basis(ordinary[0].name) is None:
            self.workers.start([stage.prepare.partition(":")[0] for stage in ordinary])
        refused = tuple(refused for proposal in proposals for refused in proposal.activate().refused)
        self.on_references()
        return refused

    def _intake(self) -> Intake:
        return Intake(
            ledger=self.ledger,
            bucket=self.pipeline.inputs,
            readers=self._readers(),
            clock=self.clock,
            exclude=self.exclude,
        )

    def _bucket_intake(self) -> BucketIntake:
        if self.bucket is None:
            raise InputRejected(
                "expected a folder or files", "SOURCE", "only a store in LOOKOUT_STORE is a source by itself"
            )
        return BucketIntake(
            ledger=self.ledger,
            source=self.bucket,
            bucket=self.pipeline.inputs,
            readers=self._readers(),
            clock=self.clock,
        )

    def _readers(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.pipeline.readers(self.pipeline.inputs))

    def _make_engine(self, source: InputSource, session: _Session) -> Engine:
        engine = Engine(
            pipeline=self.pipeline,
            ledger=self.ledger,
            store=self.store,
            workers=self.workers,
            source=source,
            session=EngineSession(owner=session.owner, run=session.run, code=self.code, clock=self.clock),
            report=Report(on_progress=self.on_progress),
        )
        self._engine = engine
        if self._asked_to_stop:
            engine.stop()
        return engine

    def _take(self, intake: Intake | BucketIntake, order: Order) -> IngestResult:
        if isinstance(intake, BucketIntake):
            return intake.take(verify=order.verify, allow_deletions=order.allow_deletions)
        if len(order.sources) == 1 and not order.sources[0].is_file():
            return intake.take_folder(order.sources[0], verify=order.verify, allow_deletions=order.allow_deletions)
        return intake.take_files(order.sources)

    def _revive(self, keys: frozenset[str] | None) -> None:
        """Give what failed before another go, with all its tries: but not what kills whoever works on it, or a run that
        is started again when it has died would die for ever. That takes ``lookout datums retry``."""
        if keys is None:
            failed = list(self.ledger.slots(states=(State.FAILED,)))
        else:
            failed = [
                slot
                for stage in self.pipeline.stages
                for slot in self.ledger.find_slots(stage.name, keys).values()
                if slot.state is State.FAILED
            ]
        again = [slot for slot in failed if slot.losses < MAX_LONE_LOSSES]
        self.ledger.mark([Mark(stage=slot.stage, key=slot.key) for slot in again], revive=True)

    def _renew(self) -> None:
        renew(self.pipeline, self.ledger, self.clock())

    def _verify(self) -> None:
        """Have every datum done again whose outputs cannot be read from the store as the ledger names them."""
        for slot in list(self.ledger.slots(states=(State.SUCCESS,))):
            outputs = slot.record.outputs if slot.record is not None else ()
            for ref in outputs:
                lost = self._find_loss(ref)
                if lost is not None:
                    log.warning("result lost", object=ref.path, error=lost)
                    salt = digest("lost/1", ref.path, self.clock())[:12]
                    self.ledger.mark([Mark(stage=slot.stage, key=slot.key)], salt=salt)
                    break

    def _find_loss(self, ref: ObjectRef) -> LookoutError | None:
        """Read a result to its end; why it cannot be read as the ledger names it, or None."""
        try:
            self.store.get(ref)
        except (ObjectMissing, ObjectChanged, ObjectUnreadable) as error:
            return error
        return None

    def _sender(self, outboxes: OutboxFactory, owner: str, engine: Engine, *, once: bool = False) -> OutboxSender:
        make = partial(outboxes.open, owner=owner)
        return OutboxSender(self.open_ledger, make, self.clock, lambda: engine.stopped, once=once)
