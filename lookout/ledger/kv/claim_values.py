"""Values of claims and their leases. Knows no connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.slot_values import dump, load


@dataclass(slots=True)
class ClaimPart:
    """Some of the slots that one claim call took, held until one moment."""

    stage: str
    token: int
    number: int
    owner: str
    held: dict[str, tuple[int, str]]
    """By key: the counter when it was claimed, and the letter of the state its row has ("" for none)."""
    lease_end_s: float = 0.0
    claimed_at_s: float = 0.0
    mod_revision: int = 0
    lease_mod_revision: int = 0


def write_part(part: ClaimPart) -> bytes:
    """The value of a claim's key."""
    return dump([part.owner, part.claimed_at_s, [[key, *entry] for key, entry in part.held.items()]])


def write_lease(part: ClaimPart) -> bytes:
    """The value of a lease's key."""
    return dump([part.owner, part.lease_end_s, len(part.held)])


def read_part(stage: str, token: int, number: int, kv: Kv) -> ClaimPart:
    """Read what ``write_part`` wrote, without its lease."""

    def build(value: Any) -> ClaimPart:
        owner, claimed_at_s, held = value
        entries = {key: (dirty, letter) for key, dirty, letter in held}
        return ClaimPart(stage, token, number, owner, entries, claimed_at_s=claimed_at_s, mod_revision=kv.mod_revision)

    return load(kv, build)


def read_lease(kv: Kv) -> tuple[str, float, int]:
    """Owner, end, number of slots."""

    def build(value: Any) -> tuple[str, float, int]:
        owner, lease_end_s, count = value
        return owner, lease_end_s, count

    return load(kv, build)
