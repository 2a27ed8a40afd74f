"""Runs that stay open, as keys and values: see ``OpenRunLedger``. Each call that writes is one transaction.

A run lease and a presence live by the lease of the session that put them, so a process that dies takes them along.
Nothing here writes a slot, a claim or a mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lookout.domain.errors import ClaimLost, Unavailable
from lookout.domain.records import JsonObject
from lookout.ledger import batches as batching
from lookout.ledger import codec
from lookout.ledger.batches import UNFINISHED, Batch
from lookout.ledger.kv import keys, record_values
from lookout.ledger.kv.admission import OpenAdmission, read_run_lease, write_run_lease
from lookout.ledger.kv.batch_queries import BatchLists
from lookout.ledger.kv.batch_values import put_batch, read_body
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Found, Kv, Op, Put, Range
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.slot_values import dump
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.open_runs import STREAM, RunLease, RunView, Waiting, opened
from lookout.ledger.port import RunRecord
from lookout.ledger.rules.open_runs import check_kept, check_running, moved

ONE_BY_ONE: Final = 80
"""Marks of a batch that are compared one by one; of a larger batch, by one range for each stage."""


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """Keys that are dirty in one of some stages at one revision, and the number of claims of each stage until then."""

    keys: frozenset[str]
    revision: int
    tokens: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """A run as it was read, with the revisions of its two keys; 0 for a lease that is not there."""

    record: RunRecord
    mod_revision: int
    lease: RunLease | None
    lease_mod_revision: int


class OpenRuns:
    """Runs that stay open. See ``OpenRunLedger``."""

    def __init__(self, space: Keyspace, lists: BatchLists, sessions: Sessions) -> None:
        self._space, self._lists, self._sessions = space, lists, sessions
        self._keys_of: dict[str, tuple[str, ...]] = {}
        """Keys of unfinished batches by id, which never change."""

    # --- looking ------------------------------------------------------------------------------------------------------

    def open_runs(self) -> list[RunView]:
        start, end = self._space.span(keys.RUN_OPEN, "")
        ids = [
            keys.parts(kv.key[len(start) :], 1)[0]
            for page in self._space.kv.pages(start, end, keys_only=True)
            for kv in page
        ]
        views = [view for run in ids if (view := self.find_run(run)) is not None]
        streams = [view for view in views if view.record.kind == STREAM and view.record.state == "running"]
        return sorted(streams, key=lambda view: (view.record.started_at_s, view.record.id))

    def find_run(self, run: str, stages: Collection[str] = ()) -> RunView | None:
        order = sorted(stages)
        present = [Range(self._space.name(keys.PRESENCE, stage, run), keys_only=True) for stage in order]
        answer = self._space.kv.read([*self._asked(run), self._unfinished(run), *present])
        found = self._build(run, answer.get(0), answer.get(1))
        if found is None:
            return None
        there = {stage for n, stage in enumerate(order, 3) if answer.get(n).kvs}
        unfinished = self._read_keys(run, answer.get(2).kvs)
        return RunView(record=found.record, lease=found.lease, unfinished=unfinished, present=frozenset(there))

    def waiting(self, run: str, stage: str, owner: str | None = None) -> Waiting:
        alive = Range(self._space.name(keys.ALIVE, owner or ""), keys_only=True)
        answer = self._space.kv.read([*self._asked(run), self._unfinished(run), alive])
        if owner is not None:
            self._sessions.check(owner, answer.get(3).kvs)
        found = self._build(run, answer.get(0), answer.get(1))
        if found is None or found.record.state != "running":
            return Waiting(over=True)
        unfinished = self._read_keys(run, answer.get(2).kvs)
        if not unfinished:
            return Waiting(over=found.lease is not None and bool(found.lease.draining))
        order = [key for names in unfinished.values() for key in names]
        unsettled = self._unsettled([stage], order).keys
        return Waiting(keys=tuple(key for key in order if key in unsettled))

    def _asked(self, run: str) -> list[Range]:
        return [Range(self._space.name(kind, run)) for kind in (keys.RUN, keys.RUN_LEASE)]

    def _unfinished(self, run: str) -> Range:
        return Range(*self._lists.unfinished_range(keys.BATCH_RUN, run), keys_only=True)

    def _build(self, run: str, record: Found, lease: Found) -> _Read | None:
        if not record.kvs:
            return None
        (kv,) = record.kvs
        kept = read_run_lease(run, lease.kvs[0]) if lease.kvs else None
        lease_mod = lease.kvs[0].mod_revision if lease.kvs else 0
        return _Read(record_values.read_run(run, kv), kv.mod_revision, kept, lease_mod)

    def _read(self, run: str) -> _Read:
        """Read a run. Raises KeyError for an unknown one."""
        answer = self._space.kv.read(self._asked(run))
        found = self._build(run, answer.get(0), answer.get(1))
        if found is None:
            raise KeyError(run)
        return found

    def _read_keys(self, run: str, found: Iterable[Kv]) -> dict[str, tuple[str, ...]]:
        """Return the keys of batches in an index of the run, by id and in their order."""
        cut = len(self._space.name(keys.BATCH_RUN, run))
        ids = sorted(keys.parts(kv.key[cut:], 2)[1] for kv in found)
        names = {self._space.name(keys.BATCH_KEYS, id_): id_ for id_ in ids if id_ not in self._keys_of}
        for name, kv in self._space.kv.get_many(names).items():
            self._keys_of[names[name]] = read_body(kv)[1]
        if len(self._keys_of) > 2 * len(ids) + 1000:
            self._keys_of = {id_: self._keys_of[id_] for id_ in ids if id_ in self._keys_of}
        return {id_: self._keys_of[id_] for id_ in ids if id_ in self._keys_of}

    def _unsettled(self, stages: Collection[str], wanted: Collection[str]) -> _Unsettled:
        """Find the keys that are dirty: marked, claimed or suspect."""
        order = sorted(stages)
        asked = [
            each
            for stage in order
            for each in (
                Range(*self._space.span(keys.CLAIM, stage)),
                Range(*self._space.span(keys.SUSPECT, stage), keys_only=True),
                Range(self._space.name(keys.TOKEN, stage)),
            )
        ]
        marks = [self._space.name(keys.DIRTY, stage) for stage in order]
        found = self._space.pick_each(marks, wanted, asked, keys_only=True)
        dirty = {key for marked in found.picked for key in marked}
        tokens: dict[bytes, int] = {}
        for n, stage in enumerate(order):
            claims, suspects, token = found.besides[3 * n : 3 * n + 3]
            dirty.update(key for part in self._space.read_parts(claims.kvs, []) for key in part.held)
            dirty.update(key for _, key in self._space.read_suspects(stage, suspects.kvs))
            tokens[self._space.name(keys.TOKEN, stage)] = token.kvs[0].mod_revision if token.kvs else 0
        return _Unsettled(frozenset(dirty), found.revision, tokens)

    # --- batches ------------------------------------------------------------------------------------------------------

    def assign_batch(self, batch: Batch, opening_s: float) -> Batch | None:
        self._space.check_writing()
        batching.check_new([batch])
        return self._lists.add_batch(batch, OpenAdmission(self._space, batch.run, opening_s))

    def move_batch(self, id_: str, run: str, opening_s: float) -> Batch | None:
        admission = OpenAdmission(self._space, run, opening_s)
        for _attempt in self._space.attempts("moving a batch"):
            known = self._lists.load_batches([id_])[0].get(id_)
            if known is None or known.batch.state not in UNFINISHED or known.batch.run in ("", run):
                return None
            lease = self._space.name(keys.RUN_LEASE, known.batch.run)
            answer = self._space.kv.read([Range(lease, keys_only=True), *admission.asked])
            if answer.get(0).kvs:
                return None
            draft = TransactionBuilder(self._space.prefix)
            admission.check(draft, [answer.get(1), answer.get(2)])
            draft.expect(lease, 0)
            taken = moved(known.batch, run, self._space.clock())
            put_batch(draft, taken, known)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return taken
        return None

    def end_settled(self, taken: Sequence[Batch], stages: Collection[str]) -> list[Batch]:
        self._space.check_writing()
        unsettled = self._unsettled(stages, [key for batch in taken for key in batch.keys])
        done = [batch for batch in taken if unsettled.keys.isdisjoint(batch.keys)]
        return [batch for batch in done if self._end_one(batch, stages, unsettled)]

    def _end_one(self, claim: Batch, stages: Collection[str], unsettled: _Unsettled) -> bool:
        known = self._lists.load_batches([claim.id])[0].get(claim.id)
        now_s = self._space.clock()
        try:
            batch = batching.check_held(known.batch if known is not None else None, claim, now_s)
        except ClaimLost:
            return False
        draft = TransactionBuilder(self._space.prefix)
        draft.expect_there(self._space.name(keys.ALIVE, claim.owner or ""))
        # A mark that was claimed since is gone, and its claim raised the stage's token.
        for name, mod_revision in unsettled.tokens.items():
            draft.expect(name, mod_revision)
        single = len(batch.keys) * len(stages) <= ONE_BY_ONE
        spans = [(key, key) for key in batch.keys] if single else [(batch.keys[0], batch.keys[-1])]
        for stage in stages:
            for first, last in spans:
                start, end = (self._space.name(keys.DIRTY, stage, key) for key in (first, last))
                draft.expect_none_newer(start, keys.behind(end), unsettled.revision)
        put_batch(draft, batching.done(batch, now_s), known)
        return self._space.write(draft.compares, draft.ops).succeeded

    # --- the keeper and the stages ------------------------------------------------------------------------------------

    def lease_run(self, run: str, owner: str) -> RunLease | None:
        for _attempt in self._space.attempts("taking a run"):
            found = self._read(run)
            check_running(found.record)
            if found.lease is not None:
                return None
            now_s = self._space.clock()
            lease = RunLease(run=run, owner=owner, since_s=now_s)
            draft = self._begin(owner)
            draft.expect(self._space.name(keys.RUN_LEASE, run), 0)
            draft.expect(self._space.name(keys.RUN, run), found.mod_revision)
            record = replace(found.record, summary=opened(found.record, now_s))
            draft.put(self._space.name(keys.RUN, run), record_values.write_run(record))
            if self._write_alive(draft, owner, keys.RUN_LEASE, [run], write_run_lease(lease)):
                return lease
        return None

    def join_run(self, run: str, stage: str, owner: str) -> bool:
        for _attempt in self._space.attempts("joining a run"):
            found = self._read(run)
            if found.record.state != "running":
                return False
            draft = self._begin(owner)
            draft.expect(self._space.name(keys.RUN, run), found.mod_revision)
            value = dump([owner, self._space.clock()])
            if self._write_alive(draft, owner, keys.PRESENCE, [stage, run], value):
                return True
        return False

    def _begin(self, owner: str) -> TransactionBuilder:
        """Begin a draft that holds while the owner's session is alive. Raises Unavailable when it is not."""
        self._sessions.check(
            owner, self._space.kv.read([Range(*self._space.span(keys.ALIVE), keys_only=True)]).get(0).kvs
        )
        draft = TransactionBuilder(self._space.prefix)
        draft.expect_there(self._space.name(keys.ALIVE, owner))
        return draft

    def _write_alive(
        self, draft: TransactionBuilder, owner: str, kind: bytes, texts: Sequence[str], value: bytes
    ) -> bool:
        """Write the draft, and this key for as long as the owner's session lives; False if it did not hold."""
        ops: list[Op] = [*draft.ops, Put(self._space.name(kind, *texts), value, self._sessions.lease_of(owner))]
        try:
            return self._space.write(draft.compares, ops).succeeded
        except Unavailable:
            self._begin(owner)  # if the session is over, that is the better reason
            raise

    def drain_run(self, lease: RunLease, why: str) -> RunLease:
        name = self._space.name(keys.RUN_LEASE, lease.run)
        for _attempt in self._space.attempts("draining a run"):
            found = self._read(lease.run)
            kept = check_kept(found.lease, lease)
            if kept.draining:
                return kept
            drained = replace(kept, draining=why)
            draft = self._begin(lease.owner)
            draft.expect(name, found.lease_mod_revision)
            if self._write_alive(draft, lease.owner, keys.RUN_LEASE, [lease.run], write_run_lease(drained)):
                return drained
        return lease

    def close_kept_run(self, lease: RunLease, state: str, summary: JsonObject) -> bool:
        for _attempt in self._space.attempts("closing a run"):
            found = self._read(lease.run)
            check_kept(found.lease, lease)
            draft = self._end(found, state, {**(found.record.summary or {}), **summary})
            draft.expect(self._space.name(keys.RUN_LEASE, lease.run), found.lease_mod_revision)
            draft.delete(self._space.name(keys.RUN_LEASE, lease.run))
            if self._space.write(draft.compares, draft.ops).succeeded:
                return True
            if self._has_unfinished(lease.run):
                return False
        return False

    def bury_run(self, run: str) -> bool:
        for _attempt in self._space.attempts("burying a run"):
            found = self._read(run)
            check = found.record.kind == STREAM and found.record.state == "running" and found.lease is None
            if not check or self._has_unfinished(run):
                return False
            draft = self._end(found, "lost", found.record.summary or {})
            draft.expect(self._space.name(keys.RUN_LEASE, run), 0)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return True
        return False

    def _has_unfinished(self, run: str) -> bool:
        return bool(self._space.kv.read([self._unfinished(run)._replace(limit=1)]).get(0).kvs)

    def _end(self, found: _Read, state: str, summary: JsonObject) -> TransactionBuilder:
        """Draft the end of a run, which holds while it is as it was and none of its batches is unfinished."""
        codec.write_object(summary)  # what is no JSON is refused before anything is written
        run = found.record
        ended = replace(run, state=state, ended_at_s=self._space.clock(), summary=summary)
        draft = TransactionBuilder(self._space.prefix)
        draft.expect(self._space.name(keys.RUN, run.id), found.mod_revision)
        # Nothing is newer than revision 0 where nothing is.
        draft.expect_none_newer(*self._lists.unfinished_range(keys.BATCH_RUN, run.id), 0)
        draft.put(self._space.name(keys.RUN, run.id), record_values.write_run(ended))
        draft.delete(self._space.name(keys.RUN_OPEN, run.owner, run.id))
        return draft

    def session_token(self, owner: str) -> str:
        return str(self._sessions.lease_of(owner))

    def end_session(self, token: str) -> None:
        if token.isascii() and token.isdigit() and 0 < int(token) < 2**63:
            self._space.kv.revoke(int(token))

    # --- waiting for changes ------------------------------------------------------------------------------------------

    def revision(self) -> int:
        return self._space.kv.read([Range(self._space.name(keys.META), keys_only=True)]).revision

    def await_run(self, run: str, stages: Collection[str], revision: int, seconds: float) -> bool:
        names = [self._space.name(kind, run) for kind in (keys.RUN, keys.RUN_LEASE)]
        names += [self._space.name(keys.PRESENCE, stage, run) for stage in stages]
        spans = [(name, keys.behind(name)) for name in names]
        spans.append(self._space.span(keys.BATCH_RUN, run))
        spans += [self._space.span(kind) for kind in (keys.ALIVE, keys.REFERENCES)]
        spans += [self._space.span(keys.DIRTY, stage) for stage in stages]
        return self._space.kv.wait_for_change(spans, revision, seconds)

    def await_runs(self, revision: int, seconds: float) -> bool:
        return self._space.kv.wait_for_change([self._space.span(keys.RUN_LEASE)], revision, seconds)


__all__ = ["OpenRuns"]
