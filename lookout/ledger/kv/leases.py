"""Leases of claims: who still holds what, and holding it longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lookout.domain.records import Claim
from lookout.ledger.kv import claim_values, keys
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Found, Range
from lookout.ledger.kv.transaction import TransactionBuilder


class Leases:
    """Leases of claims. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        self._space.check_writing()
        if not claims:
            return []
        for _attempt in self._space.attempts("extending leases"):
            parts, alive, _, _ = self.parts_for(claims)
            now_s = self._space.clock()
            draft = TransactionBuilder(self._space.prefix)
            answers = [False] * len(claims)
            kept: dict[tuple[str, int, int], set[str]] = {}
            for n, claim in enumerate(claims):
                part = parts.get((claim.stage, claim.key, claim.token))
                if part is not None and claim.owner in alive and part.owner == claim.owner and now_s < part.lease_end_s:
                    answers[n] = True
                    kept.setdefault((part.stage, part.token, part.number), set()).add(claim.key)
            numbers = {(part.stage, part.token): 0 for part in parts.values()}
            by_name = {(part.stage, part.token, part.number): part for part in parts.values()}
            for stage, token, number in by_name:
                numbers[stage, token] = max(numbers[stage, token], number)
            for name, names in kept.items():
                self._extend(draft, by_name[name], names, now_s + lease_s, numbers)
            if not kept:
                return answers
            for owner in {claim.owner for claim in claims} & alive:
                draft.expect_there(self._space.name(keys.ALIVE, owner))
            if self._space.write(draft.compares, draft.ops).succeeded:
                return answers
        return []

    def _extend(
        self,
        draft: TransactionBuilder,
        part: ClaimPart,
        names: set[str],
        end_s: float,
        numbers: dict[tuple[str, int], int],
    ) -> None:
        draft.expect_part(part)
        if names == part.held.keys():
            draft.put(draft.part_names(part)[1], claim_values.write_lease(replace(part, lease_end_s=end_s)))
            return
        # A part of the call goes on by itself: it may outlive the rest.
        numbers[part.stage, part.token] += 1
        number = numbers[part.stage, part.token]
        going = {key: entry for key, entry in part.held.items() if key in names}
        staying = {key: entry for key, entry in part.held.items() if key not in names}
        split = replace(part, number=number, held=going, lease_end_s=end_s, mod_revision=0, lease_mod_revision=0)
        draft.expect_part(split)
        draft.put_part(split)
        draft.put_part(replace(part, held=staying))

    def parts_for(
        self, claims: Iterable[Claim], more: Sequence[Range] = ()
    ) -> tuple[dict[tuple[str, str, int], ClaimPart], set[str], int, list[Found]]:
        """By (stage, key, token) what holds it, the owners that are alive, since when nothing of it was looked at
        again, and what ``more`` finds at once."""
        calls = list({(claim.stage, claim.token) for claim in claims})
        owners = list({claim.owner for claim in claims})
        found: dict[tuple[str, str, int], ClaimPart] = {}
        alive: set[str] = set()
        revision, besides = 0, list[Found]()
        for start in range(0, len(calls), 40):
            some = calls[start : start + 40]
            ops = [
                Range(name, keys.after(name))
                for stage, token in some
                for kind in (keys.CLAIM, keys.LEASE)
                for name in [self._space.name(kind, stage) + keys.token_part(token, 0)[:8]]
            ]
            asked = [*ops, *[Range(self._space.name(keys.ALIVE, owner)) for owner in owners], *([] if start else more)]
            answer = self._space.kv.read(asked)
            if not start:
                revision = answer.revision
                besides = [answer.get(n) for n in range(len(ops) + len(owners), len(asked))]
            claimed = [kv for n in range(0, len(ops), 2) for kv in answer.get(n).kvs]
            leases = [kv for n in range(1, len(ops), 2) for kv in answer.get(n).kvs]
            for part in self._space.read_parts(claimed, leases):
                found.update(((part.stage, key, part.token), part) for key in part.held)
            alive = {owner for n, owner in enumerate(owners, len(ops)) if answer.get(n).kvs}
        return found, alive, revision, besides
