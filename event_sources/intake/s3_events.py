"""Parser of the events that the store posts about objects; a bad one is refused with a sentence. No I/O.

Only the object's name is taken from an event. Whether it is there, and its content, are observed: so events may come
twice, late and in any order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_plus

from lookout.domain.errors import InputRejected

MAX_BODY_BYTES: Final = 1024 * 1024
"""An event of MinIO has one record, of about a kilobyte and the object's metadata, which are 8 KiB at most."""
_MAX_KEY_BYTES: Final = 1024
_KINDS: Final = {"ObjectCreated": "created", "ObjectRemoved": "removed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """Something happened to this object. ``bucket`` is its full name; ``kind`` is created, removed or other.
    ``version`` and ``at_s``, by the store's clock, are empty and None where the event says nothing usable."""

    bucket: str
    key: str
    kind: str
    version: str = ""
    at_s: float | None = None


def read_events(body: bytes) -> list[Happened]:
    """Return the records of an event in the form of S3. Raises InputRejected for any other body."""
    try:
        tree: Any = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InputRejected("expected an event of S3 as JSON", "the body", type(exc).__name__) from exc
    records = tree.get("Records") if isinstance(tree, dict) else None
    if not isinstance(records, list) or not records:
        raise InputRejected("expected an event of S3: an object with a list Records that is not empty", "the body")
    return [_read(f"Records[{number}]", record) for number, record in enumerate(records)]


def _read(where: str, record: object) -> Happened:
    what, _, _ = _text(where, record, "eventName").removeprefix("s3:").partition(":")
    return Happened(
        bucket=_text(where, record, "s3", "bucket", "name"),
        key=_key(f"{where}.s3.object.key", _text(where, record, "s3", "object", "key")),
        kind=_KINDS.get(what, "other"),
        version=_find(record, "s3", "object", "versionId") or "",
        at_s=_instant(_find(record, "eventTime")),
    )


def _text(where: str, record: object, *path: str) -> str:
    found = _find(record, *path)
    if found is None:
        raise InputRejected("expected a text that is not empty", f"{where}.{'.'.join(path)}")
    return found


def _find(record: object, *path: str) -> str | None:
    """Return a text that is not empty; None for anything else."""
    found = record
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) and found else None


def _instant(text: str | None) -> float | None:
    """Return seconds since the epoch of a time with its zone; None for anything else."""
    try:
        read = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if read.tzinfo is None else read.timestamp()


def _key(where: str, quoted: str) -> str:
    try:
        key = unquote_plus(quoted, errors="strict")
        length = len(key.encode())
    except UnicodeError as exc:
        raise InputRejected("is not UTF-8", where) from exc
    if length > _MAX_KEY_BYTES:
        raise InputRejected(f"expected a key of at most {_MAX_KEY_BYTES} bytes, got {length}", where)
    return key
