"""Taking a user's pictures in: a folder or a bucket, which is the whole truth, or single files, which are an addition.

A state belongs to one source. Whatever looks like an accident retracts nothing: a folder that is gone, one that is
suddenly another and empty, one that lost more than a fifth of its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from lookout.datum import Observation
from lookout.errors import InputRejected
from lookout.ledger.base import Ledger
from lookout.objects.source import Scan, key_of, observe_file, origin_of, scan

SOURCE_NOTE: Final = "source"
SOURCE_ID_NOTE: Final = "source-id"
MASS_DELETION: Final = 20
MASS_DELETION_SHARE: Final = 0.2
ALLOW_HINT: Final = "if they are meant to be gone, run again with --allow-deletions"
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What an intake found: ``keys`` is None for a whole folder, else the keys of the files named."""

    changed: int
    gone: int
    keys: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Observes user folders for one ledger. ``readers`` are the stages that read the input bucket."""

    ledger: Ledger
    bucket: str
    readers: tuple[str, ...]
    clock: Callable[[], float]
    exclude: tuple[Path, ...] = ()

    def take_folder(self, root: Path, *, verify: bool = False, allow_deletions: bool = False) -> Taken:
        """Observe all of a folder: new, changed and deleted pictures. Raises InputRejected, and then nothing has
        changed: when it is not there, not this state's source, or looks emptied by accident."""
        root = self._bind(root)
        known = self.ledger.inputs(self.bucket)
        found = scan(root, self.bucket, known, self.clock(), verify=verify, exclude=self.exclude)
        if found.gone and not allow_deletions:
            self._check_deletions(root, found)
        gone = [self._once_more(root, seen) for seen in found.gone]
        self.ledger.observe([*found.changed, *gone], self.readers)
        if found.total:
            self.ledger.put_note(SOURCE_ID_NOTE, found.root_id)
        return Taken(changed=len(found.changed), gone=sum(seen.ref is None and seen.error is None for seen in gone))

    def take_files(self, files: Sequence[Path]) -> Taken:
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
        return Taken(changed=changed, gone=0, keys=frozenset(placed))

    def look_again(self, key: str) -> None:
        """Observe one known picture anew, because it was not what it had been when it was read."""
        known = self.ledger.find_inputs(self.bucket, [key]).get(key)
        if known is not None:
            seen = observe_file(Path(known.origin), key, self.bucket, self.clock())
            self.ledger.observe([seen], self.readers)

    def take_changes(self, root: Path, keys: Sequence[str], *, allow_deletions: bool = False) -> int:
        """Observe these keys of a bound folder as they are now, there or gone; says how many differed. Raises
        InputRejected, and then nothing has changed, when too many are gone at once."""
        root, now_s = Path(origin_of(root)), self.clock()
        seen = [observe_file(root, key, self.bucket, now_s) for key in keys]
        gone = sum(item.ref is None and item.error is None for item in seen)
        if not allow_deletions:
            check_share(self.ledger, self.bucket, str(root), gone)
        return self.ledger.observe(seen, self.readers)

    def known_below(self, prefix: str) -> list[str]:
        """The known keys that start with the prefix."""
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

    def _check_deletions(self, root: Path, found: Scan) -> None:
        identity = self.ledger.find_note(SOURCE_ID_NOTE)
        if not found.total and identity is not None and identity != found.root_id:
            what = f"is another folder now, and empty; {len(found.gone)} pictures are known from it"
            raise InputRejected(what, str(root), ALLOW_HINT)
        check_share(self.ledger, self.bucket, str(root), len(found.gone))

    def _once_more(self, root: Path, gone: Observation) -> Observation:
        """What a listing missed is looked at by name before its results are retracted."""
        return observe_file(root, gone.key, self.bucket, self.clock())


class Part(Protocol):
    """A stretch of a source that was compared with what is known of it: every key after the part before, up to
    ``through``, is settled by it; None: to the end. ``gone`` has observations without a ref. ``unchanged`` counts
    objects."""

    @property
    def changed(self) -> Sequence[Observation]: ...
    @property
    def gone(self) -> Sequence[Observation]: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def through(self) -> str | None: ...


class Looked(Protocol):
    """What pictures come from, looked at by name. ``origin`` names it for good."""

    @property
    def origin(self) -> str: ...

    def observe(self, key: str, now_s: float) -> Observation:
        """One key as it is now, there or gone."""
        ...

    def is_blank(self) -> bool:
        """Whether it holds no object, nor a trace of one that was deleted, and should have one of all that were."""
        ...


class Bucket(Looked, Protocol):
    """The bucket of pictures in a store."""

    def scan(self, known: Iterable[Observation], now_s: float, *, verify: bool) -> Iterator[Part]:
        """Compare all of it with what is known, in the order of keys, in parts."""
        ...


@dataclass(frozen=True, kw_only=True)
class BucketIntake:
    """Observes the bucket of pictures for one ledger. ``readers`` are the stages that read it."""

    ledger: Ledger
    source: Bucket
    bucket: str
    readers: tuple[str, ...]
    clock: Callable[[], float]

    def take(self, *, verify: bool = False, allow_deletions: bool = False) -> Taken:
        """Observe all of the bucket. What is new or changed is taken in as it is found; what is gone, when all was
        seen. Raises InputRejected when this state belongs to another source, or when so much is gone that it looks like
        an accident; then nothing has been retracted."""
        bind(self.ledger, self.source.origin)
        parts = self.source.scan(self.ledger.inputs(self.bucket), self.clock(), verify=verify)
        merged = merge(
            self.ledger, self.source, parts, self.bucket, self.readers, self.clock, allow_deletions=allow_deletions
        )
        return Taken(changed=merged.changed, gone=merged.gone)

    def look_again(self, key: str) -> None:
        """Observe one picture anew, because it was not what it had been when it was read."""
        self.ledger.observe([self.source.observe(key, self.clock())], self.readers)


def bind(ledger: Ledger, origin: str) -> None:
    """Have a state belong to its source. Raises InputRejected when it belongs to another."""
    bound = ledger.find_note(SOURCE_NOTE)
    if bound is None:
        ledger.put_note(SOURCE_NOTE, origin)
    elif bound != origin:
        raise InputRejected(f"this state belongs to the source {bound}", origin, "use another --state")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """``seen`` objects were compared, ``changed`` inputs were new or differed, ``gone`` ones are deleted."""

    seen: int
    changed: int
    gone: int


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

    What is gone is looked for once more, by name, and taken in when all was seen. Until something is gone, each part is
    a place to go on from, told to ``on_settled``. Memory holds a part, and the keys of what is gone: a fifth of all at
    most. Raises InputRejected when so much is gone that it looks like an accident; then nothing has been retracted.
    """
    seen = changed = really = 0
    gone: list[str] = []
    for part in parts:
        changed += ledger.observe(part.changed, readers)
        seen += len(part.changed) + part.unchanged
        gone += [item.key for item in part.gone]
        if part.gone and len(gone) > MASS_DELETION and not allow_deletions:
            check_deletions(ledger, bucket, source, len(gone))
        if part.through is not None and not gone:
            on_settled(part.through)
    if not allow_deletions:
        check_deletions(ledger, bucket, source, len(gone))
    for first in range(0, len(gone), _AT_ONCE):
        again = [source.observe(key, clock()) for key in gone[first : first + _AT_ONCE]]
        ledger.observe(again, readers)
        really += sum(item.ref is None and item.error is None for item in again)
    return Merged(seen=seen, changed=changed, gone=really)


def check_deletions(ledger: Ledger, bucket: str, source: Looked, gone: int) -> None:
    """Raises InputRejected when what is gone from the source looks like an accident."""
    if gone and source.is_blank():
        # What is deleted in a versioned bucket leaves a trace for weeks: this one was made anew, or wiped.
        what = f"holds nothing, not even older versions; {gone} pictures are known from it"
        raise InputRejected(what, source.origin, ALLOW_HINT)
    check_share(ledger, bucket, source.origin, gone)


def check_share(ledger: Ledger, bucket: str, origin: str, gone: int) -> None:
    """Raises InputRejected when more than a fifth of what is known from the origin, and more than 20, is gone."""
    if gone <= MASS_DELETION:
        return
    known = ledger.count_inputs(bucket, origin)
    if gone > MASS_DELETION_SHARE * known:
        raise InputRejected(f"{gone} of {known} pictures are gone; nothing was retracted", origin, ALLOW_HINT)
