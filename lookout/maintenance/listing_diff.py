"""Difference between a store's listing and the ledger, key by key: two streams in one order, merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lookout.ledger.maintenance import Named
from lookout.object_store.port import STATUS_KEY, ObjectStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Visible version of a key. ``version`` is the store's own handle, None where listings have none."""

    key: str
    size: int
    modified_at_s: float
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One key, with what is shown and what is named under it; at least one of them."""

    key: str
    shown: Shown | None
    named: Named | None


class _Entry(Protocol):
    """One version in a listing of all of them."""

    @property
    def key(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified_at_s(self) -> float: ...
    @property
    def is_latest(self) -> bool: ...
    @property
    def is_marker(self) -> bool: ...


@runtime_checkable
class ListsVersions(Protocol):
    """A store that can list versions: the visible one's handle says exactly whether it is the one that is named."""

    def versions(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[_Entry]:
        """Yield all versions, in the order of keys (code points), of each key the newest first; streamed."""
        ...

    def exists(self, bucket: str) -> bool:
        """Tell whether the bucket exists."""
        ...


def shown(store: ObjectStore, bucket: str, after: str = "") -> Iterator[Shown]:
    """Yield all visible keys of results after that key, in their order; an unknown bucket is empty."""
    if isinstance(store, ListsVersions):
        if not store.exists(bucket):
            return
        for entry in store.versions(bucket, "", after):
            if entry.is_latest and not entry.is_marker and entry.key != STATUS_KEY:
                yield Shown(
                    key=entry.key, size=entry.size, modified_at_s=entry.modified_at_s, version=entry.version or None
                )
    else:
        for listed in store.list(bucket, "", after):
            if listed.key != STATUS_KEY:
                yield Shown(key=listed.key, size=listed.size, modified_at_s=listed.modified_at_s)


def pairs(visible: Iterator[Shown], named: Iterator[Named]) -> Iterator[Pair]:
    """Yield both streams beside each other, in the order of keys."""
    left, right = next(visible, None), next(named, None)
    while left is not None and right is not None:
        if left.key < right.ref.key:
            yield Pair(key=left.key, shown=left, named=None)
            left = next(visible, None)
        elif right.ref.key < left.key:
            yield Pair(key=right.ref.key, shown=None, named=right)
            right = next(named, None)
        else:
            yield Pair(key=left.key, shown=left, named=right)
            left, right = next(visible, None), next(named, None)
    while left is not None:
        yield Pair(key=left.key, shown=left, named=None)
        left = next(visible, None)
    while right is not None:
        yield Pair(key=right.ref.key, shown=None, named=right)
        right = next(named, None)


def is_surely_right(pair: Pair) -> bool:
    """Tell whether the listing alone proves that the named version is visible: by its handle, or, where listings have
    none, by its size and because nothing was written under the key after the datum ended.

    False means only that the store must be asked about this key.
    """
    if pair.shown is None or pair.named is None or pair.shown.size != pair.named.ref.size:
        return False
    if pair.shown.version is not None:
        return pair.shown.version == pair.named.ref.version
    return pair.shown.modified_at_s <= pair.named.record.finished_at_s
