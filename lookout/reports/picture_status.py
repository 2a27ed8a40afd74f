"""Status of one picture: whether its datums are settled in every stage, and how they ended. Reads the ledger only.

The stages are asked in their order. A commit marks what follows from it in its own transaction, so once a datum is
settled, what follows waits already or is settled too: there is no moment between two stages that looks like the end.
Charts are a day's and not a picture's, and not asked for. Knows no stage by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lookout.batches.cutter import ordinary
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import AlertState, Observation, Slot, State
from lookout.ledger.port import Ledger

_BAD = (State.FAILED, State.UNRUNNABLE)


class End(StrEnum):
    """``GONE``: the picture was removed, and what was made from it is retracted."""

    SUCCESS = "success"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Ends of the datums of one picture. ``labels`` is what is remarkable, by stage; ``alerts`` counts by state those
    that the live datums name."""

    end: End
    stages: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)


def find_end(pipeline: Pipeline, ledger: Ledger, key: str, now: Observation | None = None) -> Ended | None:
    """Return how the picture's datums ended, None while one waits or the picture is unknown.

    With ``now``, the observation of this moment, only once the ledger has it: the ledger may not know yet what was
    just written or removed.
    """
    seen = ledger.find_inputs(pipeline.inputs, [key]).get(key)
    if now is not None and not _is_the_same(seen, now):
        return None
    slots: list[Slot] = []
    for stage in ordinary(pipeline):
        slot = ledger.find_slots(stage.name, [key]).get(key)
        if slot is None:
            continue
        if slot.dirty:
            return None
        slots.append(slot)
    if not slots:
        return None
    failures = {slot.stage: slot.error or "" for slot in slots if slot.state in _BAD}
    end = End.FAILED if failures else End.GONE if seen is None else End.SUCCESS
    return Ended(
        end=end,
        stages={slot.stage: slot.state.value for slot in slots},
        labels={
            slot.stage: slot.record.label for slot in slots if _is_done(slot) and slot.record and slot.record.label
        },
        failures=failures,
        alerts=_alerts(ledger, [id_ for slot in slots if slot.record for id_ in slot.record.alert_ids]),
    )


def _is_the_same(known: Observation | None, now: Observation) -> bool:
    if known is None or (now.ref is None and now.error is None):
        return known is None and now.ref is None and now.error is None
    return (known.ref and known.ref.sha256) == (now.ref and now.ref.sha256)


def _is_done(slot: Slot) -> bool:
    return slot.state is State.SUCCESS


def _alerts(ledger: Ledger, ids: Collection[str]) -> dict[str, int]:
    if not ids:
        return {}
    found = [alert.state for alert in ledger.alerts(ids=ids)]
    return {state.value: found.count(state) for state in AlertState if state in found}
