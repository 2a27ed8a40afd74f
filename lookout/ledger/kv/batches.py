"""Batches in the hands of their owners: taking, extending, letting go, ending.

Each of these compares the batch and that the owner's session is alive: what a dead or frozen process held is open again
from the moment somebody looks, and what it writes when it wakes is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lookout.domain.errors import ClaimLost
from lookout.domain.records import JsonObject
from lookout.ledger import batches as batching
from lookout.ledger import codec
from lookout.ledger.batches import Batch, BatchState
from lookout.ledger.kv import keys, record_values
from lookout.ledger.kv.batch_queries import BatchLists
from lookout.ledger.kv.batch_values import FREE, TAKEN, build_batch, put_batch, read_index
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Compare, Delete, NoneNewer, Op, Put, Range, Unchanged
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.transaction import TransactionBuilder


class Batches:
    """Batches in the hands of their owners. See ``BatchLedger``."""

    def __init__(self, space: Keyspace, lists: BatchLists, sessions: Sessions) -> None:
        self._space, self._lists, self._sessions = space, lists, sessions

    # --- taking -----------------------------------------------------------------------------------------------------

    def take_batch(self, owner: str, lease_s: float, *, id_: str | None = None, run: str | None = None) -> Batch | None:
        self._space.check_writing()
        for _attempt in self._space.attempts("taking a batch"):
            chosen = self._first_open(owner, id_, run)
            if chosen is None:
                return None
            found, revision = self._lists.load_batches([chosen])
            known = found.get(chosen)
            if known is None or known.batch.state is not BatchState.OPEN:
                continue
            # The revision is a token that needs no key: that of an earlier taking was written since it was read.
            held = batching.taken(known.batch, owner, revision, self._space.clock(), lease_s)
            draft = TransactionBuilder(self._space.prefix)
            draft.expect_there(self._space.name(keys.ALIVE, owner))
            put_batch(draft, held, known)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return held
        return None

    def _first_open(self, owner: str, id_: str | None, run: str | None) -> str | None:
        """The id of the batch to take, after those of the dead and the late were opened."""
        kind, texts = (keys.BATCH_STATE, ()) if run is None else (keys.BATCH_RUN, (run,))
        if id_ is None:
            asked = [Range(*self._space.span(kind, *texts, letter), limit=1, keys_only=True) for letter in FREE]
        else:
            asked = [Range(self._space.name(kind, *texts, letter, id_), keys_only=True) for letter in FREE]
        while True:
            answer = self._space.kv.read(
                [
                    Range(*self._space.span(keys.OWNER), keys_only=True),
                    Range(*self._space.span(keys.ALIVE), keys_only=True),
                    Range(*self._space.span(keys.BATCH_STATE, TAKEN)),
                    *asked,
                ]
            )
            known, alive, taken = (answer.get(n).kvs for n in range(3))
            self._sessions.check(owner, alive)
            dead = self._sessions.dead(known, alive)
            now_s = self._space.clock()
            late = any(read_index(kv)[1] <= now_s for kv in taken)
            if not dead and not late:
                break
            self._sessions.bury(dead)
            if late:
                self._lists.open_taken(lambda end_s, _owner: end_s <= now_s, lost=True)  # noqa: B023 - called here only
        cut = len(self._space.name(kind, *texts))
        for found in (answer.get(n) for n in range(3, 3 + len(asked))):
            for kv in found.kvs:
                return keys.parts(kv.key[cut:], 2)[1]
        return None

    # --- holding, letting go, ending --------------------------------------------------------------------------------

    def extend_batches(self, taken: Sequence[Batch], lease_s: float) -> list[bool]:
        self._space.check_writing()
        answers = []
        for claim in taken:
            try:
                self._change_batch(claim, lambda known, now_s: replace(known, lease_end_s=now_s + lease_s))
                answers.append(True)
            except ClaimLost:
                answers.append(False)
        return answers

    def release_batch(self, taken: Batch) -> None:
        self._change_batch(taken, lambda known, now_s: batching.opened(known, now_s, lost=False))

    def end_batch(self, taken: Batch) -> None:
        self._change_batch(taken, batching.done)

    def _change_batch(self, claim: Batch, change: Callable[[Batch, float], Batch]) -> None:
        """Change a batch that is held. Raises ClaimLost."""
        self._space.check_writing()
        alive = self._space.name(keys.ALIVE, claim.owner or "")
        for _attempt in self._space.attempts("changing a batch"):
            answer = self._space.kv.read([Range(self._space.name(keys.BATCH, claim.id)), Range(alive, keys_only=True)])
            known = None
            for kv in answer.get(0).kvs:
                known = build_batch(claim.id, kv, claim.basis, claim.keys)
            now_s = self._space.clock()
            batch = batching.check_held(known.batch if known is not None else None, claim, now_s)
            if not answer.get(1).kvs:
                raise ClaimLost(f"batch {claim.id}", claim.token, None)
            draft = TransactionBuilder(self._space.prefix)
            draft.expect_there(alive)
            put_batch(draft, change(batch, now_s), known)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return

    # --- the end of runs ---------------------------------------------------------------------------------------------

    def close_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> bool:
        self._space.check_writing()
        codec.write_object(summary)  # what is no JSON is refused before anything is read
        name = self._space.name(keys.RUN, run_id)
        start, end = self._lists.unfinished_range(keys.BATCH_RUN, run_id)
        for _attempt in self._space.attempts("closing a run"):
            answer = self._space.kv.read([Range(name), Range(start, end, limit=1, keys_only=True)])
            if not answer.get(0).kvs:
                raise KeyError(run_id)
            (kv,) = answer.get(0).kvs
            run = record_values.read_run(run_id, kv)
            if run.state != "running" or answer.get(1).kvs:
                return False
            ended = replace(run, state=state, ended_at_s=ended_at_s, summary=summary)
            ops: list[Op] = [
                Put(name, record_values.write_run(ended)),
                Delete(self._space.name(keys.RUN_OPEN, run.owner, run_id)),
            ]
            # Nothing is newer than revision 0 where nothing is.
            compares: list[Compare] = [Unchanged(name, kv.mod_revision), NoneNewer(start, end, 0)]
            if self._space.write(compares, ops).succeeded:
                return True
        return False
