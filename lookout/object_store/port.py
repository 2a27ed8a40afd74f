"""The contract of an object store: buckets of keys, every version named by its content.

A store knows no ledger and no datum. It never decides which version counts: ``put`` makes a version that nobody sees
under the key yet (or, where a backend cannot hide it, one that the ledger does not name yet), and ``publish``, called
for what the ledger has committed, makes it the one that a reader of the plain key gets. All calls raise Unavailable
when the backend does not answer or is full. Implementations may be used from several processes at once; they must be
picklable, so that a worker process can be given one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.domain.records import ObjectRef

STATUS_KEY: Final = "status.js"
"""The one key of a bucket of results that no record names: what ``overwrite`` puts there is no leftover of a crash, so
comparisons with the ledger pass over it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One entry of a listing: what the backend knows without reading the bytes."""

    key: str
    size: int
    modified_at_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """A committed change of what is visible under a key: ``ref`` becomes visible, or, with None, the key goes away."""

    bucket: str
    key: str
    ref: ObjectRef | None


class ObjectReader(ABC):
    """Port for reading objects: of a store, or of a user's own folder of pictures."""

    @abstractmethod
    def get(self, ref: ObjectRef) -> bytes:
        """Return the bytes with exactly ``ref.sha256``, from wherever that version is: staged, visible or replaced.
        Raises ObjectMissing when there is none under the key, ObjectChanged when only other bytes are."""

    @abstractmethod
    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        """Tell of each ref, in order, whether ``get`` would find a version of that size; reads no bytes."""


class ObjectStore(ObjectReader):
    """A versioned store of objects."""

    @abstractmethod
    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str,
        *,
        known_sha256: str | None = None,
        made_by: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """Write a new version and say how to read it; ``known_sha256`` spares hashing bytes whose digest the caller
        has from reading them. ``made_by`` is for people who look at the object itself: a backend that has a place for
        it keeps it with the version, and nothing reads it. It survives a kill at once, and a power cut after
        ``flush``. Not visible under the key before ``publish`` where the backend can hide it; never half-visible.
        Raises InputRejected for a key that the backend cannot hold."""

    @abstractmethod
    def flush(self, refs: Sequence[ObjectRef]) -> None:
        """Make versions that ``put`` made survive a power cut: called before a ledger names them, and for many at
        once, so that no worker waits for a disk."""

    @abstractmethod
    def publish(self, changes: Sequence[Publish]) -> None:
        """Make the changes visible, in order. Each is atomic; repeating what is done already changes nothing.
        A replaced or removed version stays readable by its ref until ``collect``. Raises ObjectMissing when a version
        to publish is gone."""

    @abstractmethod
    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """Show these bytes under a key that no record names, at once, whole or not at all, and keep no version of what
        was there. It need not survive a power cut. Raises InputRejected for a key that the backend cannot hold."""

    @abstractmethod
    def find_visible(self, bucket: str, key: str) -> bytes | None:
        """Give the bytes that a reader of the plain key gets, or None when there are none."""

    @abstractmethod
    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        """Yield the visible keys that start with ``prefix`` and are greater than ``after``, in the order of their code
        points, streamed. An unknown bucket is empty."""

    @abstractmethod
    def discard(self, refs: Sequence[ObjectRef]) -> None:
        """Drop versions that ``put`` made and nobody will publish. What is visible or unknown is left alone."""

    @abstractmethod
    def collect(self, keep_newer_than_s: float) -> int:
        """Free the space of staged versions and of replaced or removed versions older than that Unix time; says how
        many versions went. What is visible is never touched."""
