"""Queue of claims: which stages may have dirty slots, and which of them wait until all else is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import Claim
from lookout.engine.session import EngineSession
from lookout.ledger.port import Ledger

CLAIM_LIMIT: Final = 256
"""Datums claimed at once: enough to plan in bulk, few enough that a lost engine leaves a small cohort of suspects."""


class Candidates(Protocol):
    """Keys that an engine may claim when it follows a run, ``limit`` at a time: it commits what it has before it claims
    again, so that the first of a burst does not wait for the last."""

    limit: int

    def keys(self, stage: Stage) -> Sequence[str]:
        """Return the keys of the run that are dirty in the stage now, in the order in which they are to be done. A
        key that was claimed and is not among them any more has to be given back."""
        ...


class ClaimQueue:
    """Queue of the dirty slots of some stages for one owner.

    Suspects, which a dead engine held, are put off until all else is done, and worked on with nothing beside them: so
    whatever kills the next engine holds up nothing else, and is blamed alone.
    """

    def __init__(self, pipeline: Pipeline, ledger: Ledger, session: EngineSession) -> None:
        self._pipeline, self._ledger, self._session = pipeline, ledger, session
        self._scope: frozenset[str] = frozenset()
        self._waiting: set[str] = set()
        self._put_off: set[str] = set()
        self.alone = False
        """True while suspects are at work, beside which nothing else may be."""

    def begin(self, stages: Iterable[Stage]) -> None:
        """Look after these stages from now on, each of which may have dirty slots."""
        self._scope = frozenset(stage.name for stage in stages)
        self._waiting = set(self._scope)

    def look_again(self, stages: Iterable[str] | None = None) -> None:
        """Note that these stages, by default all, may have dirty slots again."""
        self._waiting |= self._scope if stages is None else self._scope.intersection(stages)

    def may_have(self, stage: Stage) -> bool:
        """Tell whether a dirty slot of the stage may wait."""
        return stage.name in self._waiting

    def has_suspects(self, stage: Stage) -> bool:
        """Tell whether suspects of the stage wait until all else is done."""
        return stage.name in self._put_off

    def is_empty(self, stages: Iterable[Stage]) -> bool:
        """Tell whether nothing of these stages waits, not even suspects."""
        return not any(self.may_have(stage) or self.has_suspects(stage) for stage in stages)

    @property
    def waiting(self) -> frozenset[str]:
        """The stages of which a dirty slot may wait, suspects aside."""
        return frozenset(self._waiting)

    def claim(self, stage: Stage, room: int, keys: Collection[str] | None) -> list[Claim]:
        """Claim up to ``room`` dirty slots: of these keys only, if given (grouped stages always all)."""
        owner, lease_s = self._session.owner, self._session.lease_s
        if stage.grouped:
            return self._ledger.claim(stage.name, owner, room, lease_s, None, ())
        before = self._pipeline.upstream(stage.name)
        return self._ledger.claim(stage.name, owner, room, lease_s, keys, before)

    def claim_first(self, stage: Stage, candidates: Candidates) -> list[Claim]:
        """Claim the first of the candidates; others, if none of these is free."""
        keys = candidates.keys(stage)
        first = keys[: candidates.limit]
        claims = self.claim(stage, candidates.limit, first) if first else []
        if not claims and len(keys) > len(first):
            claims = self.claim(stage, candidates.limit, keys)
        return claims

    def are_to_wait(self, claims: Sequence[Claim]) -> bool:
        """Tell whether these claims have to be given back until all else is done, as there are suspects among them."""
        return not self.alone and any(claim.suspect for claim in claims)

    def put_off(self, stage: Stage) -> None:
        """Put the stage off until all else is done. To be said after its claims were given back, since a commit has
        the stage looked at again."""
        self._waiting.discard(stage.name)
        self._put_off.add(stage.name)

    def found_none(self, stage: Stage) -> None:
        """Note that the stage has no dirty slot left, not even a suspect."""
        self._waiting.discard(stage.name)
        self._put_off.discard(stage.name)
