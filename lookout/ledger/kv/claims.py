"""Claims: many slots taken by few keys.

The marks of a stage, in the order of their keys, are its queue: claiming reads as many as it takes and moves them, by
one range where they lie together, into one key that lists what the call holds. The number of finished slots does not
matter. Claims of one stage follow one another by its token; everything else may happen beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from lookout.domain.errors import Corrupt
from lookout.domain.records import Claim
from lookout.ledger.kv import keys
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.free_slots import FreeSlots, Moment, page_size
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Compacted, Range
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.slot_reader import SlotView
from lookout.ledger.kv.slot_values import Kept
from lookout.ledger.kv.transaction import MAX_BYTES, TransactionBuilder
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.claims import choose

ONE_BY_ONE = 80
"""As many slots a claim takes when marks in between keep spoiling it, and it compares them one by one."""
REMEMBERED = 5000
"""Rows of claimed slots that are kept in memory."""


@dataclass
class Choice:
    """Slots that a claim may take, as they were at one revision."""

    revision: int
    token: int = 0
    token_mod: int = 0
    chosen: list[SlotView] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    """First and last key of marks that lie together."""


class Claims:
    """Claims of slots. See ``Ledger``."""

    def __init__(self, space: Keyspace, sessions: Sessions) -> None:
        self._space, self._sessions = space, sessions
        self.claimed: dict[tuple[str, str, int], Kept] = {}
        """Rows of slots that were claimed here, by (stage, key, token): nobody changes them without a mark."""

    # --- claims -----------------------------------------------------------------------------------------------------

    def claim(
        self,
        stage: str,
        owner: str,
        limit: int,
        lease_s: float,
        keys: Collection[str] | None = None,
        behind: Collection[str] = (),
    ) -> list[Claim]:
        self._space.check_writing()
        only = None if keys is None else sorted(set(keys))
        for attempt in self._space.attempts("claiming"):
            try:
                choice = self._choose(stage, owner, max(0, limit), only, tuple(behind))
            except Compacted:
                continue
            careful = attempt >= 5
            if careful:
                choice.chosen = choice.chosen[:ONE_BY_ONE]
                choice.runs = [(view.key, view.key) for view in choice.chosen]
            if not choice.chosen:
                return []
            now_s = self._space.clock()
            part = ClaimPart(stage, choice.token + 1, 0, owner, {}, now_s + lease_s, now_s)
            draft, taken = self._draft_claim(choice, part, one_by_one=careful)
            if self._space.write(draft.compares, draft.ops).succeeded:
                self._remember(taken, part.token)
                return [settling.hold(view.row, owner, part.token, now_s, lease_s) for view in taken]
        return []

    def _remember(self, taken: Sequence[SlotView], token: int) -> None:
        """Keep the rows for the commit, which need not read them again."""
        for view in taken:
            if view.kept is not None:
                self.claimed[view.stage, view.key, token] = view.kept.copy()
        while len(self.claimed) > REMEMBERED:
            del self.claimed[next(iter(self.claimed))]

    def _draft_claim(
        self, choice: Choice, part: ClaimPart, *, one_by_one: bool
    ) -> tuple[TransactionBuilder, list[SlotView]]:
        stage, size = part.stage, 0
        taken: list[SlotView] = []
        for view in choice.chosen:
            size += 3 * len(view.key.encode()) + 64
            if size > MAX_BYTES and taken:
                break
            taken.append(view)
            part.held[view.key] = (view.row.dirty, view.kept.letter if view.kept is not None else "")
        draft = TransactionBuilder(self._space.prefix)
        token = self._space.name(keys.TOKEN, stage)
        draft.expect(token, choice.token_mod)
        draft.expect_there(self._space.name(keys.ALIVE, part.owner))
        draft.expect_marks(taken, choice.revision, one_by_one=one_by_one)
        draft.put(token, b"%d" % part.token)
        draft.put_part(part)
        for view in taken:
            if view.row.suspect:
                draft.delete(draft.suspect_name(view))
        last = taken[-1].key.encode()
        for first, end in choice.runs:
            if first.encode() > last:
                break
            start = self._space.name(keys.DIRTY, stage, first)
            draft.delete_range(start, keys.behind(self._space.name(keys.DIRTY, stage, min(end, taken[-1].key))))
        return draft, taken

    def _choose(self, stage: str, owner: str, limit: int, only: Sequence[str] | None, before: Sequence[str]) -> Choice:
        """Choose what to take by the rule of all backends, after the slots of the dead and the late were freed."""
        while True:
            token_name = self._space.name(keys.TOKEN, stage)
            answer = self._space.kv.read(
                [
                    Range(*self._space.span(keys.OWNER), keys_only=True),
                    Range(*self._space.span(keys.ALIVE), keys_only=True),
                    Range(*self._space.span(keys.LEASE)),
                    Range(*self._space.span(keys.CLAIM, stage)),
                    Range(*self._space.span(keys.SUSPECT, stage), keys_only=True),
                    Range(token_name),
                    Range(*self._space.span(keys.DIRTY, stage), limit=page_size(limit)),
                ]
            )
            known, alive, leases, claims, suspects, tokens, marks = (answer.get(n) for n in range(7))
            self._sessions.check(owner, alive.kvs)
            dead = self._sessions.dead(known.kvs, alive.kvs)
            now_s = self._space.clock()
            late = any(self._sessions.is_late(kv, now_s) for kv in leases.kvs)
            if not dead and not late:
                break
            self._sessions.bury(dead)
            if late:
                self._sessions.lose_late()
        choice = Choice(answer.revision)
        for kv in tokens.kvs:
            if not kv.value.isdigit():
                raise Corrupt(f"the key {kv.key!r} of the ledger", "a number", repr(kv.value[:40]))
            choice.token, choice.token_mod = int(kv.value), kv.mod_revision
        start = len(self._space.prefix) + 1
        named = {kv.key[start:] for kv in claims.kvs}
        parts = self._space.read_parts(claims.kvs, [kv for kv in leases.kvs if kv.key[start:] in named])
        moment = Moment(
            revision=answer.revision,
            held=frozenset(key for part in parts for key in part.held),
            suspects=suspects.kvs,
            marks=marks,
        )
        free = FreeSlots(self._space, stage, moment, only, before)
        choice.chosen, choice.runs = list(choose(free, limit)), free.runs
        return choice
