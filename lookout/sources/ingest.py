"""Intake of a user's pictures: a folder or a bucket, which is complete, or single files, which are an addition.

A state belongs to one source. What looks like an accident retracts nothing and stops nothing else: of a source that is
suddenly another and empty, or that lost more than a fifth of its pictures, what is there is taken in, and what is gone
is left to a person (``deletion_guard.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Observation
from lookout.ledger.port import Ledger
from lookout.sources.deletion_guard import DeletionGuard
from lookout.sources.folder import observe_file, root_id, scan
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.unlistable import keep_unlistable

SOURCE_NOTE: Final = "source"
SOURCE_ID_NOTE: Final = "source-id"
_AT_ONCE: Final = 500


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
            gone=sum(map(_is_gone, gone)),
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
        there = [item for item in seen if not _is_gone(item)]
        known = self.ledger.find_inputs(self.bucket, [item.key for item in seen if _is_gone(item)])
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


def _is_gone(seen: Observation) -> bool:
    return seen.ref is None and seen.error is None


class Part(Protocol):
    """A stretch of a source that was compared with what is known of it: every key after the part before, up to
    ``through``, is settled by it; None: to the end. ``gone`` has observations without a ref. ``unchanged`` counts
    objects. ``unlistable`` are folders below which nothing is known, by key, and why."""

    @property
    def changed(self) -> Sequence[Observation]: ...
    @property
    def gone(self) -> Sequence[Observation]: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def through(self) -> str | None: ...
    @property
    def unlistable(self) -> Mapping[str, str]: ...


class Looked(Protocol):
    """Port for observing single pictures of a source. ``origin`` is its permanent name."""

    @property
    def origin(self) -> str: ...

    def observe(self, key: str, now_s: float) -> Observation:
        """One key as it is now, there or gone."""
        ...

    def is_blank(self) -> bool:
        """Tell whether it is empty and lacks even the traces that its deleted objects should have left."""
        ...


class Bucket(Looked, Protocol):
    """The bucket of pictures in a store."""

    def scan(self, known: Iterable[Observation], now_s: float, *, verify: bool) -> Iterator[Part]:
        """Compare all of it with what is known, in the order of keys, in parts."""
        ...


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
        if _is_gone(seen):
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """``seen`` objects were compared, ``changed`` inputs were new or differed, ``gone`` ones are deleted, ``held`` ones
    are gone and left to a person; ``unlistable`` folders could not be listed."""

    seen: int
    changed: int
    gone: int
    held: int = 0
    unlistable: Mapping[str, str] = field(default_factory=dict)


def merge(
    ledger: Ledger,
    source: Looked,
    parts: Iterable[Part],
    bucket: str,
    readers: tuple[str, ...],
    clock: Callable[[], float],
    *,
    allow_deletions: bool,
    on_settled: Callable[[str], None] = lambda _through: None,
) -> Merged:
    """Take in what a comparison of a source with the inputs of the bucket finds, part by part.

    What is gone is looked for once more, by name. It is taken in at once where it is expected to go, else when all was
    seen, unless it is so much that it looks like an accident: then it is held back. Until something is gone, each part
    is a place to go on from, told to ``on_settled``. Memory holds a part, and as many keys of what is gone as may go.
    """
    guard = DeletionGuard(
        ledger=ledger, bucket=bucket, origin=source.origin, clock=clock, readers=readers, allow=allow_deletions
    )
    deletions = _Deletions(guard, source, readers)
    seen = changed = 0
    unlistable: dict[str, str] = {}
    for part in parts:
        unlistable |= part.unlistable
        changed += ledger.observe(part.changed, readers)
        seen += len(part.changed) + part.unchanged
        if part.gone:
            deletions.add([item.key for item in part.gone])
        if part.through is not None and not deletions.doubtful:
            on_settled(part.through)
    held = deletions.settle()
    keep_unlistable(ledger, source.origin, unlistable)
    return Merged(seen=seen, changed=changed, gone=deletions.retracted, held=held, unlistable=unlistable)


class _Deletions:
    """Deletions that one comparison of a whole source finds, part by part."""

    def __init__(self, guard: DeletionGuard, source: Looked, readers: tuple[str, ...]) -> None:
        self._guard, self._source, self._readers = guard, source, readers
        self._blank: bool | None = None
        self._keys: list[str] = []
        self._too_many = False
        self.doubtful = self.retracted = 0

    def add(self, gone: Sequence[str]) -> None:
        """These are gone: retract those that are expected to go, remember the others, or how many they are."""
        if self._blank is None:
            self._blank = not self._guard.allow and self._source.is_blank()
        expected = [False] * len(gone) if self._blank else self._guard.is_expected(gone)
        self._retract([key for key, free in zip(gone, expected, strict=True) if free])
        doubtful = [key for key, free in zip(gone, expected, strict=True) if not free]
        self.doubtful += len(doubtful)
        self._too_many = self._too_many or self.doubtful > self._guard.most()
        self._keys = [] if self._too_many else self._keys + doubtful

    def settle(self) -> int:
        """End the comparison: retract what is gone, or hold it back. Return how many were held back."""
        why = self._guard.find_objection(self.doubtful, blank=bool(self._blank))
        if why is None and self._too_many:
            why = f"{self.doubtful} pictures are gone"  # more have come since: the next look decides
        if why is None:
            self._guard.admit(self.doubtful)
            self._retract(self._keys)
        self._guard.hold(0 if why is None else self.doubtful, why, whole=True)
        return 0 if why is None else self.doubtful

    def _retract(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _AT_ONCE):
            again = [self._source.observe(key, self._guard.clock()) for key in keys[first : first + _AT_ONCE]]
            self._guard.ledger.observe(again, self._readers)
            self.retracted += sum(map(_is_gone, again))
