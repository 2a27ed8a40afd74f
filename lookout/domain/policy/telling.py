"""Told or held back: the pause after what was told, and the wait where two events may turn out to be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lookout.domain.policy.events import find_before, in_order, told_in
from lookout.domain.policy.records import Change, Code, Event, Group, Kind, Match, Policy, Put, Told
from lookout.domain.records import JsonObject


@dataclass(frozen=True, slots=True)
class _HeldBy:
    """The told time that holds a picture back, the pause that it asks for, and whether it is later than the picture."""

    told: Told
    needed_s: float
    is_later: bool


def tell(
    policy: Policy, group: Group, event: Event, match: Match, now_s: float
) -> tuple[Code, JsonObject, Group, list[Change]]:
    """Decide whether a picture of this event is told, and return code, numbers, group and changes of alerts."""
    held_by = _weigh(policy, group.told, event, match.at_s)
    before = find_before(policy, group, event)
    if held_by is not None:
        return _hold_back(policy, group, event, match, held_by, before)
    told = Told(told_s=match.at_s, at_s=match.at_s, key=match.key, due_s=now_s)
    code = Code.SENT
    if before is not None:
        joined = replace(event, first_s=before.first_s)
        if before.ack is not None or _weigh(policy, group.told, joined, match.at_s) is not None:
            told, code = replace(told, due_s=now_s + policy.reorder_s), Code.HELD_CONFIRM
        else:
            told = replace(told, then_s=match.at_s)
    changes: list[Change] = [Put(kind=Kind.EVENT, name=match.key, due_s=told.due_s)]
    if policy.escalate_after_s is not None:
        changes.append(Put(kind=Kind.ESCALATION, name=match.key, due_s=told.due_s + policy.escalate_after_s))
    numbers: JsonObject = {"until_s": told.due_s} if code is Code.HELD_CONFIRM else {}
    return code, numbers, replace(group, told=in_order([*group.told, told])), changes


def _weigh(policy: Policy, told: Sequence[Told], event: Event, at_s: float) -> _HeldBy | None:
    """Return what holds a picture at this time back if ``event`` is its event; None if it is told."""
    last = next((one for one in reversed(told) if one.told_s <= at_s), None)
    first = next((one for one in told if one.told_s > at_s), None)
    for one in (last, first):
        if one is None:
            continue
        needed_s = policy.again_or_never_s if event.spans(one.told_s) else policy.cooldown_s
        if abs(at_s - one.told_s) < needed_s:
            return _HeldBy(one, needed_s, is_later=one is first)
    return None


def _hold_back(
    policy: Policy, group: Group, event: Event, match: Match, held_by: _HeldBy, before: Event | None
) -> tuple[Code, JsonObject, Group, list[Change]]:
    told = held_by.told
    code = Code.MERGED_EVENT if event.spans(told.told_s) else Code.COOLDOWN
    if held_by.is_later and match.at_s >= told.at_s - policy.reorder_s:
        told = replace(told, told_s=match.at_s)  # in order, this picture would have been told: the pause counts from it
    if before is not None and _is_due_if_joined(policy, group, before, match.at_s):
        told = replace(told, then_s=match.at_s if told.then_s is None else min(told.then_s, match.at_s))
    numbers: JsonObject = {"told_by": told.key, "told_at_s": told.told_s}
    if code is Code.COOLDOWN:
        numbers = {**numbers, "left_s": told.told_s + held_by.needed_s - match.at_s}
    others = [one for one in group.told if one is not held_by.told]
    return code, numbers, replace(group, told=in_order([*others, told])), []


def _is_due_if_joined(policy: Policy, group: Group, before: Event, at_s: float) -> bool:
    told = told_in(group, before)
    return bool(told) and at_s >= told[-1].told_s + policy.again_or_never_s
