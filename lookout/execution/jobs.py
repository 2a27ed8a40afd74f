"""Jobs of workers, and runs of stages, which workers send back. Knows no ledger and no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lookout.domain.policy.verdicts import RuleVerdict
from lookout.domain.records import AlertDraft, JsonObject, Member, ObjectRef, Reference, Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class JobInput:
    """Input of a job; not read at all when it is larger than ``max_bytes``."""

    role: str
    ref: ObjectRef
    max_bytes: int | None = None
    observed_at_s: float | None = None
    planned_at_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Work on one datum, with all that a worker needs for it. ``prepared`` is equal exactly when the prepared stage can
    be shared; ``token`` is that of the claim."""

    stage: str
    key: str
    prepare: str
    params: JsonObject
    prepared: str
    token: int = 0
    references: tuple[Reference, ...] = ()
    inputs: tuple[JobInput, ...] = ()
    tallies: tuple[Tally, ...] = ()
    members: tuple[Member, ...] = ()
    known: JsonObject | None = None
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Facts that the store keeps with each output, for whoever finds it without the ledger."""

    @property
    def id(self) -> tuple[str, str, int]:
        """Stage, key and token: equal for no two jobs of one engine."""
        return self.stage, self.key, self.token


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRun:
    """Run of a stage on one datum: the outputs as stored and the rest of the stage's Result, or the error that ended
    it."""

    outputs: tuple[ObjectRef, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    label: str | None = None
    at_s: float | None = None
    group: str | None = None
    alerts: tuple[AlertDraft, ...] = ()
    verdicts: tuple[RuleVerdict, ...] = ()
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    error: BaseException | None = None
