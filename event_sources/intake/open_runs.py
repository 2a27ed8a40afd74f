"""Open runs, as an intake uses them: which run gets a batch, when one is begun, and what becomes of lost ones.

Nothing of this is kept but in the ledger. Two intakes may both begin a run for the same pictures, or both move a batch:
each transaction compares what it rests on, so one of them is refused, and a run too many ends by itself.

Knows no stage, no object and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from event_sources.intake.metrics import Metrics
from lookout.domain.errors import InputRejected, Unavailable
from lookout.ledger.batches import UNFINISHED
from lookout.ledger.open_runs import OPENING_S, OpenRunLedger, RunState, RunView, opening, release_of, was_opened
from lookout.ledger.rules.open_runs import state_of
from lookout.log import get_logger

log = get_logger(__name__)

GRACE_S: Final = 2.0
"""After this time without a keeper the batches of a run are moved: one that was started again has taken it by then."""
BURY_S: Final = 30.0
"""After this time without a keeper a run without batches ends."""
CROWDED_S: Final = 2.0
"""If all runs are full, another is begun when a key has waited so long."""


@dataclass(frozen=True, kw_only=True)
class RunPace:
    """``cap`` unfinished pictures in a run at most, ``most`` runs that are opening or open. ``release`` is that of the
    processes that are started for a run; a run of another release gets nothing."""

    linger_s: float = 60.0
    cap: int = 64
    most: int = 4
    opening_s: float = OPENING_S
    release: str = ""


class OpenRuns:
    """Open runs of one intake. ``post`` has the processes of a run started, once for each id, however often it is
    called; ``attempt`` says how many times that should have happened for something of this age."""

    def __init__(
        self,
        pace: RunPace,
        *,
        post: Callable[[str, float], None],
        attempt: Callable[[float], int],
        new_id: Callable[[float], str],
        nonce: str,
        metrics: Metrics,
    ) -> None:
        self.pace = pace
        self._post, self._attempt, self._new_id, self._nonce, self._metrics = post, attempt, new_id, nonce, metrics
        self._views: list[RunView] = []
        self._posted: dict[str, int] = {}
        """By run without a keeper, the last attempt that is known to have been posted."""
        self._lost_since_s: dict[str, float] = {}
        self._first = True

    @property
    def is_idle(self) -> bool:
        """True if there was no run when they were looked at last."""
        return not self._views

    def look(self, ledger: OpenRunLedger, now_s: float) -> None:
        """Look at all runs: have those started that nobody has, move the batches of the lost, and bury these. What
        cannot be started now is tried again in the next look. Raises LookoutError for all else."""
        self._views = ledger.open_runs()
        known = {view.record.id for view in self._views}
        self._posted = {run: attempt for run, attempt in self._posted.items() if run in known}
        for view in self._views:
            if not was_opened(view.record) and view.lease is None:
                try:
                    self._post_if_due(view, now_s)
                except Unavailable as error:
                    self._metrics.troubles.inc()
                    log.warning("run not posted", run=view.record.id, error=error)
        lost = [view for view in self._views if self._state(view, now_s) is RunState.LOST]
        self._first = False
        self._lost_since_s = {view.record.id: self._lost_since_s.get(view.record.id, now_s) for view in lost}
        for view in lost:
            # The clock may have been set back meanwhile.
            gone_s = abs(now_s - self._lost_since_s[view.record.id])
            if view.unfinished and (gone_s >= GRACE_S or not was_opened(view.record)):
                self._move(ledger, view, now_s)
            elif not view.unfinished and gone_s >= BURY_S and ledger.bury_run(view.record.id):
                log.warning("run lost", run=view.record.id)

    def choose(self, ledger: OpenRunLedger, now_s: float, waited_s: float) -> tuple[str, int] | None:
        """Choose a run for what has waited so long, and say how many pictures it may get; begin one if need be; None
        when all are full. Raises LookoutError."""
        mine = [view for view in self._views if release_of(view.record) == self.pace.release]
        by_state = {state: [view for view in mine if self._state(view, now_s) is state] for state in RunState}
        for state in (RunState.OPEN, RunState.OPENING):
            found = min(by_state[state], key=lambda view: view.pictures, default=None)
            if found is not None and found.pictures < self.pace.cap:
                return found.record.id, self.pace.cap - found.pictures
        live = len(by_state[RunState.OPEN]) + len(by_state[RunState.OPENING])
        if live >= self.pace.most or (live and waited_s < CROWDED_S):
            return None
        return self._begin(ledger, now_s), self.pace.cap

    def assigned(self, ledger: OpenRunLedger, run: str) -> None:
        """Note that a run has got a batch."""
        self._views = [ledger.find_run(run) or view if view.record.id == run else view for view in self._views]

    def post(self, run: str) -> None:
        """Have the processes of a run started that was begun just now. Raises Unavailable; then it is tried again."""
        for view in self._views:
            if view.record.id == run:
                self._post_if_due(view, view.record.started_at_s)

    def _state(self, view: RunView, now_s: float) -> RunState:
        return state_of(view.record, view.lease, now_s, self.pace.opening_s)

    def _begin(self, ledger: OpenRunLedger, now_s: float) -> str:
        record = opening(self._new_id(now_s), self.pace.release, now_s)
        ledger.start_run(record)
        self._views.append(RunView(record=record))
        self._metrics.batches.labels("run_begun").inc()
        log.info("run begun", run=record.id)
        return record.id

    def _post_if_due(self, view: RunView, now_s: float) -> None:
        run = view.record.id
        attempt = self._attempt(abs(now_s - view.record.started_at_s))
        last = self._posted.get(run)
        if last is None and not self._first and self._nonce not in run:
            last = self._posted[run] = attempt  # another intake has just begun it, and posts it
        if last is None or last < attempt:
            self._post(run, self.pace.linger_s)
            self._posted[run] = attempt
            log.info("run posted", run=run, attempt=attempt)

    def _move(self, ledger: OpenRunLedger, lost: RunView, now_s: float) -> None:
        """Move the batches of a run that is lost. One whose processes never came may still be waiting for a node, so
        another run is begun for its batches only when a further attempt is due."""
        for batch in ledger.batches(run=lost.record.id, states=UNFINISHED):
            open_ones = [view for view in self._views if self._state(view, now_s) is RunState.OPEN]
            is_due = self._attempt(abs(now_s - batch.created_at_s)) > batch.losses + 1
            if not (was_opened(lost.record) or open_ones or is_due):
                continue
            chosen = self.choose(ledger, now_s, CROWDED_S)
            if chosen is None:
                return
            try:
                moved = ledger.move_batch(batch.id, chosen[0], self.pace.opening_s)
            except InputRejected as error:  # it has just stopped taking batches; the next look says which does
                log.info("not moved", batch=batch.id, why=error)
                return
            if moved is not None:
                self._metrics.batches.labels("moved").inc()
                log.warning("moved", batch=batch.id, run=chosen[0], lost=lost.record.id)
            self.assigned(ledger, chosen[0])
            self.post(chosen[0])
