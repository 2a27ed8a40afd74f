"""Intake of a user's pictures: a folder or a bucket, which is complete, or single files, which are an addition.

A state belongs to one source. What looks like an accident retracts nothing and stops nothing else: of a source that is
suddenly another and empty, or that lost more than a fifth of its pictures, what is there is taken in, and what is gone
is left to a person (``deletion_guard.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Observation
from lookout.ledger.port import Ledger
from lookout.sources.deletion_guard import DeletionGuard
from lookout.sources.folder import observe_file, root_id, scan
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.merge import Bucket, is_gone, merge
from lookout.sources.unlistable import keep_unlistable

SOURCE_NOTE: Final = "source"
SOURCE_ID_NOTE: Final = "source-id"


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """Result of an intake: ``keys`` is None for a whole folder, else the keys of the files named. ``held`` pictures are
    gone and left to a person; of those ``changed``, ``differed`` were new or had other bytes. ``unlistable`` are
    subfolders that could not be listed, by key, and why."""

    changed: int
    gone: int
    keys: frozenset[str] | None = None
    held: int = 0
    differed: int = 0
    unlistable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Intake of user folders for one ledger. ``readers`` are the stages that read the input bucket."""

    ledger: Ledger
    bucket: str
    readers: tuple[str, ...]
    clock: Callable[[], float]
    exclude: tuple[Path, ...] = ()

    def take_folder(
        self,
        root: Path,
        *,
        verify: bool = False,
        allow_deletions: bool = False,
        is_ready: Callable[[Observation], bool] = lambda _: True,
    ) -> IngestResult:
        """Observe all of a folder: new, changed and deleted pictures; but new and changed ones only if they are ready.
        Raises InputRejected, and then nothing has changed, when it is not there or not this state's source."""
        root = self._bind(root)
        known = self.ledger.inputs(self.bucket)
        found = scan(root, self.bucket, known, self.clock(), verify=verify, exclude=self.exclude)
        changed = [seen for seen in found.changed if is_ready(seen)]
        fresh = self._fresh(changed) if found.gone else []
        differed = self.ledger.observe(changed, self.readers)
        identity = self.ledger.find_note(SOURCE_ID_NOTE)
        blank = not found.total and identity not in (None, found.root_id)
        guard = self._guard(root, allow=allow_deletions)
        free = self._sift(guard, [seen.key for seen in found.gone], fresh, blank=blank, whole=True)
        gone = [observe_file(root, key, self.bucket, self.clock()) for key in free]  # a listing may have missed it
        self.ledger.observe(gone, self.readers)
        if found.total and identity != found.root_id:
            self.ledger.put_note(SOURCE_ID_NOTE, found.root_id)
        keep_unlistable(self.ledger, str(root), found.unlistable)
        return IngestResult(
            changed=len(changed),
            gone=sum(map(is_gone, gone)),
            held=len(found.gone) - len(free),
            differed=differed,
            unlistable=found.unlistable,
        )

    def take_files(self, files: Sequence[Path]) -> IngestResult:
        """Observe single files; nothing is retracted. Raises InputRejected for a file that is not there, that is not
        in this state's source, or whose name another file has."""
        bound = self.ledger.find_note(SOURCE_NOTE)
        placed: dict[str, Path] = {}
        for file in files:
            path = Path(origin_of(file))
            if not path.is_file() and not path.is_symlink():
                raise InputRejected("is not a regular file" if path.exists() else "no such file", str(file))
            root, key = self._place(path, bound)
            if placed.setdefault(key, root) != root:
                raise InputRejected(f"two files named {key!r} were given", str(file), "run them with two states")
            placed[key] = root
        known = self.ledger.find_inputs(self.bucket, placed.keys())
        for key, root in placed.items():
            if key in known and known[key].origin != str(root):
                raise InputRejected(
                    f"{key} is known from {known[key].origin}", str(root / key), "use another --state for it"
                )
        now_s = self.clock()
        seen = [observe_file(root, key, self.bucket, now_s) for key, root in placed.items()]
        changed = self.ledger.observe(seen, self.readers)
        return IngestResult(changed=changed, gone=0, keys=frozenset(placed))

    def observe_again(self, key: str) -> None:
        """Observe one known picture anew, because it was not what it had been when it was read."""
        known = self.ledger.find_inputs(self.bucket, [key]).get(key)
        if known is not None:
            self.take_changes(Path(known.origin), [key])

    def take_changes(self, root: Path, keys: Sequence[str]) -> IngestResult:
        """Observe these keys of a bound folder as they are now, there or gone."""
        root, now_s = Path(origin_of(root)), self.clock()
        seen = [observe_file(root, key, self.bucket, now_s) for key in keys]
        there = [item for item in seen if not is_gone(item)]
        known = self.ledger.find_inputs(self.bucket, [item.key for item in seen if is_gone(item)])
        if known:
            self._check_there(root)
        fresh = self._fresh(there) if known else []
        differed = self.ledger.observe(there, self.readers)
        free = frozenset(self._sift(self._guard(root, allow=False), list(known), fresh, whole=False))
        gone = self.ledger.observe([item for item in seen if item.key in free], self.readers)
        return IngestResult(changed=len(there), gone=gone, held=len(known) - len(free), differed=differed)

    def _check_there(self, root: Path) -> None:
        """Raise Unavailable where the folder is gone, or another one and empty, as where a disk was unmounted: what is
        gone with it was not deleted."""
        identity = self.ledger.find_note(SOURCE_ID_NOTE)
        try:
            is_there = root_id(str(root)) == identity or any(root.iterdir())
        except (InputRejected, OSError):
            is_there = False
        if identity is not None and not is_there:
            raise Unavailable(str(root), "the source was removed, replaced or unmounted; nothing of it was retracted")

    def known_below(self, prefix: str) -> list[str]:
        """Return the known keys that start with the prefix."""
        return [seen.key for seen in self.ledger.inputs(self.bucket, prefix)]

    def _bind(self, root: Path) -> Path:
        root = Path(origin_of(root))
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "no such folder"
            raise InputRejected(what, str(root), "is it mounted? nothing was retracted")
        bind(self.ledger, str(root))
        return root

    def _place(self, path: Path, bound: str | None) -> tuple[Path, str]:
        if bound is None:
            return path.parent, key_of(path.name)
        if not path.is_relative_to(bound):
            raise InputRejected(f"this state belongs to the source {bound}", str(path), "use another --state")
        return Path(bound), key_of(path.relative_to(bound).as_posix())

    def _guard(self, root: Path, *, allow: bool) -> DeletionGuard:
        return DeletionGuard(
            ledger=self.ledger,
            bucket=self.bucket,
            origin=str(root),
            clock=self.clock,
            readers=self.readers,
            allow=allow,
        )

    def _sift(
        self,
        guard: DeletionGuard,
        gone: Sequence[str],
        fresh: Sequence[Observation],
        *,
        blank: bool = False,
        whole: bool,
    ) -> list[str]:
        """Return those of the known keys that are gone and may be retracted. What has another name now is no loss."""
        if not gone and not whole:
            return []
        known = self.ledger.find_inputs(self.bucket, gone) if fresh else {}
        lost = Counter(seen.ref.sha256 for seen in known.values() if seen.ref is not None)
        renamed = lost & Counter(seen.ref.sha256 for seen in fresh if seen.ref is not None)
        return guard.sift(gone, uncounted=renamed.total(), blank=blank, whole=whole)

    def _fresh(self, there: Sequence[Observation]) -> list[Observation]:
        """Return those that are not known, or as something else."""
        known = self.ledger.find_inputs(self.bucket, [seen.key for seen in there])
        return [seen for seen in there if seen.key not in known or known[seen.key].ref != seen.ref]


@dataclass(frozen=True, kw_only=True)
class BucketIntake:
    """Intake of the bucket of pictures for one ledger. ``readers`` are the stages that read it."""

    ledger: Ledger
    source: Bucket
    bucket: str
    readers: tuple[str, ...]
    clock: Callable[[], float]

    def take(self, *, verify: bool = False, allow_deletions: bool = False) -> IngestResult:
        """Observe all of the bucket; see ``merge``. Raises InputRejected when this state belongs to another source."""
        bind(self.ledger, self.source.origin)
        parts = self.source.scan(self.ledger.inputs(self.bucket), self.clock(), verify=verify)
        merged = merge(
            self.ledger, self.source, parts, self.bucket, self.readers, self.clock, allow_deletions=allow_deletions
        )
        return IngestResult(changed=merged.changed, gone=merged.gone, held=merged.held, differed=merged.changed)

    def observe_again(self, key: str) -> None:
        """Observe one picture anew, because it was not what it had been when it was read, or somebody told of it."""
        seen = self.source.observe(key, self.clock())
        if is_gone(seen):
            if not self.ledger.find_inputs(self.bucket, [key]):
                return
            guard = DeletionGuard(
                ledger=self.ledger,
                bucket=self.bucket,
                origin=self.source.origin,
                clock=self.clock,
                readers=self.readers,
            )
            if not guard.sift([key], blank=self.source.is_blank(), whole=False):
                return
        self.ledger.observe([seen], self.readers)


def bind(ledger: Ledger, origin: str) -> None:
    """Have a state belong to its source. Raises InputRejected when it belongs to another."""
    bound = ledger.find_note(SOURCE_NOTE)
    if bound is None:
        ledger.put_note(SOURCE_NOTE, origin)
    elif bound != origin:
        raise InputRejected(f"this state belongs to the source {bound}", origin, "use another --state")
