"""Timeline of a run: its batches, what it made, what failed, whom it alerted.

Reads the ledger only. The ledger keeps states and their makers, not every step on the way: a batch shows its
cut and its last change, a datum its last success or failure. Knows no stage by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from lookout.domain.pipeline import OVERVIEW, Pipeline
from lookout.domain.records import Alert, JsonObject, Slot, State
from lookout.ledger.batches import Batch, BatchLedger, BatchState
from lookout.ledger.port import Ledger, RunRecord

_BAD = (State.FAILED, State.UNRUNNABLE)
_FEW_RUNS, _MANY_RUNS = 100, 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened: of which kind, in words, and as facts."""

    at_s: float
    kind: str
    text: str
    facts: JsonObject = field(default_factory=dict)


def find_run(ledger: Ledger, id_: str) -> RunRecord | None:
    """Return the run of that id. Its cost depends on how many are newer."""
    for limit in (_FEW_RUNS, _MANY_RUNS):
        for run in ledger.runs(limit):
            if run.id == id_:
                return run
    return None


def tell(
    pipeline: Pipeline, ledger: BatchLedger, run: RunRecord, keys: Collection[str] = (), *, each: bool = False
) -> list[Event]:
    """Return all events of a run, in the order of time: of the keys of its batches, and of these. Of a run without
    either, all datums are looked through. ``each`` tells of each datum that was made, not only of how many."""
    batches = list(ledger.batches(run=run.id))
    among = sorted({*keys, *(key for batch in batches for key in batch.keys)})
    events = [
        Event(at_s=run.started_at_s, kind="run", text=f"run {run.id} began, {run.kind}", facts={"state": "began"})
    ]
    for batch in batches:
        events += _of_batch(batch)
    events += _of_datums(_slots(pipeline, ledger, run, among), run, each=each)
    for alert in ledger.alerts(run=run.id):
        events += _of_alert(alert)
    if run.ended_at_s is not None:
        text = f"run {run.id} ended: {run.state}"
        events.append(Event(at_s=run.ended_at_s, kind="run", text=text, facts={"state": run.state}))
    return sorted(events, key=lambda event: event.at_s)


def _slots(pipeline: Pipeline, ledger: Ledger, run: RunRecord, keys: Sequence[str]) -> Iterator[Slot]:
    """Yield the slots of the run's keys and of their groups; without keys, those that it made, and those that failed or
    were retracted while it was at work."""
    if not keys:
        for slot in ledger.slots():
            if _is_of(slot, run) or (slot.state in (*_BAD, State.RETRACTED) and _is_during(slot, run)):
                yield slot
        return
    groups = {key: pipeline.group_of(key) for key in keys}
    for stage in pipeline.stages:
        found = ledger.find_slots(stage.name, [*sorted(set(groups.values())), OVERVIEW] if stage.grouped else keys)
        groups.update((key, slot.group) for key, slot in found.items() if key in groups and slot.record is not None)
        yield from (found[key] for key in sorted(found))


def _is_during(slot: Slot, run: RunRecord) -> bool:
    """Tell whether it was settled while the run was at work: a slot that was settled without a record names no run."""
    return run.started_at_s <= slot.updated_at_s <= (run.ended_at_s or slot.updated_at_s)


def _is_of(slot: Slot, run: RunRecord) -> bool:
    return slot.record is not None and slot.record.run == run.id


def _of_batch(batch: Batch) -> Iterator[Event]:
    facts: JsonObject = {"batch": batch.id, "pictures": len(batch.keys), "state": "cut"}
    text = f"batch {batch.id} cut: {len(batch.keys)} pictures, {batch.kind}"
    yield Event(at_s=batch.created_at_s, kind="batch", text=text, facts=facts)
    if batch.losses:
        lost = f"batch {batch.id}: {batch.losses} of its workers died or were late"
        yield Event(at_s=batch.updated_at_s, kind="batch", text=lost, facts={**facts, "losses": batch.losses})
    if batch.state is BatchState.TAKEN:
        text = f"batch {batch.id} taken by {batch.owner} (attempt {batch.token})"
    elif batch.state is BatchState.DONE:
        text = f"batch {batch.id} done"
    elif batch.token:
        text = f"batch {batch.id} let go of, open again"
    else:
        return
    now: JsonObject = {**facts, "state": batch.state.value, "owner": batch.owner}
    yield Event(at_s=batch.updated_at_s, kind="batch", text=text, facts=now)


def _of_datums(slots: Iterator[Slot], run: RunRecord, *, each: bool) -> Iterator[Event]:
    settled: dict[tuple[str, str], list[float]] = {}
    for slot in slots:
        name = f"{slot.stage} of {slot.key or 'all groups'}"
        datum: JsonObject = {"stage": slot.stage, "key": slot.key}
        if slot.state in _BAD:
            facts: JsonObject = {**datum, "state": slot.state.value, "error": slot.error}
            text = f"{slot.state.value}: {name}: {slot.error}"
            yield Event(at_s=slot.updated_at_s, kind="datum", text=text, facts=facts)
        elif slot.state is State.RETRACTED and _is_during(slot, run):
            settled.setdefault((slot.stage, "retracted"), []).append(slot.updated_at_s)
            if each:
                facts = {**datum, "state": slot.state.value}
                yield Event(at_s=slot.updated_at_s, kind="datum", text=f"retracted: {name}", facts=facts)
        if slot.record is not None and _is_of(slot, run):
            at_s, label = slot.record.finished_at_s, slot.record.label
            settled.setdefault((slot.stage, "made"), []).append(at_s)
            if each or label is not None:
                text = f"made: {name}" + (f": {label}" if label else "")
                facts = {**datum, "state": State.SUCCESS.value, "label": label}
                yield Event(at_s=at_s, kind="datum", text=text, facts=facts)
    for (stage, what), times_s in settled.items():
        first_s, last_s = min(times_s) - run.started_at_s, max(times_s) - run.started_at_s
        text = f"{stage}: {len(times_s)} {what}, from {first_s:.1f} s to {last_s:.1f} s after the run's beginning"
        yield Event(at_s=max(times_s), kind="stage", text=text, facts={"stage": stage, what: len(times_s)})


def _of_alert(alert: Alert) -> Iterator[Event]:
    draft = alert.draft
    facts: JsonObject = {"alert": alert.id, "picture": draft.picture_key, "rule": draft.rule, "to": draft.recipient}
    text = f"alert {alert.id[:12]} for {draft.recipient}: {draft.rule}, {draft.picture_key}"
    yield Event(at_s=alert.created_at_s, kind="alert", text=text, facts={**facts, "state": "made"})
    if alert.settled_at_s is not None:
        text = f"alert {alert.id[:12]} {alert.state.value}" + (f": {alert.error}" if alert.error else "")
        yield Event(at_s=alert.settled_at_s, kind="alert", text=text, facts={**facts, "state": alert.state.value})
