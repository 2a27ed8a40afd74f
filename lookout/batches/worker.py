"""Worker of batches: one of many takes a batch, does all of it, and takes the next. Knows no stage by name.

What a batch may be worked on with is what the ledger says: its basis of each stage, the digest of recipe, model and
rules. A worker of another recipe refuses. A model or a rule that comes into force between the cut and the end is used:
the ledger has marked every datum for it, and to work with what was in force before would only have to be done again.
So no result of an older basis stays: the worker compares once more when it is through, and marks and does again what
it may have settled on the older one; and if it died before that, the next owner of the batch does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from lookout.batches.closing import close, look_back
from lookout.batches.cutter import ordinary
from lookout.batches.held_batches import HeldBatches
from lookout.domain.errors import ClaimLost, InputRejected, Unavailable
from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import Mark, State
from lookout.engine.engine import Engine
from lookout.engine.in_force import recipe_digests
from lookout.engine.report import Progress, Report
from lookout.engine.session import EngineSession
from lookout.execution.executor import Workers
from lookout.ledger.batches import UNFINISHED, Batch, BatchLedger, BatchState
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore
from lookout.sources.input_source import InputSource

log = get_logger(__name__)

BASIS_HINT: Final = (
    "this program's recipe, model or rules differ from the ledger's: another version is at work, or a change is just"
    " coming into force; cut again with this version, or work with the other"
)


@dataclass(kw_only=True)
class BatchWorkReport:
    """Report of one worker. ``batches`` says, by id, how each ended: done, open (to be taken again) or lost."""

    report: Report = field(default_factory=Report)
    batches: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    """True if it was this one that ended the run."""
    busy: int = 0
    """Datums that others were still at when all else was done."""


class MailSender(Protocol):
    """Sender of the mails that should not wait until the end of all."""

    def send(self, is_stopped: Callable[[], bool]) -> None:
        """Send what is due, until ``is_stopped``."""
        ...


@dataclass(kw_only=True)
class BatchWorker:
    """Worker of batches, in a session of its own (``owner``). ``sender`` sends mails when a batch is worked through.
    ``publishes`` names the buckets to which it may write, None: to all."""

    pipeline: Pipeline
    ledger: BatchLedger
    store: ObjectStore
    workers: Workers
    owner: str
    code: str
    source: InputSource
    clock: Callable[[], float]
    on_progress: Callable[[Progress], None] = lambda _: None
    sender: MailSender | None = None
    publishes: Collection[str] | None = None
    lease_s: float = 60.0
    stopped: bool = field(default=False, init=False)
    worked: BatchWorkReport = field(default_factory=BatchWorkReport, init=False)
    _engine: Engine | None = field(default=None, init=False)
    _held: HeldBatches = field(init=False)

    def __post_init__(self) -> None:
        self._held = HeldBatches(self.ledger, self.lease_s)

    def stop(self) -> None:
        """End soon: what runs is killed and handed back, the batch too. From any thread, in signal handlers too."""
        self.stopped = True
        if self._engine is not None:
            self._engine.stop()

    # --- what can be asked for --------------------------------------------------------------------------------------

    def one_object(self, key: str, run: str, stage: Stage | None = None) -> BatchWorkReport:
        """Work on the datums of one input, without a batch. It is looked at first, if a stage that reads inputs is
        among those to be worked."""
        scope = self._scope(stage)
        readers = {reader.name for reader in self.pipeline.readers(self.pipeline.inputs)}
        if any(each.name in readers for each in scope):
            self.source.observe_again(key)
        self._through(scope, (key,), run)
        self._send()
        self._finish(stage, run)
        return self.worked

    def one_batch(self, id_: str, stage: Stage | None = None, run: str = "") -> BatchWorkReport:
        """Work on one batch, through all stages or one; one that is done already is left so. What is made names
        ``run``, or else that of the batch.

        Raises InputRejected for an unknown one, Unavailable when another holds it or datums of it.
        """
        known = self.ledger.find_batches([id_]).get(id_)
        if known is None:
            raise InputRejected("no such batch", id_, "see lookout batches list")
        run = run or known.run or known.id
        if stage is None or not stage.grouped:
            taken = self.ledger.take_batch(self.owner, self.lease_s, id_=id_)
            if taken is not None:
                self._batch(taken, self._scope(stage), run)
            else:
                self._explain(id_)
        self._release_all()
        if not known.run:
            self._finish(stage, run)
        elif stage is not None and stage.grouped:
            self._groups([stage], run)
        return self.worked

    def pull(self, run: str, stage: Stage | None = None) -> BatchWorkReport:
        """Work on one open batch of the run after the other until none is left. Whoever is through last works the
        grouped stages and ends the run.

        With one stage, only on those in which something waits for it. Workers that go through one stage after the other
        leave nothing behind, whenever each of them begins and ends: whoever lets go of a batch after one stage comes
        back for it with the next.

        Raises InputRejected for an unknown run; Unavailable when all that is left is held by others who are not of this
        run, so that it should be tried again.
        """
        scope = self._scope(stage)
        if stage is None:
            while not self.stopped and (taken := self.ledger.take_batch(self.owner, self.lease_s, run=run)):
                self._batch(taken, scope, run)
        elif not stage.grouped:
            for taken in self._taking(stage, run):
                self._batch(taken, scope, run)
        self._release_all()
        if stage is not None:
            if stage.grouped:
                self._groups([stage], run)
        elif not self.stopped and next(self.ledger.batches(run=run, states=UNFINISHED), None) is None:
            self._groups([each for each in self.pipeline.stages if each.grouped], run)
            self.worked.closed = not self.stopped and self._close(run)
        return self.worked

    def _send(self) -> None:
        if self.sender is not None:
            self.sender.send(lambda: self.stopped)

    # --- one batch --------------------------------------------------------------------------------------------------

    def _taking(self, stage: Stage, run: str) -> Iterator[Batch]:
        """Yield the open batches of the run that wait for this stage, or for nothing any more; taken, each once. Looked
        for until a whole round finds none."""
        seen: set[str] = set()
        found = True
        while found:
            found = False
            for batch in self.ledger.batches(run=run, states=UNFINISHED):
                if self.stopped:
                    return
                if batch.id in seen or not self._waits_for(stage, batch.keys):
                    continue
                taken = self.ledger.take_batch(self.owner, self.lease_s, id_=batch.id)
                if taken is not None:
                    seen.add(taken.id)
                    found = True
                    yield taken

    def _waits_for(self, stage: Stage, keys: Collection[str]) -> bool:
        """Tell whether one of these keys is dirty in the stage, or none is dirty in any stage."""
        for each in (stage, *(other for other in ordinary(self.pipeline) if other is not stage)):
            if any(slot.dirty for slot in self.ledger.find_slots(each.name, keys).values()):
                return each is stage
        return True

    def _batch(self, taken: Batch, scope: Sequence[Stage], run: str) -> None:
        self._held.add(taken)
        self._mark_again(taken, scope)
        self._through(scope, taken.keys, run)
        self._send()
        busy, waiting = self._left(taken.keys, scope)
        if busy and not self.stopped:
            log.info("busy", batch=taken.id, datums=busy)
            self.worked.busy += busy
            self.worked.batches[taken.id] = BatchState.OPEN.value
            return  # held until there is nothing else to take: released now, it would be the next one
        through = not self.stopped and (not waiting or len(scope) == len(ordinary(self.pipeline)))
        self._let_go(taken, self.ledger.end_batch if through else self.ledger.release_batch, through=through)

    def _let_go(self, taken: Batch, write: Callable[[Batch], None], *, through: bool) -> None:
        """End or release a batch. One that was lost is somebody else's now; what is settled stays so."""
        self._held.drop(taken)
        try:
            write(taken)
        except ClaimLost as exc:
            log.warning("batch lost", batch=taken.id, why=exc)
            self.worked.batches[taken.id] = "lost"
        else:
            self.worked.batches[taken.id] = (BatchState.DONE if through else BatchState.OPEN).value

    def _release_all(self) -> None:
        for taken in self._held:
            self._let_go(taken, self.ledger.release_batch, through=False)
        if self.worked.busy and not self.stopped:
            raise Unavailable(
                f"{self.worked.busy} datums", "another worker or run has claimed them, so their batches are open again"
            )

    def _explain(self, id_: str) -> None:
        """Report a batch that could not be taken as done. Raises Unavailable when it is not: another worker holds
        it."""
        known = self.ledger.find_batches([id_])[id_]
        if known.state is not BatchState.DONE:
            raise Unavailable(f"batch {id_}", f"{known.owner or 'another'} holds it")
        self.worked.batches[id_] = known.state.value

    def _left(self, keys: Collection[str], scope: Sequence[Stage]) -> tuple[int, int]:
        """Return the numbers of waiting datums: this worker's that others have claimed, and all others.
        A free slot of its own stages was marked after the worker had passed it: it belongs to the next cut."""
        busy = waiting = 0
        for stage in ordinary(self.pipeline):
            for slot in self.ledger.find_slots(stage.name, keys).values():
                if slot.dirty and slot.owner is not None and stage in scope:
                    busy += 1
                else:
                    waiting += slot.dirty > 0
        return busy, waiting

    # --- going by the ledger's basis --------------------------------------------------------------------------------

    def _through(self, scope: Sequence[Stage], keys: Collection[str], run: str) -> None:
        """Work until nothing of these keys is left to claim, and until the basis was the same before and after."""
        while True:
            basis = self._basis(scope)
            self._work(scope, keys, run)
            moved = [stage for stage in scope if self.ledger.basis(stage.name) != basis[stage.name]]
            if not moved:
                return
            log.info("basis moved", stages=[stage.name for stage in moved])
            self._mark_done(moved, keys)
            if self.stopped:
                return

    def _basis(self, scope: Sequence[Stage]) -> dict[str, str]:
        """Return the basis of this program, which is that of the ledger. Read before the engine reads what is in force,
        so that the engine can only be ahead of it, which the comparison afterwards finds. Raises Unavailable."""
        differ: list[str] = []
        for _ in range(2):  # something may come into force between the two readings, or another be the first
            basis = recipe_digests(self.pipeline, self.ledger.references)
            differ = [stage.name for stage in scope if self.ledger.basis(stage.name) != basis[stage.name]]
            if not differ:
                return basis
            for name in differ:
                if self.ledger.basis(name) is None:  # nobody has cut or run yet: there is nothing to be at odds with
                    self.ledger.rebase(name, basis[name])
        raise Unavailable(f"stage {', '.join(differ)}", BASIS_HINT)

    def _mark_again(self, taken: Batch, scope: Sequence[Stage]) -> None:
        """Have done again what an owner before may have settled on an older basis, and did not live to compare."""
        moved = [
            stage for stage in scope if taken.losses or taken.basis.get(stage.name) != self.ledger.basis(stage.name)
        ]
        self._mark_done(moved, taken.keys)

    def _mark_done(self, stages: Sequence[Stage], keys: Collection[str]) -> None:
        """Mark successes only: a failure would have all its tries again, and one that kills workers would never end."""
        for stage in stages:
            slots = self.ledger.find_slots(stage.name, keys)
            self.ledger.mark(
                [Mark(stage=stage.name, key=key) for key, slot in slots.items() if slot.state is State.SUCCESS]
            )

    # --- the engine -------------------------------------------------------------------------------------------------

    def _scope(self, stage: Stage | None) -> tuple[Stage, ...]:
        return ordinary(self.pipeline) if stage is None else (stage,)

    def _finish(self, stage: Stage | None, run: str) -> None:
        """Draw the charts after a single batch or object, which is no part of a run that somebody ends."""
        grouped = [each for each in self.pipeline.stages if each.grouped and stage in (None, each)]
        self._groups(grouped, run)

    def _groups(self, grouped: Sequence[Stage], run: str) -> None:
        if grouped and not self.stopped:
            self._basis(grouped)
            self._work(grouped, None, run)

    def _work(self, stages: Sequence[Stage], keys: Collection[str] | None, run: str) -> None:
        self.worked.report.on_progress = self.on_progress
        engine = Engine(
            pipeline=self.pipeline,
            ledger=self.ledger,
            store=self.store,
            workers=self.workers,
            source=self.source,
            session=EngineSession(owner=self.owner, run=run, code=self.code, clock=self.clock, lease_s=self.lease_s),
            report=self.worked.report,
            publishes=self.publishes,
        )
        self._engine = engine
        if self.stopped:
            engine.stop()
        with self._held.kept(engine):
            engine.work(stages, keys)

    # --- the end of a run -------------------------------------------------------------------------------------------

    def _close(self, run: str) -> bool:
        found = look_back(self.pipeline, self.ledger, run)
        try:
            return close(self.ledger, run, found, self.clock())
        except KeyError:
            raise InputRejected("no such run", run, "see lookout status") from None
