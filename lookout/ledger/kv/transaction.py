"""Transaction in the making: what it writes, by key, and what must not have changed for it to hold.

Each key is written at most once, as the store wants it; a later write of a key takes the place of an earlier one. Knows
how a slot lies in keys, and no rule of settling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from lookout.domain.records import State
from lookout.ledger import codec
from lookout.ledger.kv import claim_values, keys, slot_values
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.port import Compare, Delete, Exists, Guarded, NoneNewer, Op, Put, Unchanged, most_ops, size_of
from lookout.ledger.kv.slot_reader import SlotView
from lookout.ledger.kv.slot_values import LETTERS, Kept

MAX_COMPARES: Final = 100
"""Below the limit of one transaction, with room for the session."""
MAX_BYTES: Final = 1_000_000


class TransactionBuilder:
    """Writes and comparisons of one transaction."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self.puts: dict[bytes, bytes | None] = {}
        self.nested: list[Delete | Guarded] = []
        self._compares: dict[bytes, Compare] = {}

    def name(self, kind: bytes, *texts: str) -> bytes:
        """The key of that kind and these parts."""
        return self._prefix + kind + b"".join([keys.text(each) for each in texts])

    # --- what must hold ---------------------------------------------------------------------------------------------

    def expect(self, key: bytes, mod_revision: int) -> None:
        """The key must be as it was."""
        self._compares[key] = Unchanged(key, mod_revision)

    def expect_there(self, key: bytes) -> None:
        """The key must be there."""
        self._compares[key] = Exists(key)

    def expect_none_newer(self, start: bytes, end: bytes, revision: int) -> None:
        """Nothing in the range was written since."""
        self._compares[start + end] = NoneNewer(start, end, revision)

    def expect_marks(self, views: Collection[SlotView], revision: int, *, one_by_one: bool) -> None:
        """No slot was marked since: by one range for each stage, which others' marks may spoil, or one by one."""
        spans: dict[object, list[SlotView]] = {}
        for view in views:
            spans.setdefault((view.stage, view.key) if one_by_one else view.stage, []).append(view)
        for span in spans.values():
            order = [view.key for view in span]
            first, last = (self.name(keys.DIRTY, span[0].stage, key) for key in (min(order), max(order)))
            self.expect_none_newer(first, keys.behind(last), revision)

    def expect_part(self, part: ClaimPart) -> None:
        """The claim and its lease must be as they were."""
        for name, mod_revision in zip(self.part_names(part), (part.mod_revision, part.lease_mod_revision), strict=True):
            self.expect(name, mod_revision)

    @property
    def compares(self) -> list[Compare]:
        return list(self._compares.values())

    # --- what is written --------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes = b"") -> None:
        self.puts[key] = value

    def delete(self, key: bytes) -> None:
        self.puts[key] = None

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove a range in which nothing is put."""
        self.nested.append(Delete(start, end))

    @property
    def ops(self) -> list[Op]:
        return [
            *self.nested,
            *[Delete(key) if value is None else Put(key, value) for key, value in self.puts.items()],
        ]

    def fits(self) -> bool:
        """Tell whether one transaction can take it."""
        compares, ops = len(self._compares), len(self.puts) + len(self.nested)
        if compares > MAX_COMPARES or ops > most_ops(compares):
            return False
        size = sum(map(size_of, self.nested)) + sum(len(key) + len(value or b"") for key, value in self.puts.items())
        return size + sum(len(name) + 16 for name in self._compares) <= MAX_BYTES

    # --- claims -----------------------------------------------------------------------------------------------------

    def part_names(self, part: ClaimPart) -> tuple[bytes, bytes]:
        """The keys of a claim and of its lease."""
        tail = keys.text(part.stage) + keys.token_part(part.token, part.number)
        return self._prefix + keys.CLAIM + tail, self._prefix + keys.LEASE + tail

    def put_part(self, part: ClaimPart) -> None:
        """Keep a claim and its lease; one that holds nothing goes."""
        claim, lease = self.part_names(part)
        self.puts[claim] = claim_values.write_part(part) if part.held else None
        self.puts[lease] = claim_values.write_lease(part) if part.held else None

    def release(self, views: Iterable[SlotView]) -> None:
        """Take slots out of the claims that held them, which must be as they were."""
        gone: dict[tuple[str, int, int], tuple[ClaimPart, set[str]]] = {}
        for view in views:
            if view.part is not None:
                part = view.part
                gone.setdefault((part.stage, part.token, part.number), (part, set()))[1].add(view.key)
        for part, without in gone.values():
            self.expect_part(part)
            held = {key: entry for key, entry in part.held.items() if key not in without}
            self.put_part(replace(part, held=held))

    # --- slots ------------------------------------------------------------------------------------------------------

    def mark(self, stage: str, key: str, now_s: float) -> None:
        """Mark a slot that nothing is known of."""
        self.puts[self.name(keys.DIRTY, stage, key)] = slot_values.write_mark(now_s)

    def forget(self, view: SlotView) -> None:
        """Remove a slot that rests."""
        kept = view.kept
        if kept is not None:
            self.delete(self.name(keys.SLOT, view.stage, view.key))
            self._index(view, "s", labelled=False)

    def keep(self, view: SlotView, now_s: float, loose: tuple[str, ...] | None = None, body: str | None = None) -> None:
        """Keep a slot that nobody holds any more, where it belongs by its counter and suspicion."""
        row, was = view.row, view.kept
        if row.damage is not None:
            self._keep_damaged(view, now_s)
            return
        version = view.version
        suspect = bool(row.dirty and row.suspect)
        if view.touched or (row.dirty and not version and not suspect):
            self.mark(view.stage, view.key, now_s)
            version += 1
        elif version and not row.dirty:
            self.delete(self.name(keys.DIRTY, view.stage, view.key))
        if suspect:
            self.put(self.suspect_name(view))
        base = max(0, row.dirty - version)
        kept = Kept(row, base, rests=row.dirty == 0, loose=loose if loose is not None else was.loose if was else ())
        if row.record is not None:
            same = was is not None and was.hash == row.record.hash and was.body is not None and body is None
            kept.body = was.body if same and was is not None else body or codec.write_record(row.record)
        if was is None and _says_nothing(kept):
            return
        self._index(view, LETTERS[row.state], labelled=row.record is not None and row.record.label is not None)
        if was is not None and kept.body == was.body and slot_values.fields_of(kept)[:-1] == was.said[:-1]:
            return
        self.put(self.name(keys.SLOT, view.stage, view.key), slot_values.write_slot(kept))

    def _keep_damaged(self, view: SlotView, now_s: float) -> None:
        """Keep a slot whose row cannot be read: the row stays as it is, for it may be mended, and counts as failed. It
        is no suspect, as nobody works on it."""
        if view.touched or (view.row.dirty and not view.version):
            self.mark(view.stage, view.key, now_s)
        elif view.version and not view.row.dirty:
            self.delete(self.name(keys.DIRTY, view.stage, view.key))
        for state, letter in LETTERS.items():
            if state is not State.SUCCESS:
                name = self.name(keys.STATE, view.stage, letter, view.key)
                self.puts[name] = b"" if state is State.FAILED else None

    def suspect_name(self, view: SlotView) -> bytes:
        """The key by which a suspect waits."""
        cohort = keys.cohort(view.row.suspect, view.row.cohort)
        return self.name(keys.SUSPECT, view.stage) + cohort + keys.text(view.key)

    def _index(self, view: SlotView, letter: str, *, labelled: bool) -> None:
        was = view.kept
        before = was.letter if was is not None else "s"
        if letter != before:
            if before != "s":
                self.delete(self.name(keys.STATE, view.stage, before, view.key))
            if letter != "s":
                self.put(self.name(keys.STATE, view.stage, letter, view.key))
        if labelled != (was is not None and was.labelled):
            self.puts[self.name(keys.LABEL, view.stage, view.key)] = b"" if labelled else None


def _says_nothing(kept: Kept) -> bool:
    """Tell whether a slot is what one without a row is: marked, never tried."""
    row = kept.row
    return (
        row.state is State.PENDING
        and not (kept.base or kept.loose or row.tries or row.losses or row.suspect)
        and not (row.salt or row.error or row.proven or row.record)
    )
