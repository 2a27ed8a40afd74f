"""Free slots of a stage in a key-value store, as a claim finds them at one revision.

The marks in the order of their keys are the queue. They are read page by page, until there are enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lookout.domain.errors import Corrupt
from lookout.ledger.kv import keys
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Found, Kv, Range
from lookout.ledger.kv.slot_reader import SlotView, views
from lookout.ledger.rules.claims import Cohort


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Part of a stage's queue that was read at ``revision``: the keys held, the suspects, the first page of marks."""

    revision: int
    held: frozenset[str]
    suspects: Sequence[Kv]
    marks: Found


class FreeSlots:
    """See ``rules.claims.FreeSlots``: slots of a stage, only those of the keys ``only``, if given, that are settled in
    the stages ``before``. ``runs`` are the first and last keys of marks that lie together, of what was given out."""

    def __init__(
        self, space: Keyspace, stage: str, moment: Moment, only: Sequence[str] | None, before: Sequence[str]
    ) -> None:
        self._space, self._stage, self._moment, self._only, self._before = space, stage, moment, only, before
        self.runs: list[tuple[str, str]] = []
        self._revived: SlotView | None = None
        """The first of those that were given up as suspects and have been marked since: they are in no cohort."""
        self._free: list[tuple[bytes, str]] = []
        """Cohort and key of free suspects, the largest cohort first."""

    # --- fresh ones -------------------------------------------------------------------------------------------------

    def fresh(self, limit: int) -> list[SlotView]:
        chosen: list[SlotView] = []
        for page in self._marked(limit):
            found = self._read(page)
            together = False
            for key in page:
                if len(chosen) >= limit:
                    return chosen
                view = found.get(key)
                if view is None or view.row.suspect:
                    together = False
                    continue
                chosen.append(view)
                if together and self._only is None:
                    self.runs[-1] = (self.runs[-1][0], key)
                else:
                    self.runs.append((key, key))
                together = True
            if len(chosen) >= limit:
                break
        return chosen

    def _read(self, page: dict[str, Kv]) -> dict[str, SlotView]:
        """The slots of these marks that are free."""
        waiting = self._waiting(list(page))
        free = [key for key in page if key not in self._moment.held and key not in waiting]
        rows = self._space.pick(self._space.name(keys.SLOT, self._stage), free, self._moment.revision)
        found = views(self._stage, free, rows, page, [])
        if self._revived is None:
            self._revived = next((view for view in found.values() if view.row.suspect and _rests(view)), None)
        return found

    def _marked(self, limit: int) -> Iterator[dict[str, Kv]]:
        """Marks in the order of their keys: of the keys asked for, or of all, page by page, the first of which is
        there."""
        prefix, page = self._space.name(keys.DIRTY, self._stage), self._moment.marks
        if self._only is not None:
            found = self._space.pick(prefix, self._only, self._moment.revision)
            yield {key: found[key] for key in self._only if key in found}
            return
        while True:
            yield {keys.parts(kv.key[len(prefix) :], 1)[0]: kv for kv in page.kvs}
            if not page.more:
                return
            start = keys.behind(page.kvs[-1].key)
            again = Range(start, keys.after(prefix), limit=page_size(limit), revision=self._moment.revision)
            page = self._space.kv.read([again]).get(0)

    def _waiting(self, wanted: Sequence[str]) -> set[str]:
        """Those of the keys that are not settled in one of the stages before."""
        waiting: set[str] = set()
        if not wanted:
            return waiting
        space, revision = self._space, self._moment.revision
        for stage in self._before:
            asked = [
                Range(*space.span(keys.CLAIM, stage), revision=revision),
                Range(*space.span(keys.SUSPECT, stage), revision=revision, keys_only=True),
            ]
            found = space.pick_each([space.name(keys.DIRTY, stage)], wanted, asked, revision, keys_only=True)
            claims, suspects = found.besides
            waiting.update(found.picked[0])
            waiting.update(key for part in space.read_parts(claims.kvs, []) for key in part.held)
            waiting.update(key for _, key in space.read_suspects(stage, suspects.kvs))
        return waiting

    # --- suspects ---------------------------------------------------------------------------------------------------

    def worst(self) -> Cohort | None:
        wanted = None if self._only is None else set(self._only)
        found = self._space.read_suspects(self._stage, self._moment.suspects)
        listed = [(cohort, key) for cohort, key in found if wanted is None or key in wanted]
        waiting = self._waiting([key for _, key in listed])
        self._free = [each for each in listed if each[1] not in waiting and each[1] not in self._moment.held]
        if self._free:
            return Cohort(*keys.read_cohort(self._free[0][0]))
        if self._revived is not None:
            return Cohort(self._revived.row.suspect, self._revived.row.cohort)
        return None

    def of(self, cohort: Cohort, limit: int) -> list[SlotView]:
        if not self._free:
            return self._alone(limit)
        revision = self._moment.revision
        together = [key for part, key in self._free if Cohort(*keys.read_cohort(part)) == cohort]
        rows = self._space.pick(self._space.name(keys.SLOT, self._stage), together, revision)
        marks = self._space.pick(self._space.name(keys.DIRTY, self._stage), together, revision)
        known = views(self._stage, together, rows, marks, [])
        if len(known) < len(together):
            raise Corrupt("a suspect of the ledger", "its slot", "none")
        for view in known.values():
            if view.row.damage is not None:
                view.row.suspect, view.row.cohort = cohort
        chosen = [known[key] for key in together[:limit]]
        self.runs = [(view.key, view.key) for view in chosen if view.version]
        return chosen

    def _alone(self, limit: int) -> list[SlotView]:
        chosen = [self._revived] if self._revived is not None and limit else []
        self.runs = [(view.key, view.key) for view in chosen]
        return chosen


def page_size(limit: int) -> int:
    """Return the number of marks to read at once for a claim of so many slots."""
    return max(limit, 100)


def _rests(view: SlotView) -> bool:
    """Tell whether nothing but its mark says that the slot waits."""
    return view.kept is not None and view.kept.rests
