"""Batches of a ledger in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile

from devkit.memory_ledger.book import Part
from lookout.domain.records import JsonObject
from lookout.ledger import batches as batching
from lookout.ledger.batches import LIVE, UNFINISHED, Batch, BatchLedger, BatchState


class BatchesPart(Part, BatchLedger):
    """See ``BatchLedger``."""

    def dirty(self, stage: str, prefix: str = "", after: str | None = None) -> Iterator[str]:
        with self._use() as data:
            found = [
                key
                for (of_stage, key), row in sorted(data.rows.items())
                if of_stage == stage and row.dirty and key.startswith(prefix) and (after is None or key > after)
            ]
        yield from found

    def add_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        batching.check_new(batches)
        added = []
        for batch in batches:
            with self._use(writing=True):
                if batch.run:
                    batching.check_run(batch.run, self._runs[batch.run].state)
                if batch.id in self._batches:
                    raise ValueError(f"expected a new batch id, got {batch.id!r} again")
                held = {key for other in self._batches.values() if other.state in UNFINISHED for key in other.keys}
                kept = batching.without(batch, held, self._clock())
                if kept is not None:
                    self._batches[kept.id] = kept
                    added.append(kept)
        return added

    def take_batch(self, owner: str, lease_s: float, *, id_: str | None = None, run: str | None = None) -> Batch | None:
        with self._use(writing=True):
            if owner not in self._owners:
                raise ValueError(f"expected the owner of an open session, got {owner!r}")
            now_s = self._clock()
            for batch in list(self._batches.values()):
                if batch.state is BatchState.TAKEN and batch.lease_end_s <= now_s:
                    self._batches[batch.id] = batching.opened(batch, now_s, lost=True)
            free = [
                batch
                for batch in self._batches.values()
                if batch.state is BatchState.OPEN and id_ in (None, batch.id) and run in (None, batch.run)
            ]
            if not free:
                return None
            first = min(free, key=lambda batch: (batch.kind != LIVE, batch.id))
            self._token += 1
            held = self._batches[first.id] = batching.taken(first, owner, self._token, now_s, lease_s)
            return held

    def extend_batches(self, taken: Sequence[Batch], lease_s: float) -> list[bool]:
        answers = []
        for claim in taken:
            with self._use(writing=True):
                now_s = self._clock()
                known = self._batches.get(claim.id)
                held = known is not None and known.held_by(claim, now_s)
                if known is not None and held:
                    self._batches[known.id] = replace(known, lease_end_s=now_s + lease_s)
                answers.append(held)
        return answers

    def release_batch(self, taken: Batch) -> None:
        with self._use(writing=True):
            now_s = self._clock()
            known = batching.check_held(self._batches.get(taken.id), taken, now_s)
            self._batches[known.id] = batching.opened(known, now_s, lost=False)

    def end_batch(self, taken: Batch) -> None:
        with self._use(writing=True):
            now_s = self._clock()
            known = batching.check_held(self._batches.get(taken.id), taken, now_s)
            self._batches[known.id] = batching.done(known, now_s)

    def find_batches(self, ids: Collection[str]) -> dict[str, Batch]:
        with self._use():
            return {id_: self._batches[id_] for id_ in ids if id_ in self._batches}

    def batches(
        self, *, run: str | None = None, states: Collection[BatchState] = (), after: str = ""
    ) -> Iterator[Batch]:
        with self._use():
            found = [
                batch
                for id_, batch in sorted(self._batches.items())
                if id_ > after and run in (None, batch.run) and (not states or batch.state in states)
            ]
        yield from found

    def count_batches(self, run: str | None = None) -> dict[BatchState, int]:
        return dict(Counter(batch.state for batch in self.batches(run=run)))

    def close_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> bool:
        with self._use(writing=True):
            run = self._runs[run_id]
            if run.state != "running" or next(self.batches(run=run_id, states=UNFINISHED), None) is not None:
                return False
            self._runs[run_id] = replace(run, state=state, ended_at_s=ended_at_s, summary=summary)
            return True

    def expire_batches(self, before_s: float, limit: int = 1000) -> int:
        with self._use(writing=True):
            done = islice(self.batches(states=[BatchState.DONE]), limit)
            old = [batch.id for batch in takewhile(lambda batch: batch.updated_at_s < before_s, done)]
            for id_ in old:
                del self._batches[id_]
            return len(old)
