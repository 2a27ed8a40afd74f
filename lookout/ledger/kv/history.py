"""History, provenance and tallies: reading only; ``commits`` writes what is read here.

A record lies once: with its slot while it is live, under its hash when it is history. Under the hash of a live one is
where it lives, so that a hash is found by one key or two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from lookout.domain.records import Member, Record, Tally
from lookout.ledger import codec
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Kv, Range
from lookout.ledger.kv.tallies import Shard, Shards, read_at_part, read_each, read_shards
from lookout.ledger.rules.decisions import DECISIONS
from lookout.ledger.rules.members import member_of

PAGE = 100


class History:
    """Records, provenance and sums. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    # --- records ----------------------------------------------------------------------------------------------------

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        todo = set(hashes)
        while todo:
            names = {self._space.name(keys.RECORD) + keys.hash_part(hash_): hash_ for hash_ in todo}
            pointers = {names[name]: slot_values.read_record(kv) for name, kv in self._space.kv.get_many(names).items()}
            past = [(hash_, stage, key, body) for hash_, (stage, key, body) in pointers.items() if body is not None]
            found.update((record.hash, record) for record in codec.read_records(past))
            live = {hash_: (stage, key) for hash_, (stage, key, body) in pointers.items() if body is None}
            for record in self.live_records(live.values()):
                if record.hash in live:
                    found[record.hash] = record
            # What was live a moment ago and is history now is looked up again.
            todo = live.keys() - found.keys()
        return found

    def live_records(self, slots: Iterable[tuple[str, str]]) -> list[Record]:
        """Return the live records of these slots, by stage and key; a slot without one is absent."""
        by_stage: dict[str, list[str]] = {}
        for stage, key in slots:
            by_stage.setdefault(stage, []).append(key)
        records = []
        for stage, wanted in by_stage.items():
            # One by one: of the slots of a group, those with outputs are few and lie apart.
            names = {self._space.name(keys.SLOT, stage, key): key for key in wanted}
            rows = self._space.kv.get_many(names)
            kept = slot_values.read_slots([(stage, names[name], kv) for name, kv in rows.items()])
            records += [one.row.record for one in kept if one.row.record is not None]
        return records

    def is_live(self, hashes: Collection[str]) -> set[str]:
        names = {self._space.name(keys.RECORD) + keys.hash_part(hash_): hash_ for hash_ in set(hashes)}
        found = self._space.kv.get_many(names)
        return {names[name] for name, kv in found.items() if slot_values.read_record(kv)[2] is None}

    def makers(self, bucket: str, key: str) -> list[Record]:
        answer = self._space.kv.read(
            [Range(self._space.name(keys.PATH, bucket, key)), Range(*self._space.span(keys.MAKERS, bucket, key))]
        )
        hashes = read_makers(answer.get(1).kvs)
        for kv in answer.get(0).kvs:
            hashes += record_values.read_path(kv).makers
        newest_first = list(dict.fromkeys(reversed(hashes)))
        records = self.find_records(newest_first)
        # A hash that was made anew may not write the path any more.
        return [
            record
            for hash_ in newest_first
            if (record := records.get(hash_)) is not None
            and any((ref.bucket, ref.key) == (bucket, key) for ref in record.outputs)
        ]

    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        start = self._space.name(keys.USER) + bytes.fromhex(sha256)
        end = keys.after(start)
        first = keys.behind(start + keys.hash_part(after)) if after else start
        users: list[Record] = []
        source = self._users(first, end, len(start), limit)
        while len(users) < limit and (hashes := list(islice(source, min(PAGE, limit - len(users))))):
            records = self.find_records(hashes)
            users += [records[hash_] for hash_ in hashes if hash_ in records]
        return users

    def _users(self, start: bytes, end: bytes, cut: int, limit: int) -> Iterator[str]:
        for page in self._space.kv.pages(start, end, keys_only=True, limit=max(1, min(limit, 1000))):
            for kv in page:
                yield keys.read_hash_part(kv.key[cut:])

    # --- tallies ----------------------------------------------------------------------------------------------------

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        tallies = []
        for group, shards in self._shards(groups):
            shard = shards.merged()
            if shard.live > 0:
                last_at_s = self._newest(group) if shard.stale else shard.last_at_s
                counts = {name: count for name, count in shard.counts.items() if count > 0}
                tallies.append(Tally(group=group, counts=counts, last_at_s=last_at_s))
        return tallies

    def sums(self, name: str) -> dict[str, int]:
        sums = {group: shards.merged().counts.get(name, 0) for group, shards in self._shards(None)}
        return {group: count for group, count in sums.items() if count > 0}

    def _shards(self, groups: Collection[str] | None) -> Iterator[tuple[str, Shards]]:
        """The shards of these groups, or of all, in the order of the groups."""
        cut = len(self._space.prefix) + 1
        if groups is not None:
            yield from self._shards_of(sorted(set(groups)))
            return
        last, shards = b"", dict[int, Shard]()
        for page in self._space.kv.pages(*self._space.span(keys.TALLY)):
            for kv, shard in zip(page, read_each(page), strict=True):
                name = kv.key[cut:-1]
                if name != last and shards:
                    yield keys.parts(last, 1)[0], Shards(shards)
                    shards = {}
                last = name
                shards[kv.key[-1]] = shard
        if shards:
            yield keys.parts(last, 1)[0], Shards(shards)

    def _shards_of(self, groups: list[str]) -> Iterator[tuple[str, Shards]]:
        for start in range(0, len(groups), PAGE):
            some = groups[start : start + PAGE]
            answer = self._space.kv.read([Range(*self._space.span(keys.TALLY, group)) for group in some])
            for n, group in enumerate(some):
                yield group, read_shards(answer.get(n).kvs)

    def _newest(self, group: str) -> float | None:
        """The newest moment of a group's members: the first in each stage."""
        start, end = self._space.span(keys.MEMBER, group)
        newest: float | None = None
        while True:
            page = self._space.kv.read([Range(start, end, limit=1, keys_only=True)]).get(0)
            if not page.kvs:
                return newest
            stage, at_s, _ = self._read_member(page.kvs[0], group)
            if at_s is not None:
                newest = at_s if newest is None else max(newest, at_s)
            start = keys.after(self._space.name(keys.MEMBER, group, stage))

    def _read_member(self, kv: Kv, group: str) -> tuple[str, float | None, str]:
        """Stage, moment and key of a member."""
        tail = kv.key[len(self._space.name(keys.MEMBER, group)) :]
        stage, _, rest = tail.partition(b"\x00")
        return keys.parts(stage + b"\x00", 1)[0], read_at_part(rest[:9]), keys.parts(rest[9:], 1)[0]

    def members(self, stage: str, group: str) -> list[Member]:
        start, end = self._space.span(keys.MEMBER, group, stage)
        found = [
            self._read_member(kv, group)[2]
            for page in self._space.kv.pages(start, end)
            for kv in page
            if kv.value == b"1"
        ]
        records = self.live_records([(stage, key) for key in found])
        decisions = self._decisions(stage, [record.key for record in records if record.decided])
        return [
            member_of(stage, record, decisions.get(record.key))
            for record in sorted(records, key=lambda record: record.key)
            if record.group == group and record.outputs
        ]

    def _decisions(self, stage: str, decided: Collection[str]) -> dict[str, str]:
        """The policy's decisions on datums of a stage, by key."""
        names = {self._space.name(keys.POLICY, DECISIONS, key, stage): key for key in decided}
        return {names[name]: slot_values.load(kv, str) for name, kv in self._space.kv.get_many(names).items()}


def read_makers(blocks: Iterable[Kv]) -> list[str]:
    """The hashes in a path's blocks of older makers, the oldest first."""
    in_order = sorted(blocks, key=lambda kv: (kv.create_revision, kv.key))
    return [hash_ for kv in in_order for hash_ in slot_values.load(kv, _texts)]


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return value
