"""The contract of a ledger: slots with claims, history, provenance, tallies, the outbox and runs.

A ledger knows no stage by name and reads no object. Everything is bulk: a call takes many datums and a backend cuts it
to its limits, each datum whole in one transaction. Calls raise Unavailable when the backend does not answer or is full,
and Corrupt for a record that cannot be read. Every write about a claimed slot carries the claim.

Words: a slot is *dirty* when its counter is above zero: something it depends on changed since it was last settled. It
is *claimed* while an owner holds it by a token with a lease. An owner is one engine session (``session``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from lookout.domain.records import (
    Alert,
    AlertState,
    Claim,
    JsonObject,
    Mark,
    Member,
    Observation,
    Outcome,
    Record,
    Reference,
    Slot,
    State,
    Tally,
)
from lookout.ledger.rules.alerts import Delivered
from lookout.ledger.rules.decisions import PolicyName, PolicyUnit
from lookout.object_store.port import Publish

T = TypeVar("T")

DAMAGED_HINT: Final = (
    "Move ledger.sqlite and its -wal and -shm away together, then fill a new one: lookout ledger restore BACKUP; or, "
    "without a backup, lookout ledger new: all results are made anew from the pictures. Mails that were sent, as "
    "sent.jsonl in the state folder says, are not sent again."
)
"""The remedy for a ledger in a file that is lost, damaged or another state's."""


class Settled(Enum):
    """Answer of ``commit`` for one outcome."""

    DONE = "done"
    LOST = "lost"
    """The claim was no longer held; nothing was written."""
    SUPERSEDED = "superseded"
    """The slot was marked again after it was claimed: the outcome was not applied, the claim is freed, the slot stays
    dirty. FAILED, KILLED and PENDING outcomes are never superseded into a counted try. An ``interim`` outcome is
    applied instead, and the slot stays dirty all the same."""
    CONFLICT = "conflict"
    """An output path belongs to another live slot, or the datum is too large for the backend: the slot is FAILED with
    an error that says so, and not dirty. Of the outcome only ``marks_if_refused`` are applied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One run: what started it and how it ended. ``state`` is running, success, failed, stopped or lost."""

    id: str
    kind: str
    owner: str
    started_at_s: float
    ended_at_s: float | None = None
    state: str = "running"
    summary: JsonObject | None = None


class Ledger(ABC):
    """All that survives a crash."""

    # --- sessions ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def session(self) -> AbstractContextManager[str]:
        """Open a session for the length of the context; yields the owner's name, new each time. At its end, what it
        still holds is freed as KILLED (a clean end is no death), runs left open are ``stopped``. An owner that dies
        without that is found out as soon as the backend can: its slots become free and *suspect*, its ``sending``
        alerts UNKNOWN, its runs ``lost``."""

    @abstractmethod
    def close(self) -> None:
        """Give back the connection. Further calls raise Unavailable. Closing twice is allowed."""

    # --- settings of this ledger ------------------------------------------------------------------------------------

    @abstractmethod
    def find_note(self, name: str) -> str | None:
        """Return a named value that ``put_note`` kept, or None."""

    @abstractmethod
    def put_note(self, name: str, value: str) -> None:
        """Keep a small named value: the bound source, a cursor. Atomic."""

    # --- inputs and references ---------------------------------------------------------------------------------------

    @abstractmethod
    def inputs(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Observation]:
        """Yield the known, present inputs (those with a ref or an error) in the order of their keys, streamed."""

    @abstractmethod
    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        """Return the known inputs among these keys; a missing key is absent."""

    @abstractmethod
    def count_inputs(self, bucket: str, origin: str | None = None) -> int:
        """Return the number of inputs that are known and present, of one origin or of all. Its cost need not depend on
        it."""

    @abstractmethod
    def observe(self, observations: Iterable[Observation], readers: Sequence[str]) -> int:
        """Take in what was seen and, where the content or the error differs from what is known (or the input is new,
        or gone), mark the slot of that key in each of the stages ``readers``, in the same transaction as the input
        row. Says how many differed. The same content again updates fingerprint and origin, keeps the first
        ``observed_at_s`` and marks nothing; an observation of a gone key that is not known does nothing."""

    @abstractmethod
    def references(self, bucket: str) -> tuple[Reference, ...]:
        """Return the references in force, in the order of their names."""

    @abstractmethod
    def enforce(self, bucket: str, references: Sequence[Reference]) -> None:
        """Put exactly this set in force. Atomic."""

    @abstractmethod
    def basis(self, stage: str) -> str | None:
        """Return the digest of recipe and references on which all of a stage's slots have been planned or marked, or
        None."""

    @abstractmethod
    def rebase(self, stage: str, basis: str) -> int:
        """Keep a new basis and mark every slot of the stage that is not RETRACTED; says how many. A crash in between
        leaves the old basis, so that the next call does it again."""

    # --- slots ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def mark(self, marks: Iterable[Mark], *, revive: bool = False, salt: str | None = None) -> int:
        """Raise the dirty counter of these slots, making those that are not there. ``revive`` sets tries to 0;
        ``salt`` sets the salt, so that a finished datum is a new one. Every mark, here, in ``observe``, ``rebase`` and
        ``commit``, begins the tries of a settled slot anew; one that still waits keeps those it has used up. Says how
        many. Atomic per slot."""

    @abstractmethod
    def claim(
        self,
        stage: str,
        owner: str,
        limit: int,
        lease_s: float,
        keys: Collection[str] | None = None,
        behind: Collection[str] = (),
    ) -> list[Claim]:
        """Claim up to ``limit`` dirty slots that nobody holds, in the order of their keys (of these keys only, if
        given; none whose key is dirty in one of the stages ``behind``, so that nothing is made of a result that is
        about to be replaced); each gets state RUNNING and a token greater than any it had. A slot whose lease ended or
        whose owner is dead is free again and suspect. Suspects are not mixed with others: of those lost together, n at
        once, a claim takes at most half, those lost alone at most one. ``Slot.losses`` counts how often one was lost
        that was claimed as a suspect, alone. So an owner that claims suspects works on nothing beside them.

        Lost together are those of one claim call. Suspects wait until no other slot is free, the largest cohort first,
        so a claim may give less than ``limit`` though more is waiting; only an empty one says that nothing is free.
        Raises ValueError for an owner whose session is not open."""

    @abstractmethod
    def extend(self, claims: Sequence[Claim], lease_s: float) -> list[bool]:
        """Begin the lease anew; False, in the order given, for claims that are lost."""

    @abstractmethod
    def commit(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Settled]:
        """Settle claims, in the order given; see Outcome for what each state does. Per claim one transaction: slot,
        history record, outputs and their owners, both provenance indexes, tally, alerts, marks, and the publications
        that ``unpublished`` will hand out. Never raises ClaimLost: the answer says LOST."""

    @abstractmethod
    def unpublished(
        self,
        limit: int = 1000,
        buckets: Collection[str] | None = None,
        without: Collection[tuple[str, str]] = (),
    ) -> AbstractContextManager[Sequence[Publish]]:
        """Hand out, in order, committed changes that may not be visible in the store yet (of these buckets only, if
        given: those that the caller may write; of no path (bucket, key) of ``without``), and forget them when the
        context ends without an exception. No commit that touches the same paths runs meanwhile, so that an older
        version never ends up over a newer one. Empty when nothing is due. Of one commit, what is new comes before what
        goes; a later change of a path takes the place of an earlier one. The ledger may be read inside, writing to it
        there raises RuntimeError."""

    @abstractmethod
    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        """Return the live view of these keys; a slot that never was is absent."""

    @abstractmethod
    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: tuple[str, str] = ("", ""),
    ) -> Iterator[Slot]:
        """Slots in the order of (stage, key), streamed: of one stage, in these states (all if empty), with this key
        prefix, with a label only, after that (stage, key). Its cost depends on what it gives, with ``labelled`` or
        with any of the states but SUCCESS and RETRACTED too."""

    @abstractmethod
    def count_slots(self, stages: Collection[str] | None = None) -> dict[str, dict[State, int]]:
        """Slots by stage and state, of these stages or of all; absent means none."""

    @abstractmethod
    def count_dirty(self, stage: str) -> int:
        """Return the number of slots of the stage that wait for a claim or are claimed."""

    # --- history and provenance -------------------------------------------------------------------------------------

    @abstractmethod
    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        """Records of all history by their hash; an unknown hash is absent."""

    @abstractmethod
    def makers(self, bucket: str, key: str) -> list[Record]:
        """Return the records that wrote this path, the newest first; the first is the live one if the path is live."""

    @abstractmethod
    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        """Return the records that read these bytes, in the order of their hashes, after that hash."""

    @abstractmethod
    def is_live(self, hashes: Collection[str]) -> set[str]:
        """Return those of the hashes that are the live record of their slot."""

    # --- tallies ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        """Return the tallies of these groups, or of all that have a live datum, in the order of their groups. A datum
        that counts nothing and has no ``at_s`` (a chart of the group) keeps no group alive."""

    @abstractmethod
    def sums(self, name: str) -> dict[str, int]:
        """Return the positive counts of one name by group: cheaper than all tallies."""

    @abstractmethod
    def members(self, stage: str, group: str) -> list[Member]:
        """Return the live datums of one stage in one group that have outputs, in the order of their keys, with the
        policy's decisions on them."""

    # --- outbox -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        """Hold alerts that are due (of these ids only, if given) and that nobody holds, in the order of their creation.
        Nothing else of them changes: when the session ends they are free again, as they were."""

    @abstractmethod
    def begin_sending(self, owner: str, ids: Collection[str]) -> frozenset[str]:
        """Note, durably, that the requests of these alerts may leave from now on: they become SENDING. Gives those that
        the owner still holds; of the others, which were canceled or taken over meanwhile, nothing may leave."""

    @abstractmethod
    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        """Keep how tries ended, and hold these alerts no more. What this owner does not hold is left alone. Atomic."""

    @abstractmethod
    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        """Alerts in the order of (creation, id), in these states (all if empty), of one run, of these ids."""

    @abstractmethod
    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        """Alerts by state, of one run or of all."""

    @abstractmethod
    def resend_alerts(self, ids: Collection[str]) -> int:
        """Have alerts that wait, are DEAD or CANCELED sent at once, because a person asked: they are due, with no
        tries; those that may have arrived keep that doubt. Says how many."""

    @abstractmethod
    def cancel_alerts(self, ids: Collection[str], now_s: float) -> int:
        """Call off alerts that wait or are DEAD, because a person asked. Says how many."""

    # --- the policy of alerts -----------------------------------------------------------------------------------------

    @abstractmethod
    def amend_policy(self, change: Callable[[PolicyUnit], T]) -> T:
        """Change the policy's state and its alerts in one transaction, and return what ``change`` does: a pure function
        of ``rules.decisions``, which may be called more than once."""

    @abstractmethod
    def policy_texts(self, kind: str, first: Collection[str] | None = None) -> Iterator[tuple[PolicyName, str]]:
        """Yield the texts of the policy's state of this kind, of these first parts of their names or of all, in the
        order of their names."""

    # --- runs -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def start_run(self, run: RunRecord) -> None:
        """Keep a new run. Raises ValueError for an id that is there."""

    @abstractmethod
    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        """Close a run. Raises KeyError for an unknown one."""

    @abstractmethod
    def runs(self, limit: int = 20) -> list[RunRecord]:
        """Return the runs, the newest first."""


__all__ = ["DAMAGED_HINT", "Delivered", "Ledger", "RunRecord", "Settled"]
