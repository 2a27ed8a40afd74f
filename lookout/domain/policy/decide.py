"""The decision on one match: each (picture, rule) is decided once, by the state of its group.

The caller keeps group, sightings and decision in one transaction and makes the changes of alerts in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from lookout.domain.policy import summaries
from lookout.domain.policy.events import enter, pruned
from lookout.domain.policy.records import (
    Change,
    Code,
    Decided,
    Decision,
    Event,
    Group,
    Kept,
    Match,
    Policy,
    Sighted,
    Silence,
)
from lookout.domain.policy.sightings import Sightings, Standing
from lookout.domain.policy.telling import tell
from lookout.domain.records import Json, JsonObject

SEEN_WITHOUT_MATCH: Final = frozenset({"too_few", "outside_schedule"})
"""Reasons of pictures that do not match though objects on them matter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Basis of a decision on a picture that matches, as the ledger has it: the state, the silences that were made
    so far, the picture's decision if it has one, and whether an alert of it is in the outbox and not canceled."""

    group: Group
    sightings: Sightings
    silences: Sequence[Silence] = ()
    kept: Kept | None = None
    has_alert: bool = False


def decide(policy: Policy, match: Match, given: Given, now_s: float) -> tuple[Decided, Sightings]:
    """Decide on a match at D. Returns the decision with the group after it, and the sightings."""
    if given.kept is not None:
        numbers: JsonObject = {"was": given.kept.code, "decided_s": given.kept.decided_s}
        return _nothing(given, Code.DECIDED_BEFORE, numbers), given.sightings
    if given.has_alert:
        return _nothing(given, Code.TOLD_BEFORE, {}), given.sightings
    group, changes = summaries.settle(policy, given.group, match.place, now_s)
    if is_late(policy, match, now_s):
        code, numbers, group, more = summaries.late(policy, group, match, now_s)
        return _decided(match, code, numbers, group, [*changes, *more], now_s), given.sightings
    sightings = sighted(policy, match, given.sightings, now_s)
    standing = _standing(policy, match, given.sightings)
    if standing is not None:
        seen, by = standing
        numbers = {"class": seen.label, "seen_at_s": by.seen_at_s, "iou": by.iou, "since_s": by.since_s}
        return _decided(match, Code.STATIC_OBJECT, numbers, group, changes, now_s), sightings
    group, event, more = enter(policy, group, match.key, match.at_s, now_s)
    changes += more
    code, numbers, group, more = _of_event(policy, group, event, match, given.silences, now_s)
    decided = _decided(match, code, {"event": event.id, **numbers}, pruned(group), [*changes, *more], now_s)
    return decided, sightings


def is_late(policy: Policy, match: Match, now_s: float) -> bool:
    """Tell whether a picture is judged long after it was taken."""
    is_old = now_s - match.at_s > policy.late_after_s
    return is_old and (policy.late_action != "send" or match.repeated)


def sighted(policy: Policy, match: Match, sightings: Sightings, now_s: float) -> Sightings:
    """Return the sightings with the objects of a picture that matter, whether it matches or is too few or outside of
    the schedule; unchanged for a late one."""
    if policy.static is None or is_late(policy, match, now_s):
        return sightings
    if match.code is not None and match.code not in SEEN_WITHOUT_MATCH:
        return sightings
    return sightings.entered(policy.static, match.objects, match.at_s)


def _standing(policy: Policy, match: Match, sightings: Sightings) -> tuple[Sighted, Standing] | None:
    """Return the first object that stands still, and by what, if fewer than ``count`` others are left."""
    if policy.static is None:
        return None
    found = [(thing, sightings.find(policy.static, thing, match.at_s)) for thing in match.objects if thing.may_stand]
    standing = [(thing, by) for thing, by in found if by is not None]
    return standing[0] if standing and len(match.objects) - len(standing) < policy.count else None


def _of_event(
    policy: Policy, group: Group, event: Event, match: Match, silences: Sequence[Silence], now_s: float
) -> tuple[Code, JsonObject, Group, list[Change]]:
    silence = next((one for one in silences if _silences(one, match, now_s)), None)
    if silence is not None:
        return Code.SILENCED, {"silence": silence.id, "by": silence.by, "until_s": silence.until_s}, group, []
    if event.ack is not None:
        return Code.ACKNOWLEDGED, {"by": event.ack or None}, group, []
    if match.until == "drop":
        return Code.QUIET_DROPPED, {}, group, []
    if match.until is not None:
        return summaries.hold(policy, group, event, match, match.until, now_s)
    return tell(policy, group, event, match, now_s)


def _silences(silence: Silence, match: Match, now_s: float) -> bool:
    holds = silence.from_s <= match.at_s < silence.until_s
    ended = silence.ended_at_s is not None and silence.ended_at_s <= now_s
    names_rule = fnmatchcase("|".join(match.rule), silence.rule)
    return holds and not ended and names_rule and any(fnmatchcase(match.device, glob) for glob in silence.devices)


def _nothing(given: Given, code: Code, numbers: JsonObject) -> Decided:
    return Decided(decision=Decision(code=code, numbers=numbers), group=given.group)


def _decided(
    match: Match, code: Code, numbers: JsonObject, group: Group, changes: Sequence[Change], now_s: float
) -> Decided:
    group = replace(group, decisions=group.decisions + 1)
    summary = numbers.get("summary")
    kept = Kept(
        code=code,
        at_s=match.at_s,
        decided_s=now_s,
        place=match.place,
        summary=summary if isinstance(summary, str) else None,
    )
    seen: list[Json] = [thing.plain() for thing in match.objects]
    whole: JsonObject = {
        "place": match.place,
        "n": group.decisions,
        "t": match.at_s,
        "d": now_s,
        **numbers,
        "clock": match.clock,
        "seen": seen,
    }
    return Decided(decision=Decision(code=code, numbers=whole, kept=kept), group=group, changes=tuple(changes))
