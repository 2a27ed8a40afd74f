"""Orphaned datums: their input is not in the ledger any more and nothing noticed it, or a stage before them
has retracted what they read.

It should not happen, as inputs and marks change in one transaction; a restored backup, a ledger repaired by hand or a
defect of Lookout can cause it. Nothing is retracted here: an input that is there after all is observed, every other
datum is marked, and the planner decides about it as about any other. The guard against mass deletion is that of daily
work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import Mark, Slot, State
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.sources.comparable import Source
from lookout.sources.deletion_guard import DeletionGuard

log = get_logger(__name__)

PAGE: Final = 500
_STANDING: Final = tuple(state for state in State if state is not State.RETRACTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retracted:
    """``checked`` slots were looked at. Of the inputs that were not known, ``found`` are there and are taken in again,
    ``gone`` are not; ``marked`` slots will be planned again."""

    checked: int
    found: int
    gone: int
    marked: int


def retract(
    pipeline: Pipeline,
    ledger: Ledger,
    source: Source,
    clock: Callable[[], float],
    *,
    allow_deletions: bool = False,
    dry_run: bool = False,
) -> Retracted:
    """Find slots whose input is gone, and have them planned again. Each such input is looked for in the source once
    more. Streamed; memory holds the keys of what is gone. Raises InputRejected when so much is gone, counted with what
    else was retracted within a day, that it looks like an accident, and then marks nothing. A dry run reports the same
    and is not counted."""
    readers = [stage.name for stage in pipeline.readers(pipeline.inputs)]
    checked = found = 0
    gone: dict[str, None] = {}
    orphans: list[Mark] = []
    for stage in pipeline.stages:
        if stage.grouped:
            continue
        for page in _pages(ledger.slots(stage.name, states=_STANDING)):
            checked += len(page)
            settled = {slot.key: slot for slot in page if not slot.dirty}
            unknown = _without_input(pipeline, stage, ledger, settled)
            seen = [source.observe(key, clock()) for key in unknown if key not in gone]
            there = [item for item in seen if item.ref is not None or item.error is not None]
            found += len(there)
            if there and not dry_run:
                ledger.observe(there, readers)
            gone.update(dict.fromkeys(item.key for item in seen if item.ref is None and item.error is None))
            baseless = {key for key in unknown if key in gone} | _without_result(stage, pipeline, ledger, settled)
            orphans += [Mark(stage=stage.name, key=key) for key in sorted(baseless)]
    guard = DeletionGuard(
        ledger=ledger,
        bucket=pipeline.inputs,
        origin=source.origin,
        clock=clock,
        readers=readers,
        allow=allow_deletions,
    )
    guard.check(len(gone), blank=bool(gone) and source.is_blank())
    if not dry_run:
        guard.admit(len(gone))
        ledger.mark(orphans)
    for mark in orphans:
        log.warning("orphan", stage=mark.stage, key=mark.key)
    return Retracted(checked=checked, found=found, gone=len(gone), marked=len(orphans))


def _pages(slots: Iterable[Slot]) -> Iterator[Sequence[Slot]]:
    source = iter(slots)
    while page := list(islice(source, PAGE)):
        yield page


def _without_input(pipeline: Pipeline, stage: Stage, ledger: Ledger, slots: Collection[str]) -> list[str]:
    """Return the keys whose input object the ledger does not know."""
    if not any(read.bucket == pipeline.inputs for read in stage.reads):
        return []
    known = ledger.find_inputs(pipeline.inputs, slots)
    return [key for key in slots if key not in known]


def _without_result(stage: Stage, pipeline: Pipeline, ledger: Ledger, slots: Collection[str]) -> set[str]:
    """Return the keys for which a stage before has nothing to read, and is not about to change that."""
    baseless: set[str] = set()
    for read in stage.reads:
        if read.bucket == pipeline.inputs or read.optional:
            continue
        before = ledger.find_slots(read.bucket, slots)
        for key in slots:
            slot = before.get(key)
            if slot is None:
                baseless.add(key)
            elif not slot.dirty and slot.state in (State.SUCCESS, State.RETRACTED):
                outputs = slot.record.outputs if slot.record is not None else ()
                if read.find(outputs) is None:
                    baseless.add(key)
    return baseless
