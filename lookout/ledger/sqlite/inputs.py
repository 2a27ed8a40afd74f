"""Inputs, references, bases and notes in SQLite: what is to be read, and on which basis slots were planned."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from lookout.domain.records import Observation, Reference
from lookout.ledger import codec
from lookout.ledger.rules.inputs import Name, compare
from lookout.ledger.sqlite.database import by_first, select_in
from lookout.ledger.sqlite.rows import MARK, Part

PAGE: Final = 500
BATCH: Final = 1000
"""Observations in one transaction: long enough to be cheap, short enough not to keep others waiting."""

_COLUMNS: Final = "key, origin, sha256, size, version, fingerprint, observed_at_s, error"
_KEEP: Final = """
    INSERT INTO inputs (bucket, key, origin, sha256, size, version, fingerprint, observed_at_s, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET origin = excluded.origin, sha256 = excluded.sha256, size = excluded.size,
        version = excluded.version, fingerprint = excluded.fingerprint, observed_at_s = excluded.observed_at_s,
        error = excluded.error
"""


class InputsPart(Part):
    """See ``Ledger``."""

    # --- inputs -----------------------------------------------------------------------------------------------------

    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        # Pages, not one open cursor: a reader that takes its time must not keep the log from being folded in.
        start, comparison = (after, ">") if after >= prefix else (prefix, ">=")
        while True:
            with self._db.read() as connection:
                page = connection.execute(
                    f"SELECT {_COLUMNS} FROM inputs WHERE bucket = ? AND key {comparison} ? ORDER BY key LIMIT ?",  # noqa: S608
                    (bucket, start, PAGE),
                ).fetchall()
            for seen in codec.build_inputs(bucket, page):
                if not seen.key.startswith(prefix):
                    return
                yield seen
            if len(page) < PAGE:
                return
            start, comparison = page[-1][0], ">"

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        with self._db.read() as connection:
            return _find(connection, bucket, keys)

    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        with self._db.read() as connection:
            ((count,),) = connection.execute(
                "SELECT coalesce(sum(n), 0) FROM input_counts WHERE bucket = ? AND (?2 IS NULL OR origin = ?2)",
                (bucket, origin),
            )
        return int(count)

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        source = iter(observations)
        differed = 0
        while batch := list(islice(source, BATCH)):
            differed += self._observe(batch, readers)
        return differed

    def _observe(self, batch: Sequence[Observation], readers: Sequence[str]) -> int:
        now_s = self._clock()
        with self._db.write() as connection:
            known: dict[Name, Observation] = {}
            for bucket, keys in by_first([(seen.bucket, seen.key) for seen in batch]).items():
                known.update(((bucket, key), seen) for key, seen in _find(connection, bucket, keys).items())
            changes = compare(known, batch)
            gone = [name for name, seen in changes.writes.items() if seen is None]
            connection.executemany(_KEEP, [_fields(seen) for seen in changes.writes.values() if seen is not None])
            connection.executemany("DELETE FROM inputs WHERE bucket = ? AND key = ?", gone)
            connection.executemany(
                "INSERT INTO input_counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                [(*name, count) for name, count in changes.counts.items()],
            )
            connection.executemany(MARK, [(stage, key, now_s) for stage in readers for key in changes.changed])
        return len(changes.changed)

    # --- references and bases ---------------------------------------------------------------------------------------

    def references(self, bucket: str) -> tuple[Reference, ...]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT name, body FROM refs WHERE bucket = ? ORDER BY name", (bucket,)
            ).fetchall()
        return tuple(codec.read_reference(bucket, name, body) for name, body in rows)

    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        rows = [(bucket, reference.name, codec.write_reference(reference)) for reference in references]
        with self._db.write() as connection:
            connection.execute("DELETE FROM refs WHERE bucket = ?", (bucket,))
            connection.executemany("INSERT OR REPLACE INTO refs VALUES (?, ?, ?)", rows)

    def basis(self, stage: str) -> str | None:
        with self._db.read() as connection:
            row = connection.execute("SELECT basis FROM bases WHERE stage = ?", (stage,)).fetchone()
        return row[0] if row is not None else None

    def rebase(self, stage: str, basis: str) -> int:
        with self._db.write() as connection:
            marked = connection.execute(
                "UPDATE slots SET tries = iif(dirty = 0, 0, tries), losses = iif(dirty = 0, 0, losses),"
                " dirty = dirty + 1, updated_at_s = ? WHERE stage = ? AND state <> 'retracted'",
                (self._clock(), stage),
            ).rowcount
            connection.execute("INSERT OR REPLACE INTO bases VALUES (?, ?)", (stage, basis))
        return marked

    # --- notes ------------------------------------------------------------------------------------------------------

    def find_note(self, name: str) -> str | None:
        with self._db.read() as connection:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return row[0] if row is not None else None

    def put_note(self, name: str, value: str) -> None:
        with self._db.write() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))


def _find(connection: sqlite3.Connection, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
    sql = f"SELECT {_COLUMNS} FROM inputs WHERE bucket = ? AND key IN ({{}})"  # noqa: S608
    return {seen.key: seen for seen in codec.build_inputs(bucket, list(select_in(connection, sql, [bucket], keys)))}


def _fields(seen: Observation) -> tuple[object, ...]:
    ref = seen.ref
    content = (ref.sha256, ref.size, ref.version) if ref is not None else (None, None, None)
    return (seen.bucket, seen.key, seen.origin, *content, seen.fingerprint, seen.observed_at_s, seen.error)
