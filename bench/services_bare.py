"""Baseline without Lookout that takes texts through the same steps: raw minio-py, one loop.

``services_cost`` compares with it. It has no ledger, keeps no provenance and does not check whether anything was done
before; it makes the same gets and puts of the same bytes, with nothing but what the client library does by itself.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from minio import Minio

TEXT: Final = "text/plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A server, who to be there, and what the names of the buckets begin with."""

    endpoint: str
    access_key: str
    secret_key: str
    prefix: str


class Bare:
    """The loop, in ``size`` processes that stay; in this one if it is 1."""

    def __init__(self, place: Place, size: int) -> None:
        self._place, self._size = place, size
        self._client = _connect(place)
        self._pool = (
            ProcessPoolExecutor(size, multiprocessing.get_context("spawn"), _start, (place,)) if size > 1 else None
        )

    def put(self, key: str, data: bytes) -> None:
        """A text to begin with."""
        _put(self._client, f"{self._place.prefix}texts", key, data)

    def run(self, keys: Sequence[str]) -> float:
        """Take these texts through; the seconds it took."""
        start = time.perf_counter()
        if self._pool is None:
            for key in keys:
                work(self._client, self._place.prefix, key)
        else:
            chunk = -(-len(keys) // (4 * self._size))
            list(self._pool.map(_work, keys, chunksize=chunk))
        return time.perf_counter() - start

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def work(client: Minio, prefix: str, key: str) -> None:
    """The gets and puts of one text, as the toy stages have them: a copy, a loud copy, and both again for an alarm."""
    get, put = partial(_get, client), partial(_put, client)
    data = get(f"{prefix}texts", key)
    put(f"{prefix}first", f"good/{key}", data)
    quiet = get(f"{prefix}first", f"good/{key}")
    put(f"{prefix}second", f"{key}.loud", quiet.upper())
    quiet, loud = get(f"{prefix}first", f"good/{key}"), get(f"{prefix}second", f"{key}.loud")
    if b"alarm" in quiet:
        put(f"{prefix}third", f"{key}.alarm", quiet + b"\n" + loud)


def _connect(place: Place) -> Minio:
    return Minio(place.endpoint, access_key=place.access_key, secret_key=place.secret_key, secure=False)


def _get(client: Minio, bucket: str, key: str) -> bytes:
    response = client.get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def _put(client: Minio, bucket: str, key: str, data: bytes) -> None:
    client.put_object(bucket, key, io.BytesIO(data), len(data), TEXT)


_own: tuple[Minio, str] | None = None


def _start(place: Place) -> None:
    """Prepare each process of the pool, once."""
    global _own
    _own = _connect(place), place.prefix


def _work(key: str) -> None:
    if _own is None:
        raise RuntimeError("a process was given a text before it was started")
    work(*_own, key)
