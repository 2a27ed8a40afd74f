"""Reader of slots. Each lies in up to three places, so that the common steps touch few keys.

These are its row, which only its holder writes; its mark, which anybody puts without reading; and the claim that holds
it, one key for all slots of one claim call. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lookout.domain.records import Record, State
from lookout.ledger.kv import slot_values
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.slot_values import Kept
from lookout.ledger.rules.slots import SlotState


@dataclass(slots=True)
class SlotView:
    """One slot as a transaction has read it. ``row`` is put together and may be changed; the rest says what was."""

    stage: str
    key: str
    row: SlotState
    kept: Kept | None
    version: int
    """Number of puts that its mark has."""
    part: ClaimPart | None
    record: Record | None = None
    """The one that was live."""
    touched: bool = False
    """True if this transaction marks it."""


def views(
    stage: str, wanted: Collection[str], rows: Mapping[str, Kv], marks: Mapping[str, Kv], parts: Sequence[ClaimPart]
) -> dict[str, SlotView]:
    """Slots put together from what was read at one revision; a row that cannot be read harms no other."""
    kept = {one.row.key: one for one in slot_values.read_slots_apart([(stage, key, kv) for key, kv in rows.items()])}
    holders = {key: part for part in parts for key in part.held}
    found = {}
    for key in wanted:
        view = view_of(stage, key, kept.get(key), marks.get(key), holders.get(key))
        if view is not None:
            found[key] = view
    return found


def view_of(stage: str, key: str, kept: Kept | None, mark: Kv | None, part: ClaimPart | None) -> SlotView | None:
    """One slot put together; None if it is nowhere."""
    if kept is None and mark is None and part is None:
        return None
    row = kept.row if kept is not None else SlotState(stage, key)
    version = mark.version if mark is not None else 0
    base = part.held[key][0] if part is not None else kept.base if kept is not None else 0
    row.dirty = base + version
    if row.dirty and (kept is None or kept.rests):
        row.tries = row.losses = 0
    if mark is not None:
        row.updated_at_s = max(row.updated_at_s, slot_values.read_mark(mark))
    if part is not None:
        row.state, row.owner, row.token = State.RUNNING, part.owner, part.token
        row.lease_end_s = part.lease_end_s
        row.updated_at_s = max(row.updated_at_s, part.claimed_at_s)
    return SlotView(stage, key, row, kept, version, part, row.record)
