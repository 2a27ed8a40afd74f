"""One connection to a MinIO server: the calls that the store needs, answers as records, errors as ours.

Knows buckets by their full names and no reference, ledger or stage. Every call is bounded: it waits ``timeout_s`` for
an answer and is repeated a few times after a lost connection or a 5xx. Repeating is harmless: reads and heads change
nothing, a version is deleted only once, and a PUT or a copy whose answer was lost makes a second version with the same
bytes, of which only the one whose answer came is ever named; the other is a version that nobody names and ages out.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, TypeVar
from urllib.parse import quote

from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from lookout.domain.errors import Unavailable
from lookout.domain.identity import MAX_INPUT_BYTES, unread_digest
from lookout.object_store.minio.access import Access, Found
from lookout.object_store.minio.blame import blame, may_be_of_one
from lookout.object_store.minio.errors import GONE, code_of, failure, translated
from lookout.object_store.minio.http import REPEATS, make_pool, signed

SHA256: Final = "sha256"
"""The metadata entry with the content's digest, lower-case hex."""
COPY_OF: Final = "copy-of"
"""The metadata entry of a version that ``copy`` made: which version it was made from."""

MADE_BY: Final = "lookout-"
"""What the names of metadata entries begin with that say how a version was made."""

_META: Final = "x-amz-meta-"
_CHUNK_BYTES: Final = 1024 * 1024
_NOT_MET: Final = 412
_DELETE_AT_ONCE: Final = 1000
_MIN_PART_BYTES: Final = 5 * 1024 * 1024

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Connection:
    """The calls, each raising Unavailable when the server does not answer, refuses or is full; those for one object
    ObjectUnreadable when the server cannot read this one and can read others."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.pid = os.getpid()
        self._http = make_pool(access)
        self.client = Minio(
            access.endpoint,
            access_key=access.access_key,
            secret_key=access.secret_key,
            secure=access.secure,
            region=access.region,
            http_client=self._http,
        )
        self._threads = ThreadPoolExecutor(access.threads, thread_name_prefix="s3")

    # --- one object -------------------------------------------------------------------------------------------------

    def put(
        self, bucket: str, key: str, data: bytes, content_type: str, sha256: str, made_by: Mapping[str, str]
    ) -> str:
        """Write a version in one request and give its id. Metadata may only be ASCII: the rest is percent-encoded."""
        about = {f"{MADE_BY}{name}": quote(value) for name, value in made_by.items()}
        with self._writing(bucket, key):
            written = self.client.put_object(
                bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type,
                metadata={SHA256: sha256, **about},
                part_size=max(len(data), _MIN_PART_BYTES),  # never in parts: half an object cannot be
            )
        return self._versioned(bucket, written.version_id)

    def put_new(self, bucket: str, key: str, data: bytes, content_type: str, sha256: str) -> bool:
        """Write a version if nothing is visible under the key; False if something is, also this call's own earlier
        attempt whose answer was lost. The server decides. minio-py has no call for that."""
        url = f"{self.access.url}/{bucket}/{quote(key)}"
        more = {"Content-Type": content_type, "If-None-Match": "*", f"{_META}{SHA256}": sha256}
        with self._writing(bucket, key):
            response = self._http.request("PUT", url, body=data, headers=signed(self.access, "PUT", url, sha256, more))
            if response.status == _NOT_MET:
                return False
            if response.status != 200:
                raise S3Error.fromxml(response)
        self._versioned(bucket, response.headers.get("x-amz-version-id"))
        return True

    def stat(self, bucket: str, key: str, version: str | None = None) -> Found | None:
        """Return the metadata of a version, by default the visible one; None when it is not there."""
        with self._reading(bucket, key):
            try:
                found = self.client.stat_object(bucket, key, version_id=version)
            except S3Error as error:
                if code_of(error) in GONE:
                    return None
                raise
        headers = found.metadata
        return _found({} if headers is None else dict(headers.items()))

    def read(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """Return the bytes of a version, by default of the visible one; None when it is not there."""
        read = self._stream(bucket, key, version, lambda response: response.read())
        return None if read is None else read[1]

    def digest(self, bucket: str, key: str, version: str | None = None) -> tuple[Found, str] | None:
        """Return a version read to its end, in pieces, and the sha256 of its bytes; None when it is not there. Of one
        that is larger than an input may be, nothing is read: see ``unread_digest``."""
        return self._stream(bucket, key, version, _digest)

    def copy(self, bucket: str, key: str, source: Found) -> bool:
        """Make a new visible version with the bytes of an older one, on the server; False when that one is gone."""
        metadata: dict[str, str | list[str] | tuple[str]] = {
            **source.metadata,
            COPY_OF: source.version,
            "Content-Type": source.content_type,
        }
        origin = CopySource(bucket, key, version_id=source.version)
        with self._writing(bucket, key, source.version):
            try:
                self.client.copy_object(bucket, key, origin, metadata=metadata, metadata_directive=REPLACE)
            except S3Error as error:
                if code_of(error) in GONE:
                    return False
                raise
        return True

    def delete(self, bucket: str, key: str, version: str | None = None) -> None:
        """Remove a version for good, or, without one, hide the key under a delete marker."""
        with self._writing(bucket, key):
            self.client.remove_object(bucket, key, version_id=version)

    def has_bucket(self, bucket: str) -> bool:
        """Tell whether the bucket is there."""
        with translated(self.access.url, bucket):
            return self.client.bucket_exists(bucket)

    # --- many objects -----------------------------------------------------------------------------------------------

    def delete_versions(self, bucket: str, named: Sequence[tuple[str, str]]) -> None:
        """Remove versions, as (key, version), for good, a thousand a request. Those that are gone do not matter."""
        # A control character cannot be written in the XML of a bulk request, and a carriage return changes in it.
        odd = [name for name in named if not name[0].isprintable()]
        even = [DeleteObject(key, version) for key, version in named if key.isprintable()]
        for start in range(0, len(even), _DELETE_AT_ONCE):
            with translated(self.access.url, bucket):
                for trouble in self.client.remove_objects(bucket, even[start : start + _DELETE_AT_ONCE]):
                    if trouble.code not in GONE:
                        raise Unavailable(f"{self.access.url}/{bucket}", f"{trouble.code}: {trouble.message}")
        self.each(lambda name: self.delete(bucket, *name), odd)

    def page(self, bucket: str, query: Mapping[str, str]) -> bytes:
        """One page of a listing, as the server's XML."""
        asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        url = f"{self.access.url}/{bucket}?{asked}"
        headers = signed(self.access, "GET", url)
        with translated(self.access.url, bucket):
            response = self._http.request("GET", url, headers=headers)
            if response.status != 200:
                raise S3Error.fromxml(response)
        return response.data

    def each(self, call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """Call for each item, several at once; the answers in the order of the items. When some fail, all the others
        are still done, then the first error is raised. Must not be used inside such a call."""
        work = list(items)
        if len(work) <= 1:
            return [call(item) for item in work]
        futures = [self._threads.submit(call, item) for item in work]
        wait(futures)
        return [future.result() for future in futures]

    def ahead(self, call: Callable[[Item], Answer], items: Iterable[Item], at_once: int) -> Iterator[Answer]:
        """As ``each``, but streamed: the calls for ``at_once`` items are under way before the first answer is given.
        The items are taken in the caller's thread. After an error nothing more is begun."""
        begun: deque[Future[Answer]] = deque()
        try:
            for item in items:
                begun.append(self._threads.submit(call, item))
                if len(begun) == at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _stream(
        self, bucket: str, key: str, version: str | None, consume: Callable[[BaseHTTPResponse], Answer]
    ) -> tuple[Found, Answer] | None:
        """Read a body, from its beginning again when the connection breaks in the middle of it."""
        with self._reading(bucket, key):
            return self._read_body(bucket, key, version, consume)

    def _read_body(
        self, bucket: str, key: str, version: str | None, consume: Callable[[BaseHTTPResponse], Answer]
    ) -> tuple[Found, Answer] | None:
        for left in reversed(range(REPEATS)):
            with translated(self.access.url, bucket):
                try:
                    response = self.client.get_object(bucket, key, version_id=version)
                except S3Error as error:
                    if code_of(error) in GONE:
                        return None
                    raise
            try:
                return _found(dict(response.headers.items())), consume(response)
            except (ProtocolError, ReadTimeoutError) as error:
                if not left:
                    raise failure(self.access.url, bucket, error) from error
            finally:
                response.close()
                response.release_conn()
        raise AssertionError("the last repetition returns or raises")

    @contextmanager
    def _reading(self, bucket: str, key: str) -> Iterator[None]:
        """Turn what is raised into Unavailable, or into ObjectUnreadable if only this object is to blame."""
        try:
            with translated(self.access.url, bucket):
                yield
        except Unavailable as error:
            sign = partial(signed, self.access)
            raise blame(error, self.access.url, bucket, key, self._http, sign) from error.__cause__

    @contextmanager
    def _writing(self, bucket: str, key: str, version: str | None = None) -> Iterator[None]:
        """Turn what is raised into Unavailable, or into ObjectUnreadable where the server cannot read what is under the
        key, or the version that is copied: then nothing can be written there."""
        try:
            with translated(self.access.url, bucket):
                yield
        except Unavailable as error:
            if may_be_of_one(error):
                if version is None:
                    self.stat(bucket, key)
                else:
                    self.digest(bucket, key, version)
            raise

    def _versioned(self, bucket: str, version: str | None) -> str:
        if not version or version == "null":
            raise Unavailable(f"{self.access.url}/{bucket}", "keeps no versions; run `lookout init` to turn them on")
        return version


def _digest(response: BaseHTTPResponse) -> str:
    size = int(response.headers.get("content-length", "0"))
    if size > MAX_INPUT_BYTES:
        return unread_digest(size)
    digest = hashlib.sha256()
    for chunk in response.stream(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _found(headers: Mapping[str, str]) -> Found:
    fields = {name.lower(): value for name, value in headers.items()}
    metadata = {name.removeprefix(_META): value for name, value in fields.items() if name.startswith(_META)}
    return Found(
        version=fields.get("x-amz-version-id", "null"),
        size=int(fields.get("content-length", "0")),
        etag=fields.get("etag", "").strip('"'),
        modified_at_s=parsedate_to_datetime(fields["last-modified"]).timestamp(),
        content_type=fields.get("content-type", "application/octet-stream"),
        sha256=metadata.get(SHA256),
        copy_of=metadata.get(COPY_OF),
        metadata=metadata,
    )
