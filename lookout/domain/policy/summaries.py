"""Summaries: of what quiet times and digests hold back, and of late pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lookout.domain.policy.events import find_event, told_in
from lookout.domain.policy.records import (
    AddItem,
    Change,
    Code,
    Entry,
    Event,
    Fill,
    Group,
    Kind,
    LateSummary,
    Match,
    Policy,
    Put,
    Summary,
)
from lookout.domain.records import JsonObject

LATE_OPEN_S: Final = 2 * 3600.0
"""A summary of late pictures leaves at the latest so long after its first one."""
LATE_PAUSE_S: Final = 15 * 60.0
"""It leaves so long after its last one."""


def hold(
    policy: Policy, group: Group, event: Event, match: Match, until_s: float, now_s: float
) -> tuple[Code, JsonObject, Group, list[Change]]:
    """Enter the event on the summary of this moment, once."""
    changes: list[Change] = []
    entry = next((one for one in group.entries if one.until_s == until_s and event.spans(one.at_s)), None)
    if entry is None:
        group, summary, changes = _open(policy, group, match.place, until_s, now_s)
        entry = Entry(at_s=match.at_s, key=match.key, until_s=until_s, summary=summary.number)
        group = replace(group, entries=(*group.entries, entry))
    elif entry.listed is None and match.at_s < entry.at_s:
        earlier = replace(entry, at_s=match.at_s, key=match.key)
        group = replace(group, entries=tuple(earlier if one is entry else one for one in group.entries))
    numbers: JsonObject = {"until_s": until_s, "summary": entry.summary_name(match.place)}
    told = told_in(group, event)
    if not told:
        return Code.HELD_QUIET, numbers, group, changes
    by = next((one for one in reversed(told) if one.told_s <= match.at_s), told[0])
    return Code.MERGED_EVENT, {**numbers, "told_by": by.key, "told_at_s": by.told_s}, group, changes


def _open(
    policy: Policy, group: Group, place: str, until_s: float, now_s: float
) -> tuple[Group, Summary, list[Change]]:
    """Return the open summary of this moment; a new one has the next number."""
    same = [one for one in group.summaries if one.until_s == until_s]
    found = next((one for one in same if one.due_s is not None), None)
    if found is not None:
        return group, found, []
    due_s = max(until_s, now_s) + policy.gap_s + policy.reorder_s
    number = max((one.number for one in same), default=0) + 1
    summary = Summary(until_s=until_s, number=number, due_s=due_s)
    changes: list[Change] = [Put(kind=Kind.SUMMARY, name=summary.name(place), due_s=due_s)]
    return replace(group, summaries=(*group.summaries, summary)), summary, changes


def settle(policy: Policy, group: Group, place: str, now_s: float) -> tuple[Group, list[Change]]:
    """Fill the summaries that are due at this moment, in the order in which they are; late ones take no more."""
    changes: list[Change] = []
    due = [one for one in group.summaries if one.due_s is not None and one.due_s <= now_s]
    for summary in sorted(due, key=lambda one: (one.due_s, one.until_s, one.number)):
        group, keys = _fill(policy, group, summary)
        changes.append(Fill(name=summary.name(place), keys=keys))
    if group.late is not None and group.late.due_s <= now_s:
        group = replace(group, late=None)
    return group, changes


def _fill(policy: Policy, group: Group, summary: Summary) -> tuple[Group, tuple[str, ...]]:
    filled = {
        id(entry): replace(entry, listed=not _is_known(policy, group, entry))
        for entry in group.entries
        if entry.listed is None and (entry.until_s, entry.summary) == (summary.until_s, summary.number)
    }
    listed = sorted((one for one in filled.values() if one.listed), key=lambda one: (one.at_s, one.key))
    group = replace(
        group,
        entries=tuple(filled.get(id(entry), entry) for entry in group.entries),
        summaries=tuple(replace(one, due_s=None) if one is summary else one for one in group.summaries),
    )
    return group, tuple(one.key for one in listed)


def _is_known(policy: Policy, group: Group, entry: Entry) -> bool:
    """Tell whether something of the entry's event was told, or listed by an earlier summary, since it would be told
    again."""
    event = find_event(group, entry.at_s)
    if event is None:
        return False
    since_s = entry.at_s - policy.again_or_never_s
    listed = [one.at_s for one in group.entries if one.listed and event.spans(one.at_s)]
    return any(told_s > since_s for told_s in [*listed, *(one.told_s for one in told_in(group, event))])


def late(policy: Policy, group: Group, match: Match, now_s: float) -> tuple[Code, JsonObject, Group, list[Change]]:
    """Decide a picture that is judged long after it was taken."""
    age: JsonObject = {"age_s": now_s - match.at_s}
    if match.repeated:
        return Code.OLD_NEWS, age, group, []
    near = [one for one in group.events if one.first_s - policy.gap_s <= match.at_s <= one.last_s + policy.gap_s]
    known = next((event for event in near if told_in(group, event)), None)
    if known is not None:
        return Code.LATE_MERGED, {**age, "event": known.id}, group, []
    if policy.late_action == "drop":
        return Code.LATE_DROPPED, age, group, []
    before = group.late or LateSummary(key=match.key, opened_s=now_s, due_s=now_s, pictures=0)
    due_s = min(before.opened_s + LATE_OPEN_S, now_s + LATE_PAUSE_S)
    summary = replace(before, due_s=due_s, pictures=before.pictures + 1)
    changes: list[Change] = [
        Put(kind=Kind.LATE, name=summary.key, due_s=due_s),
        AddItem(name=summary.key, key=match.key),
    ]
    numbers: JsonObject = {**age, "until_s": due_s, "summary": summary.key}
    return Code.LATE_SUMMARY, numbers, replace(group, late=summary), changes
