"""Runs and notes: what ran and how it ended, and small named values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lookout.domain.records import JsonObject
from lookout.ledger import codec
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Delete, Kv, Op, Put, Unchanged
from lookout.ledger.kv.slot_values import load
from lookout.ledger.port import RunRecord


class Runs:
    """Notes and runs. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    def find_note(self, name: str) -> str | None:
        kv = self._get(self._space.name(keys.NOTE, name))
        return load(kv, str) if kv is not None else None

    def put_note(self, name: str, value: str) -> None:
        self._space.write([], [Put(self._space.name(keys.NOTE, name), slot_values.dump(value))])

    def _get(self, name: bytes) -> Kv | None:
        return self._space.kv.get_many([name]).get(name)

    # --- runs -------------------------------------------------------------------------------------------------------

    def start_run(self, run: RunRecord) -> None:
        name = self._space.name(keys.RUN, run.id)
        ops = [Put(name, record_values.write_run(run)), Put(self._start_name(run), b"")]
        if run.state == "running":
            ops.append(Put(self._space.name(keys.RUN_OPEN, run.owner, run.id), b""))
        if not self._space.write([Unchanged(name, 0)], ops).succeeded:
            raise ValueError(f"expected a new run id, got {run.id!r} again")

    def _start_name(self, run: RunRecord) -> bytes:
        start = self._space.prefix + keys.RUN_START + keys.inverse(keys.moment(run.started_at_s))
        return start + keys.text(run.id)

    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        codec.write_object(summary)  # what is no JSON is refused before anything is read
        self._end_run(run_id, state, ended_at_s, summary)

    def _end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject | None) -> None:
        name = self._space.name(keys.RUN, run_id)
        for _attempt in self._space.attempts("ending a run"):
            kv = self._get(name)
            if kv is None:
                raise KeyError(run_id)
            run = record_values.read_run(run_id, kv)
            ended = replace(run, state=state, ended_at_s=ended_at_s, summary=summary)
            ops: list[Op] = [
                Put(name, record_values.write_run(ended)),
                Delete(self._space.name(keys.RUN_OPEN, run.owner, run_id)),
            ]
            if self._space.write([Unchanged(name, kv.mod_revision)], ops).succeeded:
                return

    def end_owned(self, owner: str, state: str) -> None:
        """Close the runs that an owner has left open."""
        start, end = self._space.span(keys.RUN_OPEN, owner)
        for page in self._space.kv.pages(start, end, keys_only=True):
            for kv in page:
                (run_id,) = keys.parts(kv.key[len(start) :], 1)
                run_kv = self._get(self._space.name(keys.RUN, run_id))
                summary = record_values.read_run(run_id, run_kv).summary if run_kv is not None else None
                self._end_run(run_id, state, self._space.clock(), summary)

    def runs(self, limit: int = 20) -> list[RunRecord]:
        if limit <= 0:
            return []
        chosen: list[tuple[bytes, str]] = []
        for start, run_id in self._starts(limit):
            if len(chosen) >= limit and start != chosen[-1][0]:
                break
            chosen.append((start, run_id))
        names = {self._space.name(keys.RUN, run_id): run_id for _, run_id in chosen}
        found = self._space.kv.get_many(names)
        runs = [record_values.read_run(names[name], kv) for name, kv in found.items()]
        runs.sort(key=lambda run: (run.started_at_s, run.id), reverse=True)
        return runs[:limit]

    def _starts(self, limit: int) -> Iterator[tuple[bytes, str]]:
        """Start and id of runs, the newest first."""
        start, end = self._space.span(keys.RUN_START)
        for page in self._space.kv.pages(start, end, keys_only=True, limit=limit + 20):
            for kv in page:
                tail = kv.key[len(start) :]
                yield tail[:8], keys.parts(tail[8:], 1)[0]
