"""Snapshot of a ledger as entries: put together from what was copied into a spool. Makes no request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from lookout.domain.records import Record
from lookout.ledger import codec
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.history import read_makers
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.slot_reader import view_of
from lookout.ledger.kv.spool import Spool
from lookout.ledger.maintenance import Basis, Entry, KeptPath, KeptSlot, Note, PolicyText, at_rest, ended

COPIED: Final = (
    keys.NOTE, keys.BASIS, keys.REFERENCES, keys.INPUT, keys.RECORD, keys.SLOT, keys.DIRTY, keys.CLAIM, keys.LEASE,
    keys.PATH, keys.MAKERS, keys.CHANGE, keys.ALERT, keys.POLICY, keys.RUN,
)  # fmt: skip
"""The kinds of keys that entries are made of; all others are computed from them, or are about living processes."""
PAGE: Final = 300

Tail = tuple[bytes, bytes, Any]
"""Rest of a key after its kind, the kind, and what lies there."""


class Snapshot:
    """``cut`` is where the part of a key after its kind begins; ``parts`` are the claims of that moment."""

    def __init__(self, spool: Spool, cut: int, parts: Sequence[ClaimPart], now_s: float) -> None:
        self._spool, self._cut, self._parts, self._now_s = spool, cut, parts, now_s

    def entries(self) -> Iterator[Entry]:
        """All of them, kinds in the order of ``Entry``."""
        for tail, _, kv in self._tails(keys.NOTE):
            yield Note(name=keys.parts(tail, 1)[0], value=slot_values.load(kv, str))
        for tail, _, kv in self._tails(keys.BASIS):
            yield Basis(stage=keys.parts(tail, 1)[0], basis=slot_values.load(kv, str))
        for tail, _, kv in self._tails(keys.REFERENCES):
            yield from record_values.read_references(keys.parts(tail, 1)[0], kv)
        for tail, _, kv in self._tails(keys.INPUT):
            bucket, key = keys.parts(tail, 2)
            yield from record_values.read_inputs(bucket, [(key, kv)])
        yield from self._records()
        yield from self._slots()
        yield from self._paths()
        for kv in sorted(self._spool.read(keys.CHANGE), key=lambda kv: kv.create_revision):
            yield from record_values.read_changes(kv)
        for tail, _, kv in self._tails(keys.ALERT):
            yield at_rest(record_values.read_alert(keys.parts(tail, 1)[0], kv).alert, self._now_s)
        for tail, _, kv in self._tails(keys.POLICY):
            kind, first, second = keys.parts(tail, 3)
            yield PolicyText(name=(kind, first, second), text=slot_values.load(kv, str))
        for tail, _, kv in self._tails(keys.RUN):
            yield ended(record_values.read_run(keys.parts(tail, 1)[0], kv), self._now_s)

    def _tails(self, kind: bytes) -> Iterator[Tail]:
        for kv in self._spool.read(kind):
            yield kv.key[self._cut :], kind, kv

    # --- records ----------------------------------------------------------------------------------------------------

    def _records(self) -> Iterator[Record]:
        """Those of history, then the live ones, which lie with their slots."""
        page: list[tuple[str, str, str, str]] = []
        for tail, _, kv in self._tails(keys.RECORD):
            stage, key, body = slot_values.read_record(kv)
            if body is not None:
                page.append((keys.read_hash_part(tail), stage, key, body))
            if len(page) == PAGE:
                yield from codec.read_records(page)
                page = []
        yield from codec.read_records(page)
        rows: list[tuple[str, str, Kv]] = []
        for tail, _, kv in self._tails(keys.SLOT):
            stage, key = keys.parts(tail, 2)
            rows.append((stage, key, kv))
            if len(rows) == PAGE:
                yield from _live(rows)
                rows = []
        yield from _live(rows)

    # --- slots ------------------------------------------------------------------------------------------------------

    def _slots(self) -> Iterator[KeptSlot]:
        held = sorted(self._held(), key=itemgetter(0))
        streams = (self._tails(keys.SLOT), self._tails(keys.DIRTY), held)
        page: list[dict[bytes, Any]] = []
        tails: list[bytes] = []
        for tail, found in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
            tails.append(tail)
            page.append({kind: what for _, kind, what in found})
            if len(page) == PAGE:
                yield from _kept(tails, page)
                tails, page = [], []
        yield from _kept(tails, page)

    def _held(self) -> Iterator[Tail]:
        for part in self._parts:
            for key in part.held:
                yield keys.text(part.stage) + keys.text(key), keys.CLAIM, part

    # --- paths ------------------------------------------------------------------------------------------------------

    def _paths(self) -> Iterator[KeptPath]:
        streams = [self._named_paths(kind) for kind in (keys.PATH, keys.MAKERS)]
        for name, found in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
            listed = list(found)
            blocks = [kv for _, kind, kv in listed if kind == keys.MAKERS]
            path = record_values.Path()
            for _, kind, kv in listed:
                if kind == keys.PATH:
                    path = record_values.read_path(kv)
            newest_first = dict.fromkeys(reversed([*read_makers(blocks), *path.makers]))
            bucket, key = keys.parts(name, 2)
            yield KeptPath(bucket=bucket, key=key, holder=path.holder, makers=tuple(reversed(newest_first)))

    def _named_paths(self, kind: bytes) -> Iterator[Tail]:
        for tail, _, kv in self._tails(kind):
            bucket, key, _ = tail.split(b"\x00", 2)  # a block's own bytes come last
            yield b"%s\x00%s\x00" % (bucket, key), kind, kv


def _live(rows: list[tuple[str, str, Kv]]) -> Iterator[Record]:
    for one in slot_values.read_slots(rows):
        if one.row.record is not None:
            yield one.row.record


def _kept(tails: Sequence[bytes], page: Sequence[dict[bytes, Any]]) -> Iterator[KeptSlot]:
    """Slots of their rows, marks and claims."""
    names = [keys.parts(tail, 2) for tail in tails]
    rows = [(*name, found[keys.SLOT]) for name, found in zip(names, page, strict=True) if keys.SLOT in found]
    kept = {(one.row.stage, one.row.key): one for one in slot_values.read_slots([(s, k, kv) for s, k, kv in rows])}
    for (stage, key), found in zip(names, page, strict=True):
        view = view_of(stage, key, kept.get((stage, key)), found.get(keys.DIRTY), found.get(keys.CLAIM))
        if view is not None:
            # A stage has its tokens, a slot only while it is held; but under that of its cohort it was lost.
            view.row.token = max(view.row.token, view.row.cohort)
            yield KeptSlot.of(view.row)
