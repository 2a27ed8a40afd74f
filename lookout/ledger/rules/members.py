"""Members of a group as grouped stages get them."""

from __future__ import annotations

from lookout.domain.policy.codec import undated
from lookout.domain.records import Member, Record


def member_of(stage: str, record: Record, decisions: str | None) -> Member:
    """Return the member with this record. The moments of the policy's decisions on it are left out: a part that is
    drawn from the same pictures has the same bytes whenever they were decided."""
    return Member(
        stage=stage,
        key=record.key,
        hash=record.hash,
        outputs=record.outputs,
        facts=record.facts,
        at_s=record.at_s,
        decisions=None if decisions is None else undated(decisions),
    )
