"""Marks of slots: one put that reads nothing, unless the row has to change with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from lookout.domain.records import Mark
from lookout.ledger.kv import keys, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.slot_reader import SlotView, views
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules.slots import SlotState

BATCH: Final = 600
"""Marks in one transaction."""
ONE_BY_ONE: Final = 80
"""Slots in one transaction that compares each."""


class Marks:
    """Marks of slots. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        self._space.check_writing()
        source = iter(marks)
        count = 0
        while batch := list(islice(source, BATCH)):
            count += len(batch)
            while batch:
                first = list(dict.fromkeys(batch))  # the store takes each key once in a transaction
                again = list(batch)
                for mark in first:
                    again.remove(mark)
                self._mark(first, revive, salt)
                batch = again
        return count

    def _mark(self, marks: Sequence[Mark], revive: bool, salt: str | None) -> None:
        now_s = self._space.clock()
        if not revive and salt is None:
            draft = TransactionBuilder(self._space.prefix)
            for mark in marks:
                draft.mark(mark.stage, mark.key, now_s)
            self._space.write([], draft.ops)
            return
        for start in range(0, len(marks), ONE_BY_ONE):
            self._change(marks[start : start + ONE_BY_ONE], revive, salt, now_s)

    def _change(self, marks: Sequence[Mark], revive: bool, salt: str | None, now_s: float) -> None:
        """Mark slots with a change of their rows. A holder that commits meanwhile sees the mark and reads again."""
        stages: dict[str, list[str]] = {}
        for mark in marks:
            stages.setdefault(mark.stage, []).append(mark.key)
        for _attempt in self._space.attempts("marking"):
            draft = TransactionBuilder(self._space.prefix)
            for stage, wanted in stages.items():
                rows = self._space.pick(self._space.name(keys.SLOT, stage), wanted)
                known = views(stage, wanted, rows, {}, [])
                for key in wanted:
                    name = self._space.name(keys.SLOT, stage, key)
                    draft.expect(name, rows[key].mod_revision if key in rows else 0)
                    draft.mark(stage, key, now_s)
                    view = known.get(key) or SlotView(stage, key, SlotState(stage, key), None, 0, None)
                    self._write_change(draft, view, revive, salt)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return

    def _write_change(self, draft: TransactionBuilder, view: SlotView, revive: bool, salt: str | None) -> None:
        if view.row.damage is not None:
            return  # what it says is not known, so it stays as it is
        kept = view.kept or slot_values.Kept(view.row)
        if revive:
            view.row.tries = view.row.losses = 0
        if salt is not None:
            view.row.salt = salt
        if view.kept is None and salt is None:
            return
        if view.kept is None:
            draft.put(draft.name(keys.STATE, view.stage, "p", view.key))
        draft.put(draft.name(keys.SLOT, view.stage, view.key), slot_values.write_slot(kept))
