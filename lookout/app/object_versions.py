"""Versions of an object: those in the store beside what the ledger says of them.

Readers believe the ledger: a version that lies in the store counts only if a record names it. A store on a server can
list the versions of a key; the one in a folder keeps them by digest only, so there the ledger's records are the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookout.app.deployment import Deployment
from lookout.domain.errors import InputRejected
from lookout.domain.records import ObjectRef, Record
from lookout.ledger.port import Ledger

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Version of an object, or its removal, which has no size.

    ``version`` is what ``lookout get --version`` takes. ``sha256`` is the ledger's word, else what the writer declared,
    else None. ``visible`` is what a reader of the plain key gets, ``named`` what the ledger names now, ``kept`` whether
    the bytes are still there; ``datum`` and ``run`` made it.
    """

    version: str
    modified_at_s: float
    size: int | None
    sha256: str | None
    removed: bool
    visible: bool
    named: bool
    kept: bool
    datum: str | None = None
    run: str | None = None


def find_named(opened: Deployment, bucket: str, key: str) -> ObjectRef | None:
    """Give the version that the ledger names now: of a photograph the one last seen, of a result the live datum's, of a
    model or a rule the one in force."""
    ledger = opened.ledger
    if bucket == opened.pipeline.inputs:
        seen = ledger.find_inputs(bucket, [key]).get(key)
        return None if seen is None else seen.ref
    record = next(iter(ledger.makers(bucket, key)), None)
    if record is not None:
        return _output(record, bucket, key) if ledger.is_live([record.hash]) else None
    files = (ref for unit in ledger.references(bucket) for ref in unit.files.values())
    return next((ref for ref in files if ref.key == key), None)


def get_named(opened: Deployment, bucket: str, key: str) -> ObjectRef:
    """As ``find_named``. Raises InputRejected when the ledger names none."""
    ref = find_named(opened, bucket, key)
    if ref is None:
        hint = "lookout history shows what it was"
        raise InputRejected("the ledger names no version of it", f"{bucket}/{key}", hint)
    return ref


def server_history(store: MinioStore, opened: Deployment, bucket: str, key: str) -> list[Entry]:
    """Give all versions and removals that the bucket has, and those that the ledger remembers and the bucket has not
    any more; the newest first."""
    from lookout.object_store.minio.version_history import history

    ledger = opened.ledger
    named = find_named(opened, bucket, key)
    made = {ref.version: (record, ref) for record, ref in _made(ledger, bucket, key)}
    entries = []
    for found in history(store, bucket, key):
        record, ref = made.pop(found.version, (None, None))
        entries.append(
            Entry(
                version=found.version,
                modified_at_s=found.modified_at_s,
                size=found.size,
                sha256=ref.sha256 if ref is not None else found.declared_sha256,
                removed=found.is_removal,
                visible=found.is_visible,
                named=named is not None and named.version == found.version,
                kept=not found.is_removal,
                datum=None if record is None else record.hash,
                run=None if record is None else record.run,
            )
        )
    gone = (
        _remembered(record, ref, version=ref.version or "", named=named, kept=False) for record, ref in made.values()
    )
    return sorted((*entries, *gone), key=lambda entry: -entry.modified_at_s)


def folder_history(opened: Deployment, bucket: str, key: str) -> list[Entry]:
    """Give what the ledger remembers, the newest first. A version is called by its digest, by which the folder keeps
    it."""
    ledger, store = opened.ledger, opened.store
    named = find_named(opened, bucket, key)
    made = list(_made(ledger, bucket, key))
    there = store.has([ref for _, ref in made])
    entries = [
        _remembered(record, ref, version=ref.sha256, named=named, kept=kept)
        for (record, ref), kept in zip(made, there, strict=True)
    ]
    if not made and named is not None:
        (kept,) = store.has([named])
        seen = ledger.find_inputs(bucket, [key]).get(key)
        entries.append(
            Entry(
                version=named.sha256,
                modified_at_s=0.0 if seen is None else seen.observed_at_s,
                size=named.size,
                sha256=named.sha256,
                removed=False,
                visible=kept,
                named=True,
                kept=kept,
            )
        )
    return entries


def _remembered(record: Record, ref: ObjectRef, *, version: str, named: ObjectRef | None, kept: bool) -> Entry:
    is_named = named is not None and (named.version, named.sha256) == (ref.version, ref.sha256)
    return Entry(
        version=version,
        modified_at_s=record.finished_at_s,
        size=ref.size,
        sha256=ref.sha256,
        removed=False,
        visible=is_named and kept,
        named=is_named,
        kept=kept,
        datum=record.hash,
        run=record.run,
    )


def _made(ledger: Ledger, bucket: str, key: str) -> Iterator[tuple[Record, ObjectRef]]:
    for record in ledger.makers(bucket, key):
        yield record, _output(record, bucket, key)


def _output(record: Record, bucket: str, key: str) -> ObjectRef:
    return next(ref for ref in record.outputs if (ref.bucket, ref.key) == (bucket, key))
