"""Silences of rules, kept in the ledger with who made them, when and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.policy import codec
from lookout.domain.policy.records import Silence
from lookout.ledger.port import Ledger
from lookout.ledger.rules import decisions
from lookout.ledger.rules.decisions import PolicyUnit

MOST: Final = 1000
KEPT_S: Final = 35 * 86_400.0
"""A silence that ended so long ago is forgotten when another one is made."""


def find_silences(ledger: Ledger) -> tuple[Silence, ...]:
    """Return all silences, in the order in which they were made."""
    kind, _, _ = decisions.SILENCES
    return next((codec.silences_from_json(text) for _, text in ledger.policy_texts(kind)), ())


def make_silence(ledger: Ledger, silence: Silence, now_s: float) -> Silence:
    """Keep a silence, under the next free id. Raises InputRejected when there are too many."""

    def make(unit: PolicyUnit) -> Silence:
        kept = [one for one in decisions.silences(unit) if one.until_s > now_s - KEPT_S]
        if len(kept) >= MOST:
            raise InputRejected(f"there are {MOST:,} silences already", "silences", "see lookout alerts silences")
        numbers = [int(one.id[1:]) for one in decisions.silences(unit) if one.id[1:].isdigit()]
        made = replace(silence, id=f"s{max(numbers, default=0) + 1}", made_at_s=now_s)
        decisions.put_silences(unit, [*kept, made])
        return made

    return ledger.amend_policy(make)


def end_silences(ledger: Ledger, ids: Sequence[str], now_s: float) -> list[Silence]:
    """End silences early, and return them. Raises InputRejected for an id that no silence has."""

    def end(unit: PolicyUnit) -> list[Silence]:
        kept = {one.id: one for one in decisions.silences(unit)}
        for id_ in ids:
            if id_ not in kept:
                raise InputRejected("no silence has this id", id_, "see lookout alerts silences")
        ended = {
            id_: kept[id_] if kept[id_].ended_at_s is not None else replace(kept[id_], ended_at_s=now_s) for id_ in ids
        }
        decisions.put_silences(unit, {**kept, **ended}.values())
        return list(ended.values())

    return ledger.amend_policy(end)
