"""A bucket of pictures as the source of inputs: looked at, compared with what is known, and read.

The parallel of ``source.py``, which does it for a folder. Nothing here knows a stage or decides whether a missing
object is retracted.

A fingerprint is the version id: the server never changes the bytes of a version, so an equal id proves that nothing
need be read again, as far as the server is trusted to keep what it stored. Only in a bucket without versioning is the
id ``null`` for all; there the fingerprint is the ETag (for what came in one piece: the bytes' MD5) with size and time,
which proves as much as a folder's. The identity of a picture is the sha256 of its bytes, read here to their end. A
digest in the metadata is not taken for it, as any device may write any metadata there: with the digest of a harmless
picture it could have a threat skipped as known.

A listing of versions is compared, not a plain one: it costs about the same an object and names the version that is
read, so that a picture replaced while it is read is still read whole. What the listing misses (MinIO does not list keys
below a key that is an object itself) or what changed since is asked for by name before it is called gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lookout.datum import ObjectRef, Observation
from lookout.errors import InputRejected
from lookout.objects.minio import MinioStore
from lookout.objects.minio.client import Found
from lookout.objects.minio.listing import Entry
from lookout.objects.minio.names import check_object_key

_PART: Final = 1000
_UNVERSIONED: Final = "null"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A stretch of a scan: every key after the part before, up to ``through``, is settled by it. None: to the end.

    ``gone`` has observations without a ref, each asked for by name. ``unchanged`` counts objects.
    """

    changed: tuple[Observation, ...]
    gone: tuple[Observation, ...]
    unchanged: int
    through: str | None


def origin_of(store: MinioStore, bucket: str) -> str:
    """The origin under which observations of the bucket are kept. Without the server's address, which may change while
    the objects stay: a ledger belongs to one deployment, and in it the full name means one bucket."""
    return f"s3:{store.full(bucket)}"


class BucketSource:
    """The bucket of pictures as ``lookout.intake`` looks at it."""

    def __init__(self, store: MinioStore, bucket: str) -> None:
        self._store, self._bucket = store, bucket
        self.origin = origin_of(store, bucket)

    def scan(self, known: Iterable[Observation], now_s: float, *, verify: bool) -> Iterator[Part]:
        """See ``scan_bucket``."""
        return scan_bucket(self._store, self._bucket, known, now_s, verify=verify)

    def observe(self, key: str, now_s: float) -> Observation:
        """See ``observe_object``."""
        return observe_object(self._store, self._bucket, key, now_s)

    def is_blank(self) -> bool:
        """Whether it holds no version of any object and no delete marker. Raises Unavailable when it is not there."""
        return next(self._store.versions(self._bucket), None) is None


# --- one object ------------------------------------------------------------------------------------------------------


def observe_object(store: MinioStore, bucket: str, key: str, now_s: float) -> Observation:
    """Look at one key and read its visible version to the end, in pieces. Neither ref nor error when there is none; an
    error in words when the key cannot be used."""
    return _observe(store, bucket, key, None, now_s)


def _observe(store: MinioStore, bucket: str, key: str, entry: Entry | None, now_s: float) -> Observation:
    """Read the listed version; the visible one when there is no entry, or when the listed one is gone for good."""
    ref, fingerprint, error = None, "", None
    try:
        check_object_key(bucket, key)
    except InputRejected as reason:
        fingerprint, error = "" if entry is None else _mark(entry), str(reason)
    else:
        full, read = store.full(bucket), store.connection.digest
        found = read(full, key, entry.version) if entry is not None else None
        found = found or read(full, key)
        if found is not None:
            seen, digest = found
            ref = ObjectRef(bucket=bucket, key=key, sha256=digest, size=seen.size, version=seen.version)
            fingerprint = _mark(seen)
    return Observation(
        bucket=bucket,
        key=key,
        origin=origin_of(store, bucket),
        ref=ref,
        fingerprint=fingerprint,
        observed_at_s=now_s,
        error=error,
    )


def _mark(seen: Entry | Found) -> str:
    """The fingerprint. Times are in whole seconds, as only a listing tells more."""
    if seen.version and seen.version != _UNVERSIONED:
        return seen.version
    return f"{_UNVERSIONED}:{seen.etag}:{seen.size}:{int(seen.modified_at_s)}"


# --- the whole bucket ------------------------------------------------------------------------------------------------


def scan_bucket(
    store: MinioStore,
    bucket: str,
    known: Iterable[Observation],
    now_s: float,
    *,
    prefix: str = "",
    after: str = "",
    verify: bool = False,
) -> Iterator[Part]:
    """Compare the bucket with what is known of it, a thousand keys at a time; memory stays flat however many there are.

    ``known`` comes in the order of keys (as ``Ledger.inputs`` gives it); only what was seen in this same bucket (by
    origin) can be gone. ``prefix`` and ``after`` restrict both sides; a scan that was cut off goes on after the
    ``through`` of its last part. ``verify`` reads every object, otherwise only those whose fingerprint is not known.

    Raises Unavailable when the bucket is not there or the server stops answering: the parts given until then hold, and
    nothing is said of the keys after them.
    """
    origin = origin_of(store, bucket)
    listed = (entry for entry in store.versions(bucket, prefix, after) if entry.is_latest and not entry.is_marker)
    relevant = (item for item in known if item.key > after and item.key.startswith(prefix))
    pairs = _merged(listed, relevant)
    while True:
        part = list(islice(pairs, _PART))
        yield _compare(store, bucket, origin, part, now_s, verify=verify)
        if len(part) < _PART:
            return


_Pair = tuple[str, Entry | None, Observation | None]


def _merged(listed: Iterator[Entry], known: Iterator[Observation]) -> Iterator[_Pair]:
    """Both sides beside each other, by key."""
    entry, item = next(listed, None), next(known, None)
    while entry is not None and item is not None:
        if entry.key < item.key:
            yield entry.key, entry, None
            entry = next(listed, None)
        elif item.key < entry.key:
            yield item.key, None, item
            item = next(known, None)
        else:
            yield entry.key, entry, item
            entry, item = next(listed, None), next(known, None)
    while entry is not None:
        yield entry.key, entry, None
        entry = next(listed, None)
    while item is not None:
        yield item.key, None, item
        item = next(known, None)


def _compare(store: MinioStore, bucket: str, origin: str, part: list[_Pair], now_s: float, *, verify: bool) -> Part:
    suspects = [pair for pair in part if _is_suspect(pair, origin, verify=verify)]
    seen = store.connection.each(lambda pair: _observe(store, bucket, pair[0], pair[1], now_s), suspects)
    changed: list[Observation] = []
    gone: list[Observation] = []
    same = sum(pair[1] is not None for pair in part) - sum(pair[1] is not None for pair in suspects)
    for (_, _, before), item in zip(suspects, seen, strict=True):
        if item.ref is None and item.error is None:
            if before is not None and before.origin == origin:
                gone.append(item)
        elif _says_the_same(before, item):
            same += 1
        else:
            changed.append(item)
    through = part[-1][0] if len(part) == _PART else None
    return Part(changed=tuple(changed), gone=tuple(gone), unchanged=same, through=through)


def _is_suspect(pair: _Pair, origin: str, *, verify: bool) -> bool:
    """Whether it must be looked at: listed and not known like this, or known from here and not listed."""
    _, entry, before = pair
    if entry is None:
        return before is not None and before.origin == origin
    return verify or before is None or before.origin != origin or before.fingerprint != _mark(entry)


def _says_the_same(before: Observation | None, item: Observation) -> bool:
    if before is None or before.origin != item.origin or before.fingerprint != item.fingerprint:
        return False
    return before.error == item.error and before.ref == item.ref
