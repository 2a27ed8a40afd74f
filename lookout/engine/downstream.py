"""Downstream marks: the slots that an outcome makes dirty in the stages that read it. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lookout.domain.pipeline import OVERVIEW, Pipeline, Reads
from lookout.domain.records import Claim, Mark, Outcome, Record, State


class DownstreamMarks:
    """Marks for the readers of one pipeline's stages."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def add(self, claim: Claim, outcome: Outcome, record: Record | None = None) -> Outcome:
        """Give the outcome with the marks that its commit must set: for readers whose input it changes, and groups."""
        if outcome.state in (State.KILLED, State.PENDING) or (outcome.state is State.FAILED and not outcome.final):
            return outcome
        marks = tuple(self._marks(claim, outcome.state, record))
        refused = () if outcome.record is None else tuple(self._marks(claim, State.FAILED, None))
        return replace(outcome, marks=marks, marks_if_refused=refused) if marks or refused else outcome

    def _marks(self, claim: Claim, state: State, new: Record | None) -> Iterable[Mark]:
        old = claim.slot.record
        failed = state in (State.FAILED, State.UNRUNNABLE)
        healed = claim.slot.state not in (State.SUCCESS, State.PENDING)
        if new is old and not failed and not healed:
            return  # a skip: what reads this datum has read it
        for reader in self._pipeline.readers(claim.stage):
            if reader.grouped:
                continue
            reads = [read for read in reader.reads if read.bucket == claim.stage]
            if failed or healed or any(_sha256(read, old) != _sha256(read, new) for read in reads):
                yield Mark(stage=reader.name, key=claim.key)
        if not failed and not self._pipeline.stage(claim.stage).grouped:
            yield from self._group_marks(claim, old, new)

    def _group_marks(self, claim: Claim, old: Record | None, new: Record | None) -> Iterable[Mark]:
        tallied = _tallied(old) != _tallied(new)
        for stage in self._pipeline.stages:
            if not stage.grouped:
                continue
            reads = [read for read in stage.reads if read.bucket == claim.stage]
            moved = any(_member(read, old) != _member(read, new) for read in reads)
            if tallied or moved:
                for group in {record.group: None for record in (old, new) if record is not None}:
                    yield Mark(stage=stage.name, key=group)
            if tallied:
                yield Mark(stage=stage.name, key=OVERVIEW)


def _sha256(read: Reads, record: Record | None) -> str | None:
    found = read.find(record.outputs) if record is not None else None
    return found.sha256 if found is not None else None


def _tallied(record: Record | None) -> tuple[str, dict[str, int], float | None]:
    if record is None or not (record.counts or record.at_s is not None):
        return "", {}, None
    return record.group, dict(record.counts), record.at_s


def _member(read: Reads, record: Record | None) -> tuple[str, str] | None:
    return (record.group, record.hash) if record is not None and read.find(record.outputs) is not None else None
