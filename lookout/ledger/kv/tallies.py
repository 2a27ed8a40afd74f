"""Sums by group: kept in few shards, so that many workers on one device and day do not wait for each other.

A session adds to the first shard, and to another when somebody else is found to write there too; a reader adds up. A
shard also keeps the newest moment that came through it. When a datum goes that may have been the newest, its shard
says so, and readers look the newest up in the index of members until a newer one has come. Knows no slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lookout.domain.records import Record
from lookout.ledger.kv import keys, slot_values
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules import slots as settling

SHARDS: Final = 8


@dataclass(slots=True)
class Shard:
    """Some of the sums of a group. ``stale``: ``last_at_s`` is not below the newest, and may be above."""

    live: int = 0
    last_at_s: float | None = None
    stale: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    mod_revision: int = 0


def write_shard(shard: Shard) -> bytes:
    """The value of a shard's key."""
    return slot_values.dump([shard.live, shard.last_at_s, int(shard.stale), shard.counts])


def read_each(found: Sequence[Kv]) -> list[Shard]:
    """Read what ``write_shard`` wrote, of many keys, in their order."""
    shards = slot_values.load_all(found, _shard)
    for shard, kv in zip(shards, found, strict=True):
        shard.mod_revision = kv.mod_revision
    return shards


def _shard(value: Any) -> Shard:
    live, last_at_s, stale, counts = value
    return Shard(live, last_at_s, bool(stale), counts)


@dataclass(slots=True)
class Shards:
    """All shards of a group, by their number."""

    by_number: dict[int, Shard]

    def merged(self) -> Shard:
        """Their sum, not to be changed."""
        if len(self.by_number) == 1:  # as nearly always, and the overview adds up thousands
            return next(iter(self.by_number.values()))
        counts: Counter[str] = Counter()
        for shard in self.by_number.values():
            counts.update(shard.counts)
        times_s = [shard.last_at_s for shard in self.by_number.values() if shard.last_at_s is not None]
        return Shard(
            live=sum(shard.live for shard in self.by_number.values()),
            last_at_s=max(times_s, default=None),
            stale=any(shard.stale for shard in self.by_number.values()),
            counts=dict(counts),
        )


def read_shards(found: Sequence[Kv]) -> Shards:
    """The shards of one group."""
    return Shards({kv.key[-1]: shard for kv, shard in zip(found, read_each(found), strict=True)})


class GroupSums:
    """Changes of one transaction in one group."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._counts: Counter[str] = Counter()
        self._live = 0
        self._come: list[float] = []
        self._gone: list[float] = []
        self._members: dict[bytes, bytes | None] = {}

    def add(self, record: Record, sign: int) -> None:
        """A datum comes (+1) or goes (-1)."""
        for name, count in record.counts.items():
            self._counts[name] += sign * count
        if settling.is_tallied(record):
            self._live += sign
        if record.at_s is not None:
            (self._come if sign > 0 else self._gone).append(record.at_s)
        if not is_member(record):
            return
        tail, value = member_of(record)
        if sign > 0:
            self._members[tail] = value
        elif self._members.get(tail) is None:  # the new one comes before the old one goes
            self._members[tail] = None

    def write(self, draft: TransactionBuilder, shards: Shards, number: int) -> None:
        """Put the change into the draft: into the shard of that number."""
        start = draft.name(keys.MEMBER, self._group)
        for tail, value in self._members.items():
            draft.puts[start + tail] = value
        come, gone = Counter(self._come), Counter(self._gone)
        come, gone = come - gone, gone - come
        counts = {name: count for name, count in self._counts.items() if count}
        if not (counts or self._live or come or gone):
            return
        key = draft.name(keys.TALLY, self._group) + bytes((number,))
        was = shards.by_number.get(number) or Shard()
        before = shards.merged()
        draft.expect(key, was.mod_revision)
        sums = Counter(was.counts)
        sums.update(counts)
        shard = Shard(was.live + self._live, was.last_at_s, was.stale, {name: n for name, n in sums.items() if n})
        if come:
            newest = max(come)
            if before.last_at_s is None or newest >= before.last_at_s:
                shard.stale = False
            shard.last_at_s = newest if shard.last_at_s is None else max(newest, shard.last_at_s)
        known = [s.last_at_s for s in shards.by_number.values() if s.last_at_s is not None and not s.stale]
        if gone and max(gone) >= max([*known, *come], default=float("-inf")):
            shard.stale = True
        if not shard.live and not shard.counts and shards.by_number.keys() <= {number}:
            draft.delete(key)
            return
        draft.put(key, write_shard(shard))


def is_member(record: Record) -> bool:
    """Tell whether a live record is among the members of its group."""
    return record.at_s is not None or bool(record.outputs)


def member_of(record: Record) -> tuple[bytes, bytes]:
    """The end of a member's key, and its value: whether it has outputs."""
    return keys.text(record.stage) + at_part(record.at_s) + keys.text(record.key), b"1" if record.outputs else b""


def at_part(at_s: float | None) -> bytes:
    """9 bytes: the newest first, what never happened last."""
    return b"a" + keys.inverse(keys.moment(at_s)) if at_s is not None else b"z" + bytes(8)


def read_at_part(data: bytes) -> float | None:
    """Read what ``at_part`` wrote."""
    return keys.read_moment(keys.inverse(data[1:9])) if data[:1] == b"a" else None
