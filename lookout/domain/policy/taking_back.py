"""Changes of a group between decisions: pictures that are gone, acknowledgements, refused mails, removed rules."""

from __future__ import annotations

from dataclasses import replace

from lookout.domain.policy.events import cancel_told, find_event, told_in, with_event
from lookout.domain.policy.records import (
    OF_AN_EVENT,
    Cancel,
    Change,
    Code,
    Decided,
    Decision,
    DropItem,
    Event,
    Group,
    HasLeft,
    Kept,
    Kind,
)


def withdraw(group: Group, key: str, kept: Kept, has_left: HasLeft) -> Decided:
    """Take a picture back that is gone or matches no more.

    What was sent stays, and its pause runs. The decision goes (``kept`` None) if nothing of it was sent, so that a
    picture that comes back is decided anew; else it is kept as withdrawn.
    """
    changes: list[Change] = []
    left = 0
    if kept.code in OF_AN_EVENT:
        event = find_event(group, kept.at_s)
        if event is not None:
            event = replace(event, pictures=max(0, event.pictures - 1))
            group, left = with_event(group, event), event.pictures
            if not left:
                group, changes = _emptied(group, event, kept.place, has_left)
    elif kept.code == Code.LATE_SUMMARY and kept.summary is not None and not has_left(Kind.LATE, kept.summary):
        changes = [DropItem(kind=Kind.LATE, name=kept.summary, key=key)]
        if group.late is not None and group.late.key == kept.summary:
            left = group.late.pictures - 1
            group = replace(group, late=replace(group.late, pictures=left) if left else None)
    decision = Decision(
        code=Code.WITHDRAWN, numbers={"was": kept.code, "left": left}, kept=_remembered(key, kept, has_left)
    )
    return Decided(decision=decision, group=group, changes=tuple(changes))


def acknowledge(group: Group, key: str, by: str) -> tuple[Group, list[Change]]:
    """Mark the event as known whose alert has this picture: nothing more of it is told, and nobody else is."""
    told = next((one for one in group.told if one.key == key), None)
    event = find_event(group, told.told_s) if told is not None else None
    if event is None or event.ack is not None:
        return group, []
    changes: list[Change] = [Cancel(kind=Kind.ESCALATION, name=one.key) for one in told_in(group, event)]
    return with_event(group, replace(event, ack=by)), changes


def refused(group: Group, key: str) -> Group:
    """Forget the told time of an alert that was refused for good for all its recipients: nobody was told."""
    return replace(group, told=tuple(one for one in group.told if one.key != key))


def rule_gone(group: Group, place: str, has_left: HasLeft) -> tuple[Group, list[Change]]:
    """Take back what a rule that is gone has not sent; the rest of the state stays, in case it comes back."""
    group, changes = _without_told(group, [one.key for one in group.told], has_left)
    waiting = [one for one in group.summaries if not has_left(Kind.SUMMARY, one.name(place))]
    changes += [Cancel(kind=Kind.SUMMARY, name=one.name(place)) for one in waiting]
    names = {(one.until_s, one.number) for one in waiting}
    entries = tuple(one for one in group.entries if (one.until_s, one.summary) not in names)
    summaries = tuple(replace(one, due_s=None) if one in waiting else one for one in group.summaries)
    if group.late is not None:
        changes.append(Cancel(kind=Kind.LATE, name=group.late.key))
    return replace(group, entries=entries, summaries=summaries, late=None), changes


def _emptied(group: Group, event: Event, place: str, has_left: HasLeft) -> tuple[Group, list[Change]]:
    """Take back what an event without any picture has not sent."""
    group, changes = _without_told(group, [one.key for one in told_in(group, event)], has_left)
    entries = []
    for entry in group.entries:
        name = entry.summary_name(place)
        if not event.spans(entry.at_s) or has_left(Kind.SUMMARY, name):
            entries.append(entry)
        elif entry.listed:
            changes.append(DropItem(kind=Kind.SUMMARY, name=name, key=entry.key))
    return replace(group, entries=tuple(entries)), changes


def _without_told(group: Group, keys: list[str], has_left: HasLeft) -> tuple[Group, list[Change]]:
    gone = [key for key in keys if not has_left(Kind.EVENT, key)]
    changes = [change for key in gone for change in cancel_told(key)]
    return replace(group, told=tuple(one for one in group.told if one.key not in gone)), changes


def _remembered(key: str, kept: Kept, has_left: HasLeft) -> Kept | None:
    """Return the decision as withdrawn if something of it was sent, None if not."""
    was_sent = has_left(Kind.EVENT, key)
    if kept.summary is not None:
        kind = Kind.LATE if kept.code == Code.LATE_SUMMARY else Kind.SUMMARY
        was_sent = was_sent or has_left(kind, kept.summary)
    return replace(kept, withdrawn=True) if was_sent else None
