"""The store against the ledger: results that no record names go, stale ones are corrected, lost ones are made again.

A crash, a late write of an engine that had been frozen, a careless hand: afterwards a bucket shows what the ledger does
not say. One pass merges the listing of a bucket with the paths that live records name, both in the order of keys, and
keeps its place in a note, so that it goes on where it was cut off. Memory holds one page.

Nothing is removed or shown on the word of the two streams, which are no snapshot. Each key in question is *restated*:
the ledger itself notes, in one transaction, what has to be visible under it, and the note is handed out like those of
commits, never beside one of the same path. So a removal cannot meet an output that a writer has just committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lookout.domain.identity import digest
from lookout.domain.records import Mark
from lookout.engine.publication import Publisher
from lookout.ledger.maintenance import Named, UpkeepLedger
from lookout.ledger.notes import read_note, text
from lookout.log import get_logger
from lookout.maintenance.listing_diff import Pair, Shown, is_surely_right, pairs, shown
from lookout.object_store.port import ObjectStore

log = get_logger(__name__)

PAGE: Final = 1000
GRACE_S: Final = 3600.0
"""Nothing younger is removed: in a store that cannot hide what was only put, work under way looks like a leftover. Far
longer than a lease and all tries of a stage."""


@dataclass(kw_only=True)
class Swept:
    """Report of one pass. ``orphans`` are keys that no live record names (``orphan_bytes`` of them), ``young`` those
    left alone for their age, ``removed`` those that went; ``stale`` were shown in another version than the named one
    (or not at all) and are right again; ``lost`` are outputs that are nowhere, whose ``marked`` datums are done again.
    In a dry run ``stale`` counts what would be asked for and ``lost`` what is nowhere; nothing is changed."""

    objects: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    young: int = 0
    removed: int = 0
    stale: int = 0
    lost: int = 0
    marked: int = 0

    def add(self, other: Swept) -> None:
        """Count what another page or bucket had, too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One way to sweep. ``remove`` what no record names, ``repair`` what one names; ``thorough`` asks the store about
    every named object instead of trusting its listing. ``clock`` gives Unix seconds."""

    ledger: UpkeepLedger
    store: ObjectStore
    clock: Callable[[], float]
    remove: bool = True
    repair: bool = True
    thorough: bool = False
    grace_s: float = GRACE_S
    dry_run: bool = False
    on_page: Callable[[str, Swept], None] = field(default=lambda _bucket, _swept: None)
    """Told after each page, of the bucket and what was found in it so far."""

    def bucket(self, bucket: str) -> Swept:
        """Sweep the bucket of one stage from where the last pass was cut off. Raises Unavailable; then the next pass
        goes on from the last whole page."""
        swept = Swept()
        note = f"swept:{self._kind}:{bucket}"
        before = self._cursor(note)
        if self.repair and not self.dry_run:
            self._publish()
        stream = pairs(shown(self.store, bucket, before), self.ledger.named(bucket, before))
        while page := list(islice(stream, PAGE)):
            swept.add(self._page(bucket, page, before))
            before = page[-1].key
            self._keep(note, before if len(page) == PAGE else "")
            self.on_page(bucket, swept)
        if before:
            self._keep(note, "")
        return swept

    @property
    def _kind(self) -> str:
        return f"{'remove' if self.remove else ''}{'repair' if self.repair else ''}{'-all' if self.thorough else ''}"

    def _cursor(self, note: str) -> str:
        return "" if self.dry_run else read_note(self.ledger, note, "a path", text, "")

    def _keep(self, note: str, after: str) -> None:
        if not self.dry_run:
            self.ledger.put_note(note, json.dumps(after))

    # --- one page ---------------------------------------------------------------------------------------------------

    def _page(self, bucket: str, page: list[Pair], before: str) -> Swept:
        swept = Swept(objects=sum(pair.shown is not None for pair in page))
        restated: list[str] = []
        if self.remove:
            restated += self._orphans(page, swept)
        doubtful: list[Named] = []
        if self.repair:
            doubtful = [
                pair.named for pair in page if pair.named is not None and (self.thorough or not is_surely_right(pair))
            ]
            doubtful = self._drop_lost(doubtful, swept)
        if self.dry_run:
            there = {named.ref.key for named in doubtful}
            swept.stale += sum(pair.key in there and not is_surely_right(pair) for pair in page)
            return swept
        restated += [named.ref.key for named in doubtful]
        if restated:
            self.ledger.restate(bucket, restated)
            self._publish()
            self._count_changes(bucket, page, before, set(restated), swept)
        return swept

    def _orphans(self, page: list[Pair], swept: Swept) -> list[str]:
        old_s = self.clock() - self.grace_s
        orphans = [pair.shown for pair in page if pair.shown is not None and pair.named is None]
        old = [item for item in orphans if item.modified_at_s < old_s]
        swept.orphans += len(orphans)
        swept.young += len(orphans) - len(old)
        swept.orphan_bytes += sum(item.size for item in orphans)
        return [item.key for item in old]

    def _drop_lost(self, doubtful: list[Named], swept: Swept) -> list[Named]:
        """Return those that the store still has; the datums of the others are marked to be done again."""
        there = self.store.has([named.ref for named in doubtful])
        lost = [named for named, is_there in zip(doubtful, there, strict=True) if not is_there]
        lost = [named for named in lost if self._is_named(named)]
        swept.lost += len(lost)
        if not self.dry_run:
            slots = {(named.record.stage, named.record.key): named for named in lost}
            for (stage, key), named in slots.items():
                log.warning("lost", object=named.ref.path, stage=stage, key=key)
                salt = digest("lost/1", named.ref.path, self.clock())[:16]
                swept.marked += self.ledger.mark([Mark(stage=stage, key=key)], revive=True, salt=salt)
        return [named for named, is_there in zip(doubtful, there, strict=True) if is_there]

    def _is_named(self, named: Named) -> bool:
        """Tell whether the ledger still names it: the ledger may have changed since the stream was read."""
        record = named.record
        slot = self.ledger.find_slots(record.stage, [record.key]).get(record.key)
        return slot is not None and slot.record is not None and named.ref in slot.record.outputs

    def _publish(self) -> None:
        """Make visible all that is noted and can be; what is lost is marked to be made again."""
        Publisher(self.ledger, self.store).publish()

    def _count_changes(self, bucket: str, page: list[Pair], before: str, keys: set[str], swept: Swept) -> None:
        """Count what publishing changed, by looking again: publishing a version that is visible already changes
        nothing."""
        now = {item.key: item for item in self._again(bucket, before, page[-1].key)}
        for pair in page:
            if pair.key not in keys or now.get(pair.key) == pair.shown:
                continue
            if pair.named is None and pair.key not in now:
                swept.removed += 1
                log.info("removed", object=f"{bucket}/{pair.key}")
            else:
                swept.stale += 1
                log.warning("corrected", object=f"{bucket}/{pair.key}")

    def _again(self, bucket: str, after: str, last: str) -> Iterator[Shown]:
        for item in shown(self.store, bucket, after):
            if item.key > last:
                return
            yield item
