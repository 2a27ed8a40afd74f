"""Ledger over a key-value store: its parts, put together, behind the ports of the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from lookout.domain.records import (
    Alert,
    AlertState,
    Claim,
    JsonObject,
    Mark,
    Member,
    ObjectRef,
    Observation,
    Outcome,
    Record,
    Reference,
    Slot,
    State,
    Tally,
)
from lookout.ledger.batches import Batch, BatchState
from lookout.ledger.kv.batch_queries import BatchLists
from lookout.ledger.kv.batches import Batches
from lookout.ledger.kv.claims import Claims
from lookout.ledger.kv.commits import Commits
from lookout.ledger.kv.history import History
from lookout.ledger.kv.inputs import Inputs
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.leases import Leases
from lookout.ledger.kv.maintenance import Maintenance
from lookout.ledger.kv.marks import Marks
from lookout.ledger.kv.open_runs import OpenRuns
from lookout.ledger.kv.outbox import Alerts
from lookout.ledger.kv.policy import PolicyTexts
from lookout.ledger.kv.port import KeyValues
from lookout.ledger.kv.publishing import Publishing
from lookout.ledger.kv.runs import Runs
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.slots import Slots
from lookout.ledger.maintenance import Entry, LedgerSize, Named, UpkeepLedger
from lookout.ledger.open_runs import OPENING_S, OpenRunLedger, RunLease, RunView, Waiting
from lookout.ledger.port import Delivered, RunRecord, Settled
from lookout.ledger.rules.decisions import PolicyName, PolicyUnit
from lookout.object_store.port import Publish

T = TypeVar("T")


class KvLedger(OpenRunLedger, UpkeepLedger):
    """See ``OpenRunLedger`` and ``UpkeepLedger``. One instance is for one thread; a process may open several, and so
    may others anywhere.

    Raises InputRejected for a prefix that is no use or a ledger of a newer form, Corrupt for a value that cannot be
    read, and what the store raises.
    """

    def __init__(self, kv: KeyValues, prefix: str, clock: Callable[[], float] = time.time, *, ttl_s: int = 15) -> None:
        space = self._space = Keyspace(kv, prefix, clock, ttl_s=ttl_s)
        self._marks, self._leases, self._inputs, self._slots = Marks(space), Leases(space), Inputs(space), Slots(space)
        self._runs, self._alerts, self._history = Runs(space), Alerts(space), History(space)
        self._batch_lists = BatchLists(space)
        self._sessions = Sessions(space, self._alerts, self._runs, self._batch_lists)
        self._batches = Batches(space, self._batch_lists, self._sessions)
        self._open_runs = OpenRuns(space, self._batch_lists, self._sessions)
        self._claims = Claims(space, self._sessions)
        self._publishing = Publishing(space, self._history)
        self._policy = PolicyTexts(space, self._alerts)
        self._commits = Commits(space, self._claims, self._leases, self._alerts, self._publishing, self._policy)
        self._maintenance = Maintenance(space, self._sessions, self._history, self._publishing, self._slots)

    def close(self) -> None:
        self._publishing.close()
        self._space.close()

    def session(self) -> AbstractContextManager[str]:
        return self._sessions.session()

    def find_note(self, name: str) -> str | None:
        return self._runs.find_note(name)

    def put_note(self, name: str, value: str) -> None:
        return self._runs.put_note(name, value)

    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        return self._inputs.inputs(bucket, prefix, after)

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        return self._inputs.find_inputs(bucket, keys)

    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        return self._inputs.count_inputs(bucket, origin)

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        return self._inputs.observe(observations, readers)

    def references(self, bucket: str) -> tuple[Reference, ...]:
        return self._inputs.references(bucket)

    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        return self._inputs.enforce(bucket, references)

    def basis(self, stage: str) -> str | None:
        return self._inputs.basis(stage)

    def rebase(self, stage: str, basis: str) -> int:
        return self._inputs.rebase(stage, basis)

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        return self._marks.mark(marks, revive=revive, salt=salt)

    def claim(
        self,
        stage: str,
        owner: str,
        limit: int,
        lease_s: float,
        keys: Collection[str] | None = None,
        behind: Collection[str] = (),
    ) -> list[Claim]:
        return self._claims.claim(stage, owner, limit, lease_s, keys, behind)

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        return self._leases.extend(claims, lease_s)

    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        return self._commits.commit(outcomes)

    def unpublished(
        self, limit: int = 1000, buckets: Collection[str] | None = None, without: Collection[tuple[str, str]] = ()
    ) -> AbstractContextManager[Sequence[Publish]]:
        return self._publishing.unpublished(limit, buckets, without)

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        return self._slots.find_slots(stage, keys)

    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: tuple[str, str] = ("", ""),
    ) -> Iterator[Slot]:
        return self._slots.slots(stage, states=states, prefix=prefix, labelled=labelled, after=after)

    def count_slots(self, stages: Collection[str] | None = None) -> dict[str, dict[State, int]]:
        return self._slots.count_slots(stages)

    def count_dirty(self, stage: str) -> int:
        return self._slots.count_dirty(stage)

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        return self._history.find_records(hashes)

    def makers(self, bucket: str, key: str) -> list[Record]:
        return self._history.makers(bucket, key)

    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        return self._history.users(sha256, limit, after)

    def is_live(self, hashes: Collection[str]) -> set[str]:
        return self._history.is_live(hashes)

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        return self._history.tallies(groups)

    def sums(self, name: str) -> dict[str, int]:
        return self._history.sums(name)

    def members(self, stage: str, group: str) -> list[Member]:
        return self._history.members(stage, group)

    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        return self._alerts.claim_alerts(owner, limit, now_s, ids)

    def begin_sending(self, owner: str, ids: Collection[str]) -> frozenset[str]:
        return self._alerts.begin_sending(owner, ids)

    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        return self._alerts.settle_alerts(owner, settled, now_s)

    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        return self._alerts.alerts(states=states, run=run, ids=ids)

    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        return self._alerts.count_alerts(run)

    def resend_alerts(self, ids: Collection[str]) -> int:
        return self._alerts.resend_alerts(ids)

    def cancel_alerts(self, ids: Collection[str], now_s: float) -> int:
        return self._alerts.cancel_alerts(ids, now_s)

    def amend_policy(self, change: Callable[[PolicyUnit], T]) -> T:
        return self._policy.amend_policy(change)

    def policy_texts(self, kind: str, first: Collection[str] | None = None) -> Iterator[tuple[PolicyName, str]]:
        return self._policy.policy_texts(kind, first)

    def start_run(self, run: RunRecord) -> None:
        return self._runs.start_run(run)

    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        return self._runs.end_run(run_id, state, ended_at_s, summary)

    def runs(self, limit: int = 20) -> list[RunRecord]:
        return self._runs.runs(limit)

    def dirty(self, stage: str, prefix: str = "", after: str | None = None) -> Iterator[str]:
        return self._batch_lists.dirty(stage, prefix, after)

    def add_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        return self._batch_lists.add_batches(batches)

    def take_batch(self, owner: str, lease_s: float, *, id_: str | None = None, run: str | None = None) -> Batch | None:
        return self._batches.take_batch(owner, lease_s, id_=id_, run=run)

    def extend_batches(self, taken: Sequence[Batch], lease_s: float) -> list[bool]:
        return self._batches.extend_batches(taken, lease_s)

    def release_batch(self, taken: Batch) -> None:
        return self._batches.release_batch(taken)

    def end_batch(self, taken: Batch) -> None:
        return self._batches.end_batch(taken)

    def find_batches(self, ids: Collection[str]) -> dict[str, Batch]:
        return self._batch_lists.find_batches(ids)

    def batches(
        self, *, run: str | None = None, states: Collection[BatchState] = (), after: str = ""
    ) -> Iterator[Batch]:
        return self._batch_lists.batches(run=run, states=states, after=after)

    def count_batches(self, run: str | None = None) -> dict[BatchState, int]:
        return self._batch_lists.count_batches(run)

    def close_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> bool:
        return self._batches.close_run(run_id, state, ended_at_s, summary)

    def expire_batches(self, before_s: float, limit: int = 1000) -> int:
        return self._batch_lists.expire_batches(before_s, limit)

    def open_runs(self) -> list[RunView]:
        return self._open_runs.open_runs()

    def find_run(self, run: str, stages: Collection[str] = ()) -> RunView | None:
        return self._open_runs.find_run(run, stages)

    def assign_batch(self, batch: Batch, opening_s: float = OPENING_S) -> Batch | None:
        return self._open_runs.assign_batch(batch, opening_s)

    def lease_run(self, run: str, owner: str) -> RunLease | None:
        return self._open_runs.lease_run(run, owner)

    def join_run(self, run: str, stage: str, owner: str) -> bool:
        return self._open_runs.join_run(run, stage, owner)

    def end_settled(self, taken: Sequence[Batch], stages: Collection[str]) -> list[Batch]:
        return self._open_runs.end_settled(taken, stages)

    def drain_run(self, lease: RunLease, why: str) -> RunLease:
        return self._open_runs.drain_run(lease, why)

    def close_kept_run(self, lease: RunLease, state: str, summary: JsonObject) -> bool:
        return self._open_runs.close_kept_run(lease, state, summary)

    def move_batch(self, id_: str, run: str, opening_s: float = OPENING_S) -> Batch | None:
        return self._open_runs.move_batch(id_, run, opening_s)

    def bury_run(self, run: str) -> bool:
        return self._open_runs.bury_run(run)

    def waiting(self, run: str, stage: str, owner: str | None = None) -> Waiting:
        return self._open_runs.waiting(run, stage, owner)

    def session_token(self, owner: str) -> str:
        return f"{self._open_runs.session_token(owner)} {self._publishing.publisher}"

    def end_session(self, token: str) -> None:
        lease, _, publisher = token.partition(" ")
        self._open_runs.end_session(lease)
        self._publishing.end_of(publisher)

    def revision(self) -> int:
        return self._open_runs.revision()

    def await_run(self, run: str, stages: Collection[str], revision: int, seconds: float) -> bool:
        return self._open_runs.await_run(run, stages, revision, seconds)

    def await_runs(self, revision: int, seconds: float) -> bool:
        return self._open_runs.await_runs(revision, seconds)

    def named(self, bucket: str, after: str = "") -> Iterator[Named]:
        return self._maintenance.named(bucket, after)

    def restate(self, bucket: str, keys: Collection[str]) -> dict[str, ObjectRef | None]:
        return self._maintenance.restate(bucket, keys)

    def snapshot(self) -> AbstractContextManager[Iterator[Entry]]:
        return self._maintenance.snapshot()

    def load(self, entries: Iterable[Entry]) -> None:
        return self._maintenance.load(entries)

    def size(self) -> LedgerSize:
        return self._maintenance.size()
