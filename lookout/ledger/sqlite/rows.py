"""Access shared by the parts of the SQLite ledger: the connection, the clock, and the decoding of a slot's row."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from lookout.domain.errors import Corrupt
from lookout.domain.records import ObjectRef, Record, State
from lookout.ledger import codec
from lookout.ledger.port import DAMAGED_HINT, Ledger
from lookout.ledger.rules.slots import SlotState
from lookout.ledger.sqlite.database import Database
from lookout.object_store.port import Publish

StateT = TypeVar("StateT", bound=StrEnum)

SLOT: Final = """
    SELECT s.stage, s.key, s.state, s.dirty, s.token, s.owner, s.lease_end_s, s.tries, s.losses, s.suspect, s.cohort,
           s.salt, s.error, s.updated_at_s, s.proven, s.record, r.hash, r.body
    FROM slots s {index} LEFT JOIN records r ON r.id = s.record
"""

_HASH: Final = 16
_BODY: Final = 17

MARK: Final = """
    INSERT INTO slots (stage, key, dirty, updated_at_s) VALUES (?, ?, 1, ?)
    ON CONFLICT DO UPDATE SET tries = iif(dirty = 0, 0, tries), losses = iif(dirty = 0, 0, losses),
        dirty = dirty + 1, updated_at_s = excluded.updated_at_s
"""
"""``settling.touch`` as one statement: of (stage, key, now_s)."""


class Part(Ledger):
    """The common part. ``path`` is the ledger's file, ``clock`` gives Unix seconds, ``writing`` is that of
    ``Database``."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, writing: bool = True) -> None:
        self._clock = clock
        self._db = Database(path, writing=writing)

    def close(self) -> None:
        self._db.close()


def to_rows(found: Iterable[Sequence[Any]]) -> list[SlotState]:
    """Return the slots of the rows of ``SLOT``, in their order. Raises Corrupt."""
    table = list(found)
    if other := next((columns[:2] for columns in table if type(columns[1]) is not str), None):
        raise Corrupt("a row of the ledger", "stage and key", repr(other), DAMAGED_HINT)
    with_record = [(columns[_HASH], columns[0], columns[1], columns[_BODY]) for columns in table if columns[_HASH]]
    records, damage = _read_records(with_record)
    return [
        SlotState(
            stage,
            key,
            read_state(State, state),
            records.get(hash_),
            dirty,
            token,
            owner,
            lease_end_s,
            tries,
            losses,
            suspect,
            cohort,
            salt,
            error,
            updated_at_s,
            bool(proven),
            damage.get(hash_),
        )
        for stage, key, state, dirty, token, owner, lease_end_s, tries, losses, suspect, cohort, salt, error,
            updated_at_s, proven, _, hash_, _ in table
    ]  # fmt: skip


def _read_records(rows: Sequence[tuple[str, str, str, str]]) -> tuple[dict[str, Record], dict[str, str]]:
    """Return the records by their hashes, and, of those that cannot be read, why: one of them harms no other."""
    records: dict[str, Record] = {}
    damage: dict[str, str] = {}
    try:
        return {record.hash: record for record in codec.read_records(rows)}, damage
    except Corrupt:
        for row in rows:
            try:
                records[row[0]] = codec.read_record(*row)
            except Corrupt as exc:
                damage[row[0]] = str(exc)
    return records, damage


def read_state(kind: type[StateT], value: str) -> StateT:
    """Return the state that a column says. Raises Corrupt for a text that is none of this kind."""
    try:
        return kind(value)
    except ValueError as exc:
        raise Corrupt("a row of the ledger", f"one of {', '.join(kind)}", repr(value), DAMAGED_HINT) from exc


def read_change(bucket: str, key: str, sha256: str | None, size: int, version: str | None) -> Publish:
    """Return a noted change of what is visible. Raises Corrupt."""
    try:
        ref = None
        if sha256 is not None:
            ref = ObjectRef(bucket=bucket, key=key, sha256=sha256, size=size, version=version)
        return Publish(bucket=bucket, key=key, ref=ref)
    except (TypeError, ValueError) as exc:
        raise Corrupt("a change noted in the ledger", "a version of an object", str(exc), DAMAGED_HINT) from exc


def states_of(rows: Collection[SlotState]) -> Iterator[tuple[object, ...]]:
    """Parameters of ``SAVE_STATE``, a row each."""
    for row in rows:
        yield (
            row.state.value, row.dirty, row.token, row.owner, row.lease_end_s, row.tries, row.losses, row.suspect,
            row.cohort, row.salt, row.error, row.updated_at_s, row.stage, row.key,
        )  # fmt: skip


SAVE_STATE: Final = """
    UPDATE slots SET state = ?, dirty = ?, token = ?, owner = ?, lease_end_s = ?, tries = ?, losses = ?, suspect = ?,
        cohort = ?, salt = ?, error = ?, updated_at_s = ? WHERE stage = ? AND key = ?
"""


def save_states(connection: sqlite3.Connection, rows: Collection[SlotState]) -> None:
    """Keep all of the rows but their records."""
    connection.executemany(SAVE_STATE, states_of(rows))


def next_number(connection: sqlite3.Connection, name: str, count: int = 1) -> int:
    """Take ``count`` numbers of a sequence; gives the first of them."""
    ((last,),) = connection.execute(
        "UPDATE counters SET n = n + ? WHERE name = ? RETURNING n", (count, name)
    ).fetchall()
    return int(last) - count + 1
