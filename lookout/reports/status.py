"""Status of a deployment in numbers: what is done, what waits, since when, of which device. Reads the ledger only.

Counts are the ledger's own, and their cost does not depend on how much it knows. The backlog is read slot by slot: the
cost depends on its size, up to ``MOST`` datums a stage; further ones are counted and not attributed to devices.
Knows no stage by name and no backend.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lookout.batches.cutter import ordinary
from lookout.domain.pipeline import Pipeline, device_of
from lookout.domain.records import Observation, Slot, State
from lookout.domain.rule_fit.records import FitNote
from lookout.ledger.batches import BatchLedger, BatchState
from lookout.ledger.port import RunRecord
from lookout.outbox.unsent import Unsent, find_unsent
from lookout.references.fit import FitReader
from lookout.reports.device_health import DeviceHealth, HealthReader
from lookout.runs.change_feed import find_troubles
from lookout.sources.deletion_guard import Held, find_held
from lookout.sources.unlistable import find_unlistable

MOST: Final = 10_000
_PIECE: Final = 500
_SHARE: Final = 10
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A datum that waits or is worked on, and since when: since its picture was first seen with these bytes, or, where
    it was done before and is to be done again, since it was marked or taken last."""

    stage: str
    key: str
    since_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """Backlog: ``pictures`` in any stage, each once; ``devices`` by device and stage; and the ``oldest``. ``landed``
    has the arrival times of the pictures that were not done since they arrived. Not ``whole``: there is more, which
    only the stages' counts include."""

    pictures: int = 0
    landed: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    oldest: Waiting | None = None
    whole: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """``stages`` by stage: datums by state, and under ``waiting`` those that are to be done or being done. ``alerts``
    by state, ``batches`` by state over all runs; ``held`` are deletions that wait for a person,
    ``watch`` is what went wrong with the watch at work, ``unlistable`` folders could not be listed by the last look."""

    at_s: float
    pictures: int
    stages: Mapping[str, Mapping[str, int]]
    alerts: Mapping[str, int]
    unsent: Unsent
    batches: Mapping[str, int]
    backlog: Backlog
    runs: Sequence[RunRecord] = ()
    held: Held | None = None
    watch: Mapping[str, int] = field(default_factory=dict)
    unlistable: Mapping[str, str] = field(default_factory=dict)
    health: DeviceHealth | None = None
    """None unless a reader of it was given."""
    rule_notes: Sequence[FitNote] = ()
    """Empty too unless a reader of them was given."""


def look(
    pipeline: Pipeline,
    ledger: BatchLedger,
    now_s: float,
    *,
    runs: int = 0,
    health: HealthReader | None = None,
    fit: FitReader | None = None,
) -> Status:
    """Return the status now, with so many of the newest runs, and the health of devices and the notes on rules as the
    readers find them. No snapshot: numbers may differ by what happens meanwhile."""
    counts = ledger.count_slots([stage.name for stage in pipeline.stages])
    stages = {
        stage.name: {
            **{state.value: counts.get(stage.name, {}).get(state, 0) for state in State},
            "waiting": ledger.count_dirty(stage.name),
        }
        for stage in pipeline.stages
    }
    batches = ledger.count_batches()
    return Status(
        at_s=now_s,
        pictures=ledger.count_inputs(pipeline.inputs),
        stages=stages,
        unsent=find_unsent(ledger, now_s),
        alerts={state.value: number for state, number in ledger.count_alerts().items()},
        batches={state.value: batches.get(state, 0) for state in BatchState},
        backlog=look_at_backlog(pipeline, ledger),
        runs=ledger.runs(runs) if runs else (),
        held=find_held(ledger),
        watch=find_troubles(ledger),
        unlistable=find_unlistable(ledger),
        health=None if health is None else health.look(ledger, now_s),
        rule_notes=() if fit is None else fit.look(ledger),
    )


def pause_s(every_s: float, took_s: float) -> float:
    """Return the pause after a reading that took so long, to read each ``every_s``: longer where that would be a
    load."""
    return max(every_s - took_s, min(_SHARE * took_s, _LONGEST_PAUSE_S), 0.0)


def look_at_backlog(pipeline: Pipeline, ledger: BatchLedger, most: int = MOST) -> Backlog:
    """Return the backlog of the stages whose datums are pictures."""
    devices: dict[str, Counter[str]] = {}
    pictures: set[str] = set()
    landed: dict[str, float] = {}
    oldest: Waiting | None = None
    whole = True
    for stage in ordinary(pipeline):
        keys = ledger.dirty(stage.name)
        for piece in _pieces(islice(keys, most)):
            pictures.update(piece)
            for device in devices_of(pipeline, ledger, piece).values():
                devices.setdefault(device, Counter())[stage.name] += 1
            slots, seen = ledger.find_slots(stage.name, piece), ledger.find_inputs(pipeline.inputs, piece)
            for key in piece:
                since_s = _landed_s(slots.get(key), seen.get(key))
                if since_s is None:
                    since_s = _marked_s(slots.get(key))
                else:
                    landed[key] = since_s
                if oldest is None or since_s < oldest.since_s:
                    oldest = Waiting(stage=stage.name, key=key, since_s=since_s)
        whole = whole and next(keys, None) is None
    by_device = dict(sorted(devices.items()))
    return Backlog(pictures=len(pictures), landed=landed, devices=by_device, oldest=oldest, whole=whole)


def devices_of(pipeline: Pipeline, ledger: BatchLedger, keys: Sequence[str]) -> dict[str, str]:
    """Return the devices of pictures: as the stage that read them says, or else by their keys."""
    groups = {key: pipeline.group_of(key) for key in keys}
    for stage in pipeline.readers(pipeline.inputs):
        slots = ledger.find_slots(stage.name, keys)
        groups.update((key, slot.group) for key, slot in slots.items() if slot.record is not None)
    return {key: device_of(group) for key, group in groups.items()}


def _landed_s(slot: Slot | None, seen: Observation | None) -> float | None:
    """Return the time at which its picture was first seen as it is, if the datum was not done since."""
    if seen is None or (
        slot is not None and slot.record is not None and slot.record.finished_at_s >= seen.observed_at_s
    ):
        return None
    return seen.observed_at_s


def _marked_s(slot: Slot | None) -> float:
    """Return the time at which it was marked or claimed last; infinity if it was settled meanwhile."""
    return slot.updated_at_s if slot is not None and slot.updated_at_s else math.inf


def _pieces(keys: Iterator[str]) -> Iterator[list[str]]:
    while piece := list(islice(keys, _PIECE)):
        yield piece
