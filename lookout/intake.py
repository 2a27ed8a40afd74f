"""Taking a user's pictures in: a folder, which is the whole truth, or single files, which are an addition.

A state belongs to one source. Whatever looks like an accident retracts nothing: a folder that is gone, one that is
suddenly another and empty, one that lost more than a fifth of its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.datum import Observation
from lookout.errors import InputRejected
from lookout.ledger.base import Ledger
from lookout.objects.source import Scan, key_of, observe_file, origin_of, scan

SOURCE_NOTE: Final = "source"
SOURCE_ID_NOTE: Final = "source-id"
MASS_DELETION: Final = 20
MASS_DELETION_SHARE: Final = 0.2
ALLOW_HINT: Final = "if they are meant to be gone, run again with --allow-deletions"


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
            self._check_share(root, gone)
        return self.ledger.observe(seen, self.readers)

    def known_below(self, prefix: str) -> list[str]:
        """The known keys that start with the prefix."""
        return [seen.key for seen in self.ledger.inputs(self.bucket, prefix)]

    def _bind(self, root: Path) -> Path:
        root = Path(origin_of(root))
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "no such folder"
            raise InputRejected(what, str(root), "is it mounted? nothing was retracted")
        bound = self.ledger.find_note(SOURCE_NOTE)
        if bound is None:
            self.ledger.put_note(SOURCE_NOTE, str(root))
        elif Path(bound) != root:
            raise InputRejected(f"this state belongs to the source {bound}", str(root), "use another --state")
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
        self._check_share(root, len(found.gone))

    def _check_share(self, root: Path, gone: int) -> None:
        if gone <= MASS_DELETION:
            return
        known = self.ledger.count_inputs(self.bucket, str(root))
        if gone > MASS_DELETION_SHARE * known:
            raise InputRejected(f"{gone} of {known} pictures are gone; nothing was retracted", str(root), ALLOW_HINT)

    def _once_more(self, root: Path, gone: Observation) -> Observation:
        """What a listing missed is looked at by name before its results are retracted."""
        return observe_file(root, gone.key, self.bucket, self.clock())
