"""Objects in versioned buckets of a MinIO server.

``put`` writes straight to the key, so a version may be what a reader of the plain key gets before the ledger names it:
a bucket cannot hide it, and a copy for each object would double the writes. The ledger names versions by
id and its readers ask by id, so they never see it. ``publish`` makes the named version the visible one: usually it is
already, which one HEAD an object tells. When another one lies on top (a late PUT of an engine that had been frozen, a
delete marker, a newer record), the named one is copied over it on the server; the copy says of which version it is
one, so that repeating does nothing.

Why the copy and not the removal of what lies on top: that may be a version that another engine has put and will commit
in a moment, or one that history names.

The store must not know the ledger: it never decides which version counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing, ObjectUnreadable
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.object_store.minio.access import Access, Found, NoBucket
from lookout.object_store.minio.listing import PAGE, Entry, current, versions, versions_of
from lookout.object_store.minio.names import check_object_key, full_bucket
from lookout.object_store.port import Listed, ObjectStore, Publish

if TYPE_CHECKING:
    from lookout.object_store.minio.client import Connection

_VERSION: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|null")
_DELETE_AT_ONCE: Final = 1000


class MinioStore(ObjectStore):
    """Objects on a MinIO server. Several processes and threads may use it at once; each process connects by itself.

    ``prefix`` begins the names of all buckets on the server. ``collected`` are the buckets, without the prefix, in
    which ``collect`` may remove versions; the lifecycle rules that ``make_buckets`` sets do the same on the server.
    Every call raises Unavailable with the server's URL, the bucket and what to do; no credential is in any text.
    """

    def __init__(self, access: Access, *, prefix: str = "", collected: Sequence[str] = ()) -> None:
        self.access = access
        self.prefix = prefix
        self.collected = tuple(collected)
        self._connected: Connection | None = None

    def __repr__(self) -> str:
        return f"MinioStore({self.access.url!r}, prefix={self.prefix!r})"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_connected": None}

    @property
    def connection(self) -> Connection:
        """The connection of this process, made when it is first needed. Raises InputRejected for a missing CA file."""
        if self._connected is None or self._connected.pid != os.getpid():
            # Imported here: a store that was not asked for anything yet is cheap to make, to send and to receive.
            from lookout.object_store.minio.client import Connection

            self._connected = Connection(self.access)
        return self._connected

    def full(self, bucket: str) -> str:
        """Return the bucket's name on the server. Raises InputRejected when no bucket can be named so."""
        return full_bucket(self.prefix, bucket)

    # --- reading ----------------------------------------------------------------------------------------------------

    def get(self, ref: ObjectRef) -> bytes:
        check_object_key(ref.bucket, ref.key)
        asked = _version_of(ref)
        damage: ObjectUnreadable | None = None
        try:
            data = self.connection.read(self.full(ref.bucket), ref.key, asked)
            if data is not None and sha256(data) == ref.sha256:
                return data
        except ObjectUnreadable as error:
            damage = error
        return self._get_elsewhere(ref, asked, damage)

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        return self.connection.each(self._has, refs)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        """See the contract. The listing is a view of the moment when each page of a thousand is asked for."""
        entries = current(partial(self.connection.page, self.full(bucket)), prefix, after)
        try:
            first = next(entries, None)
        except NoBucket:
            return  # an unknown bucket is empty; one that vanishes later is not
        if first is not None:
            yield _listed(first)
        for entry in entries:
            yield _listed(entry)

    def versions(
        self, bucket: str, prefix: str = "", after: str = "", through: str | None = None, page: int = PAGE
    ) -> Iterator[Entry]:
        """Yield all versions and delete markers of the keys after ``after`` and not after ``through`` (None: to the
        end), in the order of code points, of each key the newest first; streamed, ``page`` entries a request. Raises
        Unavailable for an unknown bucket: it must not look like one in which all was deleted."""
        return versions(partial(self.connection.page, self.full(bucket)), prefix, after, through, page)

    def versions_of(self, bucket: str, key: str) -> Iterator[Entry]:
        """Yield all versions and delete markers of one key, the newest first."""
        check_object_key(bucket, key)
        return versions_of(partial(self.connection.page, self.full(bucket)), key)

    def exists(self, bucket: str) -> bool:
        """Tell whether the server has the bucket."""
        return self.connection.has_bucket(self.full(bucket))

    # --- writing ----------------------------------------------------------------------------------------------------

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
        """See the contract. ``made_by`` becomes user metadata, with ``lookout-`` before its names."""
        check_object_key(bucket, key)
        digest = known_sha256 or sha256(data)
        version = self.connection.put(self.full(bucket), key, data, content_type, digest, made_by or {})
        return ObjectRef(bucket=bucket, key=key, sha256=digest, size=len(data), version=version)

    def put_new(self, bucket: str, key: str, data: bytes, content_type: str, known_sha256: str) -> bool:
        """Write an object if nothing is visible under its key, as one step of the server; False if something is."""
        check_object_key(bucket, key)
        return self.connection.put_new(self.full(bucket), key, data, content_type, known_sha256)

    def digest_of(self, bucket: str, key: str) -> str | None:
        """Return the sha256 of what is visible under a key, read to its end; None if nothing is."""
        check_object_key(bucket, key)
        read = self.connection.digest(self.full(bucket), key)
        return None if read is None else read[1]

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        """Nothing is left to do: MinIO answers a PUT after fdatasync (or O_DSYNC) of the object's data and metadata.

        What it does not sync by itself is the rename that gives them their name: on one machine a power cut within
        the file system's commit interval (5 s on ext4) may take the version back, after which ``get`` says
        ObjectMissing and the engine makes it anew. ``MINIO_FS_OSYNC=on`` closes that gap; more machines do, too.
        No S3 call could.
        """

    def publish(self, changes: Sequence[Publish]) -> None:
        """See the contract. Of several changes of one key only the last is made, as it would replace the others at
        once; different keys are changed at the same time, so that a reader may see them in any order."""
        last = {(change.bucket, change.key): change for change in changes}
        for bucket, key in last:
            check_object_key(bucket, key)
            self.full(bucket)
        self.connection.each(self._publish, last.values())

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        """See the contract. A kill between the two steps leaves a version that the next call removes."""
        self.put(bucket, key, data, content_type)
        old = [(entry.key, entry.version) for entry in self.versions_of(bucket, key) if not entry.is_latest]
        self.connection.delete_versions(self.full(bucket), old)

    def find_visible(self, bucket: str, key: str) -> bytes | None:
        check_object_key(bucket, key)
        return self.connection.read(self.full(bucket), key)

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        """See the contract, with one difference: what ``put`` made is visible at once, so nothing here can tell a
        version that was published from one that was not. Give only what no commit named. What lay below is visible
        again."""
        named = [ref for ref in refs if _version_of(ref) is not None and self._can_hold(ref)]
        self.connection.each(lambda ref: self.connection.delete(self.full(ref.bucket), ref.key, ref.version), named)

    def collect(self, keep_newer_than_s: float) -> int:
        """See the contract. A version's age counts from when it was replaced or removed, as with lifecycle rules. A
        version that nobody published but that lies on top is visible, so it stays: the ledger's upkeep finds it."""
        return sum(self._collect(bucket, keep_newer_than_s) for bucket in self.collected if self.exists(bucket))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _can_hold(self, ref: ObjectRef) -> bool:
        try:
            check_object_key(ref.bucket, ref.key)
            self.full(ref.bucket)
        except InputRejected:
            return False
        return True

    def _has(self, ref: ObjectRef) -> bool:
        if not self._can_hold(ref):
            return False
        try:
            found = self.connection.stat(self.full(ref.bucket), ref.key, _version_of(ref))
            if found is not None and _may_be(ref, found):
                return True
            return any(_may_be(ref, other) for other in self._others(ref))
        except ObjectUnreadable:
            return False  # nor would ``get`` find it

    def _others(self, ref: ObjectRef) -> Iterator[Found]:
        """Yield every version of the key that has the size of ``ref``, the newest first."""
        for entry in self.versions_of(ref.bucket, ref.key):
            if entry.is_marker or entry.size != ref.size:
                continue
            found = self.connection.stat(self.full(ref.bucket), ref.key, entry.version)
            if found is not None:
                yield found

    def _get_elsewhere(self, ref: ObjectRef, skip: str | None, damage: ObjectUnreadable | None) -> bytes:
        """Return the bytes from another version of the key, whatever its writer declared: read until the digest is
        right. ``damage`` is why the version to ``skip`` cannot be read, if that is so."""
        shown: str | None = None
        for entry in self.versions_of(ref.bucket, ref.key):
            if entry.is_marker or not (entry.is_latest or (entry.size == ref.size and entry.version != skip)):
                continue
            if damage is not None and entry.version == skip:
                continue
            try:
                data = self.connection.read(self.full(ref.bucket), ref.key, entry.version)
            except ObjectUnreadable as error:
                damage = error
                continue
            if data is None:
                continue
            found = sha256(data)
            if found == ref.sha256:
                return data
            if entry.is_latest:
                shown = found
        if shown is None:
            raise damage or ObjectMissing(ref.bucket, ref.key)
        raise ObjectChanged(ref.bucket, ref.key, ref.sha256, shown)

    def _publish(self, change: Publish) -> None:
        bucket = self.full(change.bucket)
        top = self.connection.stat(bucket, change.key)
        if change.ref is None:
            if top is not None:
                self.connection.delete(bucket, change.key)
        elif top is None or not _is_shown(change.ref, top):
            self._put_on_top(change.ref)

    def _put_on_top(self, ref: ObjectRef) -> None:
        bucket, version = self.full(ref.bucket), _version_of(ref)
        named = self.connection.stat(bucket, ref.key, version) if version is not None else None
        if named is not None and self.connection.copy(bucket, ref.key, named):
            return
        for other in self._others(ref):
            if other.sha256 == ref.sha256 and self.connection.copy(bucket, ref.key, other):
                return
        raise ObjectMissing(ref.bucket, ref.key)

    def _collect(self, bucket: str, keep_newer_than_s: float) -> int:
        gone = 0
        batch: list[Entry] = []
        for entry in _old(self.versions(bucket), keep_newer_than_s):
            batch.append(entry)
            if len(batch) == _DELETE_AT_ONCE:
                gone += self._remove(bucket, batch)
                batch = []
        return gone + self._remove(bucket, batch)

    def _remove(self, bucket: str, entries: Sequence[Entry]) -> int:
        self.connection.delete_versions(self.full(bucket), [(entry.key, entry.version) for entry in entries])
        return sum(not entry.is_marker for entry in entries)


def _old(entries: Iterator[Entry], keep_newer_than_s: float) -> Iterator[Entry]:
    """Yield the versions that may be pruned: replaced or removed before then, and delete markers with nothing left
    below them. Never the visible version: the server says of each entry whether it is the latest of its key."""
    newer: Entry | None = None
    marker: Entry | None = None
    for entry in entries:
        if entry.is_latest:
            if marker is not None:
                yield marker
            marker = entry if entry.is_marker and entry.modified_at_s < keep_newer_than_s else None
        elif newer is not None and newer.key == entry.key and newer.modified_at_s < keep_newer_than_s:
            yield entry
        else:
            marker = None  # something below it stays, and would be seen again without it
        newer = entry
    if marker is not None:
        yield marker


def _version_of(ref: ObjectRef) -> str | None:
    """Return the version to ask for. A handle that is none of MinIO's (another store's, a folder) never reaches the
    wire."""
    return ref.version if ref.version is not None and _VERSION.fullmatch(ref.version) else None


def _may_be(ref: ObjectRef, found: Found) -> bool:
    return found.size == ref.size and found.sha256 in (None, ref.sha256)


def _is_shown(ref: ObjectRef, top: Found) -> bool:
    """Tell whether the visible version is the named one, or a lasting one with its bytes: a version that was only put
    may be discarded by its writer, but nobody can name a copy."""
    if top.version == ref.version:
        return True
    return top.sha256 == ref.sha256 and (ref.version is None or top.copy_of is not None)


def _listed(entry: Entry) -> Listed:
    return Listed(key=entry.key, size=entry.size, modified_at_s=entry.modified_at_s)
