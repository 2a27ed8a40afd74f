"""History of a key of a bucket: for people, not for the engine.

The digest that a writer declared in the metadata is shown and not believed (see ``bucket.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from lookout.object_store.minio import MinioStore


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


def history(store: MinioStore, bucket: str, key: str) -> list[Version]:
    """Return all versions and removals of a key that the bucket still has, the newest first; empty for a key never
    used."""
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
