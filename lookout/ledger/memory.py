"""A ledger in memory: for tests, and for trying something out. It forgets all when the process ends.

The shortest form of the contract: the rules are those of ``settling`` and ``delivery``, the book is the dicts
themselves, one lock makes every call atomic. Its sessions cannot die, only be late. It is not made for millions.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lookout.datum import (
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
from lookout.errors import Unavailable
from lookout.ledger import codec, delivery, settling
from lookout.ledger.base import Delivered, Ledger, RunRecord, Settled
from lookout.ledger.settling import Row
from lookout.objects.base import Publish

Name = tuple[str, str]
"""Stage and key of a slot, or bucket and key of a path."""


class _Dicts:
    """All data of a ledger in memory; the ``Book`` of its settlements."""

    def __init__(self) -> None:
        self.rows: dict[Name, Row] = {}
        self.records: dict[str, Record] = {}
        self.makers: defaultdict[Name, dict[str, None]] = defaultdict(dict)
        self.users: defaultdict[str, set[str]] = defaultdict(set)
        self.paths: dict[Name, Name] = {}
        self.changes: dict[Name, Publish] = {}
        self.alerts: dict[str, Alert] = {}
        self.senders: dict[str, str] = {}
        self.withdrawn: set[str] = set()

    def find(self, stage: str, key: str) -> Row | None:
        return self.rows.get((stage, key))

    def save(self, row: Row) -> None:
        self.rows[row.stage, row.key] = row

    def remove(self, row: Row) -> None:
        self.rows.pop((row.stage, row.key), None)

    def mark(self, mark: Mark, now_s: float) -> None:
        settling.touch(self.rows.setdefault((mark.stage, mark.key), Row(mark.stage, mark.key)), now_s)

    def holder(self, bucket: str, key: str) -> Name | None:
        return self.paths.get((bucket, key))

    def hold_path(self, ref: ObjectRef, holder: Name | None) -> None:
        if holder is None:
            self.paths.pop((ref.bucket, ref.key), None)
        else:
            self.paths[ref.bucket, ref.key] = holder

    def publish(self, change: Publish) -> None:
        self.changes.pop((change.bucket, change.key), None)
        self.changes[change.bucket, change.key] = change

    def keep(self, record: Record) -> None:
        former = self.records.get(record.hash)
        for ref in former.outputs if former is not None else ():
            self.makers[ref.bucket, ref.key].pop(record.hash, None)
        text = codec.write_record(record)  # so that nobody can change it, and what is no JSON is refused
        self.records[record.hash] = codec.read_record(record.hash, record.stage, record.key, text)
        for ref in record.outputs:
            self.makers[ref.bucket, ref.key][record.hash] = None
        for item in record.inputs:
            self.users[item.ref.sha256].add(record.hash)

    def tally(self, record: Record, sign: int) -> None:
        """Tallies are summed when they are read."""

    def alert(self, id_: str) -> Alert | None:
        return self.alerts.get(id_)

    def alerts_of(self, record: Record) -> Collection[str]:
        return [alert.id for alert in self.alerts.values() if alert.datum_hash == record.hash]

    def put_alert(self, alert: Alert) -> None:
        self.alerts[alert.id] = alert

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        alert = self.alerts.get(id_)
        if alert is None:
            return
        if alert.state is AlertState.SENDING:
            self.withdrawn.add(id_)
        elif alert.state is AlertState.PENDING:
            self.alerts[id_] = delivery.canceled(alert, now_s)


class MemoryLedger(Ledger):
    """See ``Ledger``. ``clock`` gives Unix seconds. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._closed = self._publishing = False
        self._data = _Dicts()
        self._token = self._sessions = 0
        self._owners: set[str] = set()
        self._notes: dict[str, str] = {}
        self._inputs: dict[Name, Observation] = {}
        self._references: dict[str, dict[str, Reference]] = {}
        self._bases: dict[str, str] = {}
        self._runs: dict[str, RunRecord] = {}

    @contextmanager
    def _use(self, *, writing: bool = False) -> Iterator[_Dicts]:
        with self._lock:
            if self._closed:
                raise Unavailable("the ledger in memory", "it is closed")
            if writing and self._publishing:
                raise RuntimeError("expected no write to the ledger while its changes are handed out")
            yield self._data

    # --- sessions, notes --------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[str]:
        with self._use(writing=True):
            self._sessions += 1
            owner = f"memory-{self._sessions}"
            self._owners.add(owner)
        try:
            yield owner
        finally:
            with self._use(writing=True) as data:
                self._leave(data, owner)

    def _leave(self, data: _Dicts, owner: str) -> None:
        now_s = self._clock()
        self._owners.discard(owner)
        for row in data.rows.values():
            if row.owner == owner:
                settling.let_go(row, State.KILLED, now_s)
        for id_ in [id_ for id_, sender in data.senders.items() if sender == owner]:
            data.alerts[id_] = delivery.abandoned(data.alerts[id_], now_s)
            del data.senders[id_]
        for run in self._runs.values():
            if run.owner == owner and run.state == "running":
                self._runs[run.id] = replace(run, state="stopped", ended_at_s=now_s)

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def find_note(self, name: str) -> str | None:
        with self._use():
            return self._notes.get(name)

    def put_note(self, name: str, value: str) -> None:
        with self._use(writing=True):
            self._notes[name] = value

    # --- inputs and references --------------------------------------------------------------------------------------

    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        with self._use():
            keys = sorted(key for own, key in self._inputs if own == bucket and key > after and key.startswith(prefix))
            found = [self._inputs[bucket, key] for key in keys]
        yield from found

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        with self._use():
            return {key: self._inputs[bucket, key] for key in keys if (bucket, key) in self._inputs}

    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        with self._use():
            return sum(1 for seen in self._inputs.values() if seen.bucket == bucket and origin in (None, seen.origin))

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        differed = 0
        for seen in observations:
            with self._use(writing=True) as data:
                name = (seen.bucket, seen.key)
                known = self._inputs.get(name)
                if seen.ref is None and seen.error is None:
                    self._inputs.pop(name, None)
                elif known is not None and settling.content(known) == settling.content(seen):
                    self._inputs[name] = replace(seen, observed_at_s=known.observed_at_s)
                else:
                    self._inputs[name] = seen
                if settling.content(known) != settling.content(seen):
                    differed += 1
                    for stage in readers:
                        data.mark(Mark(stage=stage, key=seen.key), self._clock())
        return differed

    def references(self, bucket: str) -> tuple[Reference, ...]:
        with self._use():
            return tuple(reference for _, reference in sorted(self._references.get(bucket, {}).items()))

    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        with self._use(writing=True):
            self._references[bucket] = {reference.name: reference for reference in references}

    def basis(self, stage: str) -> str | None:
        with self._use():
            return self._bases.get(stage)

    def rebase(self, stage: str, basis: str) -> int:
        with self._use(writing=True) as data:
            live = [row for row in data.rows.values() if row.stage == stage and row.state is not State.RETRACTED]
            for row in live:
                settling.touch(row, self._clock())
            self._bases[stage] = basis
            return len(live)

    # --- slots ------------------------------------------------------------------------------------------------------

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        count = 0
        for mark in marks:
            with self._use(writing=True) as data:
                row = data.rows.setdefault((mark.stage, mark.key), Row(mark.stage, mark.key))
                settling.touch(row, self._clock(), revive=revive, salt=salt)
            count += 1
        return count

    def claim(
        self, stage: str, owner: str, limit: int, lease_s: float, keys: Collection[str] | None = None
    ) -> list[Claim]:
        with self._use(writing=True) as data:
            if owner not in self._owners:
                raise ValueError(f"expected the owner of an open session, got {owner!r}")
            now_s = self._clock()
            late = [row for row in data.rows.values() if row.owner is not None and row.lease_end_s <= now_s]
            settling.lose(late, self.max_lone_losses, now_s)
            wanted = None if keys is None else set(keys)
            free = [
                row
                for (of_stage, key), row in sorted(data.rows.items())
                if of_stage == stage and row.dirty and row.owner is None and (wanted is None or key in wanted)
            ]
            chosen = [row for row in free if not row.suspect][: max(0, limit)]
            suspects = [row for row in free if row.suspect]
            if not chosen and suspects and limit > 0:
                worst = max(suspects, key=lambda row: (row.suspect, row.cohort))
                together = [row for row in suspects if (row.suspect, row.cohort) == (worst.suspect, worst.cohort)]
                chosen = together[: min(limit, settling.portion(worst.suspect))]
            self._token += 1
            return [settling.hold(row, owner, self._token, now_s, lease_s) for row in chosen]

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        with self._use(writing=True) as data:
            now_s = self._clock()
            answers = []
            for claim in claims:
                row = data.find(claim.stage, claim.key)
                held = row is not None and row.held_by(claim, now_s)
                if row is not None and held:
                    row.lease_end_s = now_s + lease_s
                answers.append(held)
            return answers

    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        settling.check(outcomes)
        with self._use(writing=True) as data:
            for _, outcome in outcomes:
                if outcome.record is not None:
                    codec.write_record(outcome.record)  # what is no JSON is refused before anything is written
            now_s = self._clock()
            return [settling.settle(data, claim, outcome, now_s) for claim, outcome in outcomes]

    @contextmanager
    def unpublished(self, limit: int = 1000) -> Iterator[Sequence[Publish]]:
        with self._use(writing=True) as data:
            changes = list(data.changes.values())[:limit]
            self._publishing = True
            try:
                yield changes
            finally:
                self._publishing = False
            for change in changes:
                del data.changes[change.bucket, change.key]

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        with self._use() as data:
            return {key: data.rows[stage, key].slot() for key in keys if (stage, key) in data.rows}

    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: Name = ("", ""),
    ) -> Iterator[Slot]:
        with self._use() as data:
            found = [
                row.slot()
                for name, row in sorted(data.rows.items())
                if (after == ("", "") or name > after)
                and stage in (None, row.stage)
                and (not states or row.state in states)
                and row.key.startswith(prefix)
                and (not labelled or (row.record is not None and row.record.label is not None))
            ]
        yield from found

    def count_slots(self) -> dict[str, dict[State, int]]:
        counts: dict[str, dict[State, int]] = {}
        with self._use() as data:
            for row in data.rows.values():
                of_stage = counts.setdefault(row.stage, {})
                of_stage[row.state] = of_stage.get(row.state, 0) + 1
        return counts

    def count_dirty(self, stage: str) -> int:
        with self._use() as data:
            return sum(1 for row in data.rows.values() if row.stage == stage and row.dirty)

    # --- history, provenance, tallies ---------------------------------------------------------------------------------

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        with self._use() as data:
            return {hash_: data.records[hash_] for hash_ in hashes if hash_ in data.records}

    def makers(self, bucket: str, key: str) -> list[Record]:
        with self._use() as data:
            return [data.records[hash_] for hash_ in reversed(data.makers.get((bucket, key), {}))]

    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        with self._use() as data:
            hashes = sorted(hash_ for hash_ in data.users.get(sha256, ()) if hash_ > after)
            return [data.records[hash_] for hash_ in hashes[:limit]]

    def is_live(self, hashes: Collection[str]) -> set[str]:
        with self._use():
            return {record.hash for record in self._live()}.intersection(hashes)

    def _live(self) -> list[Record]:
        return [row.record for _, row in sorted(self._data.rows.items()) if row.record is not None]

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        sums: dict[str, Counter[str]] = {}
        last_at_s: dict[str, float] = {}
        with self._use():
            for record in self._live():
                if not settling.is_tallied(record) or (groups is not None and record.group not in groups):
                    continue
                sums.setdefault(record.group, Counter()).update(record.counts)
                if record.at_s is not None:
                    last_at_s[record.group] = max(record.at_s, last_at_s.get(record.group, record.at_s))
        return [
            Tally(group=group, counts=dict(+counts), last_at_s=last_at_s.get(group))
            for group, counts in sorted(sums.items())
        ]

    def members(self, stage: str, group: str) -> list[Member]:
        with self._use():
            return [
                Member(
                    stage=stage,
                    key=record.key,
                    hash=record.hash,
                    outputs=record.outputs,
                    facts=record.facts,
                    at_s=record.at_s,
                )
                for record in self._live()
                if record.stage == stage and record.group == group and record.outputs
            ]

    # --- outbox -----------------------------------------------------------------------------------------------------

    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        with self._use(writing=True) as data:
            due = [
                alert
                for alert in self._sorted_alerts()
                if delivery.is_open(alert) and alert.due_at_s <= now_s and (ids is None or alert.id in ids)
            ]
            for alert in due[:limit]:
                data.alerts[alert.id] = delivery.taken(alert)
                data.senders[alert.id] = owner
            return due[:limit]

    def _sorted_alerts(self) -> list[Alert]:
        return sorted(self._data.alerts.values(), key=lambda alert: (alert.created_at_s, alert.id))

    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        with self._use(writing=True) as data:
            for id_, how in settled.items():
                if data.senders.get(id_) != owner:
                    continue
                del data.senders[id_]
                withdrawn = id_ in data.withdrawn
                data.withdrawn.discard(id_)
                data.alerts[id_] = delivery.delivered(data.alerts[id_], how, now_s, withdrawn=withdrawn)

    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        with self._use():
            found = [
                alert
                for alert in self._sorted_alerts()
                if (not states or alert.state in states)
                and run in (None, alert.run)
                and (ids is None or alert.id in ids)
            ]
        yield from found

    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        return dict(Counter(alert.state for alert in self.alerts(run=run)))

    def resend_alerts(self, ids: Collection[str]) -> int:
        with self._use(writing=True) as data:
            chosen = [alert for id_ in set(ids) if (alert := data.alerts.get(id_)) and delivery.can_resend(alert)]
            data.alerts.update({alert.id: delivery.resent(alert) for alert in chosen})
            return len(chosen)

    # --- runs -------------------------------------------------------------------------------------------------------

    def start_run(self, run: RunRecord) -> None:
        with self._use(writing=True):
            if run.id in self._runs:
                raise ValueError(f"expected a new run id, got {run.id!r} again")
            self._runs[run.id] = run

    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        with self._use(writing=True):
            self._runs[run_id] = replace(self._runs[run_id], state=state, ended_at_s=ended_at_s, summary=summary)

    def runs(self, limit: int = 20) -> list[RunRecord]:
        with self._use():
            newest = sorted(self._runs.values(), key=lambda run: (run.started_at_s, run.id), reverse=True)
            return newest[:limit]
