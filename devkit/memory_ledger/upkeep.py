"""Upkeep of a ledger in memory: named outputs, saving and filling, size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from devkit.memory_ledger.book import Dicts, Part
from lookout.domain.records import Alert, ObjectRef, Observation, Record, Reference
from lookout.ledger.maintenance import (
    Basis,
    Entry,
    KeptPath,
    KeptSlot,
    LedgerSize,
    Named,
    Note,
    UpkeepLedger,
    at_rest,
    ended,
    refuse_filled,
)
from lookout.ledger.port import RunRecord
from lookout.object_store.port import Publish


class UpkeepPart(Part, UpkeepLedger):
    """See ``UpkeepLedger``."""

    def named(self, bucket: str, after: str = "") -> Iterator[Named]:
        with self._use() as data:
            keys = sorted(key for own, key in data.paths if own == bucket and key > after)
            found = [named for key in keys if (named := _named(data, bucket, key)) is not None]
        yield from found

    def restate(self, bucket: str, keys: Collection[str]) -> dict[str, ObjectRef | None]:
        said: dict[str, ObjectRef | None] = {}
        with self._use(writing=True) as data:
            for key in keys:
                named = _named(data, bucket, key)
                said[key] = named.ref if named is not None else None
                data.changes.setdefault((bucket, key), Publish(bucket=bucket, key=key, ref=said[key]))
        return said

    @contextmanager
    def snapshot(self) -> Iterator[Iterator[Entry]]:
        with self._use() as data:
            entries = list(self._entries(data, self._clock()))
        yield iter(entries)

    def _entries(self, data: Dicts, now_s: float) -> Iterator[Entry]:
        for name, value in sorted(self._notes.items()):
            yield Note(name=name, value=value)
        for stage, basis in sorted(self._bases.items()):
            yield Basis(stage=stage, basis=basis)
        for _, units in sorted(self._references.items()):
            yield from (unit for _, unit in sorted(units.items()))
        yield from (seen for _, seen in sorted(self._inputs.items()))
        yield from data.records.values()
        for _, row in sorted(data.rows.items()):
            yield KeptSlot.of(replace(row))
        for path, makers in sorted(data.makers.items()):
            if makers:
                yield KeptPath(bucket=path[0], key=path[1], holder=data.paths.get(path), makers=tuple(makers))
        yield from data.changes.values()
        yield from (at_rest(alert, now_s) for alert in data.alerts.values())
        yield from (ended(run, now_s) for run in self._runs.values())

    def load(self, entries: Iterable[Entry]) -> None:
        todo = list(entries)
        with self._use(writing=True) as data:
            kept = (data.rows, data.records, data.alerts, data.changes)
            if any(kept) or any((self._notes, self._bases, self._references, self._inputs, self._runs)):
                raise refuse_filled("the ledger in memory")
            for entry in todo:
                self._take(data, entry)

    def _take(self, data: Dicts, entry: Entry) -> None:
        match entry:
            case Note():
                self._notes[entry.name] = entry.value
            case Basis():
                self._bases[entry.stage] = entry.basis
            case Reference():
                self._references.setdefault(entry.bucket, {})[entry.name] = entry
            case Observation():
                self._inputs[entry.bucket, entry.key] = entry
            case RunRecord():
                self._runs[entry.id] = entry
            case KeptSlot():
                record = data.records[entry.hash] if entry.hash is not None else None
                data.rows[entry.stage, entry.key] = entry.row(record)
                self._token = max(self._token, entry.token)
            case _:
                _take_made(data, entry)

    def size(self) -> LedgerSize:
        with self._use() as data:
            return LedgerSize(
                inputs=len(self._inputs),
                slots=len(data.rows),
                records=len(data.records),
                paths=len(data.paths),
                alerts=len(data.alerts),
                runs=len(self._runs),
                used_bytes=None,
            )


def _take_made(data: Dicts, entry: Record | KeptPath | Publish | Alert) -> None:
    match entry:
        case Record():
            data.records[entry.hash] = entry
            for item in entry.inputs:
                data.users[item.ref.sha256].add(entry.hash)
        case KeptPath():
            data.makers[entry.bucket, entry.key].update(dict.fromkeys(entry.makers))
            if entry.holder is not None:
                data.paths[entry.bucket, entry.key] = entry.holder
        case Publish():
            data.publish(entry)
        case Alert():
            data.alerts[entry.id] = entry


def _named(data: Dicts, bucket: str, key: str) -> Named | None:
    holder = data.paths.get((bucket, key))
    row = data.rows.get(holder) if holder is not None else None
    if row is None or row.record is None:
        return None
    ref = next((ref for ref in row.record.outputs if (ref.bucket, ref.key) == (bucket, key)), None)
    return Named(ref=ref, record=row.record) if ref is not None else None
