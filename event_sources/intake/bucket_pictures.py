"""Bucket of pictures on a server, as the intake observes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Observation
from lookout.object_store.minio.names import FILE_ENDINGS, check_object_key
from lookout.sources.bucket import is_blank, observe_object

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore


@dataclass(frozen=True)
class BucketPictures:
    """The bucket of pictures on a server. See ``Pictures``."""

    store: MinioStore
    bucket: str

    def observe(self, key: str, now_s: float) -> Observation:
        return observe_object(self.store, self.bucket, key, now_s, FILE_ENDINGS)

    def is_still(self, seen: Observation) -> bool:
        if seen.error is not None:
            return True  # a key that cannot be used stays so
        try:
            check_object_key(self.bucket, seen.key)
        except InputRejected:
            return True  # no store can hold it, so nothing is there and nothing will be
        found = self.store.connection.stat(self.store.full(self.bucket), seen.key)
        return (found and found.version) == (seen.ref and seen.ref.version)

    def is_blank(self) -> bool:
        return is_blank(self.store, self.bucket)

    def check(self) -> None:
        if not self.store.exists(self.bucket):
            raise Unavailable(self.store.full(self.bucket), "no such bucket; run `lookout init`")
