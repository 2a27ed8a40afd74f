"""Answers of the stages on one picture: what validate, object-detect and threat-detect made of it, in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from lookout.domain.records import JsonObject, Record, Slot, State
from stages.reason_codes.words import listed
from stages.threat_detect.explain.gathering import OBJECT_DETECT, STAGES, THREAT_DETECT, VALIDATE, PictureFacts

_STATES: Final = {
    State.PENDING: "It waits to be processed.",
    State.RUNNING: "It is being processed.",
    State.KILLED: "It was stopped and waits to be processed again.",
    State.RETRACTED: "The picture is gone, and its results with it.",
}
_SHOWN: Final = 8
_Sentence: TypeAlias = Callable[[PictureFacts, Record], str]


def answers(facts: PictureFacts) -> Iterator[JsonObject]:
    """Yield one object a stage: ``stage``, ``state`` (None if it never came to the picture), ``sentence``, and facts of
    its record."""
    for stage in STAGES:
        slot = facts.slots.get(stage)
        if slot is None:
            yield {"stage": stage, "state": None, "sentence": "It has not come to this picture."}
            continue
        kept = slot.record.facts if slot.record is not None and slot.state is not State.RETRACTED else {}
        shown = {name: value for name, value in kept.items() if name in ("reason", "flags", "width", "height")}
        yield {"stage": stage, "state": slot.state.value, "sentence": _sentence(facts, slot), **shown}


def _sentence(facts: PictureFacts, slot: Slot) -> str:
    if slot.error is not None:
        return f"It failed: {slot.error}"
    if slot.record is None or slot.state is State.RETRACTED:
        return _STATES.get(slot.state, f"{slot.state.value}.")
    text = _DONE[slot.stage](facts, slot.record)
    return f"{text} It waits to be processed again." if slot.dirty else text


def _validated(_: PictureFacts, record: Record) -> str:
    kept = record.facts
    if "ignored" in kept:
        return f"It is left alone: {kept['ignored']}."
    if "sentence" in kept:
        return f"It is invalid ({kept.get('reason')}): {kept['sentence']}"
    size = f", {kept['width']} x {kept['height']} pixels" if "width" in kept else ""
    flags = kept.get("flags")
    said = f", with {listed([str(one) for one in flags])}" if isinstance(flags, (list, tuple)) and flags else ""
    return f"It is valid{size}{said}."


def _detected(facts: PictureFacts, record: Record) -> str:
    found = facts.found
    if found is None:
        return f"{record.facts.get('objects', 0)} objects; {facts.missing or 'the detections are not kept any more'}."
    names = [f"{one.label} {one.score:.2f}" for one in found.objects]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    seen = f"{', '.join(names[:_SHOWN])}{more}" if names else "nothing"
    kept = "object-detect keeps no object below this score, so none can be shown"
    return f"Model {found.model.name} saw {seen}, with scores from {found.threshold:.2f} on; {kept}."


def _judged(facts: PictureFacts, record: Record) -> str:
    count = len(facts.files)
    read = f"{count} rule {'file' if count == 1 else 'files'} with rules for this device"
    if record.label is None:
        return f"No rule matches; {read}."
    return f"{record.label[:1].upper()}{record.label[1:]}; {read}."


_DONE: Final[Mapping[str, _Sentence]] = {VALIDATE: _validated, OBJECT_DETECT: _detected, THREAT_DETECT: _judged}
