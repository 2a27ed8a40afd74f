"""Check of one group: its kept decisions are folded again in the order of their numbers, and compared one by one.

The fold asks for nothing but the decisions: T, D and the objects are in them. What happens between decisions is placed
where the ledger shows it: a silence counts from the first decision that names it, an acknowledgement from the first to
which it gave its code, a refused mail from the end of its last try. Of a picture that was taken back the ledger keeps
no time; from there on a difference is unknown and no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lookout.domain.policy.records import Group
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import JsonObject
from stages.threat_detect.replay.fold import Fold, KeptDecision
from stages.threat_detect.rules.version2.rule import Rule2

RuleOf = Callable[[PictureDecision], Rule2 | None]
"""Gives the rule by which a decision was made, None if its file is not kept any more."""


@dataclass(kw_only=True, slots=True)
class GroupCheck:
    """Result for one group: how many decisions are the same, how many cannot be known and why, and the first
    difference."""

    same: int = 0
    unknown: int = 0
    difference: JsonObject | None = None
    reason: str | None = None


def check_group(decisions: Iterable[KeptDecision], kept: Group | None, fold: Fold, rule_of: RuleOf) -> GroupCheck:
    """Fold the decisions of one group, in the order of their numbers, and compare each of them, and then the state of
    the group with the ``kept`` one; None if that was dropped."""
    check = _Check(fold, rule_of, kept)
    for one in decisions:
        check.take(one)
    check.end()
    return check.found


@dataclass(slots=True)
class _Check:
    fold: Fold
    rule_of: RuleOf
    kept: Group | None
    found: GroupCheck = field(default_factory=GroupCheck)
    _withdrawn: str | None = None

    def take(self, one: KeptDecision) -> None:
        if self._is_over:
            self.found.unknown += 1
            return
        missing = self.fold.group.decisions + 1
        if one.number != missing:
            self._give_up(f"decision {missing} is not kept any more, as its picture was taken back before it was told")
            return
        rule = self.rule_of(one.made)
        if rule is None:
            self._give_up(f"the rule file with sha256 {one.made.rule_sha256[:16]} is not kept any more")
            return
        difference = self.fold.take(one, rule, self.kept)
        if difference is None:
            self.found.same += 1
        elif self._withdrawn is None:
            self.found.difference = difference
        else:
            self._give_up(self._withdrawn)
        if one.made.kept.withdrawn:
            self._withdrawn = f"the picture of decision {one.number} was taken back at a time that is not kept"

    def end(self) -> None:
        if self._is_over or self.kept is None:
            return
        if self.fold.group.decisions != self.kept.decisions:
            missing = self.fold.group.decisions + 1
            self.found.reason = (
                f"decision {missing} is not kept any more, as its picture was taken back before it was told"
            )
            return
        difference = self.fold.compare_state(self.kept)
        if difference is not None and self._withdrawn is not None:
            self.found.reason = self._withdrawn
        else:
            self.found.difference = difference

    @property
    def _is_over(self) -> bool:
        return self.found.difference is not None or self.found.reason is not None

    def _give_up(self, reason: str) -> None:
        self.found.reason = reason
        self.found.unknown += 1
