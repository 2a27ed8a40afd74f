"""Decisions of the policy within the commit of a datum: verdicts are folded into the state of their groups, and alerts
enter the outbox, wait, or are canceled. Pure, and the same for every backend.

The policy's state is texts by name: of each group, of what stands still, of the decisions on each picture, and of the
silences. A backend reads and writes them in the transaction that settles the datum, so all of it holds or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from lookout.domain.policy import codec, summaries, taking_back
from lookout.domain.policy.decide import Given, decide, sighted
from lookout.domain.policy.records import (
    AddItem,
    Cancel,
    Change,
    Decided,
    DropItem,
    Entry,
    Group,
    Kind,
    Put,
    RuleId,
    Silence,
)
from lookout.domain.policy.sightings import Sightings
from lookout.domain.policy.verdicts import KeptGroup, PictureDecision, Verdict
from lookout.domain.records import Alert, AlertState, Outcome, Record
from lookout.ledger.rules import alerts as delivery

PolicyName: TypeAlias = tuple[str, str, str]
"""Kind and two parts of the name of a text of the policy's state."""
GROUP: Final = "group"
"""Rule, place."""
SIGHTINGS: Final = "sightings"
"""Rule, device."""
DECISIONS: Final = "decisions"
"""Key of the picture, stage."""
SILENCES: Final[PolicyName] = ("silences", "", "")
_CLOCKS_S: Final = 2.0
"""Delay of what waits for a moment, so that machines whose clocks differ by less agree on what came before
it."""
_ON_ITS_WAY: Final = frozenset((AlertState.SENDING, AlertState.SENT, AlertState.WRITTEN, AlertState.UNKNOWN))


class PolicyUnit(Protocol):
    """Reads and writes of one transaction on the policy's state and on alerts."""

    def policy_text(self, name: PolicyName) -> str | None:
        """Return a text of the policy's state, or None."""

    def put_policy_text(self, name: PolicyName, text: str | None) -> None:
        """Keep a text, or forget it."""

    def look_at(self, ids: Collection[str]) -> None:
        """Read these alerts together, as they are asked for next."""

    def alert(self, id_: str) -> Alert | None:
        """Return the alert of that id."""

    def put_alert(self, alert: Alert) -> None:
        """Enter or replace an alert."""

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        """Cancel the alert if it is waiting; if it is being sent, cancel what would be tried again."""


def rule_text(rule: RuleId) -> str:
    """Return a rule's identity as a part of a name."""
    return json.dumps(rule, ensure_ascii=False, separators=(",", ":"))


def rule_of(text: str) -> RuleId:
    """Return the rule that ``rule_text`` was given."""
    user, name = json.loads(text)
    return user, name


def group_name(rule: RuleId, place: str) -> PolicyName:
    """Return the name of a group's state."""
    return GROUP, rule_text(rule), place


def concerns(old: Record | None, outcome: Outcome) -> bool:
    """Tell whether the policy has to do with this outcome: it brings verdicts, or the datum was decided on before."""
    return bool(outcome.verdicts) or (old is not None and old.decided)


def names_read(
    stage: str, key: str, old: Record | None, outcome: Outcome, known: Mapping[PolicyName, str | None]
) -> set[PolicyName]:
    """Return what deciding on the outcome will read, as far as that can be told from what is known: a backend that
    reads beforehand asks again with what it read, until nothing is new."""
    if not concerns(old, outcome):
        return set()
    names = {(DECISIONS, key, stage), SILENCES}
    for verdict in outcome.verdicts:
        names.add(group_name(verdict.match.rule, verdict.match.place))
        if verdict.policy.static is not None:
            names.add((SIGHTINGS, rule_text(verdict.match.rule), verdict.match.device))
    if text := known.get((DECISIONS, key, stage)):
        names.update(group_name(made.rule, made.kept.place) for made in codec.decisions_from_json(text))
    return names


def alerts_read(known: Mapping[PolicyName, str | None]) -> set[str]:
    """Return the ids of alerts that deciding by these texts may look at, beside those of the outcomes."""
    ids: set[str] = set()
    for (kind, _, _), text in known.items():
        if text and kind == GROUP:
            ids.update(id_ for some in codec.kept_group_from_json(text).waiting.values() for id_ in some)
        elif text and kind == DECISIONS:
            ids.update(id_ for made in codec.decisions_from_json(text) for id_ in made.alerts)
    return ids


def settle_verdicts(unit: PolicyUnit, key: str, old: Record | None, outcome: Outcome, stage: str, now_s: float) -> None:
    """Decide on the verdicts of an outcome that is applied, and take back what was decided on the datum before by rules
    that match no more; of a picture with other bytes, all of it."""
    if not concerns(old, outcome):
        return
    name = (DECISIONS, key, stage)
    text = unit.policy_text(name)
    made = {one.rule: one for one in codec.decisions_from_json(text)} if text else {}
    matching = {verdict.match.rule: verdict for verdict in outcome.verdicts if verdict.match.code is None}
    for rule, decision in list(made.items()):
        verdict = matching.get(rule)
        is_other = verdict is not None and verdict.picture_sha256 != decision.picture_sha256
        if verdict is not None and not is_other:
            continue
        left = decision if decision.kept.withdrawn else _withdraw(unit, key, decision, now_s)
        if is_other or left is None:
            del made[rule]
        else:
            made[rule] = left
    for verdict in outcome.verdicts:
        rule = verdict.match.rule
        if verdict.match.code is not None:
            if rule not in made:
                _keep_sightings(unit, verdict, now_s)
        elif (new := _decide(unit, verdict, made.get(rule), now_s)) is not None:
            made[rule] = new
    unit.put_policy_text(name, codec.decisions_to_json(made.values()) if made else None)


def fill_summaries(unit: PolicyUnit, rule: RuleId, place: str, now_s: float) -> None:
    """Settle the summaries of a group that are due: what is not listed on them is canceled, and nothing more joins."""
    state = _GroupState(unit, rule, place, now_s)
    if state.policy is not None:
        group, _ = summaries.settle(state.policy, state.group, place, now_s)
        state.change(group, (), None)


def acknowledge(unit: PolicyUnit, alert: Alert, by: str, now_s: float) -> bool:
    """Mark the event of an alert as known: nobody else is told, and nothing more of it. False where the alert is of no
    group, or of an event that its group does not keep any more."""
    if alert.place is None:
        return False
    draft = alert.draft
    state = _GroupState(unit, (draft.user, draft.rule), alert.place, now_s)
    group, changes = taking_back.acknowledge(state.group, draft.picture_key, by)
    if group == state.group:
        return False
    state.change(group, changes, None)
    return True


def silences(unit: PolicyUnit) -> tuple[Silence, ...]:
    """Return all silences."""
    text = unit.policy_text(SILENCES)
    return codec.silences_from_json(text) if text else ()


def put_silences(unit: PolicyUnit, some: Iterable[Silence]) -> None:
    """Keep these silences and no others."""
    kept = tuple(some)
    unit.put_policy_text(SILENCES, codec.silences_to_json(kept) if kept else None)


# --- one verdict -----------------------------------------------------------------------------------------------------


def _decide(unit: PolicyUnit, verdict: Verdict, made: PictureDecision | None, now_s: float) -> PictureDecision | None:
    """Decide on a match; None where that was done before."""
    match = verdict.match
    state = _GroupState(unit, match.rule, match.place, now_s)
    before = _sightings(unit, verdict)
    given = Given(
        group=state.group,
        sightings=before,
        silences=silences(unit),
        kept=None if made is None else made.kept,
        has_alert=any(_is_told(unit.alert(alert.id)) for alert in verdict.alerts),
    )
    decided, after = decide(verdict.policy, match, given, now_s)
    if decided.decision.kept is None:
        return None
    state.policy = verdict.policy
    entered = state.change(decided.group, decided.changes, verdict)
    if after is not before:
        _put_sightings(unit, verdict, after)
    return PictureDecision(
        rule=match.rule,
        picture_sha256=verdict.picture_sha256,
        rule_sha256=verdict.rule_sha256,
        kept=decided.decision.kept,
        numbers=decided.decision.numbers,
        alerts=tuple(entered),
    )


def _withdraw(unit: PolicyUnit, key: str, made: PictureDecision, now_s: float) -> PictureDecision | None:
    """Take a decision back, and return what is kept of it; None if nothing of it was sent."""
    state = _GroupState(unit, made.rule, made.kept.place, now_s, made)
    done: Decided = taking_back.withdraw(state.group, key, made.kept, state.has_left)
    for change in done.changes:
        if isinstance(change, DropItem) and change.kind is Kind.LATE:
            for id_ in made.alerts:
                unit.withdraw_alert(id_, now_s)
    state.change(done.group, done.changes, None)
    kept = done.decision.kept
    return None if kept is None else replace(made, kept=kept)


def _sightings(unit: PolicyUnit, verdict: Verdict) -> Sightings:
    if verdict.policy.static is None:
        return Sightings()
    text = unit.policy_text((SIGHTINGS, rule_text(verdict.match.rule), verdict.match.device))
    return codec.sightings_from_json(text) if text else Sightings()


def _put_sightings(unit: PolicyUnit, verdict: Verdict, sightings: Sightings) -> None:
    name = (SIGHTINGS, rule_text(verdict.match.rule), verdict.match.device)
    unit.put_policy_text(name, codec.sightings_to_json(sightings))


def _keep_sightings(unit: PolicyUnit, verdict: Verdict, now_s: float) -> None:
    """Keep what matters on a picture that does not match for another reason: too few, or outside of the schedule."""
    before = _sightings(unit, verdict)
    after = sighted(verdict.policy, verdict.match, before, now_s)
    if after is not before:
        _put_sightings(unit, verdict, after)


def _is_told(alert: Alert | None) -> bool:
    """Tell whether an alert of its own is there; on a summary a picture may stand for its event."""
    return alert is not None and _is_live(alert) and alert.summary is None


def _is_live(alert: Alert | None) -> bool:
    return alert is not None and alert.state is not AlertState.CANCELED


# --- one group -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Waiting:
    """Alerts of a group that had not left when they were last looked at, by kind and picture."""

    ids: dict[str, tuple[str, ...]]

    def pop(self, kind: Kind, key: str) -> tuple[str, ...]:
        return self.ids.pop(f"{kind}|{key}", ())

    def find(self, kind: Kind, key: str) -> tuple[str, ...]:
        return self.ids.get(f"{kind}|{key}", ())

    def put(self, kind: Kind, key: str, alerts: Collection[Alert]) -> None:
        if alerts:
            self.ids[f"{kind}|{key}"] = tuple(alert.id for alert in alerts)


class _GroupState:
    """State of one group in a unit, with its alerts as they are now."""

    def __init__(
        self, unit: PolicyUnit, rule: RuleId, place: str, now_s: float, made: PictureDecision | None = None
    ) -> None:
        self._unit, self._rule, self._place, self._now_s, self._made = unit, rule, place, now_s, made
        self._name = group_name(rule, place)
        text = unit.policy_text(self._name)
        kept = codec.kept_group_from_json(text) if text else KeptGroup()
        self.group, self.policy, self._waiting = kept.group, kept.policy, _Waiting(dict(kept.waiting))
        unit.look_at([id_ for ids in kept.waiting.values() for id_ in ids])
        self._forget_refused()

    def _forget_refused(self) -> None:
        """Take out told times of which nobody was told, as each of their alerts was refused for good."""
        for told in self.group.told:
            found = [self._unit.alert(id_) for id_ in self._waiting.find(Kind.EVENT, told.key)]
            if found and all(alert is not None and alert.state is AlertState.DEAD for alert in found):
                self.group = taking_back.refused(self.group, told.key)

    def has_left(self, kind: Kind, name: str) -> bool:
        """Tell whether an alert may have left. What is not known to wait has left long ago."""
        if kind is Kind.LATE:
            return self._any_left(() if self._made is None else self._made.alerts)
        if kind is not Kind.SUMMARY:
            ids = self._waiting.find(kind, name)
            return self._any_left(ids) if ids else any(told.key == name for told in self.group.told)
        listed = [entry for entry in self.group.entries if entry.listed is not False]
        named = [entry for entry in listed if entry.summary_name(self._place) == name]
        found = [self._waiting.find(Kind.SUMMARY, entry.key) for entry in named]
        return any(not some or self._any_left(some) for some in found)

    def _any_left(self, ids: Iterable[str]) -> bool:
        found = [self._unit.alert(id_) for id_ in ids]
        return any(alert is not None and (alert.state in _ON_ITS_WAY or alert.doubts > 0) for alert in found)

    def change(self, group: Group, changes: Sequence[Change], verdict: Verdict | None) -> list[str]:
        """Put the group into the state, and make its changes of alerts. Returns the ids of those that entered, which
        are about the picture of the verdict."""
        entered: list[str] = []
        for change in changes:
            if isinstance(change, Cancel):
                self._cancel(self._waiting.pop(change.kind, change.name))
            elif isinstance(change, DropItem) and change.kind is Kind.SUMMARY:
                self._cancel(self._waiting.pop(Kind.SUMMARY, change.key))
            elif verdict is not None:
                entered += self._enter_for(change, group, verdict)
        entered += self._change_entries(group, verdict)
        self.group = group
        self._write()
        return entered

    def _enter_for(self, change: Change, group: Group, verdict: Verdict) -> list[str]:
        """Enter the alerts of a picture that is told, of its escalation, or of a late one."""
        match = verdict.match
        if isinstance(change, AddItem):
            due_s = self._now_s if group.late is None else group.late.due_s + _CLOCKS_S
            return self._enter(verdict.alerts, due_s, self._summary(Kind.LATE, change.name))
        if not isinstance(change, Put) or change.kind not in (Kind.EVENT, Kind.ESCALATION):
            return []
        alerts = verdict.alerts if change.kind is Kind.EVENT else verdict.escalations
        self._waiting.put(change.kind, match.key, alerts)
        # What is due now has no time to wait for, so that no clock that is set back holds it up.
        return self._enter(alerts, change.due_s + _CLOCKS_S if change.due_s > self._now_s else 0.0, None)

    def _change_entries(self, group: Group, verdict: Verdict | None) -> list[str]:
        """Enter the alerts of events that are new on a summary, and cancel those of events that are not on it after
        all."""
        before = {(one.until_s, one.summary, one.key): one for one in self.group.entries}
        now = {(one.until_s, one.summary, one.key): one for one in group.entries}
        for name, entry in before.items():
            left = now.get(name)
            if entry.listed is None and (left is None or left.listed is False):
                self._cancel(self._waiting.pop(Kind.SUMMARY, entry.key))
        entered: list[str] = []
        for name, entry in now.items():
            if name in before or verdict is None:
                continue
            self._waiting.put(Kind.SUMMARY, entry.key, verdict.alerts)
            due_s = _due_of(group, entry, self._now_s) + _CLOCKS_S
            summary = self._summary(Kind.SUMMARY, f"{entry.until_s:.0f}#{entry.summary}")
            entered += self._enter(verdict.alerts, due_s, summary)
        return entered

    def _enter(self, alerts: Collection[Alert], due_s: float, summary: str | None) -> list[str]:
        for alert in alerts:
            known = self._unit.alert(alert.id)
            if _is_live(known):
                continue
            entering = replace(alert, place=self._place, summary=summary)
            waiting = delivery.renewed(entering, doubts=0 if known is None else known.doubts)
            self._unit.put_alert(replace(waiting, due_at_s=due_s))
        return [alert.id for alert in alerts]

    def _summary(self, kind: Kind, name: str) -> str:
        return f"{kind}|{rule_text(self._rule)}|{self._place}|{name}"

    def _cancel(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self._unit.withdraw_alert(id_, self._now_s)

    def _write(self) -> None:
        """Keep the state, of what waits only what the group can still ask for."""
        asked = {f"{kind}|{told.key}" for told in self.group.told for kind in (Kind.EVENT, Kind.ESCALATION)}
        asked |= {f"{Kind.SUMMARY}|{entry.key}" for entry in self.group.entries}
        waiting = {name: ids for name, ids in self._waiting.ids.items() if name in asked and not self._all_ended(ids)}
        kept = KeptGroup(group=self.group, policy=self.policy, waiting=waiting)
        self._unit.put_policy_text(self._name, codec.kept_group_to_json(kept))

    def _all_ended(self, ids: Iterable[str]) -> bool:
        found = [self._unit.alert(id_) for id_ in ids]
        return all(alert is None or alert.state in (AlertState.SENT, AlertState.WRITTEN) for alert in found)


def _due_of(group: Group, entry: Entry, now_s: float) -> float:
    found = (one.due_s for one in group.summaries if (one.until_s, one.number) == (entry.until_s, entry.summary))
    due_s = next(found, None)
    return now_s if due_s is None else due_s
