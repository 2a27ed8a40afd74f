"""Verdicts of rules on a picture, as a stage gives them and as the ledger decides on them, and decisions as it keeps
them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lookout.domain.policy.records import Group, Kept, Match, Policy, RuleId
from lookout.domain.records import Alert, AlertDraft, JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleVerdict:
    """Verdict of one rule on one picture, with what an alert about it would say: one draft a recipient, and one for
    each who is told if nobody acknowledges it. A picture that does not match has no drafts. ``rule_sha256`` is the
    digest of the file that has the rule."""

    match: Match
    policy: Policy
    picture_sha256: str
    rule_sha256: str
    drafts: tuple[AlertDraft, ...] = ()
    escalations: tuple[AlertDraft, ...] = ()

    @property
    def all_drafts(self) -> tuple[AlertDraft, ...]:
        """Return the drafts of both kinds."""
        return (*self.drafts, *self.escalations)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Verdict of one rule on one picture, with the alerts that would enter the outbox if it is told."""

    match: Match
    policy: Policy
    picture_sha256: str
    rule_sha256: str
    alerts: tuple[Alert, ...] = ()
    escalations: tuple[Alert, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureDecision:
    """Decision of one rule on one picture as the ledger keeps it: ``kept`` is what later decisions ask for, ``numbers``
    what explains it, ``alerts`` are the ids of those it entered."""

    rule: RuleId
    picture_sha256: str
    rule_sha256: str
    kept: Kept
    numbers: JsonObject = field(default_factory=dict)
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptGroup:
    """State of a group as the ledger keeps it: with the policy of the last decision, by which summaries are filled when
    no picture comes, and the ids of its alerts that had not left then, by kind and picture."""

    group: Group = field(default_factory=Group)
    policy: Policy | None = None
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
