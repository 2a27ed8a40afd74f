"""Merge of a source into a ledger: what a comparison finds is taken in part by part; what is gone is guarded.

Knows no folder and no bucket: both are ports here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from lookout.domain.records import Observation
from lookout.ledger.port import Ledger
from lookout.sources.deletion_guard import DeletionGuard
from lookout.sources.unlistable import keep_unlistable

_AT_ONCE: Final = 500


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
            self.retracted += sum(map(is_gone, again))


def is_gone(seen: Observation) -> bool:
    """Tell whether nothing is there; an object that cannot be read is not gone."""
    return seen.ref is None and seen.error is None
