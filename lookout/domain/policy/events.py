"""Events of a group: matches that lie close together in time, and what is taken back when two of them become one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from lookout.domain.policy.records import Cancel, Change, Entry, Event, Group, Kind, Policy, Told

KEPT_EVENTS: Final = 16
KEPT_TOLD: Final = 32
_KEPT_SUMMARIES: Final = 8


def enter(policy: Policy, group: Group, key: str, at_s: float, now_s: float) -> tuple[Group, Event, list[Change]]:
    """Enter a picture into its event, and return the group, the event, and alerts that are taken back as the picture
    joins two events."""
    near = [event for event in group.events if event.first_s - policy.gap_s <= at_s <= event.last_s + policy.gap_s]
    event = Event(
        first_s=min([at_s, *(one.first_s for one in near)]),
        last_s=max([at_s, *(one.last_s for one in near)]),
        pictures=1 + sum(one.pictures for one in near),
        id=near[0].id if near else key,
        ack=next((one.ack for one in near if one.ack is not None), None),
    )
    others = [one for one in group.events if one not in near]
    group = replace(
        group,
        newest_s=at_s if group.newest_s is None else max(at_s, group.newest_s),
        events=tuple(sorted([*others, event], key=lambda one: one.first_s)),
    )
    if len(near) < 2:
        return group, event, []
    told, changes = _take_back(policy, event, group.told, now_s)
    return replace(group, told=told, entries=_one_a_summary(event, group.entries)), event, changes


def _take_back(
    policy: Policy, event: Event, told: Sequence[Told], now_s: float
) -> tuple[tuple[Told, ...], list[Change]]:
    """Take back what one event would not have told, where it has not left."""
    kept = [one for one in told if not event.spans(one.told_s)]
    changes: list[Change] = []
    last: Told | None = None
    for one in told:
        if not event.spans(one.told_s):
            continue
        is_extra = event.ack is not None or (last is not None and one.told_s < last.told_s + policy.again_or_never_s)
        if is_extra and one.then_s is None and one.due_s > now_s:
            changes += cancel_told(one.key)
            continue
        last = replace(one, told_s=one.then_s) if is_extra and one.then_s is not None else one
        kept.append(last)
    return in_order(kept), changes


def _one_a_summary(event: Event, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Keep, of entries of the event on summaries of one moment that are not filled yet, the earliest."""
    earliest: dict[float, Entry] = {}
    for entry in entries:
        if event.spans(entry.at_s) and entry.listed is None:
            first = earliest.setdefault(entry.until_s, entry)
            if entry.at_s < first.at_s:
                earliest[entry.until_s] = entry
    return tuple(
        entry
        for entry in entries
        if entry.listed is not None or not event.spans(entry.at_s) or entry is earliest[entry.until_s]
    )


def find_before(policy: Policy, group: Group, event: Event) -> Event | None:
    """Return the event before this one if a picture that is still on its way may join the two."""
    earlier = [one for one in group.events if one.last_s < event.first_s]
    if not earlier or policy.gap_s <= 0 or group.newest_s is None:
        return None
    before = max(earlier, key=lambda one: one.last_s)
    return before if group.newest_s - before.last_s <= policy.gap_s + policy.reorder_s else None


def find_event(group: Group, at_s: float) -> Event | None:
    """Return the kept event within whose first and last picture the time lies."""
    return next((event for event in group.events if event.spans(at_s)), None)


def with_event(group: Group, event: Event) -> Group:
    """Return the group with this event in the place of the one of the same first time."""
    return replace(group, events=tuple(event if one.first_s == event.first_s else one for one in group.events))


def told_in(group: Group, event: Event) -> list[Told]:
    """Return the told times in an event, in their order."""
    return [one for one in group.told if event.spans(one.told_s)]


def in_order(told: Iterable[Told]) -> tuple[Told, ...]:
    """Return told times in their order."""
    return tuple(sorted(told, key=lambda one: one.told_s))


def cancel_told(key: str) -> list[Change]:
    """Return the changes that cancel an event's alert with its escalation."""
    return [Cancel(kind=Kind.EVENT, name=key), Cancel(kind=Kind.ESCALATION, name=key)]


def pruned(group: Group) -> Group:
    """Return the group with what is kept of it: the newest events and those on a summary that is not filled, the newest
    told times and those in kept events, the entries of both."""
    is_open = [entry for entry in group.entries if entry.listed is None]
    events = tuple(
        event
        for number, event in enumerate(group.events)
        if number >= len(group.events) - KEPT_EVENTS or any(event.spans(entry.at_s) for entry in is_open)
    )
    told = tuple(
        one
        for number, one in enumerate(group.told)
        if number >= len(group.told) - KEPT_TOLD or any(event.spans(one.told_s) for event in events)
    )
    entries = tuple(
        entry for entry in group.entries if entry.listed is None or any(event.spans(entry.at_s) for event in events)
    )
    filled = [one for one in group.summaries if one.due_s is None]
    summaries = tuple(one for one in group.summaries if one.due_s is not None or one in filled[-_KEPT_SUMMARIES:])
    return replace(group, events=events, told=told, entries=entries, summaries=summaries)
