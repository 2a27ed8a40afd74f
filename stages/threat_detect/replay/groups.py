"""Check of all groups of a ledger: what each decision rests on is gathered first, then group by group is folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from lookout.domain.policy import codec
from lookout.domain.policy.records import Group, RuleId
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import AlertState, JsonObject
from lookout.ledger.port import Ledger
from lookout.ledger.rules import decisions as deciding
from lookout.ledger.silences import find_silences
from stages.threat_detect.explain.gathering import kept_decisions
from stages.threat_detect.replay.fold import Fold, KeptDecision, SeenOnly
from stages.threat_detect.replay.kept_order import GroupCheck, RuleOf, check_group
from stages.threat_detect.replay.sorting import SortedDecisions

_AT_ONCE = 500
DevicesOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Gives the devices of pictures by their keys."""


@dataclass(kw_only=True, slots=True)
class LedgerCheck:
    """Result of a check: decisions that are the same or not known, groups with the reason why some are not, and the
    first difference."""

    groups: int = 0
    same: int = 0
    unknown: int = 0
    reasons: list[JsonObject] = field(default_factory=list)
    difference: JsonObject | None = None


def check_ledger(
    ledger: Ledger, rule_of: RuleOf, devices_of: DevicesOf, seen_only: Iterable[SeenOnly] = ()
) -> LedgerCheck:
    """Fold the decisions of each group of the ledger again, up to the first difference."""
    decisions = SortedDecisions()
    try:
        _gather(ledger, decisions, devices_of, seen_only)
        found, silences, refused = LedgerCheck(), find_silences(ledger), _Refused(ledger)
        for rule, place in decisions.groups():
            fold = Fold(silences=silences, refused_at_s=refused, seen_only=decisions.seen(rule, place))
            checked = check_group(decisions.decisions(rule, place), _group(ledger, rule, place), fold, rule_of)
            _add(found, rule, place, checked)
            if found.difference is not None:
                break
        return found
    finally:
        decisions.close()


def _add(found: LedgerCheck, rule: RuleId, place: str, checked: GroupCheck) -> None:
    found.groups += 1
    found.same += checked.same
    found.unknown += checked.unknown
    if checked.reason is not None:
        reason: JsonObject = {"rule": list(rule), "place": place, "unknown": checked.unknown, "reason": checked.reason}
        found.reasons.append(reason)
    if checked.difference is not None:
        found.difference = {"rule": list(rule), "place": place, **checked.difference}


def _gather(ledger: Ledger, decisions: SortedDecisions, devices_of: DevicesOf, seen_only: Iterable[SeenOnly]) -> None:
    """Sort all decisions by their groups."""
    pictures = kept_decisions(ledger)
    while piece := list(islice(pictures, _AT_ONCE)):
        devices = devices_of([key for key, _ in piece])
        for key, some in piece:
            for made in some:
                decisions.add(KeptDecision(key=key, device=devices[key], made=made))
    for one in seen_only:
        decisions.add_seen(one)


def _group(ledger: Ledger, rule: RuleId, place: str) -> Group | None:
    """Return the state of a group, None if it was dropped."""
    for (_, _, found), text in ledger.policy_texts(deciding.GROUP, [deciding.rule_text(rule)]):
        if found == place:
            return codec.kept_group_from_json(text).group
    return None


class _Refused:
    """Moments at which all mails about a picture were refused for good."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._dead = {alert.id for alert in ledger.alerts(states=[AlertState.DEAD])}

    def __call__(self, made: PictureDecision) -> float | None:
        if self._dead.isdisjoint(made.alerts):
            return None
        found = [one for one in self._ledger.alerts(ids=made.alerts) if one.summary is None and not one.draft.escalates]
        if any(one.state is not AlertState.DEAD for one in found):
            return None
        return max((one.settled_at_s or 0.0 for one in found), default=None)
