"""Port for maintenance of a ledger: comparison with a store, export and import, size.

A contract of its own, so that the engine cannot depend on it: nothing here is needed to work on a picture. The entries
are what any backend can be rebuilt from; what can be computed from them (sums, counts, indexes of readers) is left out,
and so is what means something only to living processes (owners, claims) or costs nothing to lose (batches: their keys
are dirty, so the next cut finds them).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

from lookout.domain.errors import InputRejected
from lookout.domain.records import Alert, AlertState, ObjectRef, Observation, Record, Reference, State
from lookout.ledger.port import Ledger, RunRecord
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.slots import SlotState
from lookout.object_store.port import Publish


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A named value."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """The recipe and references on which a stage's slots were planned."""

    stage: str
    basis: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyText:
    """A text of the policy's state: see ``rules.decisions``."""

    name: tuple[str, str, str]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptSlot:
    """A slot without its claim; ``hash`` is that of its live record. The other fields are those of ``SlotState``."""

    stage: str
    key: str
    state: State
    hash: str | None
    dirty: int
    token: int
    tries: int
    losses: int
    suspect: int
    cohort: int
    salt: str
    error: str | None
    updated_at_s: float
    proven: bool

    @classmethod
    def of(cls, row: SlotState) -> KeptSlot:
        """Return the slot of a row, which is changed: a claim on it is let go, as if its session had ended well."""
        if row.owner is not None:
            settling.let_go(row, State.KILLED, row.updated_at_s)
        return cls(
            stage=row.stage,
            key=row.key,
            state=row.state,
            hash=row.record.hash if row.record is not None else None,
            dirty=row.dirty,
            token=row.token,
            tries=row.tries,
            losses=row.losses,
            suspect=row.suspect,
            cohort=row.cohort,
            salt=row.salt,
            error=row.error,
            updated_at_s=row.updated_at_s,
            proven=row.proven,
        )

    def row(self, record: Record | None) -> SlotState:
        """Return the row of the slot, held by nobody."""
        return SlotState(
            stage=self.stage,
            key=self.key,
            state=self.state,
            record=record,
            dirty=self.dirty,
            token=self.token,
            tries=self.tries,
            losses=self.losses,
            suspect=self.suspect,
            cohort=self.cohort,
            salt=self.salt,
            error=self.error,
            updated_at_s=self.updated_at_s,
            proven=self.proven,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPath:
    """A path of a stage's bucket: which slot (stage, key) owns it, if any, and the hashes of the records that wrote it,
    the oldest first."""

    bucket: str
    key: str
    holder: tuple[str, str] | None
    makers: tuple[str, ...]


Entry: TypeAlias = (
    Note | Basis | Reference | Observation | Record | KeptSlot | KeptPath | Publish | Alert | PolicyText | RunRecord
)
"""One thing that a ledger keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """An output that a live record names."""

    ref: ObjectRef
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerSize:
    """Size of a ledger. ``used_bytes`` is the space in use according to the backend, None where it cannot say."""

    inputs: int
    slots: int
    records: int
    paths: int
    alerts: int
    runs: int
    used_bytes: int | None


class UpkeepLedger(Ledger):
    """A ledger that can be compared with a store, saved and filled."""

    @abstractmethod
    def named(self, bucket: str, after: str = "") -> Iterator[Named]:
        """Yield the outputs in this bucket that live records name, in the order of their keys (code points), after that
        key. Streamed in pages and no snapshot: what is committed meanwhile may be given or not. Cost: O(what is given)
        and a step into an index, not O(history)."""

    @abstractmethod
    def restate(self, bucket: str, keys: Collection[str]) -> dict[str, ObjectRef | None]:
        """Have ``unpublished`` hand out, for each of these keys, what the ledger says of it now: the version that its
        live record names, or, where no live slot owns the path, its removal. Gives what it says. Asking and noting are
        one transaction (a chunk), so that a commit comes wholly before, and is what is stated, or wholly after, and
        takes the place of the note: a removal never meets a live output. A change that is noted already stays as it
        is. Cost: O(keys)."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Iterator[Entry]]:
        """Return all entries as they are at one moment, while others go on working. Streamed; kinds come in the order
        of ``Entry``, paths, inputs and slots in the order of their names, records in any, publications in theirs.
        Claims are let go (the slot is KILLED and dirty), alerts that are being sent are UNKNOWN, runs that are open are
        ``lost``: their processes mean nothing to another ledger. Inside the context this handle is only read from.
        Cost: O(ledger) time, O(page) memory."""

    @abstractmethod
    def load(self, entries: Iterable[Entry]) -> None:
        """Fill an empty ledger with what ``snapshot`` of any backend gave, in that order. Raises InputRejected, with
        nothing changed, when it is not empty. All or nothing where the backend has transactions of that size;
        otherwise a ledger that was cut off stays not empty, and says so when it is opened. An error of ``entries``
        leaves it as it was."""

    @abstractmethod
    def size(self) -> LedgerSize:
        """Return the size. May cost a pass over an index each."""


def at_rest(alert: Alert, now_s: float) -> Alert:
    """Return the alert as a snapshot keeps it: one that is being sent just then may or may not arrive."""
    return delivery.abandoned(alert, now_s) if alert.state is AlertState.SENDING else alert


def ended(run: RunRecord, now_s: float) -> RunRecord:
    """Return the run as a snapshot keeps it: for another ledger, one that is open has lost its process."""
    return replace(run, state="lost", ended_at_s=now_s) if run.state == "running" else run


def refuse_filled(where: str) -> InputRejected:
    """Return the error of ``load`` on a ledger that is not empty."""
    return InputRejected("the ledger is not empty", where, "restore into a new state folder or prefix")


__all__ = [
    "Basis",
    "Entry",
    "KeptPath",
    "KeptSlot",
    "LedgerSize",
    "Named",
    "Note",
    "PolicyText",
    "UpkeepLedger",
    "at_rest",
    "ended",
    "refuse_filled",
]
