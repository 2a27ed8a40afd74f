"""Lists of batches, and of the slots that wait: adding, finding, forgetting.

Whoever adds compares one key that each adding changes, so that no key comes into two unfinished batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from lookout.ledger import batches as batching
from lookout.ledger.batches import Batch, BatchState
from lookout.ledger.kv import keys
from lookout.ledger.kv.admission import Admission
from lookout.ledger.kv.batch_values import (
    DONE,
    LETTERS,
    TAKEN,
    Kept,
    forget_batch,
    put_batch,
    read_batch,
    read_body,
    read_index,
)
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Answer, Found, Kv, Range
from lookout.ledger.kv.transaction import TransactionBuilder

PAGE: Final = 1000
TOGETHER: Final = 40
"""Batches that are read or forgotten at once."""


class _Held:
    """The keys of unfinished batches, remembered between two addings: right as long as nobody else has added
    (``cut_mod``) and none of them has ended (their number)."""

    def __init__(self) -> None:
        self.cut_mod = -1
        self.by_id: dict[str, tuple[str, ...]] = {}
        self.holder: dict[str, str] = {}

    def add(self, id_: str, names: tuple[str, ...]) -> None:
        self.by_id[id_] = names
        self.holder.update(dict.fromkeys(names, id_))

    def drop(self, id_: str) -> None:
        for name in self.by_id.pop(id_):
            if self.holder.get(name) == id_:
                del self.holder[name]


class BatchLists:
    """Batches, as anybody may see and add them. See ``BatchLedger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space
        self._unfinished: _Held | None = None

    def dirty(self, stage: str, prefix: str = "", after: str | None = None) -> Iterator[str]:
        start, end, cut = self._space.span_from(keys.DIRTY, [stage], prefix, after)
        while start < end:
            # Marks, claims and suspects at one revision: a slot that goes from hand to hand is in one of them. Few
            # are held or suspect at a time, so all of these are read for each page of the others.
            answer = self._space.kv.read(
                [
                    Range(start, end, limit=PAGE, keys_only=True),
                    Range(*self._space.span(keys.CLAIM, stage)),
                    Range(*self._space.span(keys.SUSPECT, stage), keys_only=True),
                ]
            )
            marked = answer.get(0)
            found = {kv.key[cut:] for kv in marked.kvs}
            begin, stop = start[cut:], marked.kvs[-1].key[cut:] if marked.more else None
            apart = {key for part in self._space.read_parts(answer.get(1).kvs, []) for key in part.held}
            apart.update(key for _, key in self._space.read_suspects(stage, answer.get(2).kvs))
            for key in apart:
                tail = keys.text(key)
                if key.startswith(prefix) and begin <= tail and (stop is None or tail <= stop):
                    found.add(tail)
            yield from (keys.parts(tail, 1)[0] for tail in sorted(found))
            if stop is None:
                return
            start = start[:cut] + keys.behind(stop)

    # --- adding -----------------------------------------------------------------------------------------------------

    def add_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        self._space.check_writing()
        batching.check_new(batches)
        added = [self.add_batch(batch, Admission(self._space, batch.run)) for batch in batches]
        return [kept for kept in added if kept is not None]

    def add_batch(self, batch: Batch, admission: Admission) -> Batch | None:
        """Keep a new batch without the keys that others hold, if its run admits it; None when no key is left."""
        name, cut = self._space.name(keys.BATCH, batch.id), self._space.name(keys.CUT)
        for _attempt in self._space.attempts("adding a batch"):
            answer = self._space.kv.read(
                [
                    Range(name, keys_only=True),
                    Range(cut),
                    Range(*self.unfinished_range(keys.BATCH_STATE), count_only=True),
                    *admission.asked,
                ]
            )
            draft = TransactionBuilder(self._space.prefix)
            admission.check(draft, [answer.get(3 + n) for n in range(len(admission.asked))])
            if answer.get(0).kvs:
                raise ValueError(f"expected a new batch id, got {batch.id!r} again")
            held, revision = self._held_keys(answer)
            kept = batching.without(batch, held.holder, self._space.clock())
            if kept is None:
                return None
            others = {held.holder[key] for key in batch.keys if key in held.holder}
            if others:  # none of them may have ended meanwhile
                first, last = (self._space.name(keys.BATCH, id_) for id_ in (min(others), max(others)))
                draft.expect_none_newer(first, keys.behind(last), revision)
            draft.expect(cut, held.cut_mod)
            draft.put(cut)
            put_batch(draft, kept)
            written = self._space.write(draft.compares, draft.ops)
            if written.succeeded:
                held.add(kept.id, kept.keys)
                held.cut_mod = written.revision
                return kept
        return None

    def _held_keys(self, answer: Answer) -> tuple[_Held, int]:
        """The keys of unfinished batches and since when that is so. ``answer`` says whether what is known still is."""
        held = self._unfinished
        if held is None:
            held = self._unfinished = _Held()
        if _revision_of(answer.get(1)) == held.cut_mod and answer.get(2).total == len(held.by_id):
            return held, answer.revision
        start, end = self.unfinished_range(keys.BATCH_STATE)
        answer = self._space.kv.read([Range(self._space.name(keys.CUT)), Range(start, end, keys_only=True)])
        cut = len(self._space.name(keys.BATCH_STATE))
        ids = {keys.parts(kv.key[cut:], 2)[1] for kv in answer.get(1).kvs}
        for id_ in held.by_id.keys() - ids:
            held.drop(id_)
        names = {self._space.name(keys.BATCH_KEYS, id_): id_ for id_ in ids - held.by_id.keys()}
        order = list(names)
        for at in range(0, len(order), TOGETHER):
            for name, kv in self._space.kv.get_many(order[at : at + TOGETHER]).items():
                held.add(names[name], read_body(kv)[1])
        held.cut_mod = _revision_of(answer.get(0))
        return held, answer.revision

    def unfinished_range(self, kind: bytes, *texts: str) -> tuple[bytes, bytes]:
        """All batches that are not done, in one of the indexes."""
        return self._space.name(kind, *texts), self._space.name(kind, *texts, DONE)

    # --- looking ----------------------------------------------------------------------------------------------------

    def find_batches(self, ids: Collection[str]) -> dict[str, Batch]:
        return {id_: known.batch for id_, known in self.load_batches(sorted(set(ids)))[0].items()}

    def batches(
        self, *, run: str | None = None, states: Collection[BatchState] = (), after: str = ""
    ) -> Iterator[Batch]:
        wanted = frozenset(states or BatchState)
        for ids in self._batch_ids(run, [letter for state in wanted for letter in LETTERS[state]], after):
            for start in range(0, len(ids), TOGETHER):
                some = ids[start : start + TOGETHER]
                found = self.load_batches(some)[0]
                yield from (found[id_].batch for id_ in some if id_ in found and found[id_].batch.state in wanted)

    def _batch_ids(self, run: str | None, letters: Sequence[str], after: str) -> Iterator[list[str]]:
        """Ids in their order, page by page: each page of all indexes at one revision, as a batch may go from one to
        another."""
        kind, texts = (keys.BATCH_STATE, ()) if run is None else (keys.BATCH_RUN, (run,))
        ranges = [self._space.span(kind, *texts, letter) for letter in letters]
        tail = keys.behind(keys.text(after)) if after else b""
        while True:
            answer = self._space.kv.read(
                [Range(start + tail, end, limit=PAGE, keys_only=True) for start, end in ranges]
            )
            pages = [(len(start), answer.get(n)) for n, (start, _) in enumerate(ranges)]
            stop = min((found.kvs[-1].key[cut:] for cut, found in pages if found.more), default=None)
            tails = sorted(kv.key[cut:] for cut, found in pages for kv in found.kvs)
            yield [keys.parts(each, 1)[0] for each in tails if stop is None or each <= stop]
            if stop is None:
                return
            tail = keys.behind(stop)

    def count_batches(self, run: str | None = None) -> dict[BatchState, int]:
        kind, texts = (keys.BATCH_STATE, ()) if run is None else (keys.BATCH_RUN, (run,))
        asked = [(state, letter) for state, letters in LETTERS.items() for letter in letters]
        answer = self._space.kv.read(
            [Range(*self._space.span(kind, *texts, each), count_only=True) for _, each in asked]
        )
        counts: dict[BatchState, int] = {}
        for n, (state, _) in enumerate(asked):
            if answer.get(n).total:
                counts[state] = counts.get(state, 0) + answer.get(n).total
        return counts

    def load_batches(self, ids: Sequence[str]) -> tuple[dict[str, Kept], int]:
        """Those of the batches that are there, and the revision at which the last of them was read."""
        found: dict[str, Kept] = {}
        revision = 0
        for start in range(0, len(ids), TOGETHER):
            some = ids[start : start + TOGETHER]
            kinds = (keys.BATCH, keys.BATCH_KEYS)
            answer = self._space.kv.read([Range(self._space.name(kind, id_)) for id_ in some for kind in kinds])
            for n, id_ in enumerate(some):
                kvs = [*answer.get(2 * n).kvs, *answer.get(2 * n + 1).kvs]
                if kvs:
                    found[id_] = read_batch(id_, *kvs)
            revision = answer.revision
        return found, revision

    # --- opening -------------------------------------------------------------------------------------------------

    def open_taken(self, chosen: Callable[[float, str | None], bool], *, lost: bool) -> None:
        """Open the batches that are chosen by end of lease and owner."""
        start, end = self._space.span(keys.BATCH_STATE, TAKEN)
        for _attempt in self._space.attempts("opening batches"):
            ids = []
            for page in self._space.kv.pages(start, end):
                for kv in page:
                    owner, lease_end_s, _ = read_index(kv)
                    if chosen(lease_end_s, owner):
                        ids.append(keys.parts(kv.key[len(start) :], 1)[0])
            if not ids:
                return
            for known in self.load_batches(ids)[0].values():
                batch = known.batch
                if batch.state is BatchState.TAKEN and chosen(batch.lease_end_s, batch.owner):
                    draft = TransactionBuilder(self._space.prefix)
                    put_batch(draft, batching.opened(batch, self._space.clock(), lost=lost), known)
                    self._space.write(draft.compares, draft.ops)  # if somebody else was first, the next look says so

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def expire_batches(self, before_s: float, limit: int = 1000) -> int:
        self._space.check_writing()
        old = list(islice(self._done_before(before_s), max(0, limit)))
        return sum(self._forget_batches(old[at : at + TOGETHER]) for at in range(0, len(old), TOGETHER))

    def _done_before(self, before_s: float) -> Iterator[str]:
        """The ids of batches that are done, in their order, up to the first that was done later."""
        start, end = self._space.span(keys.BATCH_STATE, DONE)
        for page in self._space.kv.pages(start, end, limit=100):
            for kv in page:
                if read_index(kv)[2] >= before_s:
                    return
                yield keys.parts(kv.key[len(start) :], 1)[0]

    def _forget_batches(self, ids: Sequence[str]) -> int:
        """Forget batches that are done, for good; says how many somebody else had not."""
        names = {self._space.name(keys.BATCH, id_): id_ for id_ in ids}
        for _attempt in self._space.attempts("forgetting batches"):
            found: dict[bytes, Kv] = self._space.kv.get_many(names)
            draft = TransactionBuilder(self._space.prefix)
            for name, kv in found.items():
                forget_batch(draft, names[name], kv)
            if not found or self._space.write(draft.compares, draft.ops).succeeded:
                return len(found)
        return 0


def _revision_of(found: Found) -> int:
    """Return when the key that was asked for was written; 0 if it is not there."""
    return found.kvs[0].mod_revision if found.kvs else 0
