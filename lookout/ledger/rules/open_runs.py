"""The rules of runs that stay open: which state a run is in, and who may do what with it. Pure, for every backend."""

from __future__ import annotations

from dataclasses import replace

from lookout.domain.errors import ClaimLost, InputRejected
from lookout.ledger.batches import Batch, opened
from lookout.ledger.open_runs import STREAM, RunLease, RunState, was_opened
from lookout.ledger.port import RunRecord


def state_of(run: RunRecord, lease: RunLease | None, now_s: float, opening_s: float) -> RunState:
    """Return the state of a run. ``opening_s`` is how long a run that never had a keeper waits for one.

    Clocks of the processes may differ, so a start that lies ahead counts like one that lies as far behind.
    """
    if run.state != "running":
        return RunState.LOST if run.state == "lost" else RunState.CLOSED
    if lease is not None:
        return RunState.DRAINING if lease.draining else RunState.OPEN
    waits = not was_opened(run) and abs(now_s - run.started_at_s) < opening_s
    return RunState.OPENING if waits else RunState.LOST


def check_takes(run: RunRecord, lease: RunLease | None, now_s: float, opening_s: float) -> None:
    """Raise InputRejected for a run that takes no batches."""
    state = state_of(run, lease, now_s, opening_s) if run.kind == STREAM else RunState.CLOSED
    if state not in (RunState.OPENING, RunState.OPEN):
        what = f"the run takes no batches: it is {state if run.kind == STREAM else f'of kind {run.kind}'}"
        raise InputRejected(what, run.id, "assign the batch to another run; nothing is lost, its keys wait")


def check_running(run: RunRecord) -> None:
    """Raise InputRejected for a run that nobody can keep: one that has ended or is of another kind."""
    if run.kind != STREAM:
        raise InputRejected(f"expected a run of kind {STREAM}, got {run.kind}", run.id)
    if run.state != "running":
        raise InputRejected(f"the run has ended: it is {run.state}", run.id)


def check_kept(known: RunLease | None, lease: RunLease) -> RunLease:
    """Return the lease as it is known. Raises ClaimLost when it is another keeper's, or nobody's."""
    if known is None or known.owner != lease.owner:
        raise ClaimLost(f"run {lease.run}", 0, known.owner if known is not None else None)
    return known


def moved(batch: Batch, run: str, now_s: float) -> Batch:
    """Return a batch of a run that was lost in another one, for anybody to take."""
    return replace(opened(batch, now_s, lost=True), run=run)
