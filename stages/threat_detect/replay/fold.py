"""Fold of the kept decisions of one group: each is made again from the state that those before it leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lookout.domain.policy import taking_back
from lookout.domain.policy.codec import group_to_json
from lookout.domain.policy.decide import Given, decide, sighted
from lookout.domain.policy.events import with_event
from lookout.domain.policy.records import (
    AddItem,
    Code,
    Decided,
    Group,
    Kind,
    Match,
    Policy,
    Put,
    Sighted,
    Silence,
)
from lookout.domain.policy.sightings import Sightings
from lookout.domain.policy.summaries import settle
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Json, JsonObject
from stages import coco_labels as coco
from stages.threat_detect.rules.version2.rule import Rule2

Refused = Callable[[PictureDecision], float | None]
"""Gives when the last mail about a picture was refused for good, None unless all were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptDecision:
    """One decision with its picture's key and device."""

    key: str
    device: str
    made: PictureDecision

    @property
    def number(self) -> int:
        """Its place in the row of its group, from 1; 0 if it says none."""
        number = self.made.numbers.get("n")
        return number if isinstance(number, int) else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenOnly:
    """A picture whose objects matter to a rule that it does not match, as too few or outside of the schedule: a
    sighting from D on."""

    match: Match
    decided_s: float


@dataclass(kw_only=True, slots=True)
class Fold:
    """State of one group. A silence counts from the first decision that names it; ``seen_only`` comes in the order of
    D."""

    silences: Sequence[Silence]
    refused_at_s: Refused
    seen_only: Iterator[SeenOnly]
    group: Group = field(default_factory=Group)
    _policy: Policy | None = None
    _sightings: dict[str, Sightings] = field(default_factory=dict)
    _next: SeenOnly | None = None
    _silenced_by: set[str] = field(default_factory=set)
    _told: dict[str, PictureDecision] = field(default_factory=dict)

    def take(self, one: KeptDecision, rule: Rule2, kept: Group | None) -> JsonObject | None:
        """Decide once more, go on from there, and return the difference to what was decided, None if there is none.
        ``kept`` is the state of the group in the end, which knows acknowledgements."""
        now_s = one.made.kept.decided_s
        self._enter_sightings(rule, now_s)
        match = match_of(one, rule)
        given = Given(
            group=_acknowledged_by(self._without_refused(self.group, now_s), one.made),
            sightings=self._sightings.get(one.device, Sightings()),
            silences=self._silences(one.made),
        )
        decided, sightings = decide(rule.policy, match, given, now_s)
        difference = _difference(one, rule, given.group, decided)
        if difference is not None and kept is not None:
            known = _with_acks(given.group, kept)
            again, after = decide(rule.policy, match, replace(given, group=known), now_s)
            if _difference(one, rule, known, again) is None:
                decided, sightings, difference = again, after, None
        self.group, self._policy = decided.group, rule.policy
        self._sightings[one.device] = sightings
        self._remember(one)
        return difference

    def compare_state(self, kept: Group) -> JsonObject | None:
        """Return the difference of the state to the kept one, None if there is none. The ledger may have filled
        summaries that were due, forgotten refused mails and noted acknowledgements after the last decision."""
        filled = [self.group]
        if self._policy is not None:
            due = [one.due_s for one in self.group.summaries if one.due_s is not None]
            due += [] if self.group.late is None else [self.group.late.due_s]
            filled += [settle(self._policy, self.group, "", due_s)[0] for due_s in sorted(due)]
        states = [_with_acks(one, kept) for one in filled]
        states += [self._without_refused(one, float("inf")) for one in states]
        if any(group_to_json(one) == group_to_json(kept) for one in states):
            return None
        made = states[0]
        name = next(name for name in Group.__dataclass_fields__ if getattr(made, name) != getattr(kept, name))
        return {"where": f"{name} of the group", "kept": str(getattr(kept, name)), "made": str(getattr(made, name))}

    def _enter_sightings(self, rule: Rule2, now_s: float) -> None:
        """Enter what was seen without a match before this decision."""
        one = self._next or next(self.seen_only, None)
        while one is not None and one.decided_s <= now_s:
            before = self._sightings.get(one.match.device, Sightings())
            self._sightings[one.match.device] = sighted(rule.policy, one.match, before, one.decided_s)
            one = next(self.seen_only, None)
        self._next = one

    def _silences(self, made: PictureDecision) -> tuple[Silence, ...]:
        """Return the silences that this decision or one before it names. One that was ended at the very moment of a
        decision that names it was ended after it."""
        named = str(made.numbers.get("silence")) if made.kept.code == Code.SILENCED else None
        if named is not None:
            self._silenced_by.add(named)
        return tuple(
            replace(one, ended_at_s=None) if one.id == named and one.ended_at_s == made.kept.decided_s else one
            for one in self.silences
            if one.id in self._silenced_by
        )

    def _without_refused(self, group: Group, now_s: float) -> Group:
        """Forget told times of which nobody was told by then, as each mail was refused for good."""
        for told in group.told:
            made = self._told.get(told.key)
            refused_s = None if made is None else self.refused_at_s(made)
            if refused_s is not None and refused_s <= now_s:
                group = taking_back.refused(group, told.key)
        return group

    def _remember(self, one: KeptDecision) -> None:
        """Keep the decisions whose told times the group can still ask for."""
        known = {**self._told, one.key: one.made}
        self._told = {told.key: known[told.key] for told in self.group.told if told.key in known}


def match_of(one: KeptDecision, rule: Rule2) -> Match:
    """Return the match that was decided on, as the decision and the rule of then say it."""
    numbers = one.made.numbers
    clock = numbers.get("clock")
    return Match(
        key=one.key,
        rule=one.made.rule,
        device=one.device,
        place=one.made.kept.place,
        at_s=one.made.kept.at_s,
        clock=clock if isinstance(clock, str) else None,
        objects=tuple(_objects(numbers.get("seen"), rule)),
        until=rule.until(one.made.kept.at_s),
        repeated=one.made.kept.code == Code.OLD_NEWS,
    )


def _objects(seen: Json, rule: Rule2) -> Iterator[Sighted]:
    for label, score, box in seen if isinstance(seen, (list, tuple)) else ():
        may_stand = any(one.names(coco.IDS.get(str(label)), str(label)) for one in rule.static_classes)
        left, top, right, bottom = box
        yield Sighted(label=str(label), score=score, box=(left, top, right, bottom), may_stand=may_stand)


def _acknowledged_by(group: Group, made: PictureDecision) -> Group:
    """Note the acknowledgement that a decision names, if its event is not known as acknowledged yet."""
    if made.kept.code != Code.ACKNOWLEDGED:
        return group
    by = made.numbers.get("by")
    for event in group.events:
        if event.id == made.numbers.get("event") and event.ack is None:
            group = with_event(group, replace(event, ack=by if isinstance(by, str) else ""))
    return group


def _with_acks(group: Group, kept: Group) -> Group:
    """Note the acknowledgements that the kept state has."""
    acks = {event.id: event.ack for event in kept.events if event.ack is not None}
    for event in group.events:
        if event.ack is None and event.id in acks:
            group = with_event(group, replace(event, ack=acks[event.id]))
    return group


def _difference(one: KeptDecision, rule: Rule2, before: Group, decided: Decided) -> JsonObject | None:
    """Return code, numbers or number of alerts in which the decisions differ."""
    kept, made = one.made, decided.decision
    numbers: Mapping[str, Any] = json.loads(json.dumps(dict(made.numbers)))
    alerts = _alerts(rule, before, decided)
    pairs: list[tuple[str, Json, Json]] = [
        ("code", kept.kept.code, str(made.code)),
        ("summary", kept.kept.summary, None if made.kept is None else made.kept.summary),
        *((name, kept.numbers.get(name), numbers.get(name)) for name in sorted({*kept.numbers, *numbers})),
        ("alerts", len(kept.alerts), alerts),
    ]
    where: JsonObject = {"key": one.key, "rule": list(kept.rule), "place": kept.kept.place, "n": one.number}
    return next(
        ({**where, "where": name, "kept": was, "made": now} for name, was, now in pairs if was != now),
        None,
    )


def _alerts(rule: Rule2, before: Group, decided: Decided) -> int:
    """Return how many alerts enter the outbox with the decision."""
    count = 0
    for change in decided.changes:
        if isinstance(change, AddItem) or (isinstance(change, Put) and change.kind is Kind.EVENT):
            count += len(rule.recipients)
        elif isinstance(change, Put) and change.kind is Kind.ESCALATION:
            count += len(rule.escalate_to)
    old = {(one.until_s, one.summary, one.key) for one in before.entries}
    new = {(one.until_s, one.summary, one.key) for one in decided.group.entries}
    return count + len(new - old) * len(rule.recipients)
