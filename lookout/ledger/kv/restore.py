"""Restore of an empty ledger: filled with the entries of a snapshot, and with all that is computed from them.

A record lies with its slot while it is live and under its hash when it is history, and only the slots, which come
later, say which: so records wait in a temporary file, and each is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from lookout.domain.errors import Corrupt
from lookout.domain.records import Alert, Observation, Record, Reference
from lookout.ledger import codec
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.commit_unit import NEWEST
from lookout.ledger.kv.outbox import alert_writes
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.record_values import KeptAlert, Path
from lookout.ledger.kv.slot_reader import SlotView
from lookout.ledger.kv.spool import Bodies
from lookout.ledger.kv.tallies import Shard, is_member, member_of, write_shard
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.maintenance import Basis, Entry, KeptPath, KeptSlot, Note, PolicyText
from lookout.ledger.port import RunRecord
from lookout.ledger.rules import slots as settling
from lookout.object_store.port import Publish

PAGE: Final = 200
"""Entries of one kind that are taken together."""
OPS: Final = 1500
BYTES: Final = 700_000
BLOCK: Final = 1000
"""Older makers of a path in one value."""


class Filler:
    """Takes entries in the order of a snapshot. ``write`` applies a draft or raises; ``read`` gives keys."""

    def __init__(
        self,
        prefix: bytes,
        write: Callable[[TransactionBuilder], None],
        read: Callable[[Collection[bytes]], Mapping[bytes, Kv]],
    ) -> None:
        self._prefix, self._apply, self._read = prefix, write, read
        self._draft = TransactionBuilder(prefix)
        self._bytes = 0
        self._waiting: list[Entry] = []
        self._bodies = Bodies()
        self._shards: dict[str, Shard] = {}
        self._inputs: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[str] = Counter()
        self._blocks = 0

    def close(self) -> None:
        """Forget what was not written."""
        self._bodies.close()

    def add(self, entry: Entry) -> None:
        """Take one entry. Raises Corrupt for one that names a record that did not come before it."""
        # References of a bucket are one value, so all of them are taken together, however many.
        full = len(self._waiting) >= PAGE and not isinstance(entry, Reference)
        if self._waiting and (full or type(entry) is not type(self._waiting[0])):
            self._take()
        self._waiting.append(entry)

    def finish(self) -> None:
        """Write what waits, and the sums."""
        self._take()
        self._keep_history()
        for group, shard in self._shards.items():
            if shard.live or shard.counts:
                self._put(self._draft.name(keys.TALLY, group) + b"\x00", write_shard(shard))
        for name, count in self._inputs.items():
            self._put(self._draft.name(keys.INPUTS, *name) + b"\x00", slot_values.dump(count))
        for stage, token in self._tokens.items():
            self._put(self._draft.name(keys.TOKEN, stage), b"%d" % token)
        self._flush()

    # --- writing ----------------------------------------------------------------------------------------------------

    def _put(self, key: bytes, value: bytes = b"") -> None:
        self._room(len(key) + len(value))
        self._draft.put(key, value)

    def _room(self, more_bytes: int) -> None:
        """Begin another transaction if this one has no room."""
        if self._draft.puts and (len(self._draft.puts) >= OPS or self._bytes + more_bytes > BYTES):
            self._flush()
        self._bytes += more_bytes

    def _flush(self) -> None:
        if self._draft.puts:
            self._apply(self._draft)
        self._draft, self._bytes = TransactionBuilder(self._prefix), 0

    # --- entries ----------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Take what waits, which is all of one kind."""
        todo, self._waiting = self._waiting, []
        for entry in todo:
            match entry:
                case Note():
                    self._put(self._draft.name(keys.NOTE, entry.name), slot_values.dump(entry.value))
                case Basis():
                    self._put(self._draft.name(keys.BASIS, entry.stage), slot_values.dump(entry.basis))
                case Observation():
                    name = self._draft.name(keys.INPUT, entry.bucket, entry.key)
                    self._put(name, record_values.write_input(entry))
                    self._inputs[entry.bucket, entry.origin] += 1
                case Record():
                    self._take_record(entry)
                case KeptPath():
                    self._take_path(entry)
                case PolicyText():
                    self._put(self._draft.name(keys.POLICY, *entry.name), slot_values.dump(entry.text))
                case RunRecord():
                    self._take_run(entry)
        self._take_references([entry for entry in todo if isinstance(entry, Reference)])
        self._take_slots([entry for entry in todo if isinstance(entry, KeptSlot)])
        self._take_changes([entry for entry in todo if isinstance(entry, Publish)])
        self._take_alerts([entry for entry in todo if isinstance(entry, Alert)])

    def _take_references(self, units: Sequence[Reference]) -> None:
        for bucket in dict.fromkeys(unit.bucket for unit in units):
            of_bucket = [unit for unit in units if unit.bucket == bucket]
            self._put(self._draft.name(keys.REFERENCES, bucket), record_values.write_references(of_bucket))

    def _take_record(self, record: Record) -> None:
        text = codec.write_record(record)
        about = slot_values.encode([record.stage, record.key])
        self._bodies.put(record.hash, f"{about}\n{text}".encode("utf-8", "surrogatepass"))
        for item in record.inputs:
            self._put(
                self._draft.name(keys.USER) + bytes.fromhex(item.ref.sha256) + keys.hash_part(record.hash),
            )

    def _keep_history(self) -> None:
        """Write what no slot has taken: history."""
        for hash_ in self._bodies.names():
            if (body := self._bodies.take(hash_)) is not None:
                self._put(self._draft.name(keys.RECORD) + keys.hash_part(hash_), slot_values.pack(body))

    def _take_slots(self, slots: Sequence[KeptSlot]) -> None:
        texts: dict[str, str] = {}
        for slot in slots:
            if slot.hash is not None:
                body = self._bodies.take(slot.hash)
                if body is None:
                    raise Corrupt("the entries of a ledger", f"the record {slot.hash} before what names it", "none")
                texts[slot.hash] = body.decode("utf-8", "surrogatepass").partition("\n")[2]
        live = [(slot.hash, slot.stage, slot.key, texts[slot.hash]) for slot in slots if slot.hash is not None]
        records = {record.hash: record for record in codec.read_records(live)}
        for slot in slots:
            # A cohort is the token under which it was lost: nothing new may come under the same.
            self._tokens[slot.stage] = max(self._tokens[slot.stage], slot.token, slot.cohort)
            record = records[slot.hash] if slot.hash is not None else None
            body_text = texts[slot.hash] if slot.hash is not None else None
            self._room(len(body_text or "") + 3 * len(slot.key.encode()) + 400)
            row = slot.row(record)
            self._draft.keep(SlotView(slot.stage, slot.key, row, None, 0, None), slot.updated_at_s, (), body_text)
            if record is not None:
                self._take_live(record)

    def _take_live(self, record: Record) -> None:
        pointer = slot_values.write_record(record.stage, record.key, None)
        self._put(self._draft.name(keys.RECORD) + keys.hash_part(record.hash), pointer)
        if is_member(record):
            tail, value = member_of(record)
            self._put(self._draft.name(keys.MEMBER, record.group) + tail, value)
        shard = self._shards.setdefault(record.group, Shard())
        shard.live += settling.is_tallied(record)
        for name, count in record.counts.items():
            if count:
                shard.counts[name] = shard.counts.get(name, 0) + count
        if record.at_s is not None:
            shard.last_at_s = record.at_s if shard.last_at_s is None else max(shard.last_at_s, record.at_s)

    def _take_path(self, path: KeptPath) -> None:
        makers = list(path.makers)
        older = len(makers) if path.holder is None else max(0, len(makers) - NEWEST)
        for start in range(0, older, BLOCK):
            self._blocks += 1  # in the order of their making, within one transaction too
            name = self._draft.name(keys.MAKERS, path.bucket, path.key) + self._blocks.to_bytes(12, "big")
            self._put(name, slot_values.dump(makers[start : min(start + BLOCK, older)]))
        if path.holder is not None:
            name = self._draft.name(keys.PATH, path.bucket, path.key)
            self._put(name, record_values.write_path(Path(path.holder, makers[older:])))

    def _take_changes(self, changes: Sequence[Publish]) -> None:
        """In a transaction of their own: their order is that of revisions."""
        if changes:
            self._flush()
            self._blocks += 1
            self._put(
                self._draft.name(keys.CHANGE) + self._blocks.to_bytes(12, "big"),
                record_values.write_changes([*changes]),
            )
            self._flush()

    def _take_alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            for name, value in alert_writes(self._draft.name, KeptAlert(alert), None).items():
                if value is not None:
                    self._put(name, value)
        self._tie_alerts(alerts)

    def _tie_alerts(self, alerts: Sequence[Alert]) -> None:
        """Tell live slots of the alerts that came with their record without being named in it."""
        by_hash: dict[str, list[str]] = {}
        for alert in alerts:
            by_hash.setdefault(alert.datum_hash, []).append(alert.id)
        if not by_hash:
            return
        self._flush()
        pointers = self._read([self._draft.name(keys.RECORD) + keys.hash_part(hash_) for hash_ in by_hash])
        slots = {
            self._draft.name(keys.SLOT, stage, key): (stage, key)
            for stage, key, body in map(slot_values.read_record, pointers.values())
            if body is None
        }
        rows = self._read(list(slots))
        for name, kv in rows.items():
            (kept,) = slot_values.read_slots([(*slots[name], kv)])
            record = kept.row.record
            loose = () if record is None else tuple(sorted({*by_hash.get(record.hash, ())} - {*record.alert_ids}))
            if loose:
                kept.loose = (*kept.loose, *loose)
                self._put(name, slot_values.write_slot(kept))

    def _take_run(self, run: RunRecord) -> None:
        self._put(self._draft.name(keys.RUN, run.id), record_values.write_run(run))
        start = self._prefix + keys.RUN_START + keys.inverse(keys.moment(run.started_at_s))
        self._put(start + keys.text(run.id))
        if run.state == "running":
            self._put(self._draft.name(keys.RUN_OPEN, run.owner, run.id))
