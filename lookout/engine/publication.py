"""Publication of committed changes in the store: a change that cannot be made holds up no other.

What cannot be made keeps its note in the ledger, so that the next engine tries it again. Knows no stage and no claim.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from lookout.domain.errors import ObjectMissing
from lookout.domain.identity import digest
from lookout.domain.isolation import apart, reason
from lookout.domain.records import Mark, ObjectRef
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore, Publish

log = get_logger(__name__)

Path = tuple[str, str]
"""Bucket and key."""


class _KeepNotesError(Exception):
    """Some changes were not made: the ledger must forget none of those that were handed out together."""


class Publisher:
    """Publisher of what was committed by this engine or by one that died before it could: of ``buckets`` only, if
    given. Each change is tried once by one publisher, until ``renew`` says that there is another version, or
    ``try_again`` that the reason may be gone."""

    def __init__(self, ledger: Ledger, store: ObjectStore, buckets: Collection[str] | None = None) -> None:
        self._ledger, self._store, self._buckets = ledger, store, buckets
        self._stuck: dict[Path, str] = {}
        self._untold: dict[Path, str] = {}
        self._told: dict[Path, Mark] = {}
        self._made_again: set[Path] = set()

    def publish(self) -> bool:
        """Make all changes that can be made; whether a datum was marked to be made again because what it wrote is
        lost. Raises Unavailable when the store or the ledger does not answer."""
        lost: set[Path] = set()
        while True:
            with (
                suppress(_KeepNotesError),
                self._ledger.unpublished(buckets=self._buckets, without=self._stuck) as changes,
            ):
                if not changes:
                    break
                failures = self._make(changes)
                for change, exc in failures:
                    path = (change.bucket, change.key)
                    self._stuck[path] = reason(exc)
                    if isinstance(exc, ObjectMissing) and path not in self._made_again:
                        lost.add(path)
                    elif path not in self._told:
                        self._untold[path] = reason(exc)
                if failures:
                    raise _KeepNotesError
        return self._make_again(lost)

    def renew(self, refs: Iterable[ObjectRef]) -> None:
        """Try these paths again: a commit has given them another version."""
        for ref in refs:
            self._stuck.pop((ref.bucket, ref.key), None)
            self._told.pop((ref.bucket, ref.key), None)

    def try_again(self) -> bool:
        """Try once more all changes that could not be made, and mark the failed datums of those that now are; whether
        a datum was marked. Asks the ledger for nothing when there are none. Raises as ``publish``."""
        if not self._stuck:
            return False
        self._stuck = {}
        marked = self.publish()
        self._untold = {path: why for path, why in self._untold.items() if path in self._stuck}
        healed = [mark for path, mark in self._told.items() if path not in self._stuck]
        self._told = {path: mark for path, mark in self._told.items() if path in self._stuck}
        if healed:
            self._ledger.mark(healed, revive=True)
        return marked or bool(healed)

    def take_failures(self) -> dict[Mark, str]:
        """Give the datums of changes that cannot be made and were not told before, with the reason for each."""
        untold, self._untold = self._untold, {}
        failures: dict[Mark, str] = {}
        for (bucket, key), why in untold.items():
            for made in self._ledger.makers(bucket, key)[:1]:
                mark = self._told[bucket, key] = Mark(stage=made.stage, key=made.key)
                failures[mark] = f"{bucket}/{key} cannot be made visible: {why}"
        return failures

    def _make(self, changes: Sequence[Publish]) -> list[tuple[Publish, Exception]]:
        """Make the changes; those that could not be made. What was in the way of one may have gone with another, so
        they are tried a second time, in their order."""
        failures = self._try(changes)
        if failures and len(failures) < len(changes):
            failures = self._try([change for change, _ in failures])
        for change, exc in failures:
            log.error("result not published", object=f"{change.bucket}/{change.key}", error=reason(exc))
        return failures

    def _try(self, changes: Sequence[Publish]) -> list[tuple[Publish, Exception]]:
        def call(some: Sequence[Publish]) -> list[None]:
            self._store.publish(some)
            return [None] * len(some)

        answers = apart(changes, call)
        return [(change, exc) for change, exc in zip(changes, answers, strict=True) if exc is not None]

    def _make_again(self, lost: Collection[Path]) -> bool:
        """Have the datums made again whose committed version is nowhere."""
        self._made_again.update(lost)
        marked = 0
        for bucket, key in sorted(lost):
            for made in self._ledger.makers(bucket, key)[:1]:
                log.warning("result lost", object=f"{bucket}/{key}", stage=made.stage, key=made.key)
                salt = digest("lost/1", bucket, key, made.finished_at_s)[:16]
                marked += self._ledger.mark([Mark(stage=made.stage, key=made.key)], salt=salt, revive=True)
        return marked > 0


__all__ = ["Publisher"]
