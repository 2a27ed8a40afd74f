"""All data of a ledger in memory, and the part of the ledger that every other part stands on."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from lookout.domain.errors import Unavailable
from lookout.domain.records import Alert, AlertState, Mark, ObjectRef, Observation, Record, Reference
from lookout.ledger import codec
from lookout.ledger.batches import Batch
from lookout.ledger.port import Ledger, RunRecord
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.slots import Row
from lookout.object_store.port import Publish

Name = tuple[str, str]
"""Stage and key of a slot, or bucket and key of a path."""


class Dicts:
    """All data of a ledger in memory; the ``Book`` of its settlements."""

    def __init__(self) -> None:
        self.rows: dict[Name, Row] = {}
        self.records: dict[str, Record] = {}
        self.makers: defaultdict[Name, dict[str, None]] = defaultdict(dict)
        self.users: defaultdict[str, set[str]] = defaultdict(set)
        self.paths: dict[Name, Name] = {}
        self.changes: dict[Name, Publish] = {}
        self.alerts: dict[str, Alert] = {}
        self.senders: dict[str, str] = {}
        self.withdrawn: set[str] = set()

    def find(self, stage: str, key: str) -> Row | None:
        return self.rows.get((stage, key))

    def save(self, row: Row) -> None:
        self.rows[row.stage, row.key] = row

    def remove(self, row: Row) -> None:
        self.rows.pop((row.stage, row.key), None)

    def mark(self, mark: Mark, now_s: float) -> None:
        settling.touch(self.rows.setdefault((mark.stage, mark.key), Row(mark.stage, mark.key)), now_s)

    def holder(self, bucket: str, key: str) -> Name | None:
        return self.paths.get((bucket, key))

    def below(self, bucket: str, key: str) -> Iterator[tuple[str, Name]]:
        first, last = settling.span_below(key)
        return ((path, holder) for (own, path), holder in self.paths.items() if own == bucket and first < path < last)

    def hold_path(self, ref: ObjectRef, holder: Name | None) -> None:
        if holder is None:
            self.paths.pop((ref.bucket, ref.key), None)
        else:
            self.paths[ref.bucket, ref.key] = holder

    def publish(self, change: Publish) -> None:
        self.changes.pop((change.bucket, change.key), None)
        self.changes[change.bucket, change.key] = change

    def keep(self, record: Record) -> None:
        former = self.records.get(record.hash)
        for ref in former.outputs if former is not None else ():
            self.makers[ref.bucket, ref.key].pop(record.hash, None)
        text = codec.write_record(record)  # so that nobody can change it, and what is no JSON is refused
        self.records[record.hash] = codec.read_record(record.hash, record.stage, record.key, text)
        for ref in record.outputs:
            self.makers[ref.bucket, ref.key][record.hash] = None
        for item in record.inputs:
            self.users[item.ref.sha256].add(record.hash)

    def tally(self, record: Record, sign: int) -> None:
        """Tallies are summed when they are read."""

    def alert(self, id_: str) -> Alert | None:
        return self.alerts.get(id_)

    def alerts_of(self, record: Record) -> Collection[str]:
        return [alert.id for alert in self.alerts.values() if alert.datum_hash == record.hash]

    def put_alert(self, alert: Alert) -> None:
        self.alerts[alert.id] = alert

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        alert = self.alerts.get(id_)
        if alert is None:
            return
        if alert.state is AlertState.SENDING:
            self.withdrawn.add(id_)
        elif delivery.is_open(alert):
            self.alerts[id_] = delivery.canceled(alert, now_s)
            self.senders.pop(id_, None)

    def keep_alert(self, id_: str) -> None:
        self.withdrawn.discard(id_)


class Part(Ledger):
    """The common part. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._closed = self._publishing = False
        self._data = Dicts()
        self._token = self._sessions = 0
        self._owners: set[str] = set()
        self._notes: dict[str, str] = {}
        self._inputs: dict[Name, Observation] = {}
        self._references: dict[str, dict[str, Reference]] = {}
        self._bases: dict[str, str] = {}
        self._runs: dict[str, RunRecord] = {}
        self._batches: dict[str, Batch] = {}

    @contextmanager
    def _use(self, *, writing: bool = False) -> Iterator[Dicts]:
        with self._lock:
            if self._closed:
                raise Unavailable("the ledger in memory", "it is closed")
            if writing and self._publishing:
                raise RuntimeError("expected no write to the ledger while its changes are handed out")
            yield self._data

    def close(self) -> None:
        with self._lock:
            self._closed = True
