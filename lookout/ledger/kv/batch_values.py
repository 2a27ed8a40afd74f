"""Batches as keys and values, and back. Knows no rule of batches, and no request.

A batch is two keys: one that changes as it goes from hand to hand, and its keys, which may be a megabyte and never
change. It is in two indexes by its state, that of all batches and that of its run, in the order in which batches are
taken; so what is done is passed over, however much it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lookout.ledger.batches import LIVE, Batch, BatchState
from lookout.ledger.kv import keys
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.slot_values import dump, load
from lookout.ledger.kv.transaction import TransactionBuilder

TAKEN: Final = "t"
DONE: Final = "z"
"""After the letters of all that are unfinished."""
FREE: Final = ("a", "b")
"""Of open batches: live ones are taken before others."""
LETTERS: Final = {BatchState.OPEN: FREE, BatchState.TAKEN: (TAKEN,), BatchState.DONE: (DONE,)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch as it was read."""

    batch: Batch
    mod_revision: int


def letter_of(batch: Batch) -> str:
    """Of the index in which the batch is."""
    if batch.state is BatchState.OPEN:
        return FREE[batch.kind != LIVE]
    return LETTERS[batch.state][0]


def put_batch(draft: TransactionBuilder, batch: Batch, was: Kept | None = None) -> None:
    """Keep a batch that is new, or as it is now: it must be as it was."""
    name = draft.name(keys.BATCH, batch.id)
    draft.expect(name, was.mod_revision if was is not None else 0)
    if was is None:
        draft.put(draft.name(keys.BATCH_KEYS, batch.id), dump([batch.basis, batch.keys]))
    else:
        for old in index_names(draft, was.batch):
            draft.delete(old)
    draft.put(
        name,
        dump(
            [
                batch.kind,
                batch.run,
                batch.created_at_s,
                batch.state.value,
                batch.owner,
                batch.token,
                batch.lease_end_s,
                batch.losses,
                batch.updated_at_s,
            ]
        ),
    )
    value = dump([batch.owner, batch.lease_end_s, batch.updated_at_s])
    for new in index_names(draft, batch):
        draft.put(new, value)


def forget_batch(draft: TransactionBuilder, id_: str, kv: Kv) -> None:
    """Remove a batch with its keys; it must be as it was."""
    for name in (draft.name(keys.BATCH, id_), draft.name(keys.BATCH_KEYS, id_)):
        draft.delete(name)
    draft.expect(kv.key, kv.mod_revision)
    kind_run = load(kv, _kind_and_run)
    draft.delete(draft.name(keys.BATCH_STATE, DONE, id_))
    draft.delete(draft.name(keys.BATCH_RUN, kind_run[1], DONE, id_))


def index_names(draft: TransactionBuilder, batch: Batch) -> tuple[bytes, bytes]:
    """The keys of the batch in both indexes."""
    letter = letter_of(batch)
    return draft.name(keys.BATCH_STATE, letter, batch.id), draft.name(keys.BATCH_RUN, batch.run, letter, batch.id)


def read_batch(id_: str, kv: Kv, body: Kv) -> Kept:
    """Read what ``put_batch`` wrote. Raises Corrupt."""
    basis, names = read_body(body)
    return build_batch(id_, kv, basis, names)


def read_body(body: Kv) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Basis and keys."""

    def build(value: Any) -> tuple[Mapping[str, str], tuple[str, ...]]:
        basis, names = value
        return basis, tuple(names)

    return load(body, build)


def build_batch(id_: str, kv: Kv, basis: Mapping[str, str], names: tuple[str, ...]) -> Kept:
    """The batch of a key and what never changes of it. Raises Corrupt."""

    def build(value: Any) -> Batch:
        kind, run, created_at_s, state, owner, token, lease_end_s, losses, updated_at_s = value
        return Batch(
            id=id_,
            kind=kind,
            keys=names,
            created_at_s=created_at_s,
            run=run,
            basis=basis,
            state=BatchState(state),
            owner=owner,
            token=token,
            lease_end_s=lease_end_s,
            losses=losses,
            updated_at_s=updated_at_s,
        )

    return Kept(load(kv, build), kv.mod_revision)


def read_index(kv: Kv) -> tuple[str | None, float, float]:
    """Read what an index says of a batch: who holds it until when, and since when it is as it is."""

    def build(value: Any) -> tuple[str | None, float, float]:
        owner, lease_end_s, updated_at_s = value
        return owner, lease_end_s, updated_at_s

    return load(kv, build)


def _kind_and_run(value: Any) -> tuple[str, str]:
    return value[0], value[1]
