"""A ledger in memory: for tests, and for trying something out. It forgets all when the process ends.

The shortest form of the contract: the rules are those of ``settling`` and ``delivery``, the book is the dicts
themselves, one lock makes every call atomic. Its sessions cannot die, only be late. It is not made for millions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from devkit.memory_ledger.batches import BatchesPart
from devkit.memory_ledger.book import Dicts, Name
from devkit.memory_ledger.history import HistoryPart
from devkit.memory_ledger.upkeep import UpkeepPart
from lookout.domain.records import Claim, Mark, Observation, Outcome, Reference, Slot, State
from lookout.ledger import batches as batching
from lookout.ledger import codec
from lookout.ledger.port import Settled
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.slots import Row
from lookout.object_store.port import Publish


class MemoryLedger(HistoryPart, BatchesPart, UpkeepPart):
    """See ``Ledger`` and ``BatchLedger``. ``clock`` gives Unix seconds. Safe to use from several threads."""

    # --- sessions, notes --------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[str]:
        with self._use(writing=True):
            self._sessions += 1
            owner = f"memory-{self._sessions}"
            self._owners.add(owner)
        try:
            yield owner
        finally:
            with self._use(writing=True) as data:
                self._leave(data, owner)

    def _leave(self, data: Dicts, owner: str) -> None:
        now_s = self._clock()
        self._owners.discard(owner)
        for row in data.rows.values():
            if row.owner == owner:
                settling.let_go(row, State.KILLED, now_s)
        for id_ in [id_ for id_, sender in data.senders.items() if sender == owner]:
            data.alerts[id_] = delivery.abandoned(data.alerts[id_], now_s, withdrawn=id_ in data.withdrawn)
            data.withdrawn.discard(id_)
            del data.senders[id_]
        for run in self._runs.values():
            if run.owner == owner and run.state == "running":
                self._runs[run.id] = replace(run, state="stopped", ended_at_s=now_s)
        for batch in self._batches.values():
            if batch.owner == owner:
                self._batches[batch.id] = batching.opened(batch, now_s, lost=False)

    def find_note(self, name: str) -> str | None:
        with self._use():
            return self._notes.get(name)

    def put_note(self, name: str, value: str) -> None:
        with self._use(writing=True):
            self._notes[name] = value

    # --- inputs and references --------------------------------------------------------------------------------------

    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        with self._use():
            keys = sorted(key for own, key in self._inputs if own == bucket and key > after and key.startswith(prefix))
            found = [self._inputs[bucket, key] for key in keys]
        yield from found

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        with self._use():
            return {key: self._inputs[bucket, key] for key in keys if (bucket, key) in self._inputs}

    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        with self._use():
            return sum(1 for seen in self._inputs.values() if seen.bucket == bucket and origin in (None, seen.origin))

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        differed = 0
        for seen in observations:
            with self._use(writing=True) as data:
                name = (seen.bucket, seen.key)
                known = self._inputs.get(name)
                if seen.ref is None and seen.error is None:
                    self._inputs.pop(name, None)
                elif known is not None and settling.content(known) == settling.content(seen):
                    self._inputs[name] = replace(seen, observed_at_s=known.observed_at_s)
                else:
                    self._inputs[name] = seen
                if settling.content(known) != settling.content(seen):
                    differed += 1
                    for stage in readers:
                        data.mark(Mark(stage=stage, key=seen.key), self._clock())
        return differed

    def references(self, bucket: str) -> tuple[Reference, ...]:
        with self._use():
            return tuple(reference for _, reference in sorted(self._references.get(bucket, {}).items()))

    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        with self._use(writing=True):
            self._references[bucket] = {reference.name: reference for reference in references}

    def basis(self, stage: str) -> str | None:
        with self._use():
            return self._bases.get(stage)

    def rebase(self, stage: str, basis: str) -> int:
        with self._use(writing=True) as data:
            live = [row for row in data.rows.values() if row.stage == stage and row.state is not State.RETRACTED]
            for row in live:
                settling.touch(row, self._clock())
            self._bases[stage] = basis
            return len(live)

    # --- slots ------------------------------------------------------------------------------------------------------

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        count = 0
        for mark in marks:
            with self._use(writing=True) as data:
                row = data.rows.setdefault((mark.stage, mark.key), Row(mark.stage, mark.key))
                settling.touch(row, self._clock(), revive=revive, salt=salt)
            count += 1
        return count

    def claim(
        self,
        stage: str,
        owner: str,
        limit: int,
        lease_s: float,
        keys: Collection[str] | None = None,
        behind: Collection[str] = (),
    ) -> list[Claim]:
        with self._use(writing=True) as data:
            if owner not in self._owners:
                raise ValueError(f"expected the owner of an open session, got {owner!r}")
            now_s = self._clock()
            late = [row for row in data.rows.values() if row.owner is not None and row.lease_end_s <= now_s]
            settling.lose(late, now_s)
            wanted = None if keys is None else set(keys)
            waiting = {key for (of_stage, key), row in data.rows.items() if of_stage in behind and row.dirty}
            free = [
                row
                for (of_stage, key), row in sorted(data.rows.items())
                if of_stage == stage
                and row.dirty
                and row.owner is None
                and (wanted is None or key in wanted)
                and key not in waiting
            ]
            chosen = [row for row in free if not row.suspect][: max(0, limit)]
            suspects = [row for row in free if row.suspect]
            if not chosen and suspects and limit > 0:
                worst = max(suspects, key=lambda row: (row.suspect, row.cohort))
                together = [row for row in suspects if (row.suspect, row.cohort) == (worst.suspect, worst.cohort)]
                chosen = together[: min(limit, settling.portion(worst.suspect))]
            self._token += 1
            return [settling.hold(row, owner, self._token, now_s, lease_s) for row in chosen]

    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        with self._use(writing=True) as data:
            now_s = self._clock()
            answers = []
            for claim in claims:
                row = data.find(claim.stage, claim.key)
                held = row is not None and row.held_by(claim, now_s)
                if row is not None and held:
                    row.lease_end_s = now_s + lease_s
                answers.append(held)
            return answers

    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        settling.check(outcomes)
        with self._use(writing=True) as data:
            for _, outcome in outcomes:
                if outcome.record is not None:
                    codec.write_record(outcome.record)  # what is no JSON is refused before anything is written
            now_s = self._clock()
            return [settling.settle(data, claim, outcome, now_s) for claim, outcome in outcomes]

    @contextmanager
    def unpublished(
        self, limit: int = 1000, buckets: Collection[str] | None = None, without: Collection[Name] = ()
    ) -> Iterator[Sequence[Publish]]:
        with self._use(writing=True) as data:
            due = [
                change
                for path, change in data.changes.items()
                if (buckets is None or change.bucket in buckets) and path not in without
            ]
            changes = due[:limit]
            self._publishing = True
            try:
                yield changes
            finally:
                self._publishing = False
            for change in changes:
                del data.changes[change.bucket, change.key]

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        with self._use() as data:
            return {key: data.rows[stage, key].slot() for key in keys if (stage, key) in data.rows}

    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: Name = ("", ""),
    ) -> Iterator[Slot]:
        with self._use() as data:
            found = [
                row.slot()
                for name, row in sorted(data.rows.items())
                if (after == ("", "") or name > after)
                and stage in (None, row.stage)
                and (not states or row.state in states)
                and row.key.startswith(prefix)
                and (not labelled or (row.record is not None and row.record.label is not None))
            ]
        yield from found

    def count_slots(self, stages: Collection[str] | None = None) -> dict[str, dict[State, int]]:
        counts: dict[str, dict[State, int]] = {}
        with self._use() as data:
            for row in data.rows.values():
                if stages is not None and row.stage not in stages:
                    continue
                of_stage = counts.setdefault(row.stage, {})
                of_stage[row.state] = of_stage.get(row.state, 0) + 1
        return counts

    def count_dirty(self, stage: str) -> int:
        with self._use() as data:
            return sum(1 for row in data.rows.values() if row.stage == stage and row.dirty)


__all__ = ["MemoryLedger"]
