"""Cut of a deployment's backlog, as ``lookout batches cut`` asks for it: what is new is looked for, abandoned batches
are ended, and the backlog becomes batches of a run."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from lookout.app.catch_up import keep_refused, take_pictures, take_references
from lookout.app.deployment import Deployment
from lookout.app.ranges import Range, invalidate_range
from lookout.batches.cutter import BACKFILL, Cutter, abandoned, end_open, ensure_run, run_id
from lookout.domain.identity import digest
from lookout.domain.pipeline import Refused
from lookout.domain.rule_fit.records import FitNote
from lookout.ledger.batches import LIVE, UNFINISHED, Batch, BatchState
from lookout.references.fit import FitReader
from lookout.sources.reconcile import Reconciled

NONE, RECENT, FULL = "none", "recent", "full"
LIVE_TAKE_OVER_S: Final = 3600.0
"""Longer than the work on live batches waits for its turn."""


@dataclass(frozen=True, kw_only=True)
class CutRequest:
    """Request for a cut.

    ``run`` is the run to cut for; empty: a new one, or for live batches none. ``reconcile`` is how to compare with the
    source first. Fewer than ``size`` pictures wait until one has waited ``age_s``. ``stage`` limits the cut to its
    backlog, and ``force`` has the finished datums of the range done again. Batches of runs that nobody worked on for
    ``take_over_s`` are cut again; None: not live ones, unless nobody came for ``LIVE_TAKE_OVER_S``. At most ``workers``
    are to work at once.
    """

    run: str = ""
    kind: str = BACKFILL
    reconcile: str = NONE
    size: int = 200
    age_s: float = 0.0
    stage: str | None = None
    force: bool = False
    take_over_s: float | None = None
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class CutResult:
    """Result of a cut. ``run`` is empty for live batches without one; ``workers`` are the numbers of those for whom
    there is a batch; ``seen`` is None where nothing was compared; ``refused`` are references that cannot be used."""

    run: str
    batches: tuple[Batch, ...]
    workers: tuple[int, ...]
    seen: Reconciled | None
    refused: tuple[Refused, ...]
    notes: tuple[FitNote, ...] = ()
    """Notes on rules, where other references came into force."""

    @property
    def keys(self) -> int:
        """The number of pictures in all batches."""
        return sum(len(batch.keys) for batch in self.batches)


def cut_backlog(opened: Deployment, request: CutRequest, chosen: Range) -> CutResult:
    """Cut what is waiting in the range and in no unfinished batch. Raises InputRejected for a run that has ended."""
    ledger = opened.ledger
    run = request.run or ("" if request.kind == LIVE else run_id(time.time()))
    if run:
        ensure_run(ledger, run, time.time(), request.kind)
    seen, refused, notes = _look(opened, request.reconcile, run)
    if request.force:
        invalidate_range(opened, request.stage, chosen, digest("invalidate/1", run or time.time_ns())[:16])
    end_open(ledger, [batch for batch in _left(opened, request, run) if _touches(opened, chosen, batch)])
    made = Cutter(
        pipeline=opened.pipeline_in_force(),
        ledger=ledger,
        store=opened.store,
        clock=time.time,
        size=request.size,
        age_s=request.age_s,
    ).cut(
        kind=request.kind,
        run=run,
        prefix=chosen.prefix,
        wanted=partial(_chosen, opened, chosen),
        stages=None if request.stage is None else (request.stage,),
    )
    workers = _workers(opened, request, run, made)
    if run and not workers:
        ledger.close_run(run, "failed" if refused else "success", time.time(), {"batches": 0, "failed": 0})
    return CutResult(run=run, batches=tuple(made), workers=workers, seen=seen, refused=tuple(refused), notes=notes)


def _look(opened: Deployment, how: str, run: str) -> tuple[Reconciled | None, list[Refused], tuple[FitNote, ...]]:
    """Compare the store's buckets with the ledger and record what is new."""
    if how == NONE:
        return None, [], ()
    seen = take_pictures(opened, full=how == FULL)
    changed, refused = take_references(opened)
    keep_refused(opened.ledger, run, refused)
    return seen, refused, FitReader(opened.pipeline_in_force).look(opened.ledger) if changed else ()


def _left(opened: Deployment, request: CutRequest, run: str) -> list[Batch]:
    """Return the batches of other runs at which nobody is."""
    now_s = time.time()
    idle_s = LIVE_TAKE_OVER_S if request.kind == LIVE else 0.0
    if request.take_over_s is not None:
        return abandoned(opened.ledger, now_s - request.take_over_s, but=run)
    left = abandoned(opened.ledger, now_s - idle_s, but=run)
    # What was cut live and has no run yet is still to be begun: a backfill must not put it behind itself.
    return [one for one in left if one.run or one.kind != LIVE or one.updated_at_s <= now_s - LIVE_TAKE_OVER_S]


def _touches(opened: Deployment, chosen: Range, batch: Batch) -> bool:
    return bool(_chosen(opened, chosen, [key for key in batch.keys if key.startswith(chosen.prefix)]))


def _chosen(opened: Deployment, chosen: Range, keys: Sequence[str]) -> Collection[str]:
    """Return those of the pictures that were taken in the range, as the stage that read them says, or else by their
    keys."""
    if not chosen.is_timed:
        return frozenset(keys)
    at_s: dict[str, float | None] = {}
    for stage in opened.installation.readers:
        slots = opened.ledger.find_slots(stage, keys)
        at_s.update((key, slot.record.at_s) for key, slot in slots.items() if slot.record is not None)
    return {key for key in keys if chosen.has(key, at_s.get(key), opened.installation.find_name)}


def _workers(opened: Deployment, request: CutRequest, run: str, made: Sequence[Batch]) -> tuple[int, ...]:
    """Return the numbers of the workers for which there is a batch; of one, if only charts are to be drawn."""
    counts = opened.ledger.count_batches(run) if run else {BatchState.OPEN: len(made)}
    number = sum(counts.get(state, 0) for state in UNFINISHED)
    if not number and request.kind == BACKFILL:
        number = any(opened.ledger.count_dirty(stage.name) for stage in opened.pipeline.stages if stage.grouped)
    return tuple(range(1, min(request.workers, number) + 1))
