"""The contract of runs that stay open: a run takes batches while its stages follow it, and ends when none come.

Such a run has three records: its own, which whoever wants it makes and whoever ends it closes; a *run lease*, which its
keeper holds and without which it takes nothing; and a *presence* for each stage that is ready. The last two live as
long as the session that put them. All of them say who looks at which pictures, as batches do. What counts is settled by
claims: no commit compares a run lease or a presence, so a mistake here costs time and never a result.

Only a ledger that many processes share has such runs. Knows no stage and no backend.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lookout.domain.records import JsonObject
from lookout.ledger.batches import Batch, BatchLedger
from lookout.ledger.port import RunRecord

STREAM: Final = "stream"
"""The kind of a run that stays open."""
OPENING_S: Final = 60.0
"""A run whose keeper has not come in this time is lost."""
_RELEASE: Final = "release"
_OPENED: Final = "opened_at_s"


class RunState(StrEnum):
    """``OPENING`` is asked for and has no keeper yet; ``OPEN`` takes batches; ``DRAINING`` takes none and works on;
    ``CLOSED`` has ended; ``LOST`` has no keeper any more, or never got one."""

    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLease:
    """Lease of a run by its keeper, the session ``owner``. ``draining`` is the reason why the run takes no batches any
    more, empty while it does."""

    run: str
    owner: str
    since_s: float
    draining: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """A run as it was at one moment. ``unfinished`` are the keys of its unfinished batches, by id and in their order;
    ``present`` are the stages asked for of which a process is ready."""

    record: RunRecord
    lease: RunLease | None = None
    unfinished: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    present: frozenset[str] = frozenset()

    @property
    def pictures(self) -> int:
        """The number of pictures that are not done."""
        return sum(map(len, self.unfinished.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Work of one stage in a run: ``keys`` wait for it or are claimed, the oldest batch first. ``over`` says that there
    will be no more: the run has ended, or is drained."""

    keys: tuple[str, ...] = ()
    over: bool = False


class OpenRunLedger(BatchLedger):
    """A ledger that keeps open runs too. Each call that writes is one transaction, or nothing.

    A run is made by ``start_run`` of ``opening``, and may be made twice: the second call raises ValueError.
    """

    @abstractmethod
    def open_runs(self) -> list[RunView]:
        """Return the runs of kind STREAM that have not ended, the oldest first. Their presences are not looked for."""

    @abstractmethod
    def find_run(self, run: str, stages: Collection[str] = ()) -> RunView | None:
        """Return a run of any kind, or None for an unknown one."""

    @abstractmethod
    def assign_batch(self, batch: Batch, opening_s: float = OPENING_S) -> Batch | None:
        """Keep a new batch of a run that takes batches, as ``add_batches`` does; None when no key is left.

        Raises InputRejected for a run that takes none, KeyError for an unknown one."""

    @abstractmethod
    def lease_run(self, run: str, owner: str) -> RunLease | None:
        """Become the keeper of a run that has none, which is open from now on; None when it has one. Raises
        InputRejected for a run that has ended, KeyError for an unknown one, Unavailable for a session that is over."""

    @abstractmethod
    def join_run(self, run: str, stage: str, owner: str) -> bool:
        """Say that a process of the stage is ready for the run, in place of one that said so before; False when the
        run has ended. Raises KeyError for an unknown run, Unavailable for a session that is over."""

    @abstractmethod
    def end_settled(self, taken: Sequence[Batch], stages: Collection[str]) -> list[Batch]:
        """End those of the batches, held by the caller, of which nothing is dirty in any of these stages; gives them.
        A slot that is marked or claimed at the same time keeps its batch: so what is marked while its key is in an
        unfinished batch needs no other. Batches that are not held any more stay as they are."""

    @abstractmethod
    def drain_run(self, lease: RunLease, why: str) -> RunLease:
        """Have the run take no more batches. Raises ClaimLost when the caller is not its keeper any more."""

    @abstractmethod
    def close_kept_run(self, lease: RunLease, state: str, summary: JsonObject) -> bool:
        """End a run whose batches are all done, and its lease; False when one is not done. Raises ClaimLost when the
        caller is not its keeper any more."""

    @abstractmethod
    def move_batch(self, id_: str, run: str, opening_s: float = OPENING_S) -> Batch | None:
        """Give an unfinished batch of a run without a keeper to another run that takes batches; None when the batch is
        done or in that run already, or its own run has a keeper. Raises as ``assign_batch``."""

    @abstractmethod
    def bury_run(self, run: str) -> bool:
        """End a run as lost that has no keeper and no unfinished batch; False when it has, or has ended."""

    @abstractmethod
    def waiting(self, run: str, stage: str, owner: str | None = None) -> Waiting:
        """Return what waits for a stage in a run. Its cost depends on the unfinished batches of the run. Raises
        Unavailable when the session of the owner, if one is given, is over."""

    @abstractmethod
    def session_token(self, owner: str) -> str:
        """Return a text by which ``end_session`` knows a session of this ledger, and what it publishes. Raises
        ValueError for an owner whose session is not open."""

    @abstractmethod
    def end_session(self, token: str) -> None:
        """End a session whose process is known to be dead, as the end of its lease would: what lives by it is gone at
        once. Nothing happens for a session that is over, or a text that is no token."""

    # --- waiting for changes ------------------------------------------------------------------------------------------

    @abstractmethod
    def revision(self) -> int:
        """Return a number that grows with each change: whatever is read later is at least as new."""

    @abstractmethod
    def await_run(self, run: str, stages: Collection[str], revision: int, seconds: float) -> bool:
        """Wait for a change after the revision that concerns the run or what waits for these stages: of the run, its
        lease, its batches, presences and marks of the stages, the references in force, or a session that began or
        ended. False when there was none in that time; True may come without one, so the caller reads in either case."""

    @abstractmethod
    def await_runs(self, revision: int, seconds: float) -> bool:
        """Wait likewise for a run lease of any run that was taken, drained or is over."""


def opening(id_: str, release: str, now_s: float) -> RunRecord:
    """Return the record of a new run, for processes of this release."""
    return RunRecord(id=id_, kind=STREAM, owner="", started_at_s=now_s, summary={_RELEASE: release})


def release_of(run: RunRecord) -> str:
    """Return the release of which the processes of a run are."""
    return str((run.summary or {}).get(_RELEASE, ""))


def was_opened(run: RunRecord) -> bool:
    """Tell whether the run has ever had a keeper."""
    return _OPENED in (run.summary or {})


def opened(run: RunRecord, now_s: float) -> JsonObject:
    """Return the summary of a run that has a keeper since now, or had one before."""
    return {_OPENED: now_s, **(run.summary or {})}


__all__ = [
    "OPENING_S",
    "STREAM",
    "OpenRunLedger",
    "RunLease",
    "RunState",
    "RunView",
    "Waiting",
    "opening",
    "release_of",
]
