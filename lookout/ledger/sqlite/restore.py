"""Filling an empty ledger in SQLite with the entries of a snapshot, and with all that is computed from them.

Many rows a statement; the caller's transaction makes it all or nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from lookout.domain.errors import Corrupt
from lookout.domain.records import Alert, ObjectRef, Observation, Record, Reference
from lookout.ledger import codec
from lookout.ledger.maintenance import Basis, Entry, KeptPath, KeptSlot, Note, PolicyText
from lookout.ledger.port import RunRecord
from lookout.ledger.rules import slots as settling
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.outbox import save_alerts
from lookout.ledger.sqlite.rows import next_number
from lookout.object_store.port import Publish

T = TypeVar("T")

BATCH: Final = 1000

_SLOT: Final = """
    INSERT INTO slots (record, grp, at_s, label, outputs, stage, key, state, dirty, token, tries, losses, suspect,
        cohort, salt, error, updated_at_s, proven)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class Filler:
    """Takes entries in the order of a snapshot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: list[Entry] = []
        self._token = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[tuple[str, str]] = Counter()
        self._live: Counter[str] = Counter()

    def add(self, entry: Entry) -> None:
        """Take one entry. Raises Corrupt for one that names a record that did not come before it."""
        if self._waiting and (type(entry) is not type(self._waiting[0]) or len(self._waiting) == BATCH):
            self._flush()
        self._waiting.append(entry)

    def finish(self) -> None:
        """Write what waits, and the sums."""
        self._flush()
        many = self._connection.executemany
        many("INSERT INTO input_counts VALUES (?, ?, ?)", [(*name, n) for name, n in self._counts.items()])
        many("INSERT INTO tallies VALUES (?, ?, ?)", [(*name, n) for name, n in self._sums.items() if n])
        many("INSERT INTO groups VALUES (?, ?)", [(group, n) for group, n in self._live.items() if n])
        self._connection.execute("UPDATE counters SET n = max(n, ?) WHERE name = 'token'", (self._token,))

    def _flush(self) -> None:
        """Write what waits, which is all of one kind."""
        todo, self._waiting = self._waiting, []
        notes = [(e.name, e.value) for e in todo if isinstance(e, Note)]
        self._many("INSERT INTO notes VALUES (?, ?)", notes)
        bases = [(e.stage, e.basis) for e in todo if isinstance(e, Basis)]
        self._many("INSERT INTO bases VALUES (?, ?)", bases)
        units = [(e.bucket, e.name, codec.write_reference(e)) for e in todo if isinstance(e, Reference)]
        self._many("INSERT INTO refs VALUES (?, ?, ?)", units)
        self._inputs([e for e in todo if isinstance(e, Observation)])
        self._records([e for e in todo if isinstance(e, Record)])
        self._slots([e for e in todo if isinstance(e, KeptSlot)])
        self._paths([e for e in todo if isinstance(e, KeptPath)])
        changes = [(e.bucket, e.key, *_content(e.ref)) for e in todo if isinstance(e, Publish)]
        self._many("INSERT INTO changes (bucket, key, sha256, size, version) VALUES (?, ?, ?, ?, ?)", changes)
        save_alerts(self._connection, [e for e in todo if isinstance(e, Alert)])
        texts = [(*e.name, e.text) for e in todo if isinstance(e, PolicyText)]
        self._many("INSERT INTO policy VALUES (?, ?, ?, ?)", texts)
        self._runs([e for e in todo if isinstance(e, RunRecord)])

    def _many(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._connection.executemany(sql, rows)

    def _inputs(self, seen: Sequence[Observation]) -> None:
        self._many(
            "INSERT INTO inputs (bucket, key, origin, sha256, size, version, fingerprint, observed_at_s, error)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(e.bucket, e.key, e.origin, *_content(e.ref), e.fingerprint, e.observed_at_s, e.error) for e in seen],
        )
        self._counts.update((e.bucket, e.origin) for e in seen)

    def _records(self, records: Sequence[Record]) -> None:
        self._many(
            "INSERT INTO records (hash, stage, key, body) VALUES (?, ?, ?, ?)",
            [(e.hash, e.stage, e.key, codec.write_record(e)) for e in records],
        )
        self._many(
            "INSERT OR IGNORE INTO users VALUES (?, ?)",
            [(bytes.fromhex(item.ref.sha256), e.hash) for e in records for item in e.inputs],
        )

    def _slots(self, slots: Sequence[KeptSlot]) -> None:
        live = self._find_records({e.hash for e in slots if e.hash is not None})
        self._token = max([self._token, *(e.token for e in slots)])
        rows: list[tuple[object, ...]] = []
        for e in slots:
            about: tuple[object, ...] = (None, None, None, None, 0)
            if e.hash is not None:
                id_, record = _get(live, e.hash)
                about = (id_, record.group, record.at_s, record.label, len(record.outputs))
                self._tally(record)
            rows.append(
                (*about, e.stage, e.key, e.state.value, e.dirty, e.token, e.tries, e.losses, e.suspect, e.cohort,
                 e.salt, e.error, e.updated_at_s, e.proven)
            )  # fmt: skip
        self._many(_SLOT, rows)

    def _find_records(self, hashes: set[str]) -> dict[str, tuple[int, Record]]:
        sql = "SELECT id, hash, stage, key, body FROM records WHERE hash IN ({})"
        found = list(select_in(self._connection, sql, [], hashes))
        records = codec.read_records([(hash_, stage, key, body) for _, hash_, stage, key, body in found])
        return {record.hash: (row[0], record) for row, record in zip(found, records, strict=True)}

    def _tally(self, record: Record) -> None:
        for name, count in record.counts.items():
            self._sums[record.group, name] += count
        if settling.is_tallied(record):
            self._live[record.group] += 1

    def _paths(self, paths: Sequence[KeptPath]) -> None:
        self._many("INSERT INTO paths VALUES (?, ?, ?, ?)", [(e.bucket, e.key, *e.holder) for e in paths if e.holder])
        hashes = {hash_ for e in paths for hash_ in e.makers}
        sql = "SELECT hash, id FROM records WHERE hash IN ({})"
        ids: dict[str, int] = dict(select_in(self._connection, sql, [], hashes))
        made = [(e.bucket, e.key, _get(ids, hash_)) for e in paths for hash_ in e.makers]
        if made:
            first = next_number(self._connection, "made", len(made))
            self._many("INSERT INTO makers VALUES (?, ?, ?, ?)", [(*row, first + n) for n, row in enumerate(made)])

    def _runs(self, runs: Sequence[RunRecord]) -> None:
        self._many(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (e.id, e.kind, e.owner, e.started_at_s, e.ended_at_s, e.state,
                 codec.write_object(e.summary) if e.summary is not None else None)
                for e in runs
            ],
        )  # fmt: skip


def _get(found: Mapping[str, T], hash_: str) -> T:
    try:
        return found[hash_]
    except KeyError:
        raise Corrupt("the entries of a ledger", f"the record {hash_} before what names it", "none") from None


def _content(ref: ObjectRef | None) -> tuple[str | None, int | None, str | None]:
    return (ref.sha256, ref.size, ref.version) if ref is not None else (None, None, None)
