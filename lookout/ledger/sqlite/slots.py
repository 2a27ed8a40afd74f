"""The live view of slots in SQLite, and runs: reading slots, counting them, keeping runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from heapq import merge
from typing import Final

from lookout.domain.records import JsonObject, Slot, State
from lookout.ledger import codec
from lookout.ledger.port import RunRecord
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.rows import SLOT, Part, read_state, to_rows

PAGE: Final = 500


class ViewsPart(Part):
    """See ``Ledger``."""

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        sql = SLOT.format(index="") + " WHERE s.stage = ? AND s.key IN ({})"
        with self._db.read() as connection:
            rows = to_rows(select_in(connection, sql, [stage], keys))
        return {row.key: row.slot() for row in rows}

    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: tuple[str, str] = ("", ""),
    ) -> Iterator[Slot]:
        for name in [stage] if stage is not None else self._stages():
            if name < after[0]:
                continue
            # The key "" is a slot's too, so a stage that "after" does not reach begins with it.
            start, comparison = (after[1], ">") if name == after[0] else ("", ">=")
            if prefix > start:
                start, comparison = prefix, ">="
            wanted: list[State | None] = [*sorted(set(states))] or [None]
            streams = [self._stream(name, state, start, comparison, prefix, labelled) for state in wanted]
            yield from merge(*streams, key=_key) if len(streams) > 1 else streams[0]

    def _stream(
        self, stage: str, state: State | None, start: str, comparison: str, prefix: str, labelled: bool
    ) -> Iterator[Slot]:
        """Slots of one stage and one state, or of all, from a key on; the index that holds little else is used."""
        index, condition = "", ""
        if state is not None:
            index, condition = "INDEXED BY slots_state", f" AND s.state = '{state.value}'"
        if labelled:
            index, condition = "INDEXED BY slots_labelled", f"{condition} AND s.label IS NOT NULL"
        query = SLOT.format(index=index) + f" WHERE s.stage = ?{condition} AND s.key {{}} ? ORDER BY s.key LIMIT {PAGE}"
        while True:
            with self._db.read() as connection:
                page = connection.execute(query.format(comparison), (stage, start)).fetchall()
            for row in to_rows(page):
                if not row.key.startswith(prefix):
                    return
                yield row.slot()
            if len(page) < PAGE:
                return
            start, comparison = page[-1][1], ">"

    def _stages(self) -> list[str]:
        """Return the stages that have slots, each found by one step into the index."""
        found: list[str] = []
        with self._db.read() as connection:
            while True:
                last = found[-1] if found else ""
                ((name,),) = connection.execute("SELECT min(stage) FROM slots WHERE stage > ?", (last,)).fetchall()
                if name is None:
                    return found
                found.append(name)

    def count_slots(self, stages: Collection[str] | None = None) -> dict[str, dict[State, int]]:
        counts: dict[str, dict[State, int]] = {}
        sql = "SELECT state, count(*) FROM slots INDEXED BY slots_state WHERE stage = ? GROUP BY state"
        wanted = self._stages() if stages is None else stages
        with self._db.read() as connection:
            for stage in wanted:
                if found := connection.execute(sql, (stage,)).fetchall():
                    counts[stage] = {read_state(State, state): n for state, n in found}
        return counts

    def count_dirty(self, stage: str) -> int:
        with self._db.read() as connection:
            ((free, held),) = connection.execute(
                "SELECT (SELECT count(*) FROM slots INDEXED BY slots_free"
                " WHERE stage = ?1 AND dirty > 0 AND owner IS NULL),"
                " (SELECT count(*) FROM slots INDEXED BY slots_held WHERE owner IS NOT NULL AND stage = ?1)",
                (stage,),
            )
        return int(free) + int(held)

    # --- runs -------------------------------------------------------------------------------------------------------

    def start_run(self, run: RunRecord) -> None:
        summary = codec.write_object(run.summary) if run.summary is not None else None
        row = (run.id, run.kind, run.owner, run.started_at_s, run.ended_at_s, run.state, summary)
        with self._db.write() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone() is not None:
                raise ValueError(f"expected a new run id, got {run.id!r} again")
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        text = codec.write_object(summary)
        with self._db.write() as connection:
            changed = connection.execute(
                "UPDATE runs SET state = ?, ended_at_s = ?, summary = ? WHERE id = ?", (state, ended_at_s, text, run_id)
            ).rowcount
        if not changed:
            raise KeyError(run_id)

    def runs(self, limit: int = 20) -> list[RunRecord]:
        with self._db.read() as connection:
            rows: list[sqlite3.Row] = connection.execute(
                "SELECT id, kind, owner, started_at_s, ended_at_s, state, summary FROM runs"
                " ORDER BY started_at_s DESC, id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            RunRecord(
                id=id_,
                kind=kind,
                owner=owner,
                started_at_s=started_at_s,
                ended_at_s=ended_at_s,
                state=state,
                summary=codec.read_object(f"run {id_}", summary) if summary is not None else None,
            )
            for id_, kind, owner, started_at_s, ended_at_s, state, summary in rows
        ]


def _key(slot: Slot) -> str:
    return slot.key
