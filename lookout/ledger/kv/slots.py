"""Live view of slots: reading and counting them.

A listing walks rows and marks side by side, a page of both at one revision, so that a slot that was only ever marked is
in its place among those that have a row. Where a state or a label is asked for that few have, their index is walked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Final

from lookout.domain.records import Slot, State
from lookout.ledger.kv import keys
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Kv, Range
from lookout.ledger.kv.slot_reader import views
from lookout.ledger.kv.slot_values import LETTERS, STATES

PAGE: Final = 500
_ALL: Final = (keys.SLOT, keys.DIRTY, keys.CLAIM)
"""Kinds of keys of which every slot has one."""


class Slots:
    """Live view of slots. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        return {key: view.row.slot() for key, view in self._space.see(stage, set(keys)).items()}

    def slots(
        self,
        stage: str | None = None,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        labelled: bool = False,
        after: tuple[str, str] = ("", ""),
    ) -> Iterator[Slot]:
        wanted = frozenset(states)
        for name in [stage] if stage is not None else self._stages(_kinds(wanted, labelled=labelled)):
            if name < after[0]:
                continue
            # The key "" is a slot's too, so a stage that "after" does not reach begins with it.
            first = after[1] if name == after[0] and after != ("", "") else None
            if labelled:
                found = self._named(name, self._index([(keys.LABEL, (name,))], prefix, first))
            elif wanted and State.SUCCESS not in wanted:
                ranges: list[tuple[bytes, tuple[str, ...]]] = [
                    (keys.STATE, (name, LETTERS[state])) for state in wanted if state is not State.RUNNING
                ]
                if State.PENDING in wanted:
                    ranges.append((keys.DIRTY, (name,)))  # a new slot has no row yet
                held = self._held(name, prefix, first) if State.RUNNING in wanted else []
                found = self._named(name, self._index(ranges, prefix, first, held))
            else:
                found = self._all(name, prefix, first)
            for slot in found:
                if wanted and slot.state not in wanted:
                    continue
                if not labelled or (slot.record is not None and slot.record.label is not None):
                    yield slot

    def _stages(self, kinds: Iterable[bytes]) -> list[str]:
        """The stages that have keys of these kinds, found by a step each. A step costs etcd the more the more keys
        there are behind it, as it counts them."""
        found: set[str] = set()
        spans = {kind: self._space.span(kind) for kind in kinds}
        while spans:
            answer = self._space.kv.read([Range(*span, limit=1, keys_only=True) for span in spans.values()])
            for n, (kind, (_, end)) in enumerate(list(spans.items())):
                if not answer.get(n).kvs:
                    del spans[kind]
                    continue
                stage, end_of_text, _ = (
                    answer.get(n).kvs[0].key[len(self._space.prefix) + len(kind) :].partition(b"\x00")
                )
                (name,) = keys.parts(stage + end_of_text, 1)
                found.add(name)
                spans[kind] = keys.after(self._space.name(kind, name)), end
        return sorted(found)

    # --- by an index ------------------------------------------------------------------------------------------------

    def _index(
        self,
        ranges: Sequence[tuple[bytes, tuple[str, ...]]],
        prefix: str,
        first: str | None,
        more: Iterable[str] = (),
    ) -> Iterator[str]:
        """The keys in some indexes that begin with the prefix and come after ``first``, in their order."""
        last: str | None = None
        for key in merge(more, *[self._index_keys(kind, texts, prefix, first) for kind, texts in ranges]):
            if key != last:  # it changed its state while it was listed
                yield key
            last = key

    def _held(self, stage: str, prefix: str, first: str | None) -> list[str]:
        """The keys of slots that somebody holds."""
        held = {key for part in self._space.parts_of(stage)[0] for key in part.held}
        return sorted(key for key in held if key.startswith(prefix) and (first is None or key > first))

    def _index_keys(self, kind: bytes, texts: Sequence[str], prefix: str, first: str | None) -> Iterator[str]:
        start, end, cut = self._space.span_from(kind, texts, prefix, first)
        if start < end:
            for page in self._space.kv.pages(start, end, keys_only=True):
                for kv in page:
                    yield keys.parts(kv.key[cut:], 1)[0]

    def _named(self, stage: str, names: Iterable[str]) -> Iterator[Slot]:
        page: list[str] = []
        for key in names:
            page.append(key)
            if len(page) == PAGE:
                yield from self._load(stage, page)
                page = []
        yield from self._load(stage, page)

    def _load(self, stage: str, page: Sequence[str]) -> Iterator[Slot]:
        found = self._space.see(stage, page)
        yield from (found[key].row.slot() for key in page if key in found)

    # --- all --------------------------------------------------------------------------------------------------------

    def _all(self, stage: str, prefix: str, first: str | None) -> Iterator[Slot]:
        row_start, row_end, row_cut = self._space.span_from(keys.SLOT, [stage], prefix, first)
        mark_start, mark_end, mark_cut = self._space.span_from(keys.DIRTY, [stage], prefix, first)
        while row_start < row_end:
            answer = self._space.kv.read(
                [
                    Range(row_start, row_end, limit=PAGE),
                    Range(mark_start, mark_end, limit=PAGE),
                    Range(*self._space.span(keys.CLAIM, stage)),
                    Range(*self._space.span(keys.LEASE, stage)),
                ]
            )
            rows, marks = _by_key(answer.get(0).kvs, row_cut), _by_key(answer.get(1).kvs, mark_cut)
            parts = self._space.read_parts(answer.get(2).kvs, answer.get(3).kvs)
            # A page ends where the shorter of the two ends; what is held without a row is between its ends.
            ends = [found.kvs[-1].key[cut:] for found, cut in ((answer.get(0), row_cut), (answer.get(1), mark_cut))
                    if found.more]  # fmt: skip
            begin, stop = row_start[row_cut:], min(ends, default=None)
            held = {key for part in parts for key in part.held if key.startswith(prefix)}
            page = sorted(
                key
                for key in {*rows, *marks, *held}
                if begin <= (tail := keys.text(key)) and (stop is None or tail <= stop)
            )
            found = views(stage, page, _only(rows, page), _only(marks, page), parts)
            yield from (found[key].row.slot() for key in page)
            if stop is None:
                return
            row_start = row_start[:row_cut] + keys.behind(stop)
            mark_start = mark_start[:mark_cut] + keys.behind(stop)

    # --- counts -----------------------------------------------------------------------------------------------------

    def count_slots(self, stages: Collection[str] | None = None) -> dict[str, dict[State, int]]:
        counts: dict[str, dict[State, int]] = {}
        for stage in self._stages(_ALL) if stages is None else stages:
            found = {state: count for state, count in self._count(stage).items() if count}
            if found:
                counts[stage] = found
        return counts

    def _count(self, stage: str) -> dict[State, int]:
        """Rows by the index of states, corrected by what is held and by what has no row."""
        others = [letter for letter in STATES if letter != "s"]
        answer = self._space.kv.read(
            [
                Range(*self._space.span(keys.SLOT, stage), count_only=True),
                *[Range(*self._space.span(keys.STATE, stage, letter), count_only=True) for letter in others],
                Range(*self._space.span(keys.CLAIM, stage)),
            ]
        )
        counts = {STATES[letter]: answer.get(n).total for n, letter in enumerate(others, 1)}
        counts[State.SUCCESS] = answer.get(0).total - sum(counts.values())
        held = {
            key: entry
            for part in self._space.read_parts(answer.get(len(others) + 1).kvs, [])
            for key, entry in part.held.items()
        }
        for _, letter in held.values():
            if letter:
                counts[STATES[letter]] -= 1
        counts[State.RUNNING] = len(held)
        counts[State.PENDING] += self._count_without_row(stage, held)
        return counts

    def _count_without_row(self, stage: str, held: Collection[str]) -> int:
        """Count the slots that are marked, not held, and have no row: new ones."""
        count = 0
        start, end = self._space.span(keys.DIRTY, stage)
        for page in self._space.kv.pages(start, end, keys_only=True):
            marked = {key for key in _by_key(page, len(start)) if key not in held}
            count += len(marked) - len(self._space.pick(self._space.name(keys.SLOT, stage), marked, keys_only=True))
        return count

    def count_dirty(self, stage: str) -> int:
        answer = self._space.kv.read(
            [
                Range(*self._space.span(keys.DIRTY, stage), count_only=True),
                Range(*self._space.span(keys.SUSPECT, stage), keys_only=True),
                Range(*self._space.span(keys.CLAIM, stage)),
            ]
        )
        cut = len(self._space.name(keys.SUSPECT, stage)) + 12
        apart = {key for part in self._space.read_parts(answer.get(2).kvs, []) for key in part.held}
        apart.update(_by_key(answer.get(1).kvs, cut))
        both = self._space.pick(self._space.name(keys.DIRTY, stage), apart, answer.revision, keys_only=True)
        return answer.get(0).total + len(apart) - len(both)


def _kinds(wanted: Collection[State], *, labelled: bool) -> Iterable[bytes]:
    """The kinds of keys that slots in these states, or with a label, have at least one of."""
    if labelled:
        return [keys.LABEL]
    if not wanted or State.SUCCESS in wanted:
        return _ALL
    waiting = [keys.DIRTY] if State.PENDING in wanted else []
    return [keys.STATE, *waiting, *([keys.CLAIM] if State.RUNNING in wanted else [])]


def _by_key(found: Iterable[Kv], cut: int) -> dict[str, Kv]:
    return {keys.parts(kv.key[cut:], 1)[0]: kv for kv in found}


def _only(found: Mapping[str, Kv], wanted: Iterable[str]) -> dict[str, Kv]:
    return {key: found[key] for key in wanted if key in found}
