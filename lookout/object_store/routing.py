"""One store made of several: some buckets are only read, from elsewhere; all others are in one store.

That is how a user's own folder of pictures is the bucket ``images`` beside the buckets of results, without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lookout.domain.errors import InputRejected
from lookout.domain.records import ObjectRef
from lookout.object_store.port import Listed, ObjectReader, ObjectStore, Publish


class Routes(ObjectStore):
    """``readers`` maps a bucket to where it is read from; every other bucket is in ``store``."""

    def __init__(self, readers: Mapping[str, ObjectReader], store: ObjectStore) -> None:
        self.readers = dict(readers)
        self.store = store

    def get(self, ref: ObjectRef) -> bytes:
        return self.readers.get(ref.bucket, self.store).get(ref)

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        indexes: dict[str, list[int]] = {}
        for index, ref in enumerate(refs):
            indexes.setdefault(ref.bucket, []).append(index)
        answer = [False] * len(refs)
        for bucket, places in indexes.items():
            found = self.readers.get(bucket, self.store).has([refs[index] for index in places])
            for index, is_there in zip(places, found, strict=True):
                answer[index] = is_there
        return answer

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
        """See the contract. Raises InputRejected for a bucket that is only read."""
        self._refuse_read_only(bucket)
        return self.store.put(bucket, key, data, content_type, known_sha256=known_sha256, made_by=made_by)

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        self.store.flush([ref for ref in refs if ref.bucket not in self.readers])

    def publish(self, changes: Sequence[Publish]) -> None:
        """See the contract. Raises InputRejected, before anything is done, if a bucket is only read."""
        for change in changes:
            self._refuse_read_only(change.bucket)
        self.store.publish(changes)

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """See the contract. Raises InputRejected for a bucket that is only read."""
        self._refuse_read_only(bucket)
        self.store.overwrite(bucket, key, data, content_type)

    def find_visible(self, bucket: str, key: str) -> bytes | None:
        """See the contract. A bucket that is only read may lie in many folders: InputRejected."""
        self._refuse_read_only(bucket)
        return self.store.find_visible(bucket, key)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        """See the contract. A bucket that is only read may lie in many folders: InputRejected."""
        if bucket in self.readers:
            raise InputRejected("the bucket is read from elsewhere and cannot be listed", bucket, "list its source")
        return self.store.list(bucket, prefix, after)

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        self.store.discard([ref for ref in refs if ref.bucket not in self.readers])

    def collect(self, keep_newer_than_s: float) -> int:
        return self.store.collect(keep_newer_than_s)

    def _refuse_read_only(self, bucket: str) -> None:
        if bucket in self.readers:
            raise InputRejected("the bucket is only read, never written", bucket)
