"""Key-value store in memory: the second backend of the ledger's port, deterministic, for tests without a server.

All clients of one ``MemoryStore`` see the same keys, as connections to one server do. Leases end by the clock that a
test sets, ids are counted, and ``before_request`` lets a test use another client between any two requests. It is as
strict as etcd about the sizes of transactions, keys that are written twice, and revisions that are gone.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from itertools import count
from threading import Condition
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable
from lookout.ledger.kv import KvLedger
from lookout.ledger.kv.port import (
    MAX_BYTES,
    Answer,
    Compacted,
    Compare,
    Delete,
    Exists,
    Found,
    Guarded,
    KeyValues,
    Kv,
    NoneNewer,
    Op,
    Put,
    Range,
    SameLife,
    Unchanged,
    Write,
    most_ops,
    size_of,
)

NESTED: Final = 3
"""Writes that a guarded operation may have."""


class MemoryStore:
    """Keys with all their versions. A version of ``version`` 0 says that the key was deleted then."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self.revision = 1
        self.compacted = 0
        self.before_request: Callable[[], None] = lambda: None
        """Called by each client before each of its requests, which sees what it has done."""
        self.longest_wait_s = 3600.0
        """Limit for all waits: 0 for tests of one thread, in which nobody else can change anything meanwhile."""
        self.changed = Condition()
        self.ids = count(1)
        self._order: list[bytes] = []
        """Keys that are there."""
        self._deleted: set[bytes] = set()
        """Keys that are not there and were, as far as old revisions can be read."""
        self._versions: dict[bytes, list[Kv]] = {}
        self._leases: dict[int, tuple[int, float]] = {}
        self._lease_of: dict[bytes, int] = {}

    def compact(self) -> None:
        """Forget all versions but the newest of each key."""
        with self.changed:
            self.compacted = self.revision
            for key in self._deleted:
                del self._versions[key]
            self._deleted.clear()
            for versions in self._versions.values():
                del versions[:-1]

    # --- keys -------------------------------------------------------------------------------------------------------

    def look(self, asked: Range) -> Found:
        """Answer one range. Raises Compacted."""
        if asked.revision and not self.compacted <= asked.revision <= self.revision:
            raise Compacted
        names = self._names(asked.key, asked.end, old=bool(asked.revision))
        found = [kv for key in names if (kv := self._at(key, asked.revision)) is not None]
        kvs = found[: asked.limit] if asked.limit else found
        if asked.keys_only:
            kvs = [kv._replace(value=b"") for kv in kvs]
        return Found([] if asked.count_only else kvs, len(kvs) < len(found), len(found))

    def _names(self, start: bytes, end: bytes, *, old: bool = False) -> list[bytes]:
        """Return the keys of the range that are there, with ``old`` those that were there too."""
        if not end:
            return [start] if start in self._versions else []
        names = self._order[bisect_left(self._order, start) : bisect_left(self._order, end)]
        if old and self._deleted:
            names = sorted([*names, *[key for key in self._deleted if start <= key < end]])
        return names

    def _at(self, key: bytes, revision: int) -> Kv | None:
        """Return the key as it was at the revision, 0: as it is; None if it is not there."""
        versions = self._versions[key]
        kv = versions[-1]
        if revision:
            kv = next((kv for kv in reversed(versions) if kv.mod_revision <= revision), versions[0])
        return kv if kv.version and (not revision or kv.mod_revision <= revision) else None

    def find(self, key: bytes) -> Kv | None:
        """Return the key as it is."""
        return self._at(key, 0) if key in self._versions else None

    def last_change(self, start: bytes, end: bytes) -> int:
        """Return the revision at which a key of the span was written or deleted last; 0 if never."""
        changed = [versions[-1].mod_revision for key, versions in self._versions.items() if start <= key < end]
        return max(changed, default=0)

    def holds(self, compare: Compare) -> bool:
        """Tell whether a comparison holds."""
        if isinstance(compare, NoneNewer):
            return all(kv.mod_revision <= compare.revision for kv in self.look(Range(compare.start, compare.end)).kvs)
        kv = self.find(compare.key)
        match compare:
            case Unchanged():
                return compare.mod_revision == (kv.mod_revision if kv is not None else 0)
            case SameLife():
                return compare.create_revision == (kv.create_revision if kv is not None else 0)
            case Exists():
                return kv is not None

    def apply(self, writes: Sequence[Write]) -> None:
        """Apply writes at the next revision."""
        self.revision += 1
        for write in writes:
            if isinstance(write, Delete):
                for key in self._names(write.key, write.end):
                    if self.find(key) is not None:
                        self._versions[key].append(Kv(key, b"", self.revision, 0, 0))
                        self._lease_of.pop(key, None)
                        self._deleted.add(key)
                        del self._order[bisect_left(self._order, key)]
                continue
            was = self.find(write.key)
            if was is None:
                insort(self._order, write.key)
                self._deleted.discard(write.key)
                self._versions.setdefault(write.key, [])
            created, version = (was.create_revision, was.version) if was is not None else (self.revision, 0)
            self._versions[write.key].append(Kv(write.key, write.value, self.revision, created, version + 1))
            self._lease_of.pop(write.key, None)
            if write.lease:
                self._lease_of[write.key] = write.lease
        self.changed.notify_all()

    def used_bytes(self) -> int:
        """Return the bytes of all keys and values, of all versions."""
        return sum(len(kv.key) + len(kv.value) for versions in self._versions.values() for kv in versions)

    # --- leases -----------------------------------------------------------------------------------------------------

    def start_lease(self, lease: int, ttl_s: int) -> None:
        """Begin the time of a lease, which may be new."""
        self._leases[lease] = (ttl_s, self.clock() + ttl_s)

    def find_lease(self, lease: int) -> int:
        """Return the time of a lease in seconds; 0 if it is gone."""
        return self._leases.get(lease, (0, 0.0))[0]

    def end_lease(self, lease: int) -> None:
        """End a lease with its keys."""
        if self._leases.pop(lease, None) is not None:
            self.apply([Delete(key) for key, of in sorted(self._lease_of.items()) if of == lease])

    def end_lease_of(self, key: bytes) -> None:
        """End the lease that the key lives by, as if its time were over; nothing happens if there is none."""
        with self.changed:
            self.end_lease(self._lease_of.get(key, 0))

    def end_leases(self) -> None:
        """End all leases whose time is over."""
        for lease, (_, end_s) in sorted(self._leases.items()):
            if end_s <= self.clock():
                self.end_lease(lease)


class MemoryKv(KeyValues):
    """Client of a store, see ``KeyValues``."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store if store is not None else MemoryStore()
        self._id = f"client-{next(self.store.ids)}"
        self._closed = False

    @property
    def name(self) -> str:
        return "the store in memory"

    @property
    def id(self) -> str:
        return self._id

    def another(self) -> MemoryKv:
        return MemoryKv(self.store)

    def close(self) -> None:
        self._closed = True

    def _begin(self) -> None:
        if self._closed:
            raise Unavailable(self.name, "the ledger is closed")
        self.store.before_request()
        with self.store.changed:
            self.store.end_leases()

    def read(self, ranges: Sequence[Range]) -> Answer:
        self._begin()
        with self.store.changed:
            return Answer(True, self.store.revision, [self.store.look(asked) for asked in ranges])

    def write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        check(compares, ops)
        self._begin()
        with self.store.changed:
            if not all(map(self.store.holds, compares)):
                return Answer(False, self.store.revision, [])
            writes: list[Write] = []
            for op in ops:
                if not isinstance(op, Guarded):
                    writes.append(op)
                elif all(map(self.store.holds, op.compares)):
                    writes += op.writes
            if any(isinstance(each, Put) and each.lease and not self.store.find_lease(each.lease) for each in writes):
                raise Unavailable(self.name, "a lease is gone")
            self.store.apply(writes)
            return Answer(True, self.store.revision, [None] * len(ops))

    def grant(self, ttl_s: int) -> int:
        self._begin()
        with self.store.changed:
            lease = next(self.store.ids)
            self.store.start_lease(lease, ttl_s)
            return lease

    def keep_alive(self, lease: int) -> int:
        self._begin()
        with self.store.changed:
            ttl_s = self.store.find_lease(lease)
            if ttl_s:
                self.store.start_lease(lease, ttl_s)
            return ttl_s

    def revoke(self, lease: int) -> None:
        self._begin()
        with self.store.changed:
            self.store.end_lease(lease)

    def wait_for_change(self, spans: Sequence[tuple[bytes, bytes]], revision: int, seconds: float) -> bool:
        self._begin()
        with self.store.changed:
            limit_s = min(seconds, self.store.longest_wait_s)
            return self.store.changed.wait_for(
                lambda: (
                    self.store.compacted > revision
                    or any(self.store.last_change(start, end) > revision for start, end in spans)
                ),
                limit_s,
            )

    def used_bytes(self) -> int:
        self._begin()
        with self.store.changed:
            return self.store.used_bytes()


def check(compares: Sequence[Compare], ops: Sequence[Op]) -> None:
    """Raise for a transaction that a backend need not take."""
    if len(ops) > most_ops(len(compares)):
        raise ValueError(f"expected at most {most_ops(len(compares))} operations, got {len(ops)}")
    size = sum(map(size_of, ops)) + sum(len(compare[0]) for compare in compares)
    if size > MAX_BYTES:
        raise InputRejected(f"{size} bytes are too many for one transaction", "the store in memory")
    nested = [op for op in ops if isinstance(op, Guarded)]
    if any(len(op.writes) > NESTED for op in nested):
        raise ValueError(f"expected at most {NESTED} writes in a guarded operation")
    writes = [op for op in ops if not isinstance(op, Guarded)] + [write for op in nested for write in op.writes]
    puts = [write.key for write in writes if isinstance(write, Put)]
    deletes = [write for write in writes if isinstance(write, Delete)]
    single = {write.key for write in deletes if not write.end}
    spans = [(write.key, write.end) for write in deletes if write.end]
    if len(puts) > len({*puts}) or not single.isdisjoint(puts):
        raise ValueError("expected each key to be written once")
    if any(start <= key < end for start, end in spans for key in puts):
        raise ValueError("expected no key to be put in a range that is deleted")


def memory_ledger(
    clock: Callable[[], float] = time.time, store: MemoryStore | None = None, *, ttl_s: int = 3600
) -> KvLedger:
    """Open a ledger on a store, which is a new one if none is given.

    ``clock`` is the ledger's. Sessions end by the store's; they are kept alive every quarter of ``ttl_s`` of real time,
    which no test waits for.
    """
    return KvLedger(MemoryKv(store), "/lookout", clock, ttl_s=ttl_s)
