"""Sessions: who holds what, and what becomes of the slots of the dead, the late and those that leave.

A session is two keys: one that stays until somebody has taken back all that it held, one that lives by its lease. Who
has the first without the second is dead; every claim and every new session looks. Each slot goes from a claim to the
queue in one transaction that compares the claim, so that two who bury one owner do not do it twice.

A user with the rights of one stage takes back what is that stage's, and leaves the rest of a dead owner to others: the
containers of the other stages, and the operator, who may do everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from lookout.domain.errors import LookoutError, Unavailable
from lookout.domain.records import State
from lookout.ledger.kv import keys
from lookout.ledger.kv.batch_queries import BatchLists
from lookout.ledger.kv.claim_values import ClaimPart, read_lease
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.liveness import Life, log
from lookout.ledger.kv.outbox import Alerts
from lookout.ledger.kv.port import Delete, Kv, NotPermitted, Put, Range
from lookout.ledger.kv.runs import Runs
from lookout.ledger.kv.slot_reader import SlotView, views
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules import slots as settling

TOGETHER = 300
"""Slots that are taken back in one transaction."""


class Sessions:
    """Sessions of owners. See ``Ledger``."""

    def __init__(self, space: Keyspace, alerts: Alerts, runs: Runs, batches: BatchLists) -> None:
        self._space, self._alerts, self._runs, self._batches = space, alerts, runs, batches
        self._open: dict[str, int] = {}
        """By owner, the lease of its session."""
        self._not_ours: set[tuple[str, int] | str] = set()
        """Claim calls, by stage and token, and dead owners that this user may not, or not wholly, take back."""

    @contextmanager
    def session(self) -> Iterator[str]:
        self._space.check_writing()
        self.bury_dead()
        owner = f"{os.getpid()}-{os.urandom(6).hex()}"
        life = Life(self._space.kv, self._space.ttl_s)
        try:
            self._space.write(
                [],
                [
                    Put(self._space.name(keys.OWNER, owner), repr(self._space.clock()).encode()),
                    Put(self._space.name(keys.ALIVE, owner), b"", life.lease),
                ],
            )
            self._open[owner] = life.lease
            self._space.shard = 0
            try:
                yield owner
            except BaseException:
                try:
                    self._leave(owner)
                except LookoutError as exc:  # what ended the session says more
                    log.warning("session not ended", owner=owner, why=str(exc))
                raise
            self._leave(owner)
        finally:
            self._open.pop(owner, None)
            life.end()

    def _leave(self, owner: str) -> None:
        def let_go(left: Collection[SlotView], now_s: float) -> None:
            for view in left:
                settling.let_go(view.row, State.KILLED, now_s)

        self._batches.open_taken(lambda _end_s, of: of == owner, lost=False)
        self._take_back(lambda _end_s, of: of == owner, let_go)
        self._end_owner(owner, "stopped")

    def _end_owner(self, owner: str, run_state: str) -> None:
        """Close all that an owner leaves behind beside its slots."""
        self._alerts.abandon(owner)
        self._runs.end_owned(owner, run_state)
        self._space.write([], [Delete(self._space.name(kind, owner)) for kind in (keys.OWNER, keys.ALIVE)])

    def lease_of(self, owner: str) -> int:
        """Return the lease of a session of this connection: what is put with it lives as long as the session. Raises
        ValueError for an owner whose session is not open."""
        if owner not in self._open:
            raise ValueError(f"expected the owner of an open session, got {owner!r}")
        return self._open[owner]

    def check(self, owner: str, alive: Sequence[Kv]) -> None:
        """Raise Unavailable when the owner's session is not among those alive, ValueError when there never was one."""
        name = self._space.name(keys.ALIVE, owner)
        if any(kv.key == name for kv in alive):
            return
        if owner in self._open:
            raise Unavailable(
                self._space.kv.name,
                f"the session {owner} has ended: its lease was not extended for {self._space.ttl_s} s",
            )
        raise ValueError(f"expected the owner of an open session, got {owner!r}")

    # --- the dead and the late --------------------------------------------------------------------------------------

    def bury_dead(self) -> None:
        answer = self._space.kv.read(
            [Range(*self._space.span(keys.OWNER), keys_only=True), Range(*self._space.span(keys.ALIVE), keys_only=True)]
        )
        self.bury(self.dead(answer.get(0).kvs, answer.get(1).kvs))

    def dead(self, known: Sequence[Kv], alive: Sequence[Kv]) -> set[str]:
        start = len(self._space.prefix) + 1
        living = {kv.key[start:] for kv in alive}
        dead = {keys.parts(kv.key[start:], 1)[0] for kv in known if kv.key[start:] not in living}
        return {owner for owner in dead if owner not in self._not_ours}

    def bury(self, dead: Collection[str]) -> None:
        if not dead:
            return
        self._batches.open_taken(lambda _end_s, owner: owner in dead, lost=True)
        left = self._take_back(lambda _end_s, owner: owner in dead, self._lose)
        for owner in dead:
            if owner not in left and self._end_dead(owner):
                log.info("owner lost", owner=owner)
            else:
                self._not_ours.add(owner)
                log.info("owner lost", owner=owner, then="left to users who may take back all that it held")

    def _end_dead(self, owner: str) -> bool:
        """Close what a dead owner leaves behind; False when this user may not: alerts that it was sending, say."""
        try:
            self._end_owner(owner, "lost")
        except NotPermitted:
            return False
        return True

    def is_late(self, lease: Kv, now_s: float) -> bool:
        """Tell whether the lease has ended, and its claim is ours to take back."""
        _, end_s, _ = read_lease(lease)
        return end_s <= now_s and self._space.claim_name(lease.key)[:2] not in self._not_ours

    def lose_late(self) -> None:
        now_s = self._space.clock()
        self._take_back(lambda end_s, _owner: end_s <= now_s, self._lose)

    def _lose(self, late: Collection[SlotView], now_s: float) -> None:
        settling.lose([view.row for view in late], now_s)

    def _take_back(
        self, chosen: Callable[[float, str], bool], change: Callable[[Collection[SlotView], float], None]
    ) -> set[str]:
        """Free the slots of the claims that are chosen by end of lease and owner, all of one claim call together. The
        owners of those that this user may not free."""
        for _attempt in self._space.attempts("taking back claims"):
            calls: dict[tuple[str, int], list[ClaimPart]] = {}
            left: set[str] = set()
            for page in self._space.kv.pages(*self._space.span(keys.LEASE)):
                for kv in page:
                    owner, end_s, _ = read_lease(kv)
                    stage, token, number = self._space.claim_name(kv.key)
                    if not chosen(end_s, owner):
                        continue
                    if (stage, token) in self._not_ours:
                        left.add(owner)
                    else:
                        calls.setdefault((stage, token), []).append(ClaimPart(stage, token, number, owner, {}))
            if not calls:
                return left
            for (stage, token), parts in calls.items():
                try:
                    self._take_back_call(stage, parts, chosen, change)
                except NotPermitted:
                    self._not_ours.add((stage, token))
        return set()

    def _take_back_call(
        self,
        stage: str,
        named: Sequence[ClaimPart],
        chosen: Callable[[float, str], bool],
        change: Callable[[Collection[SlotView], float], None],
    ) -> None:
        names = [name for part in named for name in self._space.part_names(part)]
        found = self._space.kv.get_many(names)
        claims = [found[name] for name in names[::2] if name in found]
        leases = [found[name] for name in names[1::2] if name in found]
        parts = [part for part in self._space.read_parts(claims, leases) if chosen(part.lease_end_s, part.owner)]
        held = [key for part in parts for key in part.held]
        answer = self._space.kv.read([Range(self._space.name(keys.META))])
        lost = self._views_of(stage, held, parts)
        now_s = self._space.clock()
        change(lost, now_s)
        todo = sorted(lost, key=lambda view: (view.part.number if view.part else 0, view.key))
        for start in range(0, len(todo), TOGETHER):
            some = todo[start : start + TOGETHER]
            draft = TransactionBuilder(self._space.prefix)
            draft.expect_marks(some, answer.revision, one_by_one=False)
            for view in some:
                draft.keep(view, now_s)
            draft.release(some)
            if not self._space.write(draft.compares, draft.ops).succeeded:
                return  # the caller looks again
            for view in some:  # what was written is what the next piece compares
                if view.part is not None:
                    view.part.held.pop(view.key, None)
            if start + TOGETHER < len(todo):
                self._refresh(parts)

    def _refresh(self, parts: Sequence[ClaimPart]) -> None:
        found = self._space.kv.get_many([name for part in parts for name in self._space.part_names(part)])
        for part in parts:
            claim, lease = (found.get(name) for name in self._space.part_names(part))
            part.mod_revision = claim.mod_revision if claim is not None else 0
            part.lease_mod_revision = lease.mod_revision if lease is not None else 0

    def _views_of(self, stage: str, held: Collection[str], parts: Sequence[ClaimPart]) -> list[SlotView]:
        """The views of slots that these claims hold."""
        rows = self._space.pick(self._space.name(keys.SLOT, stage), held)
        marks = self._space.pick(self._space.name(keys.DIRTY, stage), held)
        return list(views(stage, held, rows, marks, parts).values())
