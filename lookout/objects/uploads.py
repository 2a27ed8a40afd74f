"""Putting files into a bucket of inputs, and looking back at what a key held: for people, not for the engine.

The digest that an upload declares in the metadata serves only to skip what is there already; nothing else believes it
(see ``bucket.py``).
"""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.datum import ObjectRef
from lookout.errors import InputRejected
from lookout.identity import sha256
from lookout.objects.files import failure, read_file
from lookout.objects.minio import MinioStore
from lookout.objects.minio.client import Found
from lookout.objects.minio.errors import Denied
from lookout.objects.minio.names import check_object_key

MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""What S3 takes in one request, and so as one version that is there whole or not at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploaded:
    """``ref`` is the visible version; ``is_new`` is False when the same bytes were there and nothing was written."""

    ref: ObjectRef
    is_new: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version in a key's history. A removal has no size. ``declared_sha256`` is what its writer said, unchecked."""

    version: str
    modified_at_s: float
    size: int | None
    declared_sha256: str | None
    is_visible: bool

    @property
    def is_removal(self) -> bool:
        return self.size is None


def upload_file(store: MinioStore, path: Path, bucket: str, key: str) -> Uploaded:
    """Put a file's bytes under the key, unless the visible version declares the same digest and size.

    With credentials that may put and not look, it always puts: the same bytes again are another version of the same
    content, and cost no processing. Raises InputRejected for a key that cannot be, for what is no regular file, and for
    more than 5 GiB.
    """
    check_object_key(bucket, key)
    try:
        if os.stat(path).st_size > MAX_UPLOAD_BYTES:
            raise InputRejected(f"expected at most {MAX_UPLOAD_BYTES} bytes", str(path))
        data = read_file(os.fspath(path))
    except OSError as error:
        raise failure(os.fspath(path), error) from error
    if data is None:
        raise InputRejected("is not a regular file", str(path))
    digest = sha256(data)
    seen = _find_visible(store, bucket, key)
    if seen is not None and (seen.sha256, seen.size) == (digest, len(data)):
        ref = ObjectRef(bucket=bucket, key=key, sha256=digest, size=len(data), version=seen.version)
        return Uploaded(ref=ref, is_new=False)
    content_type = mimetypes.guess_type(key, strict=True)[0] or "application/octet-stream"
    return Uploaded(ref=store.put(bucket, key, data, content_type, known_sha256=digest), is_new=True)


def _find_visible(store: MinioStore, bucket: str, key: str) -> Found | None:
    try:
        return store.connection.stat(store.full(bucket), key)
    except Denied:
        return None


def history(store: MinioStore, bucket: str, key: str) -> list[Version]:
    """All versions and removals of a key that the bucket still has, the newest first; empty for a key never used."""
    entries = list(store.versions_of(bucket, key))
    full = store.full(bucket)
    found = store.connection.each(
        lambda entry: None if entry.is_marker else store.connection.stat(full, key, entry.version), entries
    )
    return [
        Version(
            version=entry.version,
            modified_at_s=entry.modified_at_s,
            size=None if entry.is_marker else entry.size,
            declared_sha256=None if seen is None else seen.sha256,
            is_visible=entry.is_latest and not entry.is_marker,
        )
        for entry, seen in zip(entries, found, strict=True)
    ]
