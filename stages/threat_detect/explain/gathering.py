"""Facts about pictures: all that the ledger and the store know of them, read in bulk. Nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from lookout.domain.errors import ObjectChanged, ObjectMissing
from lookout.domain.pipeline import device_of
from lookout.domain.policy import codec
from lookout.domain.policy.records import RuleId
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Alert, ObjectRef, Observation, Record, Slot, State
from lookout.ledger.port import Ledger
from lookout.ledger.rules.decisions import DECISIONS
from lookout.object_store.port import ObjectReader
from stages.pipeline import PIPELINE
from stages.threat_detect import detections
from stages.threat_detect.explain.rule_files import FileRef, files_of
from stages.threat_detect.rules.version2.matching import Picture, picture_of

VALIDATE: Final = "validate"
OBJECT_DETECT: Final = "object-detect"
THREAT_DETECT: Final = "threat-detect"
STAGES: Final = (VALIDATE, OBJECT_DETECT, THREAT_DETECT)
_ROLE: Final = "detections"
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFacts:
    """All that is known of one picture: its slots by stage, what was detected, the rule files that threat-detect has
    read, the decisions of rules on it, and its alerts. ``missing`` says why there are no detections, if some were
    made."""

    key: str
    seen: Observation | None
    slots: Mapping[str, Slot]
    found: detections.Detections | None = None
    missing: str | None = None
    files: Sequence[FileRef] = ()
    decisions: Mapping[RuleId, PictureDecision] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()

    @property
    def device(self) -> str | None:
        """The device that took the picture, None if nothing says it."""
        if self.found is not None:
            return self.found.device
        groups = [slot.group for slot in self.slots.values() if slot.group]
        return device_of(groups[-1] if groups else PIPELINE.group_of(self.key)) or None

    @property
    def picture(self) -> Picture | None:
        """The picture as rules judge it, None if nothing was detected on it yet."""
        return None if self.found is None else judged(self.found, self.key, self.seen)


def judged(found: detections.Detections, key: str, seen: Observation | None) -> Picture:
    """Return the picture as threat-detect judges it: with the time at which the ledger first saw these bytes."""
    same = seen is not None and seen.ref is not None and seen.ref.sha256 == found.image.sha256
    received_s = seen.observed_at_s if seen is not None and same else found.captured_at_s
    return picture_of(found, key, received_s)


def detections_ref(slots: Mapping[str, Slot]) -> ObjectRef | None:
    """Return the detections that threat-detect has read, or those that it will read."""
    last, before = _record(slots, THREAT_DETECT), _record(slots, OBJECT_DETECT)
    if last is not None:
        return next((item.ref for item in last.inputs if item.role == _ROLE), None)
    return None if before is None else next((ref for ref in before.outputs if ref.key.endswith(".json")), None)


def kept_decisions(ledger: Ledger) -> Iterator[tuple[str, list[PictureDecision]]]:
    """Yield the keys of all pictures that were decided on, with their decisions, in the order of the keys."""
    for (_, key, stage), text in ledger.policy_texts(DECISIONS):
        if stage == THREAT_DETECT:
            yield key, codec.decisions_from_json(text)


def gather_facts(ledger: Ledger, store: ObjectReader, keys: Sequence[str]) -> Iterator[PictureFacts]:
    """Yield the facts about each of these pictures, in this order."""
    for start in range(0, len(keys), _AT_ONCE):
        piece = keys[start : start + _AT_ONCE]
        seen, decisions = ledger.find_inputs(PIPELINE.inputs, piece), _decisions(ledger, piece)
        by_stage = {stage: ledger.find_slots(stage, piece) for stage in STAGES}
        for key in piece:
            slots = {stage: found[key] for stage, found in by_stage.items() if key in found}
            yield _facts(ledger, store, key, seen.get(key), slots, decisions.get(key, []))


def _decisions(ledger: Ledger, keys: Collection[str]) -> dict[str, list[PictureDecision]]:
    texts = ledger.policy_texts(DECISIONS, keys)
    return {key: codec.decisions_from_json(text) for (_, key, stage), text in texts if stage == THREAT_DETECT}


def _facts(
    ledger: Ledger,
    store: ObjectReader,
    key: str,
    seen: Observation | None,
    slots: Mapping[str, Slot],
    decisions: Sequence[PictureDecision],
) -> PictureFacts:
    record = _record(slots, THREAT_DETECT)
    ids = {*chain.from_iterable(one.alerts for one in decisions), *(record.alert_ids if record is not None else ())}
    found, missing = _found(store, detections_ref(slots))
    return PictureFacts(
        key=key,
        seen=seen,
        slots=slots,
        found=found,
        missing=missing,
        files=files_of(record),
        decisions={one.rule: one for one in decisions},
        alerts=tuple(ledger.alerts(ids=ids)) if ids else (),
    )


def _found(store: ObjectReader, ref: ObjectRef | None) -> tuple[detections.Detections | None, str | None]:
    if ref is None:
        return None, None
    try:
        return detections.read(store.get(ref), ref.path), None
    except (ObjectMissing, ObjectChanged):
        return None, f"the detections, {ref.path}, are not kept any more"


def _record(slots: Mapping[str, Slot], stage: str) -> Record | None:
    slot = slots.get(stage)
    return None if slot is None or slot.state is State.RETRACTED else slot.record
