"""The end of a run: what it found, what failed, what is left, and the record that says so. Knows no stage by name.

A run has batches, or it is about single pictures that somebody names; it ends when nothing of it is in anybody's hands.
What waits then stays dirty, and the next cut finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from lookout.batches.cutter import end_open, ordinary
from lookout.domain.errors import Unavailable
from lookout.domain.pipeline import OVERVIEW, Pipeline
from lookout.domain.records import JsonObject, Slot, State
from lookout.ledger.batches import UNFINISHED, Batch, BatchLedger


@dataclass(kw_only=True)
class Found:
    """Tally of a run's pictures as they are now, whichever worker did them.

    ``groups`` counts pictures by group; ``labels`` counts what is remarkable, as the stages call it; ``made`` counts
    the datums that this very run made; ``waiting`` those of its pictures that are marked and not done. Charts are
    counted where they failed, but do not wait: they belong to no single run, and the next worker draws them.
    """

    pictures: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    made: int = 0
    waiting: int = 0
    failures: list[Slot] = field(default_factory=list)


def look_back(pipeline: Pipeline, ledger: BatchLedger, run: str, keys: Iterable[str] = ()) -> Found:
    """Return the tally of a run: of the keys of its batches, and of these. The cost depends on the size of the run."""
    found = Found()
    for some in _pieces(ledger, run, keys):
        found.pictures += len(some)
        groups = {key: pipeline.group_of(key) for key in some}
        for stage in ordinary(pipeline):
            slots = ledger.find_slots(stage.name, some)
            groups.update((key, slot.group) for key, slot in slots.items() if slot.record is not None)
            found.waiting += sum(slot.dirty > 0 for slot in slots.values())
            _count(found, slots, run)
        found.groups.update(groups.values())
    if found.groups:
        for stage in pipeline.stages:
            if stage.grouped:
                _count(found, ledger.find_slots(stage.name, [*found.groups, OVERVIEW]), run)
    return found


def _pieces(ledger: BatchLedger, run: str, keys: Iterable[str]) -> Iterator[Collection[str]]:
    """Yield all keys of the run, each once, in pieces as small as batches."""
    seen: set[str] = set()
    for piece in chain([tuple(keys)], (batch.keys for batch in ledger.batches(run=run))):
        fresh = [key for key in piece if key not in seen]
        seen.update(fresh)
        if fresh:
            yield fresh


def _count(found: Found, slots: dict[str, Slot], run: str) -> None:
    for _, slot in sorted(slots.items()):
        if slot.state is State.FAILED:
            found.failures.append(slot)
        if slot.record is not None:
            found.made += slot.record.run == run
            found.labels.update([slot.record.label] if slot.record.label else ())


def close(ledger: BatchLedger, run: str, found: Found, now_s: float) -> bool:
    """End the run, unless it has ended or a batch of it is unfinished; whether it did. Raises KeyError for an unknown
    one."""
    state, summary = end_of(ledger, run, found)
    return ledger.close_run(run, state, now_s, summary)


def end_of(ledger: BatchLedger, run: str, found: Found) -> tuple[str, JsonObject]:
    """Return the state in which a run ends, and its summary."""
    failed = Counter(slot.stage for slot in found.failures)
    batches = sum(ledger.count_batches(run).values())
    state = "failed" if failed else "stopped" if found.waiting else "success"
    return state, {"batches": batches, "failed": failed.total(), "stages": dict(failed)}


def give_up(ledger: BatchLedger, run: str, ids: Collection[str]) -> None:
    """End what is unfinished of the run, and these batches: nobody comes to work on them any more. Raises Unavailable
    while somebody holds one."""

    def unfinished() -> list[Batch]:
        named = [batch for batch in ledger.find_batches(ids).values() if batch.state in UNFINISHED]
        return [*named, *ledger.batches(run=run, states=UNFINISHED)]

    end_open(ledger, unfinished())
    held = unfinished()
    if held:
        owners = ", ".join(sorted({batch.owner or "nobody" for batch in held}))
        raise Unavailable(f"run {run}", f"{len(held)} of its batches are still held, by {owners}")
