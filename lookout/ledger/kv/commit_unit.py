"""The ``settling.UnitOfWork`` of one transaction: reads through what was fetched beforehand, writes into a draft.

Nothing here does I/O: ``commits`` fetches, settles, and tries again with a new unit when the draft does not hold. What
is compared is what others may write: paths that the slot does not hold yet, alerts that are there, tallies. What only a
slot's holder writes is covered by the claim.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from lookout.domain.records import Alert, Mark, ObjectRef, Record
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.outbox import alert_writes, withdrawn
from lookout.ledger.kv.policy import KeptTexts
from lookout.ledger.kv.port import Delete, Guarded, Put, Unchanged
from lookout.ledger.kv.record_values import KeptAlert, Path
from lookout.ledger.kv.slot_reader import SlotView
from lookout.ledger.kv.tallies import GroupSums, Shards
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.decisions import PolicyName
from lookout.ledger.rules.slots import SlotState
from lookout.object_store.port import Publish

Name = tuple[str, str]
"""Stage and key of a slot, or bucket and key of a path."""
NEWEST = 64
"""Makers that a path's key holds before half of them go into a block."""


@dataclass
class Read:
    """Slots, paths, alerts and tallies as they were read."""

    views: dict[Name, SlotView] = field(default_factory=dict)
    paths: dict[Name, Path] = field(default_factory=dict)
    alerts: dict[str, KeptAlert] = field(default_factory=dict)
    below: dict[Name, list[Name]] = field(default_factory=dict)
    """By path, those that have it as a folder."""
    tallies: dict[str, Shards] = field(default_factory=dict)
    policy: KeptTexts = field(default_factory=KeptTexts)
    revision: int = 0
    """Revision at which the paths were read."""


class CommitUnit:
    """See ``settling.UnitOfWork``. ``bodies`` are the texts of the records that may be kept, by hash."""

    def __init__(
        self, draft: TransactionBuilder, read: Read, bodies: Mapping[str, str], now_s: float, shard: int
    ) -> None:
        self._draft, self._read, self._bodies, self._now_s, self._shard = draft, read, bodies, now_s, shard
        self._saved: dict[Name, SlotView] = {}
        self._removed: dict[Name, SlotView] = {}
        self._moved: dict[Name, tuple[Path, bool]] = {}
        self._given: dict[Name, list[Name]] = {}
        """Paths that got a holder in this transaction, by each of their folders."""
        self._loose: dict[Name, list[str]] = {}
        self._sums: dict[str, GroupSums] = {}
        self._put: dict[str, KeptAlert] = {}
        self.changes: dict[Name, Publish] = {}

    # --- slots ------------------------------------------------------------------------------------------------------

    def find(self, stage: str, key: str) -> SlotState | None:
        name = (stage, key)
        if name in self._removed:
            return None
        view = self._read.views.get(name)
        return view.row if view is not None else None

    def save(self, row: SlotState) -> None:
        self._saved[row.stage, row.key] = self._read.views[row.stage, row.key]

    def remove(self, row: SlotState) -> None:
        name = (row.stage, row.key)
        self._removed[name] = self._read.views[name]
        self._saved.pop(name, None)

    def mark(self, mark: Mark, now_s: float) -> None:
        name = (mark.stage, mark.key)
        view = self._read.views.get(name)
        if view is None or name in self._removed:
            self._draft.mark(mark.stage, mark.key, now_s)
            return
        settling.touch(view.row, now_s)
        view.touched = True
        if view.row.owner is None:
            self._saved[name] = view

    # --- paths and history ------------------------------------------------------------------------------------------

    def _path(self, name: Name) -> Path:
        return self._read.paths.setdefault(name, Path())

    def holder(self, bucket: str, key: str) -> Name | None:
        return self._path((bucket, key)).holder

    def below(self, bucket: str, key: str) -> Iterator[tuple[str, Name]]:
        for name in (*self._given.get((bucket, key), ()), *self._read.below.get((bucket, key), ())):
            holder = self.holder(*name)
            if holder is not None:
                yield name[1], holder

    def hold_path(self, ref: ObjectRef, holder: Name | None) -> None:
        name = (ref.bucket, ref.key)
        path = self._path(name)
        first = self._moved.get(name)
        self._moved[name] = (path, first[1] if first is not None else path.holder is None)
        path.holder = holder
        if holder is not None:
            for folder in settling.folders(ref.key):
                self._given.setdefault((ref.bucket, folder), []).append(name)

    def publish(self, change: Publish) -> None:
        self.changes.pop((change.bucket, change.key), None)
        self.changes[change.bucket, change.key] = change

    def keep(self, record: Record) -> None:
        draft = self._draft
        draft.put(
            draft.name(keys.RECORD) + keys.hash_part(record.hash),
            slot_values.write_record(record.stage, record.key, None),
        )
        for item in record.inputs:
            draft.put(draft.name(keys.USER) + bytes.fromhex(item.ref.sha256) + keys.hash_part(record.hash))
        for ref in record.outputs:
            path = self._path((ref.bucket, ref.key))
            if record.hash in path.makers:
                path.makers.remove(record.hash)
            path.makers.append(record.hash)

    def tally(self, record: Record, sign: int) -> None:
        self._sums.setdefault(record.group, GroupSums(record.group)).add(record, sign)

    # --- alerts -----------------------------------------------------------------------------------------------------

    def policy_text(self, name: PolicyName) -> str | None:
        return self._read.policy.texts[name]

    def put_policy_text(self, name: PolicyName, text: str | None) -> None:
        self._read.policy.put(name, text)

    def look_at(self, ids: Collection[str]) -> None:
        """Read nothing: all was read beforehand."""

    def alert(self, id_: str) -> Alert | None:
        kept = self._put.get(id_) or self._read.alerts.get(id_)
        return kept.alert if kept is not None else None

    def alerts_of(self, record: Record) -> Collection[str]:
        view = self._read.views.get((record.stage, record.key))
        return view.kept.loose if view is not None and view.kept is not None else ()

    def put_alert(self, alert: Alert) -> None:
        self._put[alert.id] = KeptAlert(alert)

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        kept = self._put.get(id_) or self._read.alerts.get(id_)
        if kept is not None and (then := withdrawn(kept, now_s)) is not None:
            self._put[id_] = then

    def share_alert(self, alert: Alert) -> None:
        kept = self._put.get(alert.id) or self._read.alerts[alert.id]
        if kept.withdrawn or kept.alert is not alert:
            self._put[alert.id] = KeptAlert(alert, kept.owner)

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self) -> list[SlotView]:
        """Put all that changed into the draft; gives the views that were settled."""
        settled = [*self._saved.values(), *self._removed.values()]
        for view in self._removed.values():
            self._file_away(view)
            self._draft.forget(view)
        for view in self._saved.values():
            self._write_slot(view)
        for name, view in self._read.views.items():
            if view.touched and name not in self._saved and name not in self._removed:
                self._draft.mark(*name, self._now_s)
        self._write_paths()
        for group, sums in self._sums.items():
            sums.write(self._draft, self._read.tallies.get(group) or Shards({}), self._shard)
        self._write_alerts()
        self._read.policy.write(self._draft)
        self._draft.release(settled)
        return settled

    def _write_slot(self, view: SlotView) -> None:
        record = view.row.record
        if record is None or (view.kept is not None and record is view.record):
            self._file_away(view)
            self._draft.keep(view, self._now_s, () if record is None else None)
            return
        self._file_away(view)
        named = set(record.alert_ids)
        loose = tuple(
            id_ for id_, kept in self._put.items() if kept.alert.datum_hash == record.hash and id_ not in named
        )
        self._draft.keep(view, self._now_s, loose, self._bodies[record.hash])

    def _file_away(self, view: SlotView) -> None:
        """The record that was live goes into history."""
        was, record = view.kept, view.row.record
        if was is None or was.hash is None or (record is not None and record.hash == was.hash):
            return
        name = self._draft.name(keys.RECORD) + keys.hash_part(was.hash)
        self._draft.put(name, slot_values.write_record(view.stage, view.key, was.body))

    def _write_paths(self) -> None:
        for (bucket, key), (path, foreign) in self._moved.items():
            name = self._draft.name(keys.PATH, bucket, key)
            if foreign:
                # Nobody may have taken the path meanwhile, nor one that has it as a folder, nor one of its folders.
                self._draft.expect_none_newer(name, below_path(self._draft.name, bucket, key)[1], self._read.revision)
                for folder in settling.folders(key):
                    free = self._draft.name(keys.PATH, bucket, folder)
                    self._draft.expect(free, self._path((bucket, folder)).mod_revision)
            # A path that nobody holds goes, so that those there are cost what is live; who made it stays.
            older = len(path.makers) if path.holder is None else NEWEST // 2 if len(path.makers) > NEWEST else 0
            if older:
                block, path.makers = path.makers[:older], path.makers[older:]
                self._draft.put(self._draft.name(keys.MAKERS, bucket, key) + os.urandom(12), slot_values.dump(block))
            if path.holder is None:
                self._draft.delete(name)
            else:
                self._draft.put(name, record_values.write_path(path))

    def _write_alerts(self) -> None:
        for id_, kept in self._put.items():
            was = self._read.alerts.get(id_)
            name = self._draft.name(keys.ALERT, id_)
            writes = alert_writes(self._draft.name, kept, was)
            if was is not None:
                self._draft.expect(name, was.mod_revision)
                self._draft.puts.update(writes)
            else:
                # One by one, for a datum may have more new alerts than a transaction may have comparisons: an alert
                # that somebody else has entered meanwhile is left alone, which is the rule.
                ops = tuple(Delete(key) if value is None else Put(key, value) for key, value in writes.items())
                self._draft.nested.append(Guarded((Unchanged(name, 0),), ops))


def below_path(name: Callable[..., bytes], bucket: str, key: str) -> tuple[bytes, bytes]:
    """Give the range of the keys of all paths that have this one as a folder."""
    first, last = settling.span_below(key)
    start = name(keys.PATH, bucket)
    return start + keys.open_text(first), start + keys.open_text(last)
