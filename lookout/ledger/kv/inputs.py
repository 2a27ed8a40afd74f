"""Inputs, references and bases: what is to be read, and on which basis slots were planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import Mark, Observation, Reference
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import MAX_BYTES, Kv, Put
from lookout.ledger.kv.tallies import SHARDS
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules.inputs import Name, compare

TOGETHER: Final = 90
"""Observations in one transaction: each is compared."""
MARKS: Final = 600


class Inputs:
    """Inputs, references and bases. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    # --- inputs -----------------------------------------------------------------------------------------------------

    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        start, end = self._space.span(keys.INPUT, bucket)
        cut = len(start)
        if prefix:
            first = start + keys.open_text(prefix)
            start, end = first, keys.after(first)
        if after:
            start = max(start, keys.behind(self._space.name(keys.INPUT, bucket, after)))
        if start >= end:
            return
        for page in self._space.kv.pages(start, end):
            yield from record_values.read_inputs(bucket, [(keys.parts(kv.key[cut:], 1)[0], kv) for kv in page])

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        found = self._find_kvs(bucket, keys)
        return {seen.key: seen for seen in record_values.read_inputs(bucket, list(found.items()))}

    def _find_kvs(self, bucket: str, wanted: Collection[str]) -> dict[str, Kv]:
        return self._space.pick(self._space.name(keys.INPUT, bucket), wanted)

    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        if origin is None:
            return self._space.kv.count(*self._space.span(keys.INPUT, bucket))
        counted = [kv for page in self._space.kv.pages(*self._space.span(keys.INPUTS, bucket, origin)) for kv in page]
        return sum(slot_values.load(kv, int) for kv in counted)

    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        self._space.check_writing()
        source = iter(observations)
        differed = 0
        while batch := list(islice(source, TOGETHER)):
            differed += self._observe(batch, readers)
        return differed

    def _observe(self, batch: Sequence[Observation], readers: Sequence[str]) -> int:
        for attempt in self._space.attempts("observing"):
            found: dict[Name, Kv] = {}
            known: dict[Name, Observation] = {}
            for bucket in {seen.bucket for seen in batch}:
                kvs = self._find_kvs(bucket, {seen.key for seen in batch if seen.bucket == bucket})
                found.update(((bucket, key), kv) for key, kv in kvs.items())
                known.update(
                    ((bucket, seen.key), seen) for seen in record_values.read_inputs(bucket, list(kvs.items()))
                )
            changes = compare(known, batch)
            if not changes.writes:
                return 0
            draft = TransactionBuilder(self._space.prefix)
            for name, seen in changes.writes.items():
                key, kv = draft.name(keys.INPUT, *name), found.get(name)
                draft.expect(key, kv.mod_revision if kv is not None else 0)
                draft.puts[key] = record_values.write_input(seen) if seen is not None else None
            if attempt:
                self._space.shard = attempt % SHARDS
            self._draft_counts(draft, changes.counts)
            again = self._draft_marks(draft, readers, changes.changed)
            if self._space.write(draft.compares, draft.ops).succeeded:
                for marks in again:
                    self._put_marks(marks)
                return len(changes.changed)
        return 0

    def _draft_counts(self, draft: TransactionBuilder, counts: Mapping[Name, int]) -> None:
        names = {draft.name(keys.INPUTS, *name) + bytes((self._space.shard,)): count for name, count in counts.items()}
        found = self._space.kv.get_many(names)
        for name, count in names.items():
            kv = found.get(name)
            draft.expect(name, kv.mod_revision if kv is not None else 0)
            draft.put(name, slot_values.dump((slot_values.load(kv, int) if kv is not None else 0) + count))

    def _draft_marks(
        self, draft: TransactionBuilder, readers: Sequence[str], changed: Sequence[str]
    ) -> list[list[Mark]]:
        """Marks for what changed; those of keys that changed more than once are given back, to be put afterwards."""
        now_s = self._space.clock()
        again: list[list[Mark]] = []
        for key, times in Counter(changed).items():
            for stage in readers:
                draft.mark(stage, key, now_s)
            again += [[Mark(stage=stage, key=key) for stage in readers]] * (times - 1)
        return again

    def _put_marks(self, marks: Iterable[Mark]) -> None:
        draft = TransactionBuilder(self._space.prefix)
        for mark in marks:
            draft.mark(mark.stage, mark.key, self._space.clock())
        self._space.write([], draft.ops)

    # --- references and bases ---------------------------------------------------------------------------------------

    def references(self, bucket: str) -> tuple[Reference, ...]:
        name = self._space.name(keys.REFERENCES, bucket)
        kv = self._space.kv.get_many([name]).get(name)
        return record_values.read_references(bucket, kv) if kv is not None else ()

    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        value = record_values.write_references(references)
        if len(value) > MAX_BYTES // 2:
            raise InputRejected(
                f"{len(references)} references are too many at once", bucket, "give fewer or smaller ones"
            )
        self._space.write([], [Put(self._space.name(keys.REFERENCES, bucket), value)])

    def basis(self, stage: str) -> str | None:
        name = self._space.name(keys.BASIS, stage)
        kv = self._space.kv.get_many([name]).get(name)
        return slot_values.load(kv, str) if kv is not None else None

    def rebase(self, stage: str, basis: str) -> int:
        self._space.check_writing()
        retracted = self._keys_of(keys.STATE, stage, "r")
        known = self._keys_of(keys.SLOT, stage) | self._keys_of(keys.DIRTY, stage)
        held = {key for part in self._space.parts_of(stage)[0] for key in part.held}
        live = sorted((known - retracted) | held)
        for start in range(0, len(live), MARKS):
            self._put_marks([Mark(stage=stage, key=key) for key in live[start : start + MARKS]])
        self._space.write([], [Put(self._space.name(keys.BASIS, stage), slot_values.dump(basis))])
        return len(live)

    def _keys_of(self, kind: bytes, *texts: str) -> set[str]:
        """The last part of all keys of an index."""
        start, end = self._space.span(kind, *texts)
        pages = self._space.kv.pages(start, end, keys_only=True, limit=5000)
        return {keys.parts(kv.key[len(start) :], 1)[0] for page in pages for kv in page}
