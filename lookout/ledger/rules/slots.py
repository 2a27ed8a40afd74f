"""The rules by which a slot changes: marked, held, lost, let go, settled. Pure, and the same for every backend.

A backend gives a ``UnitOfWork``, a view of what one transaction reads and writes, and makes it durable all together or
not at all. This module knows no backend, no clock and no locks. It must not do I/O: a backend may run it more than once
before a transaction holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from lookout.domain.records import (
    Alert,
    AlertState,
    Claim,
    Mark,
    ObjectRef,
    Outcome,
    Record,
    Slot,
    State,
)
from lookout.ledger.port import Settled
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules.decisions import PolicyUnit, settle_verdicts
from lookout.object_store.port import Publish


@dataclass(slots=True)
class SlotState:
    """A slot as a backend keeps it: what ``Slot`` shows, and what the rules need beside it. Changed in place."""

    stage: str
    key: str
    state: State = State.PENDING
    record: Record | None = None
    dirty: int = 0
    token: int = 0
    owner: str | None = None
    lease_end_s: float = 0.0
    tries: int = 0
    losses: int = 0
    """How many times it was lost alone, since it last succeeded or was given another go."""
    suspect: int = 0
    """With how many it was lost, itself included; 0 for no suspect."""
    cohort: int = 0
    """The token under which it was lost: the same for those lost together."""
    salt: str = ""
    error: str | None = None
    updated_at_s: float = 0.0
    proven: bool = False
    """Whether it ever had a record: such a slot stays, RETRACTED, when its inputs go."""
    damage: str | None = None
    """Why the live record cannot be read, where there is one that cannot."""

    def slot(self) -> Slot:
        """Return the slot as callers of the ledger see it."""
        record = self.record
        return Slot(
            stage=self.stage,
            key=self.key,
            state=self.state,
            group=record.group if record is not None else "",
            hash=record.hash if record is not None else None,
            record=record,
            dirty=self.dirty,
            token=self.token,
            owner=self.owner,
            tries=self.tries,
            losses=self.losses,
            salt=self.salt,
            error=self.error,
            updated_at_s=self.updated_at_s,
            damage=self.damage,
        )

    def held_by(self, claim: Claim, now_s: float) -> bool:
        """Tell whether the claim is still valid: same owner, same token, lease not over."""
        return self.owner == claim.owner and self.token == claim.token and now_s < self.lease_end_s


class UnitOfWork(PolicyUnit, Protocol):
    """Unit of work: the reads and writes of one transaction that settles claims."""

    def find(self, stage: str, key: str) -> SlotState | None:
        """Return the row of a claimed slot, to be changed in place and saved, or None."""

    def save(self, row: SlotState) -> None:
        """Keep a changed row."""

    def remove(self, row: SlotState) -> None:
        """Forget a row."""

    def mark(self, mark: Mark, now_s: float) -> None:
        """Mark a slot by ``touch``, making it if it is not there."""

    def holder(self, bucket: str, key: str) -> tuple[str, str] | None:
        """Stage and key of the live slot that owns the path, or None."""

    def below(self, bucket: str, key: str) -> Iterable[tuple[str, tuple[str, str]]]:
        """Live paths that have this one as a folder, each with the slot that owns it; in no order."""

    def hold_path(self, ref: ObjectRef, holder: tuple[str, str] | None) -> None:
        """Give the path to a slot, or to nobody."""

    def publish(self, change: Publish) -> None:
        """Have a change handed out later, after those before; it takes the place of an earlier one of its path."""

    def keep(self, record: Record) -> None:
        """Enter a record into history and both provenance indexes, as the newest maker of its paths."""

    def tally(self, record: Record, sign: int) -> None:
        """Add (+1) or take away (-1) what the record counts in its group."""

    def alerts_of(self, record: Record) -> Collection[str]:
        """Return the ids of alerts that entered with the record and may be waiting."""

    def share_alert(self, alert: Alert) -> None:
        """Keep which datums need an alert that is not certain to have arrived; undo ``withdraw_alert`` of one that is
        being sent."""


def is_tallied(record: Record) -> bool:
    """Tell whether a record counts in the tally of its group, and so keeps the group alive."""
    return record.at_s is not None or any(record.counts.values())


# --- marking, holding, losing ----------------------------------------------------------------------------------------


def touch(row: SlotState, now_s: float, *, revive: bool = False, salt: str | None = None) -> None:
    """Mark a slot. A settled one is tried anew; one that still waits keeps the tries that it has used up."""
    if revive or row.dirty == 0:
        row.tries = row.losses = 0
    if salt is not None:
        row.salt = salt
    row.dirty += 1
    row.updated_at_s = now_s


def hold(row: SlotState, owner: str, token: int, now_s: float, lease_s: float) -> Claim:
    """Give a slot to an owner."""
    before = row.slot()
    row.state, row.owner, row.token = State.RUNNING, owner, token
    row.lease_end_s, row.updated_at_s = now_s + lease_s, now_s
    return Claim(
        stage=row.stage, key=row.key, owner=owner, token=token, dirty=row.dirty, slot=before, suspect=row.suspect > 0
    )


def lose(rows: Collection[SlotState], now_s: float) -> None:
    """Take slots away from owners that are dead or late: those of one claim call were lost together.

    Alone is only who was suspect before, as suspects are worked on with nothing beside them. A first loss says nothing:
    its owner may have had slots of other claim calls in hand."""
    together = Counter(row.token for row in rows)
    for row in rows:
        alone = row.suspect > 0 and together[row.token] == 1
        row.suspect, row.cohort = together[row.token], row.token
        let_go(row, State.PENDING, now_s)
        row.losses += alone


def let_go(row: SlotState, state: State, now_s: float) -> None:
    """Free a slot that was not settled: it stays dirty."""
    row.state, row.owner, row.updated_at_s = state, None, now_s


# --- settling --------------------------------------------------------------------------------------------------------


def check(outcomes: Iterable[tuple[Claim, Outcome]]) -> None:
    """Raise ValueError for a record that is not of the slot whose claim carries it."""
    for claim, outcome in outcomes:
        record = outcome.record
        if record is not None and (record.stage, record.key) != (claim.stage, claim.key):
            raise ValueError(f"expected a record of {claim.stage}/{claim.key}, got one of {record.stage}/{record.key}")


def settle(unit: UnitOfWork, claim: Claim, outcome: Outcome, now_s: float) -> Settled:
    """Apply one outcome to the unit, or say why not."""
    row = unit.find(claim.stage, claim.key)
    if row is None or not row.held_by(claim, now_s):
        return Settled.LOST
    if row.damage is not None and outcome.state not in (State.FAILED, State.KILLED, State.PENDING):
        # What hangs on a record that cannot be read is not known, so it is neither replaced nor retracted.
        outcome = Outcome(state=State.FAILED, error=row.damage, marks=outcome.marks_if_refused)
    answer = _apply(unit, row, claim, outcome, now_s)
    marks = {Settled.DONE: outcome.marks, Settled.CONFLICT: outcome.marks_if_refused}
    for mark in marks.get(answer, ()):
        unit.mark(mark, now_s)
    return answer


def _apply(unit: UnitOfWork, row: SlotState, claim: Claim, outcome: Outcome, now_s: float) -> Settled:
    handed_back = outcome.state in (State.KILLED, State.PENDING)
    superseded = row.dirty != claim.dirty
    if handed_back or (superseded and not outcome.interim):
        let_go(row, outcome.state if handed_back else State.PENDING, now_s)
        if superseded:  # it came back alive, or what it choked on is not what it will read
            row.losses = row.suspect = row.cohort = 0
        unit.save(row)
        return Settled.DONE if handed_back else Settled.SUPERSEDED

    answer = Settled.DONE
    new = outcome.record
    let_go(row, outcome.state, now_s)
    row.error = outcome.error
    if new is not None and (other := _conflict(unit, row, new)) is not None:
        row.state, row.error, answer = State.FAILED, other, Settled.CONFLICT
    if row.state is State.FAILED:
        row.tries += 1
    elif row.state in (State.SUCCESS, State.RETRACTED):
        row.tries = row.losses = 0
    if not (row.state is State.FAILED and row.losses):
        row.suspect = row.cohort = 0  # else, given another go, it may take down an engine again, and all beside it
    if not superseded and (row.state is not State.FAILED or answer is Settled.CONFLICT or outcome.final):
        row.dirty = 0
    if answer is Settled.DONE and (new is not None or row.state is State.RETRACTED):
        _replace(unit, row, outcome, now_s)
    if row.state is State.RETRACTED and not row.proven:
        unit.remove(row)
    else:
        unit.save(row)
    return answer


def folders(key: str) -> Iterator[str]:
    """Yield the keys that would be folders of this one, the longest first: ``a/b`` and ``a`` for ``a/b/c``."""
    cut = key.rfind("/")
    while cut > 0:
        key = key[:cut]
        yield key
        cut = key.rfind("/")


def span_below(key: str) -> tuple[str, str]:
    """Give the bounds, both exclusive, between which all keys lie that have this one as a folder."""
    return f"{key}/", f"{key}0"  # 0 follows the slash


def _conflict(unit: UnitOfWork, row: SlotState, record: Record) -> str | None:
    """Say which output cannot be: its path belongs to another slot, or one of the two would have to be a folder."""
    mine = (row.stage, row.key)
    paths = {(ref.bucket, ref.key) for ref in record.outputs}
    for ref in record.outputs:
        other = unit.holder(ref.bucket, ref.key)
        if other not in (None, mine):
            return f"its output {ref.path} belongs to {_named(other)}"
        for folder in folders(ref.key):
            if (ref.bucket, folder) in paths:
                return f"its output {ref.path} lies below {ref.bucket}/{folder}, which is an output of it too"
            other = unit.holder(ref.bucket, folder)
            if other not in (None, mine):
                return f"its output {ref.path} lies below {ref.bucket}/{folder}, which belongs to {_named(other)}"
        for path, holder in unit.below(ref.bucket, ref.key):
            if holder != mine:
                return f"its output {ref.path} is a folder of {ref.bucket}/{path}, which belongs to {_named(holder)}"
    return None


def _named(holder: tuple[str, str] | None) -> str:
    return "nobody" if holder is None else f"the datum {holder[1]!r} of {holder[0]}"


def _replace(unit: UnitOfWork, row: SlotState, outcome: Outcome, now_s: float) -> None:
    """Put the outcome's record, or none, in the place of the live one, with all that hangs on it."""
    old, new = row.record, outcome.record
    written: set[tuple[str, str]] = set()
    if new is not None:
        for ref in new.outputs:
            unit.hold_path(ref, (row.stage, row.key))
            unit.publish(Publish(bucket=ref.bucket, key=ref.key, ref=ref))
            written.add((ref.bucket, ref.key))
        unit.keep(new)
        unit.tally(new, +1)
        row.proven = True
    if old is not None:
        for ref in old.outputs:
            if (ref.bucket, ref.key) not in written:
                unit.hold_path(ref, None)
                unit.publish(Publish(bucket=ref.bucket, key=ref.key, ref=None))
        unit.tally(old, -1)
    settle_verdicts(unit, row.key, old, outcome, row.stage, now_s)
    _replace_alerts(unit, row.key, old, outcome, now_s)
    row.record = new


def _replace_alerts(unit: UnitOfWork, key: str, old: Record | None, outcome: Outcome, now_s: float) -> None:
    """Enter the alerts of the outcome and withdraw those of the record before it, but for those of the policy."""
    carried = {alert.id: alert for alert in outcome.alerts}
    decided = {alert.id for verdict in outcome.verdicts for alert in (*verdict.alerts, *verdict.escalations)}
    named = set(outcome.record.alert_ids) if outcome.record is not None else set()
    again = {id_ for id_ in named - carried.keys() - decided if not _is_of_policy(unit.alert(id_))}
    for id_ in carried.keys() | again:
        known = unit.alert(id_)
        # A record of history comes back by itself, without its alerts: what was canceled in between waits again.
        entering = carried.get(id_, known)
        if entering is not None and (known is None or known.state is AlertState.CANCELED):
            new = replace(entering, keys=() if entering.draft.picture_key == key else (key,))
            unit.put_alert(delivery.renewed(new, doubts=0 if known is None else known.doubts))
        elif known is not None and known.state in delivery.NOT_SENT:
            shared = delivery.needed(known, key)
            if shared is not known or known.state is AlertState.SENDING:
                unit.share_alert(shared)
    if old is not None:
        for id_ in {*old.alert_ids, *unit.alerts_of(old)} - carried.keys() - again - decided:
            known = unit.alert(id_)
            if _is_of_policy(known):
                continue
            left = None if known is None else delivery.unneeded(known, key)
            if left is None:
                unit.withdraw_alert(id_, now_s)
            elif left.state in delivery.NOT_SENT:
                unit.share_alert(left)


def _is_of_policy(alert: Alert | None) -> bool:
    return alert is not None and alert.place is not None
