"""Rights in etcd by range of keys: what each user of the ledger may write. All of them read the whole ledger.

Most keys begin with a stage or a bucket behind their kind, and are written by one stage. The others, history by its
hashes above all, are shared: a stage that is taken over can still write those (docs/kubernetes.md names them). Knows
kinds of keys and what stands first in them; which stages there are is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lookout.ledger.kv import keys

SHARED: Final = (
    keys.RECORD, keys.USER, keys.MEMBER, keys.TALLY, keys.CHANGE, keys.PUBLISHING, keys.RUN, keys.RUN_START,
    keys.RUN_OPEN, keys.BATCH, keys.BATCH_STATE, keys.BATCH_RUN, keys.OWNER, keys.ALIVE, keys.WRITER,
)  # fmt: skip
"""Every stage writes these, and nothing in their names says which."""
OF_STAGE: Final = (
    keys.SLOT, keys.DIRTY, keys.SUSPECT, keys.STATE, keys.LABEL, keys.CLAIM, keys.LEASE, keys.TOKEN, keys.BASIS,
    keys.PRESENCE,
)  # fmt: skip
"""A stage comes first: that stage's own."""
OF_RESULTS: Final = (keys.PATH, keys.MAKERS)
"""A bucket comes first: of the stage whose bucket it is."""
OF_INPUTS: Final = (keys.INPUT, keys.INPUTS)
"""The bucket of inputs comes first: of whoever looks at inputs."""
OF_ALERTS: Final = (keys.ALERT, keys.ALERT_STATE, keys.ALERT_RUN, keys.POLICY)
"""Of the stage that makes alerts, and decides on them."""
OF_CUTS: Final = (keys.BATCH_KEYS, keys.CUT)
"""Of whoever cuts batches."""
OF_OPERATOR: Final = (keys.META, keys.NOTE, keys.REFERENCES, keys.RUN_LEASE)
"""Of nobody who is limited: the form of the ledger, notes but for those of whoever looks at inputs, the model and
rules in force, and who keeps a run."""
REPAIRED: Final = (keys.SLOT, keys.DIRTY, keys.STATE)
"""Of a stage, by one that reads its results: to have one made again that is gone or damaged."""


@dataclass(frozen=True, kw_only=True)
class LedgerRole:
    """A user's role. ``writes`` are beginnings of keys behind the ledger's prefix; one that is empty is everything."""

    name: str
    writes: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerUser:
    """User who is to be let in, and in which role."""

    name: str
    password: str
    role: LedgerRole

    def __repr__(self) -> str:
        return f"LedgerUser({self.name!r}, {self.role.name!r})"


def operator() -> LedgerRole:
    """Everything: people, and what plans, judges and cleans up."""
    return LedgerRole(name="operator", writes=(b"",))


def reader() -> LedgerRole:
    """Nothing: what only looks."""
    return LedgerRole(name="reader", writes=())


def intake(inputs: str, readers: Sequence[str], notes: Sequence[str]) -> LedgerRole:
    """Intake: what lands, with the notes of those that look at inputs; marks of its readers, batches of it, and runs
    that it begins for them."""
    batches = (keys.BATCH, keys.BATCH_STATE, keys.BATCH_RUN)
    return LedgerRole(
        name="intake",
        writes=(
            *_first(OF_INPUTS, inputs),
            *_notes(notes),
            *(mark for reading in readers for mark in _first((keys.DIRTY,), reading)),
            *batches,
            *OF_CUTS,
            *(keys.RUN, keys.RUN_START, keys.RUN_OPEN),
            keys.WRITER,
        ),
    )


def stage(
    name: str,
    *,
    before: Sequence[str],
    behind: Sequence[str],
    inputs: str | None,
    notes: Sequence[str] = (),
    alerts: bool = False,
) -> LedgerRole:
    """A stage's container: its own slots and paths, the marks of the stages ``behind``, the slots of those ``before``
    whose results it reads; inputs and the ``notes`` of whoever looks at them, if it reads the bucket ``inputs``;
    alerts, if it makes them; and what is shared."""
    writes = [*_first(OF_STAGE, name), *_first(OF_RESULTS, name)]
    writes += [key for each in behind for key in _first((keys.DIRTY,), each)]
    writes += [key for each in before for key in _first(REPAIRED, each)]
    writes += (*_first(OF_INPUTS, inputs), *_notes(notes)) if inputs is not None else ()
    writes += OF_ALERTS if alerts else ()
    return LedgerRole(name=name, writes=(*writes, *SHARED))


def _notes(names: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(keys.NOTE + keys.text(name) for name in names)


def _first(kinds: Sequence[bytes], part: str) -> tuple[bytes, ...]:
    return tuple(kind + keys.text(part) for kind in kinds)
