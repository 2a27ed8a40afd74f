"""Upkeep in SQLite: what live records name, path by path; one snapshot of all for a backup; the size.

A snapshot is one read transaction: writers go on beside it, only the log is not folded in until it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from lookout.domain.records import ObjectRef
from lookout.ledger import codec
from lookout.ledger.maintenance import (
    Basis,
    Entry,
    KeptPath,
    KeptSlot,
    LedgerSize,
    Named,
    Note,
    PolicyText,
    UpkeepLedger,
    at_rest,
    ended,
    refuse_filled,
)
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.restore import Filler
from lookout.ledger.sqlite.rows import SLOT, Part, read_change, to_rows
from lookout.object_store.port import Publish

PAGE: Final = 500

_NAMED: Final = (
    "SELECT p.key, r.hash, r.stage, r.key, r.body FROM paths p JOIN slots s ON s.stage = p.stage AND s.key = p.slot"
    " JOIN records r ON r.id = s.record WHERE p.bucket = ? AND "
)
_PATHS: Final = (
    "SELECT m.bucket, m.key, p.stage, p.slot, r.hash FROM makers m JOIN records r ON r.id = m.record"
    " LEFT JOIN paths p ON p.bucket = m.bucket AND p.key = m.key ORDER BY m.bucket, m.key, m.made"
)
_COUNTED: Final = ("inputs", "slots", "records", "paths", "alerts", "runs")


class UpkeepPart(Part, UpkeepLedger):
    """See ``UpkeepLedger``."""

    # --- beside a store ---------------------------------------------------------------------------------------------

    def named(self, bucket: str, after: str = "") -> Iterator[Named]:
        while True:
            with self._db.read() as connection:
                sql = f"{_NAMED} p.key > ? ORDER BY p.key LIMIT {PAGE}"
                page = connection.execute(sql, (bucket, after)).fetchall()
            yield from _to_named(bucket, page)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def restate(self, bucket: str, keys: Collection[str]) -> dict[str, ObjectRef | None]:
        said: dict[str, ObjectRef | None] = dict.fromkeys(keys)
        with self._db.write() as connection:
            rows = list(select_in(connection, f"{_NAMED} p.key IN ({{}})", [bucket], said))
            said.update((named.ref.key, named.ref) for named in _to_named(bucket, rows))
            connection.executemany(
                "INSERT OR IGNORE INTO changes (bucket, key, sha256, size, version) VALUES (?, ?, ?, ?, ?)",
                [(bucket, key, *_content(ref)) for key, ref in said.items()],
            )
        return said

    # --- saving and filling -----------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Iterator[Entry]]:
        with self._db.read() as connection:
            connection.execute("SELECT 1 FROM meta").fetchone()  # the snapshot is taken by the first reading
            yield self._entries(connection)

    def _entries(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        """Yield all entries; every reading below happens in the transaction that is open."""
        now_s = self._clock()
        for name, value in connection.execute("SELECT name, value FROM notes ORDER BY name"):
            yield Note(name=name, value=value)
        for stage, basis in connection.execute("SELECT stage, basis FROM bases ORDER BY stage"):
            yield Basis(stage=stage, basis=basis)
        for (bucket,) in connection.execute("SELECT DISTINCT bucket FROM refs ORDER BY bucket").fetchall():
            yield from self.references(bucket)
        for (bucket,) in connection.execute("SELECT DISTINCT bucket FROM input_counts ORDER BY bucket").fetchall():
            yield from self.inputs(bucket)
        for page in _pages(connection.execute("SELECT hash, stage, key, body FROM records ORDER BY id")):
            yield from codec.read_records(page)
        for page in _pages(connection.execute(f"{SLOT.format(index='')} ORDER BY s.stage, s.key")):
            yield from map(KeptSlot.of, to_rows(page))
        for (bucket, key, *holder), makers in groupby(connection.execute(_PATHS), key=itemgetter(0, 1, 2, 3)):
            owner = (holder[0], holder[1]) if holder[0] is not None else None
            yield KeptPath(bucket=bucket, key=key, holder=owner, makers=tuple(row[4] for row in makers))
        yield from _changes(connection)
        yield from (at_rest(alert, now_s) for alert in self.alerts())
        for kind, first, second, body in connection.execute("SELECT * FROM policy ORDER BY kind, first, second"):
            yield PolicyText(name=(kind, first, second), text=body)
        yield from (ended(run, now_s) for run in self.runs(-1))

    def load(self, entries: Iterable[Entry]) -> None:
        with self._db.write(durable=True) as connection:
            for table in ("notes", "bases", "refs", "policy", *_COUNTED):
                if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:  # noqa: S608
                    raise refuse_filled(str(self._db.path))
            filler = Filler(connection)
            for entry in entries:
                filler.add(entry)
            filler.finish()

    # --- size -------------------------------------------------------------------------------------------------------

    def size(self) -> LedgerSize:
        with self._db.read() as connection:
            counts: dict[str, int] = {}
            for table in _COUNTED:
                ((counts[table],),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
        return LedgerSize(**counts, used_bytes=_file_bytes(self._db.path))


def _changes(connection: sqlite3.Connection) -> Iterator[Publish]:
    changes = "SELECT bucket, key, sha256, size, version FROM changes ORDER BY seq"
    yield from (read_change(*row) for row in connection.execute(changes))


def _to_named(bucket: str, rows: list[tuple[Any, ...]]) -> Iterator[Named]:
    records = codec.read_records([(hash_, stage, key, body) for _, hash_, stage, key, body in rows])
    for (path, *_), record in zip(rows, records, strict=True):
        for ref in record.outputs:
            if (ref.bucket, ref.key) == (bucket, path):
                yield Named(ref=ref, record=record)


def _content(ref: ObjectRef | None) -> tuple[str | None, int | None, str | None]:
    return (ref.sha256, ref.size, ref.version) if ref is not None else (None, None, None)


def _pages(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while page := cursor.fetchmany(PAGE):
        yield page


def _file_bytes(path: Path) -> int:
    """Return the file and its log; another process may fold the log in meanwhile."""
    total = 0
    for place in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            total += place.stat().st_size
    return total
