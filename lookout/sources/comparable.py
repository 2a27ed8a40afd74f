"""Port for sources that can be compared with the ledger: listed in the order of keys, compared with what is known,
observed by name. A folder and a bucket implement it, so that reconciling knows neither."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lookout.domain.records import Observation
from lookout.filesystem.files import words
from lookout.log import get_logger
from lookout.object_store.folder.listing import listing
from lookout.sources.folder import observe_file, scan
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.merge import Looked, Part

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore


log = get_logger(__name__)


class Source(Looked, Protocol):
    """All of a user's pictures."""

    def compare(
        self, known: Iterable[Observation], now_s: float, *, after: str = "", verify: bool = False
    ) -> Iterator[Part]:
        """Compare every key after ``after`` with what is known of it, in the order of keys, in parts. ``known`` comes
        in that order; only what was seen in this origin can be gone. ``verify`` reads all again."""
        ...

    def keys(self, after: str = "") -> Iterator[str]:
        """Yield the keys after that key, in their order, streamed: beginning anywhere costs one page."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    changed: Sequence[Observation]
    gone: Sequence[Observation]
    unchanged: int
    through: str | None
    unlistable: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class FolderPictures:
    """A folder. One walk finds all names, so a comparison is one part and holds the names. ``identity`` is what the
    folder was when it was last seen with pictures in it (``Scan.root_id``), None if never."""

    root: Path
    bucket: str
    identity: str | None = None
    exclude: tuple[Path, ...] = ()

    @property
    def origin(self) -> str:
        return origin_of(self.root)

    def compare(
        self, known: Iterable[Observation], now_s: float, *, after: str = "", verify: bool = False
    ) -> Iterator[Part]:
        """See ``Source``. Raises InputRejected for a folder that is missing."""
        found = scan(self.root, self.bucket, known, now_s, verify=verify, exclude=self.exclude)
        changed = [seen for seen in found.changed if seen.key > after]
        gone = [seen for seen in found.gone if seen.key > after]
        yield _Part(changed=changed, gone=gone, unchanged=found.unchanged, through=None, unlistable=found.unlistable)

    def keys(self, after: str = "") -> Iterator[str]:
        """See ``Source``. Names of the file system's own, and what lies in ``exclude``, are no keys. What cannot be
        listed or looked at is logged and passed by."""
        below = [f"{path.absolute().relative_to(self.origin).as_posix()}/" for path in self._excluded()]
        for listed in listing(self.origin, "", "", after, pass_by=self._pass_by):
            hidden = any(part.startswith(".") for part in listed.key.split("/"))
            if not hidden and not any(listed.key.startswith(start) for start in below):
                yield key_of(listed.key)

    def _pass_by(self, name: str, error: OSError) -> None:
        log.warning("unlistable", origin=self.origin, name=name, why=words(error))

    def _excluded(self) -> list[Path]:
        return [path for path in self.exclude if path.absolute().is_relative_to(self.origin)]

    def observe(self, key: str, now_s: float) -> Observation:
        return observe_file(self.root, key, self.bucket, now_s)

    def is_blank(self) -> bool:
        """Tell whether it is another folder than before, and empty: one keeps no trace of what was deleted."""
        found = self.root.stat()
        return self.identity not in (None, f"{found.st_dev}:{found.st_ino}") and next(self.keys(), None) is None


@dataclass(frozen=True, kw_only=True)
class BucketPictures:
    """A bucket of a store on a server: listed a page at a time. ``endings``: see ``lookout.sources.bucket``."""

    store: MinioStore
    bucket: str
    endings: Sequence[str] = ()

    @property
    def origin(self) -> str:
        from lookout.sources import bucket

        return bucket.origin_of(self.store, self.bucket)

    def compare(
        self, known: Iterable[Observation], now_s: float, *, after: str = "", verify: bool = False
    ) -> Iterator[Part]:
        from lookout.sources import bucket

        return bucket.scan_bucket(
            self.store, self.bucket, known, now_s, after=after, verify=verify, endings=self.endings
        )

    def keys(self, after: str = "") -> Iterator[str]:
        return (listed.key for listed in self.store.list(self.bucket, "", after))

    def observe(self, key: str, now_s: float) -> Observation:
        from lookout.sources import bucket

        return bucket.observe_object(self.store, self.bucket, key, now_s, self.endings)

    def is_blank(self) -> bool:
        from lookout.sources import bucket

        return bucket.is_blank(self.store, self.bucket)
