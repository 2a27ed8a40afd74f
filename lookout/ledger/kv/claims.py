"""Claims: many slots taken by few keys.

The marks of a stage, in the order of their keys, are its queue: claiming reads as many as it takes and moves them, by
one range where they lie together, into one key that lists what the call holds. The number of finished slots does not
matter. Claims of one stage follow one another by its token; everything else may happen beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from lookout.domain.errors import Corrupt
from lookout.domain.records import Claim
from lookout.ledger.kv import keys
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Compacted, Found, Kv, Range
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.slot_reader import SlotView, views
from lookout.ledger.kv.slot_values import ClaimPart, Kept
from lookout.ledger.kv.transaction import MAX_BYTES, TransactionBuilder
from lookout.ledger.rules import slots as settling

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
    revived: SlotView | None = None
    """The first of those that were given up as suspects and have been marked since: they are in no cohort."""


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
        """Choose what to take: fresh slots, else a portion of the largest cohort of suspects."""
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
                    Range(*self._space.span(keys.DIRTY, stage), limit=_page(limit)),
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
        held = {key for part in parts for key in part.held}
        self._choose_fresh(choice, stage, limit, only, before, held, marks)
        if not choice.chosen and suspects.kvs and limit:
            self._choose_suspects(choice, stage, limit, only, before, held, suspects.kvs)
        if not choice.chosen and choice.revived is not None:
            choice.chosen, choice.runs = [choice.revived], [(choice.revived.key, choice.revived.key)]
        return choice

    def _choose_fresh(
        self,
        choice: Choice,
        stage: str,
        limit: int,
        only: Sequence[str] | None,
        before: Sequence[str],
        held: Collection[str],
        marks: Found,
    ) -> None:
        for page in self._marked(stage, limit, only, choice.revision, marks):
            waiting = self._waiting(before, list(page), choice.revision)
            free = [key for key in page if key not in held and key not in waiting]
            rows = self._space.pick(self._space.name(keys.SLOT, stage), free, choice.revision)
            found = views(stage, free, rows, page, [])
            fresh = {key for key in free if not found[key].row.suspect}
            if choice.revived is None:
                choice.revived = next((view for view in found.values() if view.row.suspect and _rests(view)), None)
            together = False
            for key in page:
                if len(choice.chosen) >= limit:
                    return
                if key not in fresh:
                    together = False
                    continue
                choice.chosen.append(found[key])
                if together and only is None:
                    choice.runs[-1] = (choice.runs[-1][0], key)
                else:
                    choice.runs.append((key, key))
                together = True
            if len(choice.chosen) >= limit:
                return

    def _marked(
        self, stage: str, limit: int, only: Sequence[str] | None, revision: int, page: Found
    ) -> Iterator[dict[str, Kv]]:
        """Marks in the order of their keys: of these keys, or of all, page by page, the first of which is there."""
        if not limit:
            return
        prefix = self._space.name(keys.DIRTY, stage)
        if only is not None:
            found = self._space.pick(prefix, only, revision)
            yield {key: found[key] for key in only if key in found}
            return
        while True:
            yield {keys.parts(kv.key[len(prefix) :], 1)[0]: kv for kv in page.kvs}
            if not page.more:
                return
            start = keys.behind(page.kvs[-1].key)
            again = Range(start, keys.after(prefix), limit=_page(limit), revision=revision)
            page = self._space.kv.read([again]).get(0)

    def _waiting(self, before: Sequence[str], wanted: Sequence[str], revision: int) -> set[str]:
        """Those of the keys that are not settled in one of the stages before."""
        waiting: set[str] = set()
        if not wanted:
            return waiting
        for stage in before:
            asked = [
                Range(*self._space.span(keys.CLAIM, stage), revision=revision),
                Range(*self._space.span(keys.SUSPECT, stage), revision=revision, keys_only=True),
            ]
            found = self._space.pick_each(
                [self._space.name(keys.DIRTY, stage)], wanted, asked, revision, keys_only=True
            )
            claims, suspects = found.besides
            waiting.update(found.picked[0])
            waiting.update(key for part in self._space.read_parts(claims.kvs, []) for key in part.held)
            waiting.update(key for _, key in self._space.read_suspects(stage, suspects.kvs))
        return waiting

    def _choose_suspects(
        self,
        choice: Choice,
        stage: str,
        limit: int,
        only: Sequence[str] | None,
        before: Sequence[str],
        held: Collection[str],
        found: Sequence[Kv],
    ) -> None:
        wanted = None if only is None else set(only)
        listed = [
            (cohort, key) for cohort, key in self._space.read_suspects(stage, found) if wanted is None or key in wanted
        ]
        waiting = self._waiting(before, [key for _, key in listed], choice.revision)
        free = [(cohort, key) for cohort, key in listed if key not in waiting and key not in held]
        if not free:
            return
        together = [key for cohort, key in free if cohort == free[0][0]]
        rows = self._space.pick(self._space.name(keys.SLOT, stage), together, choice.revision)
        marks = self._space.pick(self._space.name(keys.DIRTY, stage), together, choice.revision)
        known = views(stage, together, rows, marks, [])
        if len(known) < len(together):
            raise Corrupt("a suspect of the ledger", "its slot", "none")
        suspect, token = keys.read_cohort(free[0][0])
        for view in known.values():
            if view.row.damage is not None:
                view.row.suspect, view.row.cohort = suspect, token
        choice.chosen = [known[key] for key in together[: min(limit, settling.portion(suspect))]]
        choice.runs = [(view.key, view.key) for view in choice.chosen if view.version]


def _page(limit: int) -> int:
    """Marks to read at once for a claim of so many slots."""
    return max(limit, 100)


def _rests(view: SlotView) -> bool:
    """Tell whether nothing but its mark says that the slot waits."""
    return view.kept is not None and view.kept.rests
