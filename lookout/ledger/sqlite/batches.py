"""Batches in SQLite, and which slots wait. A batch's keys lie in its row, those of unfinished ones in a table too."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from heapq import merge
from itertools import takewhile
from typing import Any, Final

from lookout.domain.errors import Corrupt
from lookout.domain.records import JsonObject
from lookout.ledger import batches as batching
from lookout.ledger import codec
from lookout.ledger.batches import LIVE, UNFINISHED, Batch, BatchLedger, BatchState
from lookout.ledger.sqlite.claims import ClaimsPart
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.rows import next_number, read_state

PAGE: Final = 500
BATCHES_PAGE: Final = 50

_COLUMNS: Final = "id, kind, run, created_at_s, state, owner, token, lease_end_s, losses, updated_at_s, body"
_KEEP: Final = """
    UPDATE batches SET state = ?, owner = ?, token = ?, lease_end_s = ?, losses = ?, updated_at_s = ? WHERE id = ?
"""
_FRESH: Final = """
    SELECT key FROM slots INDEXED BY slots_free WHERE stage = ? AND dirty > 0 AND owner IS NULL AND suspect = 0
        AND cohort = 0 AND key {comparison} ? ORDER BY key LIMIT ?
"""
_SUSPECT: Final = """
    SELECT key FROM slots INDEXED BY slots_free WHERE stage = ? AND dirty > 0 AND owner IS NULL AND suspect > 0
        AND key {comparison} ?
"""
_HELD: Final = """
    SELECT key FROM slots INDEXED BY slots_held WHERE owner IS NOT NULL AND stage = ? AND dirty > 0
        AND key {comparison} ?
"""


class BatchesPart(ClaimsPart, BatchLedger):
    """See ``BatchLedger``."""

    def dirty(self, stage: str, prefix: str = "", after: str | None = None) -> Iterator[str]:
        start, comparison = (after, ">") if after is not None and after >= prefix else (prefix, ">=")
        while True:
            page, is_last = self._dirty_page(stage, start, comparison)
            for key in page:
                if not key.startswith(prefix):
                    return
                yield key
            if is_last:
                return
            start, comparison = page[-1], ">"

    def _dirty_page(self, stage: str, start: str, comparison: str) -> tuple[list[str], bool]:
        """Return the next keys in order, and whether there are no more. In one snapshot, as a slot may go from free to
        held and back. Few are held or suspect at a time, so all of these are read for each page of the others."""
        with self._db.read() as connection:
            fresh = [key for (key,) in connection.execute(_FRESH.format(comparison=comparison), (stage, start, PAGE))]
            others = sorted(
                key
                for sql in (_SUSPECT, _HELD)
                for (key,) in connection.execute(sql.format(comparison=comparison), (stage, start))
            )
        is_last = len(fresh) < PAGE
        if not is_last:
            others = [key for key in others if key < fresh[-1]]
        return list(merge(fresh, others)), is_last

    # --- adding and taking ------------------------------------------------------------------------------------------

    def add_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        batching.check_new(batches)
        added = []
        for batch in batches:
            with self._db.write() as connection:
                kept = self._add(connection, batch)
            if kept is not None:
                added.append(kept)
        return added

    def _add(self, connection: sqlite3.Connection, batch: Batch) -> Batch | None:
        if batch.run:
            batching.check_run(batch.run, _run_state(connection, batch.run))
        if _find(connection, batch.id) is not None:
            raise ValueError(f"expected a new batch id, got {batch.id!r} again")
        sql = "SELECT key FROM batched WHERE key IN ({})"
        held = {key for (key,) in select_in(connection, sql, [], batch.keys)}
        kept = batching.without(batch, held, self._clock())
        if kept is None:
            return None
        connection.execute(
            f"INSERT INTO batches ({_COLUMNS}, later) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                kept.id, kept.kind, kept.run, kept.created_at_s, kept.state.value, kept.owner, kept.token,
                kept.lease_end_s, kept.losses, kept.updated_at_s,
                codec.write_object({"keys": kept.keys, "basis": kept.basis}), kept.kind != LIVE,
            ),
        )  # fmt: skip
        connection.executemany("INSERT INTO batched VALUES (?)", [(key,) for key in kept.keys])
        return kept

    def take_batch(self, owner: str, lease_s: float, *, id_: str | None = None, run: str | None = None) -> Batch | None:
        with self._db.write() as connection:
            if connection.execute("SELECT 1 FROM owners WHERE name = ?", (owner,)).fetchone() is None:
                raise ValueError(f"expected the owner of an open session, got {owner!r}")
            now_s = self._clock()
            self._bury_dead(connection, owner)
            connection.execute(
                "UPDATE batches SET state = 'open', owner = NULL, losses = losses + 1, updated_at_s = ?1"
                " WHERE owner IS NOT NULL AND lease_end_s <= ?1",
                (now_s,),
            )
            first = _first_open(connection, id_, run)
            if first is None:
                return None
            held = batching.taken(first, owner, next_number(connection, "token"), now_s, lease_s)
            _keep(connection, held)
            return held

    # --- holding, letting go, ending --------------------------------------------------------------------------------

    def extend_batches(self, taken: Sequence[Batch], lease_s: float) -> list[bool]:
        if not taken:
            return []
        answers = []
        with self._db.write() as connection:
            now_s = self._clock()
            for claim in taken:
                known = _find(connection, claim.id)
                held = known is not None and known.held_by(claim, now_s)
                if known is not None and held:
                    _keep(connection, replace(known, lease_end_s=now_s + lease_s))
                answers.append(held)
        return answers

    def release_batch(self, taken: Batch) -> None:
        with self._db.write() as connection:
            now_s = self._clock()
            known = batching.check_held(_find(connection, taken.id), taken, now_s)
            _keep(connection, batching.opened(known, now_s, lost=False))

    def end_batch(self, taken: Batch) -> None:
        with self._db.write() as connection:
            now_s = self._clock()
            known = batching.check_held(_find(connection, taken.id), taken, now_s)
            _keep(connection, batching.done(known, now_s))
            connection.executemany("DELETE FROM batched WHERE key = ?", [(key,) for key in known.keys])

    # --- looking ----------------------------------------------------------------------------------------------------

    def find_batches(self, ids: Collection[str]) -> dict[str, Batch]:
        sql = f"SELECT {_COLUMNS} FROM batches WHERE id IN ({{}})"  # noqa: S608
        with self._db.read() as connection:
            return {batch.id: batch for batch in map(_batch, select_in(connection, sql, [], set(ids)))}

    def batches(
        self, *, run: str | None = None, states: Collection[BatchState] = (), after: str = ""
    ) -> Iterator[Batch]:
        wanted = sorted(set(states or BatchState))
        places = ", ".join("?" * len(wanted))
        index, condition = ("batches_state", "") if run is None else ("batches_run", "run = ? AND ")
        named = [] if run is None else [run]
        while True:
            with self._db.read() as connection:
                page = connection.execute(
                    f"SELECT {_COLUMNS} FROM batches INDEXED BY {index}"  # noqa: S608
                    f" WHERE {condition}state IN ({places}) AND id > ? ORDER BY id LIMIT ?",
                    (*named, *wanted, after, BATCHES_PAGE),
                ).fetchall()
            yield from map(_batch, page)
            if len(page) < BATCHES_PAGE:
                return
            after = page[-1][0]

    def count_batches(self, run: str | None = None) -> dict[BatchState, int]:
        condition, named = ("", ()) if run is None else (" WHERE run = ?", (run,))
        with self._db.read() as connection:
            rows = connection.execute(
                f"SELECT state, count(*) FROM batches{condition} GROUP BY state",  # noqa: S608
                named,
            ).fetchall()
        return {read_state(BatchState, state): n for state, n in rows}

    # --- the end of runs and of what is remembered ------------------------------------------------------------------

    def close_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> bool:
        text = codec.write_object(summary)
        with self._db.write() as connection:
            if _run_state(connection, run_id) != "running":
                return False
            unfinished = "SELECT 1 FROM batches WHERE run = ? AND state IN (?, ?) LIMIT 1"
            if connection.execute(unfinished, (run_id, *UNFINISHED)).fetchone() is not None:
                return False
            connection.execute(
                "UPDATE runs SET state = ?, ended_at_s = ?, summary = ? WHERE id = ?", (state, ended_at_s, text, run_id)
            )
            return True

    def expire_batches(self, before_s: float, limit: int = 1000) -> int:
        with self._db.write() as connection:
            first = connection.execute(
                "SELECT id, updated_at_s FROM batches INDEXED BY batches_state"
                " WHERE state = 'done' ORDER BY id LIMIT ?",
                (limit,),
            )
            old = [(id_,) for id_, _ in takewhile(lambda row: row[1] < before_s, first)]
            connection.executemany("DELETE FROM batches WHERE id = ?", old)
            return len(old)


def _run_state(connection: sqlite3.Connection, run: str) -> str:
    row = connection.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
    if row is None:
        raise KeyError(run)
    return str(row[0])


def _first_open(connection: sqlite3.Connection, id_: str | None, run: str | None) -> Batch | None:
    if id_ is not None:
        found = _find(connection, id_)
        right = found is not None and found.state is BatchState.OPEN and run in (None, found.run)
        return found if right else None
    index, condition = ("batches_open", "") if run is None else ("batches_run", "run = ? AND ")
    named = [] if run is None else [run]
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM batches INDEXED BY {index}"  # noqa: S608
        f" WHERE {condition}state = 'open' ORDER BY later, id LIMIT 1",
        named,
    ).fetchone()
    return _batch(row) if row is not None else None


def _find(connection: sqlite3.Connection, id_: str) -> Batch | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM batches WHERE id = ?", (id_,)).fetchone()  # noqa: S608
    return _batch(row) if row is not None else None


def _keep(connection: sqlite3.Connection, batch: Batch) -> None:
    state = (batch.state.value, batch.owner, batch.token, batch.lease_end_s, batch.losses, batch.updated_at_s)
    connection.execute(_KEEP, (*state, batch.id))


def _batch(row: tuple[Any, ...]) -> Batch:
    id_, kind, run, created_at_s, state, owner, token, lease_end_s, losses, updated_at_s, text = row
    body: Any = codec.read_object(f"batch {id_}", text)
    try:
        keys, basis = body["keys"], body["basis"]
        return Batch(
            id=id_,
            kind=kind,
            keys=tuple(keys),
            created_at_s=created_at_s,
            run=run,
            basis=basis,
            state=read_state(BatchState, state),
            owner=owner,
            token=token,
            lease_end_s=lease_end_s,
            losses=losses,
            updated_at_s=updated_at_s,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise Corrupt(f"batch {id_}", "keys and basis as they were written", repr(text[:80])) from exc
