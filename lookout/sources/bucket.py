"""A bucket of pictures as the source of inputs: observed, compared with the known inputs, and read.

The parallel of ``source.py``, which does it for a folder. Nothing here knows a stage or decides whether a missing
object is retracted.

A fingerprint is the version id: the server never changes the bytes of a version, so an equal id proves that nothing
need be read again, as far as the server is trusted to keep what it stored. Only in a bucket without versioning is the
id ``null`` for all; there the fingerprint is the ETag (for what came in one piece: the bytes' MD5) with size and time,
which proves as much as a folder's. The identity of a picture is the sha256 of its bytes, read here to their end. A
digest in the metadata is not taken for it, as any device may write any metadata there: with the digest of a harmless
picture it could have a threat skipped as known.

A listing of versions is compared, not a plain one: it costs about the same an object and names the version that is
read, so that a picture replaced while it is read is still read whole. What the listing misses or what changed since is
asked for by name before it is called gone.

No listing of MinIO has keys below a key that is an object itself, nor is there another call that finds them. So an
object whose key could be a folder's is an error for as long as a version of it is there (``names.py``). A key that no
store can hold is an error where a listing shows it, and otherwise there is no such object: nothing of it is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Final

from lookout.domain.errors import InputRejected, ObjectUnreadable
from lookout.domain.records import ObjectRef, Observation
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.access import Found
from lookout.object_store.minio.listing import Entry
from lookout.object_store.minio.names import check_hides_nothing, check_object_key

_PART: Final = 1000
_STRETCH: Final = 950
"""Known keys in one request for a page of 1000: what is new among them comes with it."""
_AHEAD: Final = 4
"""Requests at once: the server walks through one listing on one core."""
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
    unlistable: Mapping[str, str] = field(default_factory=dict)
    """Folders that could not be listed; a bucket has none."""


def origin_of(store: MinioStore, bucket: str) -> str:
    """Return the origin under which observations of the bucket are kept. Without the server's address, which may change
    while the objects stay: a ledger belongs to one deployment, and in it the full name means one bucket."""
    return f"s3:{store.full(bucket)}"


class BucketSource:
    """The bucket of pictures as ``lookout.sources.ingest`` looks at it."""

    def __init__(self, store: MinioStore, bucket: str, endings: Sequence[str] = ()) -> None:
        """``endings``: see ``scan_bucket``."""
        self._store, self._bucket, self._endings = store, bucket, endings
        self.origin = origin_of(store, bucket)

    def scan(self, known: Iterable[Observation], now_s: float, *, verify: bool) -> Iterator[Part]:
        """See ``scan_bucket``."""
        return scan_bucket(self._store, self._bucket, known, now_s, verify=verify, endings=self._endings)

    def observe(self, key: str, now_s: float) -> Observation:
        """See ``observe_object``."""
        return observe_object(self._store, self._bucket, key, now_s, self._endings)

    def is_blank(self) -> bool:
        """See ``is_blank``."""
        return is_blank(self._store, self._bucket)


def is_blank(store: MinioStore, bucket: str) -> bool:
    """Tell whether it holds no version of any object and no delete marker. Raises Unavailable when it is not there."""
    return next(store.versions(bucket, page=1), None) is None


# --- one object ------------------------------------------------------------------------------------------------------


def observe_object(store: MinioStore, bucket: str, key: str, now_s: float, endings: Sequence[str] = ()) -> Observation:
    """Look at one key and read its visible version to the end, in pieces. Neither ref nor error when there is none, as
    under a key that no store can hold; an error in words when the object could hide others, by its key."""
    return _observe(store, bucket, key, None, now_s, endings)


def _observe(
    store: MinioStore, bucket: str, key: str, entry: Entry | None, now_s: float, endings: Sequence[str]
) -> Observation:
    """Read the listed version; the visible one when there is no entry, or when the listed one is gone for good."""
    ref, fingerprint, error = None, "", _fault(bucket, key, endings)
    if error is not None:
        listed = entry or _find_any(store, bucket, key)
        fingerprint, error = ("", None) if listed is None else (_mark(listed), error)
    else:
        full, read = store.full(bucket), store.connection.digest
        try:
            found = read(full, key, entry.version) if entry is not None else None
            found = found or read(full, key)
        except ObjectUnreadable as reason:
            found, error = None, f"cannot be read: {reason}"
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


def _fault(bucket: str, key: str, endings: Sequence[str]) -> str | None:
    """Return the reason, in words, why an object of this key cannot be an input."""
    try:
        check_object_key(bucket, key)
        check_hides_nothing(bucket, key, endings)
    except InputRejected as reason:
        return str(reason)
    return None


def _find_any(store: MinioStore, bucket: str, key: str) -> Entry | None:
    """Return the newest version or delete marker of a key; None for a key that cannot be asked for."""
    try:
        return next(store.versions_of(bucket, key), None)
    except InputRejected:
        return None


def _mark(seen: Entry | Found) -> str:
    """Return the fingerprint. Times are in whole seconds, as only a listing tells more."""
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
    endings: Sequence[str] = (),
) -> Iterator[Part]:
    """Compare the bucket with what is known of it, a thousand keys at a time; memory stays flat however many there are.
    What is known says where the listing can be cut, so that several pages are asked for at once.

    ``known`` comes in the order of keys (as ``Ledger.inputs`` gives it); only what was seen in this same bucket (by
    origin) can be gone. ``prefix`` and ``after`` restrict both sides; a scan that was cut off goes on after the
    ``through`` of its last part. ``verify`` reads every object, otherwise only those whose fingerprint is not known. An
    object whose key has none of ``endings`` is an error, also when it is deleted; without any, all keys are inputs.

    Raises Unavailable when the bucket is not there or the server stops answering: the parts given until then hold, and
    nothing is said of the keys after them.
    """
    origin = origin_of(store, bucket)
    relevant = (item for item in known if item.origin == origin and item.key > after and item.key.startswith(prefix))
    begin = partial(_begin, store, bucket, prefix, endings)
    observe = partial(_observe, store, bucket, now_s=now_s, endings=endings)
    for stretch, listed in store.connection.ahead(begin, _stretches(relevant, after), _AHEAD):
        then = deque(stretch.known)
        while True:
            now = list(islice(listed, _PART))
            through = now[-1].key if len(now) == _PART else stretch.through
            yield _compare(store, observe, now, list(_up_to(through, then)), verify=verify, through=through)
            if len(now) < _PART:
                break


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stretch:
    """Every key after ``after`` and not after ``through`` (None: to the end), with what is known of them."""

    after: str
    through: str | None
    known: list[Observation]


def _stretches(known: Iterator[Observation], after: str) -> Iterator[_Stretch]:
    """Yield the whole of the keys, cut where a page of the listing will most likely reach a little further."""
    through: str | None = after
    while through is not None:
        some = list(islice(known, _STRETCH))
        after, through = through, some[-1].key if len(some) == _STRETCH else None
        yield _Stretch(after=after, through=through, known=some)


def _begin(
    store: MinioStore, bucket: str, prefix: str, endings: Sequence[str], stretch: _Stretch
) -> tuple[_Stretch, Iterator[Entry]]:
    """Return the visible objects of a stretch, and the deleted ones that still hide others; as many as make a part
    being here already. Its bounds are keys, so nothing is listed twice or missed, whatever changes meanwhile in this
    stretch or another."""
    entries = store.versions(bucket, prefix, stretch.after, stretch.through)
    visible = (
        entry
        for entry in entries
        if entry.is_latest and (not entry.is_marker or _fault(bucket, entry.key, endings) is not None)
    )
    return stretch, chain(list(islice(visible, _PART)), visible)


def _up_to(through: str | None, known: deque[Observation]) -> Iterator[Observation]:
    while known and (through is None or known[0].key <= through):
        yield known.popleft()


def _compare(
    store: MinioStore,
    observe: Callable[[str, Entry | None], Observation],
    now: Iterable[Entry],
    then: Iterable[Observation],
    *,
    verify: bool,
    through: str | None,
) -> Part:
    """Compare the listing with what is known of this source. Only where key or fingerprint differ, or all if
    ``verify``, the object itself is observed."""
    listed, known = {entry.key: entry for entry in now}, {item.key: item for item in then}
    marks = {key: _mark(entry) for key, entry in listed.items()}
    marks_then = {key: item.fingerprint for key, item in known.items()}
    differ = marks.keys() | marks_then.keys() if verify else {key for key, _ in marks.items() ^ marks_then.items()}
    suspects = sorted(differ)
    seen = store.connection.each(lambda key: observe(key, listed.get(key)), suspects)
    changed: list[Observation] = []
    gone: list[Observation] = []
    same = len(listed.keys() - differ)
    for key, item in zip(suspects, seen, strict=True):
        before = known.get(key)
        if item.ref is None and item.error is None:
            if before is not None:
                gone.append(item)
        elif before is not None and _says_the_same(before, item):
            same += 1
        else:
            changed.append(item)
    return Part(changed=tuple(changed), gone=tuple(gone), unchanged=same, through=through)


def _says_the_same(before: Observation, item: Observation) -> bool:
    return (before.fingerprint, before.error, before.ref) == (item.fingerprint, item.error, item.ref)
