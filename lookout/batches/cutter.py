"""Cutter of batches: it divides the backlog among workers that share it. Knows no backend and no stage.

Nothing here can lose a datum. What has to be done is in the slots, which stay dirty until they are settled; a batch
only says who looks at which of them. A cut that is killed between any two writes leaves whole batches and dirty keys
that are in none, and the next cut takes those. Two who cut at once cannot both get a key: ``add_batches`` refuses it.

Who cuts also decides on what all work: it brings the ledger's basis of each stage to its own recipes and to the model
and the rules in force, and marks what that touches. Workers never do that, they only compare: so two versions at work
during an update do not undo each other's results by turns.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from itertools import groupby, islice
from typing import Final

from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import JsonObject
from lookout.engine.in_force import recipe_digests
from lookout.ledger.batches import LIVE, MAX_KEYS, UNFINISHED, Batch, BatchLedger, BatchState
from lookout.ledger.open_runs import OpenRunLedger
from lookout.ledger.port import Ledger, RunRecord
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore

log = get_logger(__name__)

BACKFILL: Final = "backfill"
"""The kind of batches, and of the run, that somebody asked for: taken after live ones."""


_MOMENT_S: Final = 60.0
_AT_ONCE: Final = 500
"""A lease for as long as one call takes."""
KEEP_S: Final = 30 * 24 * 3600.0
"""Done batches are remembered this long; each cut forgets some that are older."""


def ordinary(pipeline: Pipeline) -> tuple[Stage, ...]:
    """Return the stages whose datums have the keys of inputs: those that batches are about."""
    return tuple(stage for stage in pipeline.stages if not stage.grouped)


@dataclass(kw_only=True)
class Cutter:
    """Cutter of batches of ``size`` keys. Fewer than that are cut when one of them has waited for ``age_s``.

    ``nonce`` gives a short text that nobody else has, for ids.
    """

    pipeline: Pipeline
    ledger: BatchLedger
    store: ObjectStore
    clock: Callable[[], float]
    size: int = 200
    age_s: float = 0.0
    nonce: Callable[[], str] = lambda: uuid.uuid4().hex[:8]
    _rest_since_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_KEYS:
            raise ValueError(f"expected a size of 1 to {MAX_KEYS}, got {self.size}")

    def cut(
        self,
        *,
        kind: str = LIVE,
        run: str = "",
        prefix: str = "",
        wanted: Callable[[Sequence[str]], Collection[str]] = frozenset,
        stages: Collection[str] | None = None,
    ) -> list[Batch]:
        """Cut what is dirty in any ordinary stage (of these, if given) and in no unfinished batch: each key once, in
        their order; of this prefix, and those that ``wanted`` chooses of some at a time. Gives the batches that were
        kept. Raises InputRejected for a run that has ended.

        Its cost depends on what is dirty; only the keys of unfinished batches are held in memory. When there is nothing
        to cut, it only reads.
        """
        self._rebase()
        basis = {stage.name: found for stage in self.pipeline.stages if (found := self.ledger.basis(stage.name))}
        name = f"{_stamp(self.clock())}-{self.nonce()}"
        cut: list[Batch] = []
        among = [stage for stage in ordinary(self.pipeline) if stages is None or stage.name in stages]
        for number, keys in enumerate(self._pieces(among, prefix, wanted), start=1):
            batch = Batch(
                id=f"{name}-{number:05}",
                kind=kind,
                run=run,
                keys=keys,
                basis=basis,
                created_at_s=self.clock(),
            )
            cut += self.ledger.add_batches([batch])
        if not cut:
            return []
        self.ledger.expire_batches(self.clock() - KEEP_S)
        log.info("cut", batches=len(cut), keys=sum(len(batch.keys) for batch in cut), run=run)
        return cut

    def _rebase(self) -> None:
        for stage, basis in recipe_digests(self.pipeline, self.ledger.references).items():
            if self.ledger.basis(stage) != basis:
                log.info("rebased", stage=stage, marked=self.ledger.rebase(stage, basis))

    def _pieces(
        self, stages: Sequence[Stage], prefix: str, wanted: Callable[[Sequence[str]], Collection[str]]
    ) -> Iterator[tuple[str, ...]]:
        held = {key for batch in self.ledger.batches(states=UNFINISHED) for key in batch.keys}
        streams = [self.ledger.dirty(stage.name, prefix) for stage in stages]
        free = (key for key, _ in groupby(merge(*streams)) if key not in held)
        piece: list[str] = []
        for key in _chosen(free, wanted):
            piece.append(key)
            if len(piece) == self.size:
                yield tuple(piece)
                piece = []
        if not piece:
            self._rest_since_s = None
        elif self._is_due(piece):
            self._rest_since_s = None
            yield tuple(piece)

    def _is_due(self, rest: list[str]) -> bool:
        """Tell whether one of these has waited long enough. A slot knows when it was marked last; the time since which
        some were left over is kept beside it, or a picture that is rewritten continually would wait for ever."""
        now_s = self.clock()
        marked_at_s = [
            slot.updated_at_s
            for stage in ordinary(self.pipeline)
            for slot in self.ledger.find_slots(stage.name, rest).values()
            if slot.dirty
        ]
        since_s = min([now_s, *marked_at_s])
        self._rest_since_s = since_s if self._rest_since_s is None else min(since_s, self._rest_since_s)
        return now_s - self._rest_since_s >= self.age_s


def run_id(now_s: float) -> str:
    """Return a new id for a run, in the order of time."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def ensure_run(ledger: Ledger, run: str, now_s: float, kind: str = BACKFILL, summary: JsonObject | None = None) -> None:
    """Have a run that no session owns, so that it outlives all who work on it; one of that id may be there already.

    It is ended by ``BatchLedger.close_run``."""
    try:
        ledger.start_run(RunRecord(id=run, kind=kind, owner="", started_at_s=now_s, summary=summary))
    except ValueError:
        log.info("run resumed", run=run)


def abandoned(ledger: BatchLedger, before_s: float, but: str = "") -> list[Batch]:
    """Return the open batches of runs, but one, at which nobody is and nobody has been since that time: whoever was to
    work on them was stopped, or has never come. Until they end, their pictures are in no other batch. Those of runs
    that stay open are not among them: whoever assigned them moves them."""
    assigned = {view.record.id for view in ledger.open_runs()} if isinstance(ledger, OpenRunLedger) else set()
    unfinished = [
        batch
        for batch in ledger.batches(states=UNFINISHED)
        if (not but or batch.run != but) and batch.run not in assigned
    ]
    at_work = {batch.run or batch.id for batch in unfinished if batch.state is BatchState.TAKEN}
    idle = [batch for batch in unfinished if batch.updated_at_s <= before_s and (batch.run or batch.id) not in at_work]
    runs = {batch.run for batch in idle if batch.run}
    at_work = {run for run in runs if any(batch.updated_at_s > before_s for batch in ledger.batches(run=run))}
    return [batch for batch in idle if batch.run not in at_work]


def end_open(ledger: BatchLedger, batches: Sequence[Batch]) -> list[Batch]:
    """End those of these batches that nobody holds, whatever waits of them: it belongs to the next cut. Gives them."""
    ended: list[Batch] = []
    if batches:
        with ledger.session() as owner:
            for batch in batches:
                taken = ledger.take_batch(owner, _MOMENT_S, id_=batch.id)
                if taken is not None:
                    ledger.end_batch(taken)
                    ended.append(taken)
    return ended


def _chosen(keys: Iterator[str], wanted: Callable[[Sequence[str]], Collection[str]]) -> Iterator[str]:
    """Yield the keys that are wanted, in their order: whoever chooses may ask the ledger once for many."""
    while some := list(islice(keys, _AT_ONCE)):
        among = wanted(some)
        yield from (key for key in some if key in among)


def _stamp(now_s: float) -> str:
    """Return a time to the millisecond that sorts and may be a part of the name of almost anything."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y%m%dt%H%M%S}{int(now_s * 1000) % 1000:03}"
