"""Sessions and claims in SQLite: who holds which slot, and what becomes of the slots of the dead and the late."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from lookout.domain.records import Claim, Mark, State
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.claims import Cohort, FreeSlots, Listed, choose
from lookout.ledger.rules.slots import SlotState
from lookout.ledger.sqlite import liveness as owners
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.outbox import free_alerts
from lookout.ledger.sqlite.rows import MARK, SLOT, Part, next_number, save_states, to_rows

_FREE: Final = "s.stage = ? AND s.dirty > 0 AND s.owner IS NULL"


class ClaimsPart(Part):
    """See ``Ledger``."""

    # --- sessions ---------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[str]:
        folder = self._db.lock_folder()
        life = owners.Life(folder)
        try:
            with self._db.write() as connection:
                self._bury_dead(connection, life.owner)
                connection.execute("INSERT INTO owners VALUES (?, ?)", (life.owner, self._clock()))
                owners.sweep(folder, {name for (name,) in connection.execute("SELECT name FROM owners")})
            try:
                yield life.owner
            finally:
                with self._db.write() as connection:
                    self._leave(connection, life.owner)
        finally:
            life.end()

    def _leave(self, connection: sqlite3.Connection, owner: str) -> None:
        now_s = self._clock()
        rows = to_rows(connection.execute(f"{_bare()} WHERE s.owner = ?", (owner,)))
        for row in rows:
            settling.let_go(row, State.KILLED, now_s)
        save_states(connection, rows)
        _end(connection, owner, "stopped", now_s)

    def _bury_dead(self, connection: sqlite3.Connection, owner: str) -> None:
        """Free what dead owners held. Cheap when all are alive: one lock is tried for each of the others."""
        folder = self._db.lock_folder()
        others = connection.execute("SELECT name FROM owners WHERE name <> ?", (owner,)).fetchall()
        now_s = self._clock()
        for (other,) in others:
            if owners.is_dead(folder, other):
                self._lose(connection, "s.owner = ?", other, now_s)
                _end(connection, other, "lost", now_s)
                owners.forget(folder, other)

    def _lose(self, connection: sqlite3.Connection, condition: str, value: object, now_s: float) -> None:
        sql = f"{_bare()} WHERE s.owner IS NOT NULL AND {condition}"
        rows = to_rows(connection.execute(sql, (value,)))
        if rows:
            settling.lose(rows, now_s)
            save_states(connection, rows)

    # --- marks and claims -------------------------------------------------------------------------------------------

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        now_s = self._clock()
        names = [(mark.stage, mark.key) for mark in marks]
        with self._db.write() as connection:
            connection.executemany(MARK, [(*name, now_s) for name in names])
            if revive:
                connection.executemany("UPDATE slots SET tries = 0, losses = 0 WHERE stage = ? AND key = ?", names)
            if salt is not None:
                connection.executemany(
                    "UPDATE slots SET salt = ? WHERE stage = ? AND key = ?", [(salt, *name) for name in names]
                )
        return len(names)

    def claim(
        self,
        stage: str,
        owner: str,
        limit: int,
        lease_s: float,
        keys: Collection[str] | None = None,
        behind: Collection[str] = (),
    ) -> list[Claim]:
        now_s = self._clock()
        with self._db.write() as connection:
            if connection.execute("SELECT 1 FROM owners WHERE name = ?", (owner,)).fetchone() is None:
                raise ValueError(f"expected the owner of an open session, got {owner!r}")
            self._bury_dead(connection, owner)
            self._lose(connection, "s.lease_end_s <= ?", now_s, now_s)
            rows = choose(_find_free(connection, stage, keys, tuple(behind)), limit)
            if not rows:
                return []
            token = next_number(connection, "token")
            claims = [settling.hold(row, owner, token, now_s, lease_s) for row in rows]
            connection.executemany(
                "UPDATE slots SET state = ?, token = ?, owner = ?, lease_end_s = ?, updated_at_s = ?"
                " WHERE stage = ? AND key = ?",
                [
                    (row.state.value, token, owner, row.lease_end_s, row.updated_at_s, row.stage, row.key)
                    for row in rows
                ],
            )
        return claims

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        if not claims:
            return []
        with self._db.write() as connection:
            now_s = self._clock()
            return [
                connection.execute(
                    "UPDATE slots SET lease_end_s = ? WHERE stage = ? AND key = ? AND owner = ? AND token = ?"
                    " AND lease_end_s > ?",
                    (now_s + lease_s, claim.stage, claim.key, claim.owner, claim.token, now_s),
                ).rowcount
                == 1
                for claim in claims
            ]


def _bare() -> str:
    """``SLOT`` without reading records: for slots that are taken away, whose records do not change."""
    return (
        SLOT.format(index="")
        .replace("r.hash, r.body", "NULL, NULL")
        .replace("LEFT JOIN records r ON r.id = s.record", "")
    )


def _end(connection: sqlite3.Connection, owner: str, run_state: str, now_s: float) -> None:
    """Close all that an owner leaves behind beside its slots."""
    free_alerts(connection, owner, now_s)
    connection.execute(
        "UPDATE runs SET state = ?, ended_at_s = ? WHERE owner = ? AND state = 'running'", (run_state, now_s, owner)
    )
    connection.execute(
        "UPDATE batches SET state = 'open', owner = NULL, losses = losses + ?, updated_at_s = ? WHERE owner = ?",
        (run_state == "lost", now_s, owner),
    )
    connection.execute("DELETE FROM owners WHERE name = ?", (owner,))


class _Free:
    """See ``rules.claims.FreeSlots``: free slots of a stage, by the index of such."""

    def __init__(self, connection: sqlite3.Connection, stage: str, behind: Sequence[str]) -> None:
        self._connection, self._ready, self._names = connection, _ready(behind), (stage, *behind)
        self._indexed = SLOT.format(index="INDEXED BY slots_free")

    def fresh(self, limit: int) -> list[SlotState]:
        sql = f"{self._indexed} WHERE {self._ready} AND s.suspect = 0 AND s.cohort = 0 ORDER BY s.key LIMIT ?"
        return to_rows(self._connection.execute(sql, (*self._names, limit)))

    def worst(self) -> Cohort | None:
        found = self._connection.execute(
            f"SELECT s.suspect, s.cohort FROM slots s INDEXED BY slots_free WHERE {self._ready} AND s.suspect > 0"  # noqa: S608
            " ORDER BY s.suspect DESC, s.cohort DESC LIMIT 1",
            self._names,
        ).fetchone()
        return None if found is None else Cohort(*found)

    def of(self, cohort: Cohort, limit: int) -> list[SlotState]:
        sql = f"{self._indexed} WHERE {self._ready} AND s.suspect = ? AND s.cohort = ? ORDER BY s.key LIMIT ?"
        return to_rows(self._connection.execute(sql, (*self._names, *cohort, limit)))


def _find_free(
    connection: sqlite3.Connection, stage: str, keys: Collection[str] | None, behind: Sequence[str]
) -> FreeSlots[SlotState]:
    """Return the slots that a claim may take: all of the stage, or those of the keys."""
    if keys is None:
        return _Free(connection, stage, behind)
    sql = f"{SLOT.format(index='')} WHERE {_ready(behind)} AND s.key IN ({{}})"
    return Listed(to_rows(select_in(connection, sql, (stage, *behind), set(keys))))


def _ready(behind: Sequence[str]) -> str:
    """Return the condition on free slots of a stage whose key waits in none of the stages before it: takes their
    names."""
    if not behind:
        return _FREE
    places = ", ".join("?" * len(behind))
    waits = f"SELECT 1 FROM slots u WHERE u.stage IN ({places}) AND u.key = s.key AND u.dirty > 0"  # noqa: S608
    return f"{_FREE} AND NOT EXISTS ({waits})"
