"""The engine: claims dirty slots, plans them, has the jobs run, and commits what they made, in bulk.

One loop serves a batch that ends (``work``) and a watch that does not (``follow``). It knows no stage by name. All
ledger calls happen on the thread that runs the loop; worker callbacks and watchers only put something into its inbox.

Crash safety, between any two writes: outputs are put as versions that nobody sees; the commit makes them count and
notes what must become visible; publishing repeats that note until it is done. Whatever was claimed and not committed
is still dirty and is claimed again.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from lookout.domain.errors import Corrupt, Unavailable
from lookout.domain.isolation import apart, reason
from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import Claim, ObjectRef, Outcome, State
from lookout.engine.outcomes import Flight, Outcomes
from lookout.engine.planner import Decision, Planner, Process
from lookout.engine.publication import Publisher
from lookout.execution.executor import Completion, Ticketed, Workers
from lookout.ledger.port import Ledger, Settled
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore

log = get_logger(__name__)

CLAIM_LIMIT: Final = 256
"""Datums claimed at once: enough to plan in bulk, few enough that a lost engine leaves a small cohort of suspects."""
COMMIT_LIMIT: Final = 64
COMMIT_AFTER_S: Final = 0.25
"""A finished datum waits at most this long for company before it is committed, and not at all when little else runs."""
_PIECE_S: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One step that a person may want to see: a datum of ``stage`` settled as ``state``; ``skipped`` if not run."""

    stage: str
    key: str
    state: State
    skipped: bool = False
    error: str | None = None


@dataclass(kw_only=True)
class Report:
    """What one call of ``work`` did, by stage."""

    success: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unrunnable: Counter[str] = field(default_factory=Counter)
    retracted: Counter[str] = field(default_factory=Counter)

    def add(self, progress: Progress) -> None:
        if progress.skipped:
            self.skipped[progress.stage] += 1
        elif (counter := getattr(self, progress.state.value, None)) is not None:
            counter[progress.stage] += 1


class Engine:
    """Works on the slots of some stages of one pipeline for one owner and one run.

    ``reobserve`` is asked to look again at an input that changed or vanished while it was read. ``publishes`` names the
    buckets whose committed changes it makes visible, if it may not write to all. Everything that the outside decides
    (clock, code version, workers) is passed in.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        ledger: Ledger,
        store: ObjectStore,
        workers: Workers,
        owner: str,
        run: str,
        code: str,
        reobserve: Callable[[str], None],
        on_progress: Callable[[Progress], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        lease_s: float = 60.0,
        publishes: Collection[str] | None = None,
    ) -> None:
        self._pipeline, self._ledger, self._store, self._workers = pipeline, ledger, store, workers
        self._owner, self._run, self._lease_s = owner, run, lease_s
        self._publisher = Publisher(ledger, store, publishes)
        self._on_progress, self._clock = on_progress, clock
        self.on_alerts: Callable[[], None] = lambda: None
        """Called after a commit that entered alerts."""
        self._make_outcomes = partial(
            Outcomes, pipeline=pipeline, ledger=ledger, run=run, code=code, reobserve=reobserve, clock=clock
        )
        self._read_in_force()
        self._inbox: queue.SimpleQueue[Completion | Callable[[], None]] = queue.SimpleQueue()
        self._flights: dict[int, Flight] = {}
        self._ticket = 0
        self._ready: list[tuple[Claim, Outcome]] = []
        self._ready_since_s = 0.0
        self._scope: frozenset[str] = frozenset()
        self._maybe: set[str] = set()
        self._put_off: set[str] = set()
        self._secluded = False
        self._extended_at_s = 0.0
        self._stopping = self._asked_to_stop = False
        self._fatal: Unavailable | None = None
        self._unsettled: dict[tuple[str, str], Corrupt] = {}
        self._look_after: Callable[[], None] = lambda: None
        self.report = Report()

    def _read_in_force(self) -> None:
        self._planner = Planner(self._pipeline, self._ledger, self._store, self._clock)
        self._outcomes = self._make_outcomes(planner=self._planner)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def rebase(self, stages: Iterable[Stage]) -> None:
        """Mark all datums of the stages whose recipe or references are no longer those they were planned on."""
        for stage in stages:
            basis = self._planner.basis(stage)
            if self._ledger.basis(stage.name) != basis:
                marked = self._ledger.rebase(stage.name, basis)
                log.info("rebased", stage=stage.name, marked=marked)

    def work(self, stages: Sequence[Stage], keys: Collection[str] | None = None) -> Report:
        """Work until nothing is left to claim: of these keys only, if given (grouped stages always do all).

        Raises Unavailable when a store or the ledger fails; what was claimed is handed back first. Raises Corrupt, when
        all else is done, for a datum whose end the ledger cannot take.
        """
        self._begin(stages)
        try:
            while not self._stopping:
                self._fill(stages, keys)
                if not (self._flights or self._ready or self._maybe):
                    break
                self._step(block=bool(self._flights))
        finally:
            self._hand_back()
        self._raise_trouble()
        return self.report

    def follow(
        self,
        stages: Sequence[Stage],
        *,
        quiet_s: float = 1.0,
        patience_s: float = 10.0,
        look_after: Callable[[], None] = lambda: None,
    ) -> None:
        """Work as inputs come, until ``stop``. Grouped stages run when it was quiet for ``quiet_s``, and after
        ``patience_s`` at the latest. Wake it with ``call``. ``look_after`` is called each second or so, and must be
        quick. Raises as ``work``: Corrupt when it was stopped, for a datum that was tried again with each new lease.
        """
        self._begin(stages)
        self._look_after = look_after
        ordinary = [stage for stage in stages if not stage.grouped]
        last_s = waiting_since_s = time.monotonic()
        try:
            while not self._stopping:
                look_after()
                self._fill(ordinary, None)
                now_s = time.monotonic()
                grouped = self._maybe - {stage.name for stage in ordinary}
                if self._flights:
                    last_s = now_s
                if not grouped:
                    waiting_since_s = now_s
                quiet = now_s - last_s >= quiet_s and not self._flights
                if grouped and (quiet or now_s - waiting_since_s >= patience_s):
                    self._fill([stage for stage in stages if stage.grouped], None, patient=True)
                    waiting_since_s = now_s
                self._step(block=True, wait_s=quiet_s if grouped else self._lease_s / 3)
        finally:
            self._hand_back()
        self._raise_trouble()

    def _raise_trouble(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        if self._unsettled:
            raise next(iter(self._unsettled.values()))

    def _begin(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            self._planner.check(stage)
        self._scope = frozenset(stage.name for stage in stages)
        self._maybe = set(self._scope)
        self.publish()

    def call(self, action: Callable[[], None]) -> None:
        """Have the action run on the loop's thread, then look for work again. From any thread, in signal handlers
        too."""
        self._inbox.put(action)

    def stop(self) -> None:
        """End the loop soon: running jobs are killed, their datums become KILLED and the next run takes them up. For
        any thread, and for signal handlers."""
        self._asked_to_stop = True  # at once, for what goes on beside or after the loop

        def end() -> None:
            self._stopping = True

        self.call(end)

    @property
    def stopped(self) -> bool:
        return self._stopping or self._asked_to_stop

    def publish(self) -> None:
        """Make visible what is committed, of this engine or of one that died before it could."""
        if self._publisher.publish():
            self._maybe |= self._scope

    def publish_again(self) -> None:
        """Make visible what could not be, where the reason is gone, and give its failed datums another go."""
        if self._publisher.try_again():
            self._maybe |= self._scope

    # --- claiming and planning --------------------------------------------------------------------------------------

    def _fill(self, stages: Sequence[Stage], keys: Collection[str] | None, *, patient: bool = False) -> None:
        """Claim and begin as much as there is room for, stage by stage: afterwards a stage that is still in
        ``_maybe`` waits for room, or, if it is grouped, for those before it.

        What a dead engine held comes when all else is done, and is worked on with nothing beside it: so whatever kills
        the next one holds up nothing else, and is blamed alone."""
        if self._secluded and self._flights:
            return
        self._secluded = False
        for stage in stages:
            if stage.grouped and not patient and self._upstream_busy(stage, stages):
                continue
            while (
                not self._stopping
                and stage.name in self._maybe
                and (room := CLAIM_LIMIT - len(self._flights)) > CLAIM_LIMIT // 2
            ):
                self._claim(stage, room, None if stage.grouped else keys)
        for stage in stages:
            while stage.name in self._put_off and not (self._stopping or self._flights or self._ready):
                self._secluded = True
                self._claim(stage, CLAIM_LIMIT, None if stage.grouped else keys)
        names = {stage.name for stage in stages}
        if not (self._stopping or self._flights or self._ready or names & (self._maybe | self._put_off)):
            self._fail_unpublished()

    def _fail_unpublished(self) -> None:
        """Fail the datums whose results cannot be made visible, when all that reads them is done: results are read by
        their digest, wherever they lie. The next run gives them another go."""
        for mark, why in self._publisher.take_failures().items():
            self._ledger.mark([mark])
            claims = self._ledger.claim(mark.stage, self._owner, 1, self._lease_s, [mark.key])
            self._commit([(claim, Outcome(state=State.FAILED, error=why)) for claim in claims])

    def _claim(self, stage: Stage, room: int, keys: Collection[str] | None) -> None:
        behind = () if stage.grouped else self._pipeline.upstream(stage.name)
        claims = self._ledger.claim(stage.name, self._owner, room, self._lease_s, keys, behind)
        suspected = not self._secluded and any(claim.suspect for claim in claims)
        if not self._keeps_up(stage):
            self._give_back(claims)
        elif not claims:
            self._maybe.discard(stage.name)
            self._put_off.discard(stage.name)
        elif suspected:
            self._give_back(claims)
            self._maybe.discard(stage.name)
            self._put_off.add(stage.name)
        else:
            self._begin_work(stage, claims)

    def _give_back(self, claims: Sequence[Claim]) -> None:
        self._commit([(claim, Outcome(state=State.PENDING)) for claim in claims])

    def _begin_work(self, stage: Stage, claims: Sequence[Claim]) -> None:
        settled: list[tuple[Claim, Outcome]] = []
        jobs: list[Ticketed] = []
        for claim, decision in zip(claims, self._plan(stage, claims), strict=True):
            if isinstance(decision, Process):
                self._ticket += 1
                self._flights[self._ticket] = Flight(claim=claim, process=decision)
                made_by = {"datum": decision.hash, "run": self._run}
                jobs.append((replace(decision.job, made_by=made_by), self._ticket))
            else:
                settled.append((claim, decision))
        self._submit(jobs, stage.timeout_s)
        if settled:
            self._commit(settled)

    def _plan(self, stage: Stage, claims: Sequence[Claim]) -> Iterator[Decision]:
        """One decision a claim: what cannot be planned fails."""
        for claim, decision in zip(claims, apart(claims, partial(self._planner.plan, stage)), strict=True):
            yield self._outcomes.refuse(claim, decision) if isinstance(decision, Exception) else decision

    def _submit(self, jobs: Sequence[Ticketed], timeout_s: float) -> None:
        """Hand the jobs to the workers: one that cannot be handed over ends with a failed try."""

        def call(some: Sequence[Ticketed]) -> list[None]:
            self._workers.submit(some, timeout_s, self._inbox.put)
            return [None] * len(some)

        for (job, ticket), answer in zip(jobs, apart(jobs, call), strict=True):
            if answer is not None:
                self._inbox.put(Completion(job=job, ticket=ticket, error=answer))

    def _keeps_up(self, stage: Stage) -> bool:
        """Whether the stage may be planned; False when what was claimed has to be handed back.

        Another run may have brought references into force, which are used from here on, or another recipe, which ends
        this engine: two that go by different recipes would undo each other's results for ever. Asked after each claim,
        also after one that found nothing: what was claimed later than the other run's marks is planned on its basis,
        what was claimed before is superseded, and what was settled between its marks and its basis is marked again.
        """
        known = self._ledger.basis(stage.name)
        if known is None or known == self._planner.basis(stage):
            return True
        self._read_in_force()
        if known == self._planner.basis(stage):
            log.info("basis moved", stage=stage.name, marked=self._ledger.rebase(stage.name, known))
        else:
            what = "another run has changed its recipe, model or rules; run again, with the newest version"
            self._fatal, self._stopping = Unavailable(f"stage {stage.name}", what), True
        self._maybe |= self._scope
        return False

    def _upstream_busy(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        before = [other for other in stages if not other.grouped and other.name != stage.name]
        if self._flights or self._ready:
            return True
        return any(other.name in self._maybe for other in before)

    # --- finishing --------------------------------------------------------------------------------------------------

    def _step(self, *, block: bool, wait_s: float | None = None) -> None:
        """Take what is in the inbox, waiting for the first thing if ``block``; commit what is due; keep leases."""
        wait_s = self._lease_s / 3 if wait_s is None else wait_s
        if self._ready:
            wait_s = min(wait_s, max(0.0, COMMIT_AFTER_S - (time.monotonic() - self._ready_since_s)))
        try:
            item = self._receive(wait_s) if block else self._inbox.get_nowait()
            while True:
                if isinstance(item, Completion):
                    self._take(item)
                else:
                    item()
                    self._maybe |= self._scope
                item = self._inbox.get_nowait()
        except queue.Empty:
            if block and not self._flights and not self._ready:
                self._maybe |= self._scope  # nothing came for long: another engine may have left something
        late = bool(self._ready) and time.monotonic() - self._ready_since_s >= COMMIT_AFTER_S
        if self._ready and (late or len(self._ready) >= COMMIT_LIMIT or len(self._flights) <= self._workers.size):
            ready, self._ready = self._ready, []
            self._commit(ready)
        self._extend()

    def _receive(self, wait_s: float) -> Completion | Callable[[], None]:
        """The next thing in the inbox. Raises queue.Empty when none has come in that time.

        It waits in pieces of a second: Python runs a signal's handler between two steps of its own, so what a handler
        would put into the inbox is not there yet for a wait that began just then.
        """
        ends_s = time.monotonic() + wait_s
        while (left_s := ends_s - time.monotonic()) > _PIECE_S:
            with suppress(queue.Empty):
                return self._inbox.get(timeout=_PIECE_S)
            self._look_after()
        return self._inbox.get(timeout=max(0.0, left_s))

    def _take(self, completion: Completion) -> None:
        flight = self._flights.pop(completion.ticket, None)
        if flight is None:
            if completion.made is not None:
                self._discard(completion.made.outputs)
            return
        try:
            outcome = self._outcomes.of(flight, completion)
        except Unavailable as exc:
            self._fatal, self._stopping = exc, True
            outcome = Outcome(state=State.PENDING)
        if outcome.state is State.PENDING:
            self._maybe |= self._scope  # what it read may have to be made again first
        if not self._ready:
            self._ready_since_s = time.monotonic()
        self._ready.append((flight.claim, outcome))

    def _commit(self, settled: Sequence[tuple[Claim, Outcome]]) -> None:
        answers = apart(settled, self._settle)
        whole = not any(isinstance(answer, Exception) for answer in answers)
        for (claim, outcome), answer in zip(settled, answers, strict=True):
            if isinstance(answer, Exception):
                self._settle_failed(claim, answer)
            else:
                self._after(claim, outcome, answer, discard=whole)
        for stage in {claim.stage for claim, _ in settled}:
            self._maybe |= self._scope.intersection((stage, *self._pipeline.downstream(stage)))
        self.publish()
        if any(outcome.alerts for _, outcome in settled):
            self.on_alerts()

    def _settle(self, settled: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        made = [outcome.record for _, outcome in settled if outcome.record is not None and not outcome.republished]
        self._store.flush([ref for record in made for ref in record.outputs])
        return self._ledger.commit(settled)

    def _settle_failed(self, claim: Claim, why: Exception) -> None:
        """Fail a datum whose outcome the ledger cannot take. If it cannot take that either, the claim is kept for
        as long as its lease, and the loop raises at its end, unless it could be settled by then."""
        outcome = self._outcomes.refuse(claim, why)
        (answer,) = apart([(claim, outcome)], self._settle)
        if isinstance(answer, Exception):
            log.error("not settled", stage=claim.stage, key=claim.key, error=reason(answer))
            what = f"{claim.stage} of {claim.key}"
            self._unsettled[claim.stage, claim.key] = Corrupt(what, "a ledger that takes how it ended", reason(answer))
        else:
            self._after(claim, outcome, answer, discard=False)

    def _after(self, claim: Claim, outcome: Outcome, answer: Settled, *, discard: bool) -> None:
        """Tell what became of an outcome, and ``discard`` the versions of one that was not applied: not where a commit
        was repeated in parts, for a claim that is lost then may be one that has been settled."""
        self._unsettled.pop((claim.stage, claim.key), None)
        if answer is Settled.DONE:
            self._publisher.renew(outcome.record.outputs if outcome.record is not None else ())
            self._tell(claim, outcome)
            return
        log.warning("not committed", stage=claim.stage, key=claim.key, why=answer.value)
        if discard and outcome.record is not None and not outcome.republished:
            self._discard(outcome.record.outputs)
        if answer is Settled.CONFLICT:
            slot = self._ledger.find_slots(claim.stage, [claim.key])[claim.key]
            self._tell(claim, Outcome(state=State.FAILED, error=slot.error or answer.value))

    def _discard(self, refs: Sequence[ObjectRef]) -> None:
        """Drop versions that nobody will name. What cannot be dropped now is freed with the old versions."""
        try:
            self._store.discard(refs)
        except Exception as exc:  # noqa: BLE001 - it costs space and no result
            log.warning("not discarded", objects=[ref.path for ref in refs], error=reason(exc))

    def _tell(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.state in (State.PENDING, State.KILLED) or (outcome.state is State.FAILED and not outcome.final):
            return
        if outcome.state is State.RETRACTED and claim.slot.record is None:
            return  # a slot that never held anything: nobody would miss it
        progress = Progress(
            stage=claim.stage,
            key=claim.key,
            state=outcome.state,
            skipped=outcome.state is State.SUCCESS and (outcome.record is None or outcome.republished),
            error=outcome.error,
        )
        self.report.add(progress)
        self._on_progress(progress)

    # --- holding and letting go -------------------------------------------------------------------------------------

    def _extend(self) -> None:
        now_s = time.monotonic()
        if not self._flights or now_s - self._extended_at_s < self._lease_s / 3:
            return
        self._extended_at_s = now_s
        flights = list(self._flights.items())
        held = apart([flight.claim for _, flight in flights], partial(self._ledger.extend, lease_s=self._lease_s))
        for (ticket, flight), still in zip(flights, held, strict=True):
            if isinstance(still, Exception):
                # Its lease has a time to run yet; the commit asks whether that was enough.
                log.warning("not extended", stage=flight.claim.stage, key=flight.claim.key, error=reason(still))
            elif not still:
                log.warning("claim lost", stage=flight.claim.stage, key=flight.claim.key)
                # Its job may still run; its answer finds no flight and is dropped, its versions are collected later.
                self._flights.pop(ticket)
                self._maybe |= self._scope

    def _take_finished(self) -> None:
        """Take the ends of jobs that nobody has looked at: what they put must be committed or discarded."""
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, Completion):
                self._take(item)

    def _hand_back(self) -> None:
        """Commit what is finished and give up the rest, when the loop ends early; nothing to do when it ended well."""
        if self._flights:
            self._workers.stop()
            self._take_finished()
        ready, self._ready = self._ready, []
        state = State.PENDING if self._fatal is not None else State.KILLED
        ready += [(flight.claim, Outcome(state=state)) for flight in self._flights.values()]
        self._flights.clear()
        if ready:
            self._commit(ready)
