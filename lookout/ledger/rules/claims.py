"""Choice of the slots that one claim takes. Pure, and the same for every backend.

A free slot is fresh or suspect. A suspect was lost: its owner died or was late while it held it. Slots that were lost
together are a cohort, and any of them may have ended its owner. So fresh slots are taken first, and suspects only when
there is no fresh slot: of one cohort, and half of it at most. What ends its owner again makes a smaller cohort than
before, until it is alone.

A backend says which slots are free, and finds them by its own index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from lookout.ledger.rules.slots import SlotState

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Cohort(NamedTuple):
    """Slots that were lost together: how many, and the token under which they were held. The worst is the greatest."""

    suspect: int
    token: int


class FreeSlots(Protocol[T_co]):
    """Slots of a stage that may be claimed: dirty, held by nobody, and waiting for no stage before. Read when asked."""

    def fresh(self, limit: int) -> Sequence[T_co]:
        """Return those that nobody suspects, in the order of their keys, at most ``limit``."""
        ...

    def worst(self) -> Cohort | None:
        """Return the largest cohort with a free slot, of several the latest; None if no suspect is free."""
        ...

    def of(self, cohort: Cohort, limit: int) -> Sequence[T_co]:
        """Return the free slots of a cohort, in the order of their keys, at most ``limit``."""
        ...


def choose(free: FreeSlots[T], limit: int) -> Sequence[T]:
    """Return the slots that a claim of at most ``limit`` takes."""
    if limit <= 0:
        return []
    if fresh := free.fresh(limit):
        return fresh
    worst = free.worst()
    return [] if worst is None else free.of(worst, min(limit, portion(worst.suspect)))


def portion(suspect: int) -> int:
    """Return how many slots of one dead owner, ``suspect`` in number, may be claimed at once."""
    return max(1, suspect // 2)


class Listed:
    """Free slots that are at hand: see ``FreeSlots``."""

    def __init__(self, rows: Iterable[SlotState]) -> None:
        self._rows = sorted(rows, key=lambda row: row.key)

    def fresh(self, limit: int) -> list[SlotState]:
        return [row for row in self._rows if not row.suspect][:limit]

    def worst(self) -> Cohort | None:
        return max((_cohort(row) for row in self._rows if row.suspect), default=None)

    def of(self, cohort: Cohort, limit: int) -> list[SlotState]:
        return [row for row in self._rows if _cohort(row) == cohort][:limit]


def _cohort(row: SlotState) -> Cohort:
    return Cohort(row.suspect, row.cohort)
