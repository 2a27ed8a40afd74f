"""Port of an ordered key-value store: the few operations that the ledger's logic is made of.

Keys and values are bytes, and keys are in the order of their bytes. Each transaction that writes gives the store a new
revision, a number that only grows; all transactions are serializable, and a read sees all writes that ended before it
began. Reads, writes and comparisons are small values, so that a backend encodes them as it likes.

An implementation raises the four kinds of ``lookout.domain.errors`` only, and Compacted where a method says so:
Unavailable when the store does not answer or has no room, NotPermitted when the user may not do this, InputRejected for
what no other try mends, Corrupt for an answer that cannot be read. Knows no ledger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from lookout.domain.errors import InputRejected

PAGE: Final = 1000
MAX_BYTES: Final = 1_500_000
"""Bytes that every backend takes in one transaction."""
_GETS: Final = 120
"""Keys asked for in one request."""
_WIDE: Final = 62
_LONGEST: Final = 124


def most_ops(compares: int) -> int:
    """Return how many operations every backend takes in one transaction beside so many comparisons, 122 at most.

    The number is etcd's: lists of 128, one operation nested in another, with room for a comparison and some operations
    of the backend's own.
    """
    wide = max(compares + 1, _WIDE)
    return wide * max(0, _LONGEST - wide)


class Compacted(Exception):
    """The revision that was asked for is not kept any more, or is not there yet."""


class NotPermitted(InputRejected):
    """The user's role in the store does not let it do this."""


# --- answers ---------------------------------------------------------------------------------------------------------


class Kv(NamedTuple):
    """One key as the store holds it. ``version`` counts the puts since it was created."""

    key: bytes
    value: bytes
    mod_revision: int
    create_revision: int
    version: int


class Found(NamedTuple):
    """Answer to one ``Range``: the keys up to its limit, whether there are more, and how many there are in all."""

    kvs: list[Kv]
    more: bool
    total: int


class Answer(NamedTuple):
    """Answer to one request: the revision that it was read at or has made, and one entry for each ``Range``."""

    succeeded: bool
    revision: int
    found: list[Found | None]

    def get(self, index: int) -> Found:
        """Return the answer to the ``Range`` at this place."""
        found = self.found[index]
        if found is None:
            raise TypeError(f"expected a range at {index}, got another operation")
        return found


# --- operations ------------------------------------------------------------------------------------------------------


class Range(NamedTuple):
    """Read of one key, or with ``end`` of those from it up to but without ``end``, in their order.

    ``limit`` 0 is none; ``revision`` 0 is the newest; ``keys_only`` gives empty values, ``count_only`` no keys.
    """

    key: bytes
    end: bytes = b""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False


class Put(NamedTuple):
    """Write of one key; with ``lease`` it lives as long as the lease, and without one for good."""

    key: bytes
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Removal of one key, or with ``end`` of all from it up to but without ``end``; of none, if none is there."""

    key: bytes
    end: bytes = b""


class Unchanged(NamedTuple):
    """Comparison: the key was last written at this revision; 0: it is not there."""

    key: bytes
    mod_revision: int


class SameLife(NamedTuple):
    """Comparison: the key is there since this revision; 0: it is not there."""

    key: bytes
    create_revision: int


class Exists(NamedTuple):
    """Comparison: the key is there."""

    key: bytes


class NoneNewer(NamedTuple):
    """Comparison: of the keys from ``start`` up to but without ``end``, none that is there was written after the
    revision. Deleted keys do not count."""

    start: bytes
    end: bytes
    revision: int


Compare: TypeAlias = Unchanged | SameLife | Exists | NoneNewer
Write: TypeAlias = Put | Delete


class Guarded(NamedTuple):
    """Transaction inside another: its comparisons decide about its own writes only. At most 3 writes."""

    compares: tuple[Compare, ...]
    writes: tuple[Write, ...]


Op: TypeAlias = Put | Delete | Guarded


def size_of(op: Op) -> int:
    """Return the bytes of keys and values in the operation."""
    match op:
        case Put():
            return len(op.key) + len(op.value)
        case Delete():
            return len(op.key) + len(op.end)
        case Guarded():
            return sum(len(each[0]) for each in op.compares) + sum(map(size_of, op.writes))


# --- the port --------------------------------------------------------------------------------------------------------


class KeyValues(ABC):
    """Connection to a store. One instance is for one thread; a process may open several, and so may others anywhere."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the store for messages."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Id of this connection, never used before in this store."""

    @abstractmethod
    def another(self) -> KeyValues:
        """Open a connection of its own for another thread."""

    @abstractmethod
    def close(self) -> None:
        """Give the connection back; twice is allowed. Other methods raise Unavailable from then on."""

    # --- reading ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, ranges: Sequence[Range]) -> Answer:
        """Return the answers to these ranges, those without a revision all at one, in one round trip.

        A key that is missing is in no answer. Raises Compacted for a revision that is gone.
        """

    def get_many(self, keys: Collection[bytes], revision: int = 0, *, keys_only: bool = False) -> dict[bytes, Kv]:
        """Return those of the keys that are there. Raises Compacted."""
        found: dict[bytes, Kv] = {}
        todo = list(keys)
        for start in range(0, len(todo), _GETS):
            some = todo[start : start + _GETS]
            answer = self.read([Range(key, revision=revision, keys_only=keys_only) for key in some])
            for each in answer.found:
                if each is not None and each.kvs:
                    found[each.kvs[0].key] = each.kvs[0]
        return found

    def pages(self, start: bytes, end: bytes, *, keys_only: bool = False, limit: int = PAGE) -> Iterator[list[Kv]]:
        """Yield the keys of a range in their order, in pages of one revision; after a compaction, of a newer one."""
        revision = 0
        while True:
            try:
                answer = self.read([Range(start, end, limit=limit, revision=revision, keys_only=keys_only)])
            except Compacted:
                revision = 0
                continue
            found = answer.get(0)
            if found.kvs:
                yield found.kvs
            if not found.more:
                return
            revision = revision or answer.revision
            start = found.kvs[-1].key + b"\x00"

    def count(self, start: bytes, end: bytes) -> int:
        """Return the number of keys in the range."""
        return self.read([Range(start, end, count_only=True)]).get(0).total

    # --- writing ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        """Apply the operations, all at one revision, exactly once if all comparisons hold, else none.

        ``succeeded`` of the answer says which. All comparisons see the store as it was before the first operation. A
        key is written by one operation at most. Raises ValueError for more than ``most_ops``, InputRejected for more
        bytes than MAX_BYTES, and Unavailable for a lease that is gone; nothing is applied then. After Unavailable for
        another reason it may have been.
        """

    # --- leases, waiting, size --------------------------------------------------------------------------------------

    @abstractmethod
    def grant(self, ttl_s: int) -> int:
        """Return the id of a new lease, which ends with its keys after ``ttl_s`` seconds unless it is kept alive."""

    @abstractmethod
    def keep_alive(self, lease: int) -> int:
        """Begin the lease's time anew; return how many seconds it has, 0 when it is gone."""

    @abstractmethod
    def revoke(self, lease: int) -> None:
        """End a lease, with the keys that live by it, at one revision; nothing happens when it is gone."""

    @abstractmethod
    def wait_for_change(self, spans: Sequence[tuple[bytes, bytes]], revision: int, seconds: float) -> bool:
        """Wait until a key from the start up to but without the end of one of these spans is written or removed after
        the revision; return False when none was in that time.

        May return True without a change, after which the caller reads again.
        """

    @abstractmethod
    def used_bytes(self) -> int:
        """Return the bytes that the store uses, with all that lies in it."""
