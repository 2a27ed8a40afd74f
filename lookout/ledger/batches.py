"""The contract of batches in a ledger, and the rules by which they change. Knows no stage, no store and no backend.

A batch is a piece of work for one worker: some keys, whatever stage of them is dirty. It decides who looks at which
keys, never what counts: that is settled slot by slot, by claims. So a batch that two work on by mistake costs time and
nothing else, and one that is lost costs nothing, as its keys are still dirty and the next cut finds them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from lookout.domain.errors import ClaimLost, InputRejected
from lookout.domain.records import JsonObject
from lookout.ledger.port import Ledger

MAX_KEYS: Final = 1000
"""Keys in one batch: with keys of a thousand bytes it still fits into one value of a store that takes a megabyte."""

LIVE: Final = "live"
"""The kind that is taken before all others: what devices send now, as against what somebody has done again."""


class BatchState(StrEnum):
    """``OPEN`` may be taken, ``TAKEN`` is held by an owner with a lease, ``DONE`` is finished and only remembered."""

    OPEN = "open"
    TAKEN = "taken"
    DONE = "done"


UNFINISHED: Final = (BatchState.OPEN, BatchState.TAKEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch. ``id`` sorts by the time of the cut; ``keys`` are sorted, each once; ``run`` is empty outside a run.

    ``basis`` holds, by stage, the digest of recipe and references that the ledger had when it was cut. ``token`` grows
    whenever it is taken; with the owner it is the right to extend, release and end it.
    """

    id: str
    kind: str
    keys: tuple[str, ...]
    created_at_s: float
    run: str = ""
    basis: Mapping[str, str] = field(default_factory=dict)
    state: BatchState = BatchState.OPEN
    owner: str | None = None
    token: int = 0
    lease_end_s: float = 0.0
    losses: int = 0
    """How many times its owner died or was late."""
    updated_at_s: float = 0.0
    """When it was cut, taken, let go or ended: an open one that is old was forgotten by whoever had to start work."""

    def __post_init__(self) -> None:
        if not self.id or not self.kind:
            raise ValueError(f"expected an id and a kind, got {self.id!r} and {self.kind!r}")
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise ValueError(f"batch {self.id}: expected 1 to {MAX_KEYS} keys, got {len(self.keys)}")
        if list(self.keys) != sorted(set(self.keys)):
            raise ValueError(f"batch {self.id}: expected sorted keys, each once")
        if (self.owner is None) == (self.state is BatchState.TAKEN):
            raise ValueError(f"batch {self.id}: expected an owner exactly when taken, got {self.owner!r}")

    def held_by(self, claim: Batch, now_s: float) -> bool:
        """Tell whether ``claim``, the batch as it was taken, is still valid."""
        same = self.state is BatchState.TAKEN and self.owner == claim.owner and self.token == claim.token
        return same and now_s < self.lease_end_s


class BatchLedger(Ledger):
    """A ledger that keeps batches too. Every call here is atomic, but where it says otherwise."""

    @abstractmethod
    def dirty(self, stage: str, prefix: str = "", after: str | None = None) -> Iterator[str]:
        """Yield the keys of the stage's dirty slots, claimed or not, in the order of code points, that begin with the
        prefix and come after ``after``: streamed. A slot that is dirty from the first to the last moment is given
        exactly once. Its cost depends on how many are dirty, not on how many slots there are."""

    @abstractmethod
    def add_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        """Keep new batches, each atomically and in the order given, without the keys that an unfinished batch holds
        already; gives them as they were kept. One that has no key left is not kept. So a key is in one unfinished
        batch at most, whoever cuts at once. Its cost may depend on how many batches are unfinished.

        Raises ValueError for a batch that is not open or an id that is there, KeyError for an unknown run,
        InputRejected for a run that has ended: see ``close_run``."""

    @abstractmethod
    def take_batch(self, owner: str, lease_s: float, *, id_: str | None = None, run: str | None = None) -> Batch | None:
        """Hold an open batch: the one of that id, or the first of that run, or of all; None when there is none. LIVE
        ones come first, then by id. First those are opened whose lease is over or whose owner is dead: by the same
        means, and no later, than its claims are freed. A clean end of a session opens what it holds too.

        Raises ValueError for an owner whose session is not open. Its cost does not depend on how many are done."""

    @abstractmethod
    def extend_batches(self, taken: Sequence[Batch], lease_s: float) -> list[bool]:
        """Begin the leases anew, each atomically; False, in the order given, for those that are lost."""

    @abstractmethod
    def release_batch(self, taken: Batch) -> None:
        """Let go of a batch that is not finished: it is open again. Raises ClaimLost."""

    @abstractmethod
    def end_batch(self, taken: Batch) -> None:
        """Finish a batch. Raises ClaimLost when it is not held any more: nothing was written."""

    @abstractmethod
    def find_batches(self, ids: Collection[str]) -> dict[str, Batch]:
        """Return the batches of these ids; an unknown one is absent."""

    @abstractmethod
    def batches(
        self, *, run: str | None = None, states: Collection[BatchState] = (), after: str = ""
    ) -> Iterator[Batch]:
        """Batches in the order of their ids, streamed: of one run or all, in these states (all if empty), after that
        id. Its cost depends on what it gives when only unfinished states are asked for, or a run."""

    @abstractmethod
    def count_batches(self, run: str | None = None) -> dict[BatchState, int]:
        """Batches by state, of one run or of all; absent means none."""

    @abstractmethod
    def close_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> bool:
        """End a run that no session owns, unless it has ended or one of its batches is unfinished; whether it did.

        The comparison and the end are one transaction, and so are the comparison and the keeping in ``add_batches``:
        a batch is either seen here or refused there, so none falls between. Raises KeyError for an unknown run."""

    @abstractmethod
    def expire_batches(self, before_s: float, limit: int = 1000) -> int:
        """Forget up to ``limit`` batches that were done before that time, in the order of ids, and no further than to
        the first that was done later; says how many. So its cost depends on what it forgets and what is unfinished."""


# --- the rules -------------------------------------------------------------------------------------------------------


def check_new(batches: Sequence[Batch]) -> None:
    """Raise ValueError for batches that cannot be added."""
    for batch in batches:
        if batch.state is not BatchState.OPEN:
            raise ValueError(f"batch {batch.id}: expected an open one, got {batch.state}")


def check_run(run: str, state: str) -> None:
    """Raise InputRejected for a run to which nothing can be added any more."""
    if state != "running":
        raise InputRejected(f"the run has ended: it is {state}", run, "cut a new run; nothing is lost, its keys wait")


def without(batch: Batch, held: Collection[str], now_s: float) -> Batch | None:
    """Return the batch as it is kept: without the keys that others hold, or None when none is left."""
    keys = tuple(key for key in batch.keys if key not in held)
    return replace(batch, keys=keys, updated_at_s=now_s) if keys else None


def taken(batch: Batch, owner: str, token: int, now_s: float, lease_s: float) -> Batch:
    """Return the batch in the hands of an owner."""
    return replace(
        batch, state=BatchState.TAKEN, owner=owner, token=token, lease_end_s=now_s + lease_s, updated_at_s=now_s
    )


def opened(batch: Batch, now_s: float, *, lost: bool) -> Batch:
    """Return the batch let go of, by its owner, or because that one is ``lost``."""
    return replace(batch, state=BatchState.OPEN, owner=None, losses=batch.losses + lost, updated_at_s=now_s)


def done(batch: Batch, now_s: float) -> Batch:
    """Return the batch finished."""
    return replace(batch, state=BatchState.DONE, owner=None, updated_at_s=now_s)


def check_held(known: Batch | None, claim: Batch, now_s: float) -> Batch:
    """Return the batch as it is known, if ``claim`` still stands. Raises ClaimLost."""
    if known is None or not known.held_by(claim, now_s):
        raise ClaimLost(f"batch {claim.id}", claim.token, known.owner if known is not None else None)
    return known


__all__ = ["LIVE", "MAX_KEYS", "UNFINISHED", "Batch", "BatchLedger", "BatchState"]
