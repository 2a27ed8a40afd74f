"""Engine: claims dirty slots, plans them, has the jobs run, and commits what they made, in bulk.

One loop serves a batch that ends (``work``) and a watch that does not (``follow``). It knows no stage by name. All
ledger calls happen on the thread that runs the loop; worker callbacks and watchers only put something into its inbox.

Crash safety, between any two writes: outputs are put as versions that nobody sees; the commit makes them count and
notes what must become visible; publishing repeats that note until it is done. Whatever was claimed and not committed
is still dirty and is claimed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from lookout.domain.errors import Unavailable
from lookout.domain.isolation import apart
from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import Claim, Outcome, State
from lookout.engine.chart_timer import ChartTimer
from lookout.engine.claim_queue import CLAIM_LIMIT, Candidates, ClaimQueue
from lookout.engine.committer import Committer, Ended
from lookout.engine.inbox import Inbox
from lookout.engine.lease_keeper import LeaseKeeper
from lookout.engine.outcomes import Outcomes
from lookout.engine.planner import Decision, PlannedDatum, Planner
from lookout.engine.publication import Publisher
from lookout.engine.report import Report
from lookout.engine.session import EngineSession
from lookout.execution.executor import Workers
from lookout.execution.jobs import Job, StageRun
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore
from lookout.sources.input_source import InputSource

log = get_logger(__name__)


class Engine:
    """Engine for the slots of some stages of one pipeline, for one owner and one run.

    ``source`` is asked to observe an input again that changed or vanished while it was read. ``publishes`` names the
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
        source: InputSource,
        session: EngineSession,
        report: Report | None = None,
        publishes: Collection[str] | None = None,
    ) -> None:
        self._pipeline, self._ledger, self._store, self._workers = pipeline, ledger, store, workers
        self._session = session
        self.report = report or Report()
        self.on_alerts: Callable[[], None] = lambda: None
        """Called after a commit that entered alerts."""
        self._publisher = Publisher(ledger, store, publishes)
        self._outcomes = Outcomes(pipeline, ledger, source, session)
        self._committer = Committer(ledger, store, self._publisher, self._outcomes, self.report)
        self._queue = ClaimQueue(pipeline, ledger, session)
        self._leases = LeaseKeeper(ledger, session.lease_s)
        self._read_in_force()
        self._inbox = Inbox()
        self._running: dict[tuple[str, str, int], PlannedDatum] = {}
        self._stopping = self._asked_to_stop = False
        self._fatal: Unavailable | None = None
        self._candidates: Candidates | None = None

    def _read_in_force(self) -> None:
        self._planner = Planner(self._pipeline, self._ledger, self._store, self._session.clock)

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
                if not (self._is_busy or self._queue.waiting):
                    break
                self._step(block=bool(self._running))
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
        candidates: Candidates | None = None,
        look_after: Callable[[], None] = lambda: None,
    ) -> None:
        """Work as inputs come, until ``stop``. Grouped stages run when it was quiet for ``quiet_s``, and after
        ``patience_s`` at the latest. Wake it with ``call``. ``look_after`` is called each second or so, and must be
        quick. With ``candidates`` only these are claimed. Raises as ``work``: Corrupt when it was stopped, for a datum
        that was tried again with each new lease.
        """
        self._begin(stages)
        self._candidates = candidates
        self._inbox.look_after = look_after
        ordinary = [stage for stage in stages if not stage.grouped]
        charts = [stage for stage in stages if stage.grouped]
        timer = ChartTimer(quiet_s, patience_s)
        try:
            while not self._stopping:
                look_after()
                self._fill(ordinary, None)
                waiting = any(self._queue.may_have(stage) for stage in charts)
                if timer.is_due(waiting=waiting, running=bool(self._running)):
                    self._fill(charts, None, patient=True)
                self._step(block=True, wait_s=quiet_s if waiting else self._session.lease_s / 3)
        finally:
            self._hand_back()
        self._raise_trouble()

    def _raise_trouble(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        self._committer.check()

    def _begin(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            self._planner.check(stage)
        self._queue.begin(stages)
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
        """True if it was asked to stop, or could not go on."""
        return self._stopping or self._asked_to_stop

    @property
    def _is_busy(self) -> bool:
        """True if a job runs, or waits to be committed."""
        return bool(self._running) or self._committer.has_ready

    def publish(self) -> None:
        """Make visible what is committed, of this engine or of one that died before it could."""
        if self._publisher.publish():
            self._queue.look_again()

    def publish_again(self) -> None:
        """Make visible what could not be, where the reason is gone, and give its failed datums another go."""
        if self._publisher.try_again():
            self._queue.look_again()

    def prepare(self, stage: Stage) -> Callable[[], None]:
        """Have the workers prepare the stage with what is in force now, before the first job; gives a function that
        waits for it. What cannot be prepared is told by the first job that needs it."""
        self._read_in_force()
        return self._workers.prepare(self._planner.preparation(stage))

    # --- claiming and planning --------------------------------------------------------------------------------------

    def _fill(self, stages: Sequence[Stage], keys: Collection[str] | None, *, patient: bool = False) -> None:
        """Claim and begin as much as there is room for, stage by stage: afterwards a stage of which something may wait
        waits for room, or, if it is grouped, for those before it. Suspects come when all else is done."""
        if self._queue.alone and self._running:
            return
        self._queue.alone = False
        for stage in stages:
            if stage.grouped and not patient and self._upstream_busy(stage, stages):
                continue
            while not self._stopping and self._queue.may_have(stage) and self._has_room:
                self._claim(stage, self._room, keys)
        for stage in stages:
            while self._queue.has_suspects(stage) and not (self._stopping or self._is_busy):
                self._queue.alone = True
                self._claim(stage, CLAIM_LIMIT, keys)
        if not self._stopping and not self._is_busy and self._queue.is_empty(stages):
            self._fail_unpublished()

    @property
    def _has_room(self) -> bool:
        return self._room > CLAIM_LIMIT // 2 if self._candidates is None else not self._is_busy

    @property
    def _room(self) -> int:
        return CLAIM_LIMIT - len(self._running)

    def _fail_unpublished(self) -> None:
        """Fail the datums whose results cannot be made visible, when all that reads them is done: results are read by
        their digest, wherever they lie. The next run gives them another go."""
        for mark, why in self._publisher.take_failures().items():
            self._ledger.mark([mark])
            claims = self._ledger.claim(mark.stage, self._session.owner, 1, self._session.lease_s, [mark.key])
            self._commit([(claim, Outcome(state=State.FAILED, error=why)) for claim in claims])

    def _claim(self, stage: Stage, room: int, keys: Collection[str] | None) -> None:
        if self._candidates is None or stage.grouped:
            claims = self._queue.claim(stage, room, keys)
        else:
            claims = self._claim_candidates(stage, self._candidates)
        if not self._keeps_up(stage):
            self._give_back(claims)
        elif not claims:
            self._queue.found_none(stage)
        elif self._queue.are_to_wait(claims):
            self._give_back(claims)
            self._queue.put_off(stage)
        else:
            self._begin_work(stage, claims)

    def _claim_candidates(self, stage: Stage, candidates: Candidates) -> list[Claim]:
        """Claim some of the candidates, and give back those that are none any more: their batch has ended meanwhile,
        so nobody would look at what comes of them in the stages behind."""
        claims = self._queue.claim_first(stage, candidates)
        if not claims:
            return []
        left = frozenset(candidates.keys(stage))
        self._give_back([claim for claim in claims if claim.key not in left])
        return [claim for claim in claims if claim.key in left]

    def _give_back(self, claims: Sequence[Claim]) -> None:
        if claims:
            self._commit([(claim, Outcome(state=State.PENDING)) for claim in claims])

    def _begin_work(self, stage: Stage, claims: Sequence[Claim]) -> None:
        settled: list[Ended] = []
        jobs: list[Job] = []
        for claim, decision in zip(claims, self._plan(stage, claims), strict=True):
            if isinstance(decision, PlannedDatum):
                self._running[decision.job.id] = decision
                jobs.append(replace(decision.job, made_by={"datum": decision.hash, "run": self._session.run}))
            else:
                settled.append((claim, decision))
        self._submit(jobs, stage.timeout_s)
        if settled:
            self._commit(settled)

    def _plan(self, stage: Stage, claims: Sequence[Claim]) -> Iterator[Decision]:
        """Decide on each claim: what cannot be planned fails."""
        for claim, decision in zip(claims, apart(claims, partial(self._planner.plan, stage)), strict=True):
            yield self._outcomes.refuse(claim, decision) if isinstance(decision, Exception) else decision

    def _submit(self, jobs: Sequence[Job], timeout_s: float) -> None:
        """Hand the jobs to the workers: one that cannot be handed over ends with a failed try."""

        def call(some: Sequence[Job]) -> list[None]:
            self._workers.submit(some, timeout_s, self._inbox.put_run)
            return [None] * len(some)

        for job, answer in zip(jobs, apart(jobs, call), strict=True):
            if answer is not None:
                self._inbox.put_run(job, StageRun(error=answer))

    def _keeps_up(self, stage: Stage) -> bool:
        """Tell whether the stage may be planned; if not, what was claimed has to be handed back.

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
            log.info("basis changed elsewhere", stage=stage.name, marked=self._ledger.rebase(stage.name, known))
        else:
            what = "another run has changed its recipe, model or rules: run again, with the newest version"
            self._fatal, self._stopping = Unavailable(f"stage {stage.name}", what), True
        self._queue.look_again()
        return False

    def _upstream_busy(self, stage: Stage, stages: Sequence[Stage]) -> bool:
        before = [other for other in stages if not other.grouped and other.name != stage.name]
        return self._is_busy or any(self._queue.may_have(other) for other in before)

    # --- finishing --------------------------------------------------------------------------------------------------

    def _step(self, *, block: bool, wait_s: float | None = None) -> None:
        """Take what is in the inbox, waiting for the first thing if ``block``; commit what is due; keep leases."""
        wait_s = self._committer.bound(self._session.lease_s / 3 if wait_s is None else wait_s)
        for item in self._inbox.take(wait_s if block else 0.0):
            if isinstance(item, tuple):
                self._take(*item)
            else:
                item()
                self._queue.look_again()
        if block and not self._is_busy:
            self._queue.look_again()  # nothing came for long: another engine may have left something
        if self._committer.is_due(idle=len(self._running) <= self._workers.size):
            self._commit(self._committer.take_ready())
        for lost in self._leases.extend([planned.claim for planned in self._running.values()]):
            # Its job may still run; its end is known to nobody and is dropped, its versions are collected later.
            del self._running[lost.stage, lost.key, lost.token]
            self._queue.look_again()

    def _take(self, job: Job, run: StageRun) -> None:
        planned = self._running.pop(job.id, None)
        if planned is None:
            if run.outputs:
                self._committer.discard(run.outputs)
            return
        try:
            outcome = self._outcomes.of(planned, run)
        except Unavailable as exc:
            self._fatal, self._stopping = exc, True
            outcome = Outcome(state=State.PENDING)
        if outcome.state is State.PENDING:
            self._queue.look_again()  # what it read may have to be made again first
        self._committer.add(planned.claim, outcome)

    def _commit(self, settled: Sequence[Ended]) -> None:
        self._committer.commit(settled)
        for stage in {claim.stage for claim, _ in settled}:
            self._queue.look_again((stage, *self._pipeline.downstream(stage)))
        self.publish()
        if any(outcome.alerts or outcome.verdicts for _, outcome in settled):
            self.on_alerts()

    def _hand_back(self) -> None:
        """Commit what is finished and give up the rest, when the loop ends early; nothing to do when it ended well."""
        if self._running:
            self._workers.stop()
            for item in self._inbox.take():  # what finished jobs put must be committed or discarded
                if isinstance(item, tuple):
                    self._take(*item)
        ready = self._committer.take_ready()
        state = State.PENDING if self._fatal is not None else State.KILLED
        ready += [(planned.claim, Outcome(state=state)) for planned in self._running.values()]
        self._running.clear()
        if ready:
            self._commit(ready)
