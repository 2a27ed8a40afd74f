"""Commits in SQLite: all outcomes of a call in one transaction, read in bulk, settled in memory, written in bulk.

The rules are in ``settling``; the unit here reads beforehand all that they may ask for, so that the work grows with the
outcomes and not with the ledger. Also hands out what is to be made visible.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

from lookout.domain.errors import Corrupt
from lookout.domain.records import Alert, AlertState, Claim, Mark, ObjectRef, Outcome, Record
from lookout.ledger import codec
from lookout.ledger.port import Settled
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.decisions import PolicyName
from lookout.ledger.rules.slots import SlotState
from lookout.ledger.sqlite.database import by_first, select_in
from lookout.ledger.sqlite.outbox import find_alerts, save_alerts
from lookout.ledger.sqlite.policy import PolicyTexts
from lookout.ledger.sqlite.rows import (
    MARK,
    SAVE_STATE,
    SLOT,
    Part,
    next_number,
    read_change,
    save_states,
    states_of,
    to_rows,
)
from lookout.object_store.port import Publish

Name = tuple[str, str]
"""Stage and key of a slot, or bucket and key of a path."""


class CommitsPart(Part):
    """See ``Ledger``."""

    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        settling.check(outcomes)
        if not outcomes:
            return []
        bodies = {
            outcome.record.hash: codec.write_record(outcome.record)  # before the lock: others need not wait for it
            for _, outcome in outcomes
            if outcome.record is not None
        }
        with self._db.write() as connection:
            now_s = self._clock()
            unit = _UnitOfWork(connection, outcomes, bodies)
            answers = [settling.settle(unit, claim, outcome, now_s) for claim, outcome in outcomes]
            unit.write()
        return answers

    @contextmanager
    def unpublished(
        self, limit: int = 1000, buckets: Collection[str] | None = None, without: Collection[Name] = ()
    ) -> Iterator[Sequence[Publish]]:
        chosen = "1" if buckets is None else f"bucket IN ({','.join('?' * len(buckets))})"
        names = tuple(buckets or ())
        with self._db.read() as connection:
            sql = f"SELECT 1 FROM changes WHERE {chosen} LIMIT 1"  # noqa: S608 - of constants and question marks
            due = connection.execute(sql, names).fetchone() is not None
        if not due:
            yield ()
            return
        with self._db.write() as connection:
            columns = "seq, bucket, key, sha256, size, version"
            sql = f"SELECT {columns} FROM changes WHERE {chosen} ORDER BY seq"  # noqa: S608 - likewise
            found = (row for row in connection.execute(sql, names) if (row[1], row[2]) not in without)
            rows = list(islice(found, max(0, limit)))
            yield [read_change(*change) for _, *change in rows]
            connection.executemany("DELETE FROM changes WHERE seq = ?", [(seq,) for seq, *_ in rows])


class _UnitOfWork:
    """The ``settling.UnitOfWork`` of one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, outcomes: Sequence[tuple[Claim, Outcome]], bodies: dict[str, str]
    ) -> None:
        self._connection, self._bodies = connection, bodies
        self._rows: dict[Name, SlotState] = {}
        self._records: dict[Name, Record] = {}
        self._ids: dict[str, int] = {}
        self._saved: dict[Name, SlotState] = {}
        self._removed: list[Name] = []
        self._marks: list[tuple[str, str, float]] = []
        self._holders: dict[Name, Name | None] = {}
        self._moved: set[Name] = set()
        self._given: dict[Name, list[str]] = {}
        """Paths that got a holder in this transaction, by each of their folders."""
        self._changes: dict[Name, Publish] = {}
        self._kept: dict[str, Record] = {}
        self._former: dict[str, Record] = {}
        self._sums: Counter[Name] = Counter()
        self._live: Counter[str] = Counter()
        self._alerts: dict[str, Alert] = {}
        self._of_datum: dict[str, list[str]] = {}
        self._put: dict[str, Alert] = {}
        self._shared: dict[str, Alert] = {}
        self._withdrawn: dict[str, bool] = {}
        self._policy = PolicyTexts(connection)
        self._read(outcomes)

    # --- reading beforehand -----------------------------------------------------------------------------------------

    def _read(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> None:
        sql = SLOT.format(index="") + " WHERE s.stage = ? AND s.key IN ({})"
        for stage, keys in by_first([(claim.stage, claim.key) for claim, _ in outcomes]).items():
            found = list(select_in(self._connection, sql, [stage], keys))
            for row, columns in zip(to_rows(found), found, strict=True):
                self._rows[stage, row.key] = row
                if row.record is not None:
                    self._ids[row.record.hash] = columns[15]
                    self._records[stage, row.key] = row.record
        records = [outcome.record for _, outcome in outcomes if outcome.record is not None]
        outputs = [ref for record in records for ref in record.outputs]
        paths = {(ref.bucket, path) for ref in outputs for path in (ref.key, *settling.folders(ref.key))}
        for bucket, keys in by_first(paths).items():
            sql = "SELECT key, stage, slot FROM paths WHERE bucket = ? AND key IN ({})"
            for key, stage, slot in select_in(self._connection, sql, [bucket], keys):
                self._holders[bucket, key] = (stage, slot)
        sql = "SELECT id, hash, stage, key, body FROM records WHERE hash IN ({})"
        for id_, hash_, stage, key, body in select_in(self._connection, sql, [], self._bodies):
            self._ids[hash_] = id_
            with suppress(Corrupt):  # it is replaced by this commit; that it wrote other paths too is forgotten
                self._former[hash_] = codec.read_record(hash_, stage, key, body)
        self._read_alerts(outcomes, records)

    def _read_alerts(self, outcomes: Sequence[tuple[Claim, Outcome]], records: Sequence[Record]) -> None:
        old = [row.record for row in self._rows.values() if row.record is not None]
        ids = {id_ for record in [*old, *records] for id_ in record.alert_ids}
        ids.update(alert.id for _, outcome in outcomes for alert in outcome.alerts)
        sql = "SELECT datum_hash, id FROM alerts WHERE datum_hash IN ({})"
        for hash_, id_ in select_in(self._connection, sql, [], [record.hash for record in old]):
            self._of_datum.setdefault(hash_, []).append(id_)
            ids.add(id_)
        self._alerts = find_alerts(self._connection, ids)
        self._looked_for = ids

    # --- the unit ---------------------------------------------------------------------------------------------------

    def find(self, stage: str, key: str) -> SlotState | None:
        return self._rows.get((stage, key))

    def save(self, row: SlotState) -> None:
        self._saved[row.stage, row.key] = row

    def remove(self, row: SlotState) -> None:
        name = (row.stage, row.key)
        del self._rows[name]
        self._saved.pop(name, None)
        self._removed.append(name)

    def mark(self, mark: Mark, now_s: float) -> None:
        row = self._rows.get((mark.stage, mark.key))
        if row is None:
            self._marks.append((mark.stage, mark.key, now_s))
        else:
            settling.touch(row, now_s)
            self.save(row)

    def holder(self, bucket: str, key: str) -> Name | None:
        return self._holders.get((bucket, key))

    def below(self, bucket: str, key: str) -> Iterator[tuple[str, Name]]:
        for path in self._given.get((bucket, key), ()):
            holder = self._holders[bucket, path]
            if holder is not None:
                yield path, holder
        sql = "SELECT key, stage, slot FROM paths WHERE bucket = ? AND key > ? AND key < ?"
        for path, stage, slot in self._connection.execute(sql, (bucket, *settling.span_below(key))):
            if (bucket, path) not in self._moved:
                yield path, (stage, slot)

    def hold_path(self, ref: ObjectRef, holder: Name | None) -> None:
        self._holders[ref.bucket, ref.key] = holder
        self._moved.add((ref.bucket, ref.key))
        if holder is not None:
            for folder in settling.folders(ref.key):
                self._given.setdefault((ref.bucket, folder), []).append(ref.key)

    def publish(self, change: Publish) -> None:
        self._changes.pop((change.bucket, change.key), None)
        self._changes[change.bucket, change.key] = change

    def keep(self, record: Record) -> None:
        self._kept.pop(record.hash, None)
        self._kept[record.hash] = record

    def tally(self, record: Record, sign: int) -> None:
        for name, count in record.counts.items():
            self._sums[record.group, name] += sign * count
        if settling.is_tallied(record):
            self._live[record.group] += sign

    def policy_text(self, name: PolicyName) -> str | None:
        return self._policy.find(name)

    def put_policy_text(self, name: PolicyName, text: str | None) -> None:
        self._policy.put(name, text)

    def look_at(self, ids: Collection[str]) -> None:
        new = [id_ for id_ in ids if id_ not in self._looked_for]  # of other datums of the same group
        if new:
            self._looked_for.update(new)
            self._alerts.update(find_alerts(self._connection, new))

    def alert(self, id_: str) -> Alert | None:
        self.look_at([id_])
        return self._alerts.get(id_)

    def alerts_of(self, record: Record) -> Collection[str]:
        return self._of_datum.get(record.hash, ())

    def put_alert(self, alert: Alert) -> None:
        self._alerts[alert.id] = self._put[alert.id] = alert
        self._looked_for.add(alert.id)
        self._of_datum.setdefault(alert.datum_hash, []).append(alert.id)

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        alert = self.alert(id_)
        if alert is None:
            return
        if alert.state is AlertState.SENDING:
            self._withdrawn[id_] = True
        elif delivery.is_open(alert):
            self.put_alert(delivery.canceled(alert, now_s))

    def share_alert(self, alert: Alert) -> None:
        self._alerts[alert.id] = alert
        self._withdrawn[alert.id] = False
        if alert.id in self._put:
            self._put[alert.id] = alert
        else:
            self._shared[alert.id] = alert

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write all that changed."""
        many = self._connection.executemany
        self._write_records()
        many("DELETE FROM slots WHERE stage = ? AND key = ?", self._removed)
        saved = list(self._saved.values())
        moved_on = [row for row in saved if row.record is not self._records.get((row.stage, row.key))]
        save_states(self._connection, [row for row in saved if row.record is self._records.get((row.stage, row.key))])
        many(
            _SAVE_ALL,
            [self._record_fields(row) + state for row, state in zip(moved_on, states_of(moved_on), strict=True)],
        )
        many(MARK, self._marks)
        moved = [(path, self._holders[path]) for path in self._moved]
        many("INSERT OR REPLACE INTO paths VALUES (?, ?, ?, ?)", [(*p, *holder) for p, holder in moved if holder])
        many("DELETE FROM paths WHERE bucket = ? AND key = ?", [path for path, holder in moved if holder is None])
        many(
            "INSERT OR REPLACE INTO changes (bucket, key, sha256, size, version) VALUES (?, ?, ?, ?, ?)",
            [_change_fields(change) for change in self._changes.values()],
        )
        self._write_tallies()
        many(
            "UPDATE alerts SET body = ? WHERE id = ?",
            [(codec.write_alert(alert), alert.id) for alert in self._shared.values()],
        )
        save_alerts(self._connection, self._put.values())
        withdrawn = [(flag, id_) for id_, flag in self._withdrawn.items()]
        many("UPDATE alerts SET withdrawn = ? WHERE id = ?", withdrawn)
        self._policy.write()

    def _write_records(self) -> None:
        if not self._kept:
            return
        many = self._connection.executemany
        ((last,),) = self._connection.execute("SELECT coalesce(max(id), 0) FROM records").fetchall()
        for hash_ in self._kept:
            if hash_ not in self._ids:
                last += 1
                self._ids[hash_] = last
        many(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            [(self._ids[r.hash], r.hash, r.stage, r.key, self._bodies[r.hash]) for r in self._kept.values()],
        )
        many(
            "DELETE FROM makers WHERE bucket = ? AND key = ? AND record = ?",
            [
                (ref.bucket, ref.key, self._ids[hash_])
                for hash_, former in self._former.items()
                if hash_ in self._kept
                for ref in former.outputs
            ],
        )
        made = next_number(self._connection, "made", len(self._kept))
        many(
            "INSERT OR REPLACE INTO makers VALUES (?, ?, ?, ?)",
            [
                (ref.bucket, ref.key, self._ids[record.hash], made + n)
                for n, record in enumerate(self._kept.values())
                for ref in record.outputs
            ],
        )
        many(
            "INSERT OR IGNORE INTO users VALUES (?, ?)",
            [(bytes.fromhex(item.ref.sha256), record.hash) for record in self._kept.values() for item in record.inputs],
        )

    def _record_fields(self, row: SlotState) -> tuple[object, ...]:
        record = row.record
        if record is None:
            return (None, None, None, None, 0, row.proven)
        outputs = len(record.outputs)
        id_ = self._ids[record.hash]
        return (id_, record.group, record.at_s, record.label, outputs, row.proven)

    def _write_tallies(self) -> None:
        many = self._connection.executemany
        sums = [(group, name, count) for (group, name), count in self._sums.items() if count]
        many("INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", sums)
        taken = [(group, name) for group, name, count in sums if count < 0]
        many("DELETE FROM tallies WHERE grp = ? AND name = ? AND n = 0", taken)
        live = [(group, count) for group, count in self._live.items() if count]
        many("INSERT INTO groups VALUES (?, ?) ON CONFLICT DO UPDATE SET live = live + excluded.live", live)
        many("DELETE FROM groups WHERE grp = ? AND live = 0", [(group,) for group, count in live if count < 0])


_SAVE_ALL = SAVE_STATE.replace("SET", "SET record = ?, grp = ?, at_s = ?, label = ?, outputs = ?, proven = ?,", 1)


def _change_fields(change: Publish) -> tuple[object, ...]:
    ref = change.ref
    content = (ref.sha256, ref.size, ref.version) if ref is not None else (None, None, None)
    return (change.bucket, change.key, *content)
