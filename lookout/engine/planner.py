"""Planner of claimed slots: skip, republish, process, retract, fail, or nothing because a stage before it failed.

Reads the ledger in bulk and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from lookout.domain.errors import InputRejected
from lookout.domain.identity import datum_hash, digest, group_digest
from lookout.domain.isolation import apart
from lookout.domain.pipeline import OVERVIEW, Pipeline, Reads, Stage
from lookout.domain.records import (
    Claim,
    InputRef,
    JsonObject,
    Member,
    ObjectRef,
    Observation,
    Outcome,
    Record,
    Reference,
    Slot,
    State,
    Tally,
)
from lookout.engine.downstream import DownstreamMarks
from lookout.engine.in_force import read_in_force
from lookout.execution.jobs import Job, JobInput
from lookout.object_store.port import ObjectStore


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedDatum:
    """Datum that has to be run: the claim, the job, and the identity that its record will have."""

    claim: Claim
    job: Job
    hash: str
    group: str
    recipe: str
    inputs: tuple[InputRef, ...]


Decision: TypeAlias = PlannedDatum | Outcome

_SKIP: Final = Outcome(state=State.SUCCESS)
MAX_LONE_LOSSES: Final = 3
"""A datum that took so many engines down, one after another and each while it was worked on alone, is retried only when
an operator asks for it."""


class PlanningLedger(Protocol):
    """Ledger as a planner reads it; see ``Ledger`` for the contracts."""

    def references(self, bucket: str) -> Sequence[Reference]: ...
    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]: ...
    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]: ...
    def find_records(self, hashes: Collection[str]) -> dict[str, Record]: ...
    def tallies(self, groups: Collection[str] | None = None) -> Sequence[Tally]: ...
    def members(self, stage: str, group: str) -> Sequence[Member]: ...


class Planner:
    """Planner for the claims of one pipeline. What is in force is read once, when made: a batch pins it.

    A job is told both the first sight of its input and the later of that and now.
    """

    def __init__(
        self, pipeline: Pipeline, ledger: PlanningLedger, store: ObjectStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._pipeline, self._ledger, self._store, self._clock = pipeline, ledger, store, clock
        self._marks = DownstreamMarks(pipeline)
        self._in_force = read_in_force(pipeline, ledger.references)

    def basis(self, stage: Stage) -> str:
        """Give the digest of all that a stage's datums depend on beside their inputs: recipe and references."""
        return self._in_force[stage.name].basis

    def check(self, stage: Stage) -> None:
        """Raise InputRejected when the stage cannot run because nothing is in force that it needs."""
        uses = stage.references
        if uses and uses.required and not self._in_force[stage.name].references:
            raise InputRejected(
                f"no {uses.bucket} is in force", f"stage {stage.name}", f"give one with --{uses.bucket}"
            )

    def preparation(self, stage: Stage) -> Job:
        """Give a job without inputs, for workers to prepare the stage by: with all references in force."""
        selected = self._in_force[stage.name].all()
        return Job(
            stage=stage.name,
            key="",
            prepare=stage.prepare,
            params=stage.params,
            prepared=selected.prepared,
            references=selected.references,
        )

    def plan(self, stage: Stage, claims: Sequence[Claim]) -> list[Decision]:
        """Decide on each claim, in the order given."""
        drafts = self._plan_groups(stage, claims) if stage.grouped else self._plan_each(stage, claims)
        decisions = self._reuse(claims, drafts)
        return [self._risk(claim, decision) for claim, decision in zip(claims, decisions, strict=True)]

    def _risk(self, claim: Claim, decision: Decision) -> Decision:
        """Fail a datum whose record cannot be read, or that has taken too many engines down; leave any other decision
        as it is."""
        if claim.slot.damage is not None:
            return self._marks.add(claim, Outcome(state=State.FAILED, error=claim.slot.damage))
        losses = claim.slot.losses
        if not isinstance(decision, PlannedDatum) or losses < MAX_LONE_LOSSES:
            return decision
        error = f"its worker died {losses} times while it worked on this datum alone"
        return self._marks.add(claim, Outcome(state=State.FAILED, error=error))

    # --- ordinary stages: one datum per input key --------------------------------------------------------------------

    def _plan_each(self, stage: Stage, claims: Sequence[Claim]) -> list[Decision]:
        keys = [claim.key for claim in claims]
        upstream: dict[str, dict[str, Slot]] = {}
        observed: dict[str, Observation] = {}
        for read in stage.reads:
            if read.bucket == self._pipeline.inputs or read.first_seen:
                observed = self._ledger.find_inputs(self._pipeline.inputs, keys)
            if read.bucket != self._pipeline.inputs and read.bucket not in upstream:
                upstream[read.bucket] = self._ledger.find_slots(read.bucket, keys)
        return [self._plan_one(stage, claim, observed.get(claim.key), upstream) for claim in claims]

    def _plan_one(
        self, stage: Stage, claim: Claim, seen: Observation | None, upstream: Mapping[str, Mapping[str, Slot]]
    ) -> Decision:
        inputs: list[JobInput] = []
        for read in stage.reads:
            if read.bucket == self._pipeline.inputs:
                if seen is not None and seen.error is not None:
                    return Outcome(state=State.FAILED, error=seen.error)
                found = None if seen is None or seen.ref is None else _job_input(read, seen, self._clock())
            else:
                slot = upstream[read.bucket].get(claim.key)
                if slot is not None and slot.damage is not None:
                    return Outcome(state=State.UNRUNNABLE, error=f"{slot.stage} of {slot.key}: {slot.damage}")
                if slot is not None and slot.state in (State.FAILED, State.UNRUNNABLE):
                    return Outcome(state=State.UNRUNNABLE, error=f"{slot.stage} of {slot.key}: {slot.error}")
                outputs = slot.record.outputs if slot is not None and slot.record is not None else ()
                ref = read.find(outputs)
                seen_at_s = seen.observed_at_s if read.first_seen and seen is not None else None
                found = None if ref is None else _result_input(read, ref, seen_at_s)
            if found is not None:
                inputs.append(found)
            elif not read.optional:
                return Outcome(state=State.RETRACTED)
        refs = tuple(InputRef(role=item.role, ref=item.ref) for item in inputs)
        group = self._group(stage, claim.key, upstream)
        selected = self._in_force[stage.name].select(claim.key, group)
        hash_ = datum_hash(stage.name, claim.key, refs, selected.digest, selected.recipe, claim.slot.salt)
        if _is_live(claim, hash_):
            return _SKIP  # before a job is put together that nobody would run
        job = Job(
            stage=stage.name,
            key=claim.key,
            prepare=stage.prepare,
            params=stage.params,
            prepared=selected.prepared,
            token=claim.token,
            references=selected.references,
            inputs=tuple(inputs),
            known=_known_facts(claim.slot, refs, selected.recipe),
        )
        return PlannedDatum(
            claim=claim,
            job=job,
            hash=hash_,
            group=group,
            recipe=selected.recipe,
            inputs=refs + tuple(_reference_inputs(selected.references)),
        )

    def _group(self, stage: Stage, key: str, upstream: Mapping[str, Mapping[str, Slot]]) -> str:
        """Give the group of a datum: that of the datum whose output it reads; by the key, if it reads the input."""
        for read in stage.reads:
            if read.bucket != self._pipeline.inputs:
                record = upstream[read.bucket][key].record
                if record is not None:
                    return record.group
        return self._pipeline.group_of(key)

    # --- grouped stages ---------------------------------------------------------------------------------------------

    def _plan_groups(self, stage: Stage, claims: Sequence[Claim]) -> list[Decision]:
        groups = [claim.key for claim in claims if claim.key != OVERVIEW]
        sums = {tally.group: [tally] for tally in self._ledger.tallies(groups)}
        return [
            self._plan_group(stage, claim, self._ledger.tallies() if claim.key == OVERVIEW else sums.get(claim.key, []))
            for claim in claims
        ]

    def _plan_group(self, stage: Stage, claim: Claim, tallies: Sequence[Tally]) -> Decision:
        if not tallies:
            return Outcome(state=State.RETRACTED)
        members = []
        if claim.key != OVERVIEW:
            for read in stage.reads:
                members += [
                    member
                    for member in self._ledger.members(read.bucket, claim.key)
                    if read.find(member.outputs) is not None
                ]
        selected = self._in_force[stage.name].select(claim.key, claim.key)
        listed = group_digest(tallies, members)
        content = digest("grouped/1", listed, selected.digest)
        return PlannedDatum(
            claim=claim,
            job=Job(
                stage=stage.name,
                key=claim.key,
                prepare=stage.prepare,
                params=stage.params,
                prepared=selected.prepared,
                token=claim.token,
                references=selected.references,
                tallies=tuple(tallies),
                members=tuple(members),
            ),
            hash=datum_hash(stage.name, claim.key, (), content, selected.recipe, claim.slot.salt),
            group=claim.key,
            recipe=selected.recipe,
            inputs=(
                _manifest(stage, claim.key, listed, len(tallies) + len(members)),
                *_reference_inputs(selected.references),
            ),
        )

    # --- what was done before ---------------------------------------------------------------------------------------

    def _reuse(self, claims: Sequence[Claim], drafts: Sequence[Decision]) -> list[Decision]:
        """Turn datums that the live view or history has already into skips and republications."""
        missing = {
            draft.hash
            for claim, draft in zip(claims, drafts, strict=True)
            if isinstance(draft, PlannedDatum) and not _is_live(claim, draft.hash)
        }
        history = self._history(missing) if missing else {}
        decisions: list[Decision] = []
        for claim, draft in zip(claims, drafts, strict=True):
            if isinstance(draft, PlannedDatum):
                if _is_live(claim, draft.hash):
                    draft = self._marks.add(claim, _SKIP, claim.slot.record)
                elif (old := history.get(draft.hash)) is not None and self._can_return(old):
                    draft = self._marks.add(claim, Outcome(state=State.SUCCESS, record=old, republished=True), old)
            else:
                draft = self._marks.add(claim, draft, claim.slot.record if draft is _SKIP else None)
            decisions.append(draft)
        return decisions

    def _can_return(self, record: Record) -> bool:
        """Tell whether a record of history can be made live again as it is: its outputs are there, and the policy need
        not decide anew."""
        return not record.decided and all(self._store.has(record.outputs))

    def _history(self, hashes: Iterable[str]) -> dict[str, Record]:
        """Give the records of history that can be read: a datum of which one cannot is done again."""
        answers = apart(sorted(hashes), lambda some: [self._ledger.find_records(some)] * len(some))
        return {
            hash_: record for found in answers if not isinstance(found, Exception) for hash_, record in found.items()
        }


def _is_live(claim: Claim, hash_: str) -> bool:
    """Tell whether the slot holds just this datum."""
    return claim.slot.record is not None and claim.slot.hash == hash_


def _manifest(stage: Stage, group: str, listed: str, size: int) -> InputRef:
    """Give the inputs of a grouped datum as one entry: a day may have thousands, and each chart would name them all.

    Its key says which datums it lists: those of a group, or all; ``listed`` is their digest and ``size`` their number.
    """
    ref = ObjectRef(bucket=stage.reads[0].bucket, key=f"{group}/" if group else "*", sha256=listed, size=size)
    return InputRef(role="members", ref=ref)


def _job_input(read: Reads, seen: Observation, now_s: float) -> JobInput | None:
    if seen.ref is None:
        return None
    return JobInput(
        role=read.role,
        ref=seen.ref,
        max_bytes=read.max_bytes,
        observed_at_s=seen.observed_at_s,
        planned_at_s=max(seen.observed_at_s, now_s),
    )


def _result_input(read: Reads, ref: ObjectRef, seen_at_s: float | None) -> JobInput:
    return JobInput(role=read.role, ref=ref, max_bytes=read.max_bytes, observed_at_s=seen_at_s)


def _known_facts(slot: Slot, inputs: Sequence[InputRef], recipe: str) -> JsonObject | None:
    """Give the facts of the live record if it was made by this recipe from these inputs, under whichever references;
    None for a datum that somebody wanted to be done again."""
    record = slot.record
    if record is None or record.recipe != recipe or slot.salt:
        return None
    roles = {item.role for item in inputs}
    read = {item.role: item.ref.sha256 for item in record.inputs if item.role in roles}
    return record.facts if read == {item.role: item.ref.sha256 for item in inputs} else None


def _reference_inputs(references: Iterable[Reference]) -> Iterable[InputRef]:
    for reference in references:
        for role, ref in sorted(reference.files.items()):
            yield InputRef(role=f"{reference.bucket}:{role}", ref=ref)
