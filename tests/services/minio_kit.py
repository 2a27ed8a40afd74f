"""Fresh stores on one MinIO that share nothing with each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from devkit.servers.for_tests import MinioServer
from lookout.object_store.minio import Access, MinioStore
from lookout.object_store.minio.buckets import make_buckets

_NUMBERS: Final = itertools.count(1)


@dataclass
class Minio:
    """A running server; each store gets a prefix of its own."""

    server: MinioServer

    def store(self, *buckets: str, made: bool = True, **options: Any) -> MinioStore:
        """A store with these buckets, all collected."""
        store = self.open(prefix=f"m{next(_NUMBERS)}-", collected=buckets, **options)
        if made:
            make_buckets(store, buckets)
        return store

    def open(self, *, prefix: str = "", collected: Sequence[str] = (), **options: Any) -> MinioStore:
        given = {
            "endpoint": self.server.endpoint,
            "access_key": self.server.access_key,
            "secret_key": self.server.secret_key,
            "secure": False,
            **options,
        }
        return MinioStore(Access(**given), prefix=prefix, collected=collected)
