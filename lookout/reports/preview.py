"""Dry run: what would be done and why. Knows no stage by name and writes nothing anywhere.

The planner of a run decides here too, on a supposed ledger: with what a scan of the source finds, with another model
or other rules, with another threshold. Earlier stages are not run, so their later ones can only be predicted: such an
item is not ``sure``, it falls away when its inputs come out the same.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from lookout.domain.identity import sha256
from lookout.domain.pipeline import OVERVIEW, Pipeline, Refused, Stage, UsesReferences
from lookout.domain.records import (
    Claim,
    InputRef,
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
from lookout.engine.planner import MAX_LONE_LOSSES, Decision, PlannedDatum, Planner
from lookout.execution.executor import Workers
from lookout.ledger.batches import BatchLedger
from lookout.ledger.port import Ledger
from lookout.maintenance.renewal import find_outdated
from lookout.object_store.port import ObjectStore
from lookout.references.activation import Examined, accept, find_files, merge, tried

AT_ONCE: Final = 500
TRY_FILES: Final = "lookout.reports.preview:try_files"


class Action(StrEnum):
    """``PUBLISH``: history has it, so its outputs only become visible again. ``FAIL``: it would fail, or cannot be
    done, as something before it has failed."""

    PROCESS = "process"
    PUBLISH = "publish"
    RETRACT = "retract"
    FAIL = "fail"


NEW, CHANGED, GONE, RECIPE, FORCED, FAILED = "new", "changed", "gone", "recipe", "forced", "failed"
OUTDATED: Final = "outdated"
"""Why. Beside these a reason may be the name of a bucket of references: another model, another set of rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One datum that would be touched. Not ``sure``: only if what comes before it gives another result."""

    stage: str
    key: str
    action: Action
    reason: str
    sure: bool = True


def plan(
    pipeline: Pipeline,
    ledger: BatchLedger,
    store: ObjectStore,
    *,
    seen: Iterable[Observation] = (),
    references: Mapping[str, Sequence[Reference]] | None = None,
    now_s: float | None = None,
) -> Iterator[Item]:
    """Yield what a run would do now, stage by stage in the order of keys: with what was ``seen`` of the inputs beside
    what the ledger knows, and with ``references``, by bucket, instead of those in force; at ``now_s``, with what
    is outdated by then.

    Its cost depends on what is dirty, seen or failed, and, for a stage whose recipe or references move, on all of it.
    """
    return _Foresight(pipeline, ledger, store, {item.key: item for item in seen}, references or {}, now_s).items()


def suppose(
    ledger: Ledger, workers: Workers, uses: UsesReferences, path: Path
) -> tuple[tuple[Reference, ...], tuple[Refused, ...]]:
    """Return what would be in force if the files at ``path`` were activated, and which would be refused and why. They
    are tried in a worker, as for an activation; nothing is stored. Raises InputRejected when the path cannot be
    read."""
    examined = tried(workers.call(TRY_FILES, uses, find_files(uses, path)), path)
    before = {unit.name: unit for unit in ledger.references(uses.bucket)}
    after = merge(before, examined.accepted, examined.refused)
    return tuple(after[name] for name in sorted(after)), examined.refused


def try_files(uses: UsesReferences, files: Mapping[str, Path]) -> Examined:
    """In a worker: have the stage's own function look at the files; the units are stored nowhere."""
    units, refused = accept(uses, files)
    return Examined(
        accepted=tuple(
            Reference(
                bucket=uses.bucket,
                name=unit.name,
                files={role: _unstored(uses.bucket, f"{unit.name}/{role}", made) for role, made in unit.files.items()},
                meta=unit.meta,
            )
            for unit in units
        ),
        refused=refused,
    )


def _unstored(bucket: str, key: str, data: bytes) -> ObjectRef:
    return ObjectRef(bucket=bucket, key=key, sha256=sha256(data), size=len(data))


class Supposed:
    """A ledger as it would be, with all that planning reads and nothing by which anybody could write."""

    def __init__(
        self,
        ledger: Ledger,
        bucket: str,
        seen: Mapping[str, Observation],
        references: Mapping[str, Sequence[Reference]],
    ) -> None:
        self._ledger, self._bucket, self._seen, self._references = ledger, bucket, seen, references

    def references(self, bucket: str) -> tuple[Reference, ...]:
        given = self._references.get(bucket)
        return self._ledger.references(bucket) if given is None else tuple(given)

    def find_inputs(self, bucket: str, keys: Collection[str]) -> dict[str, Observation]:
        found = self._ledger.find_inputs(bucket, keys)
        if bucket == self._bucket:
            for key in self._seen.keys() & set(keys):
                seen = self._seen[key]
                if seen.ref is None and seen.error is None:
                    found.pop(key, None)
                else:
                    found[key] = seen
        return found

    def find_slots(self, stage: str, keys: Collection[str]) -> dict[str, Slot]:
        return self._ledger.find_slots(stage, keys)

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        return self._ledger.find_records(hashes)

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        return self._ledger.tallies(groups)

    def members(self, stage: str, group: str) -> list[Member]:
        return self._ledger.members(stage, group)


class _Foresight:
    """One plan in the making: by stage, what would be done with which key, as later stages depend on it."""

    def __init__(
        self,
        pipeline: Pipeline,
        ledger: BatchLedger,
        store: ObjectStore,
        seen: Mapping[str, Observation],
        references: Mapping[str, Sequence[Reference]],
        now_s: float | None,
    ) -> None:
        self._pipeline, self._ledger, self._seen = pipeline, ledger, seen
        self._outdated = set() if now_s is None else set(find_outdated(pipeline, ledger, now_s))
        supposed = Supposed(ledger, pipeline.inputs, seen, references)
        self._planner = Planner(pipeline, supposed, store)
        self._doing: dict[str, dict[str, Item]] = defaultdict(dict)
        self._groups: dict[str, None] = {}

    def items(self) -> Iterator[Item]:
        for stage in self._pipeline.stages:
            keys = iter([key for key, _ in groupby(heapq.merge(*self._candidates(stage)))])
            while some := list(islice(keys, AT_ONCE)):
                for item in self._plan(stage, some):
                    self._doing[stage.name][item.key] = item
                    yield item

    def _candidates(self, stage: Stage) -> Iterator[Iterable[str]]:
        """Keys that must be looked at, in order: waiting, failed, all on another basis, and those behind others."""
        yield self._ledger.dirty(stage.name)
        yield sorted(key for name, key in self._outdated if name == stage.name)
        failed = self._ledger.slots(stage.name, states=[State.FAILED])
        yield (slot.key for slot in failed if slot.losses < MAX_LONE_LOSSES)
        if self._planner.basis(stage) != self._ledger.basis(stage.name):
            slots = self._ledger.slots(stage.name)
            yield (slot.key for slot in slots if slot.state is not State.RETRACTED)
        if stage.grouped:
            yield sorted(self._groups)
            return
        for read in stage.reads:
            yield sorted(self._seen if read.bucket == self._pipeline.inputs else self._doing[read.bucket])

    def _plan(self, stage: Stage, keys: Sequence[str]) -> Iterator[Item]:
        slots = self._ledger.find_slots(stage.name, keys)
        claims = [_claim(slots.get(key) or Slot(stage=stage.name, key=key, state=State.PENDING)) for key in keys]
        for claim, decision in zip(claims, self._planner.plan(stage, claims), strict=True):
            item = self._item(claim.slot, decision, self._before(stage, claim.key))
            if item is None:
                continue
            if not stage.grouped and item.action is not Action.FAIL:
                self._groups.update(dict.fromkeys((*self._groups_of(claim.slot, decision), OVERVIEW)))
            yield item

    def _groups_of(self, slot: Slot, decision: Decision) -> Iterator[str]:
        """Yield the group that counts the datum now, and the one that would; a result may yet say another."""
        if slot.record is not None:
            yield slot.group
        if isinstance(decision, PlannedDatum):
            yield decision.group
        elif slot.record is None:
            yield self._pipeline.group_of(slot.key)

    def _before(self, stage: Stage, key: str) -> Item | None:
        """Return the work of earlier stages that this datum depends on; for a group, only whether there is any."""
        if stage.grouped:
            touched = key in self._groups
            return Item(stage=stage.name, key=key, action=Action.PROCESS, reason=CHANGED) if touched else None
        found = [item for read in stage.reads if (item := self._doing[read.bucket].get(key)) is not None]
        return next((item for item in found if item.action is Action.RETRACT), found[0] if found else None)

    def _item(self, slot: Slot, decision: Decision, before: Item | None) -> Item | None:
        if before is not None and before.action is Action.RETRACT:
            return _item(slot, Action.RETRACT, GONE, sure=before.sure) if slot.record is not None else None
        if before is not None and before.action is Action.FAIL:
            return _item(slot, Action.FAIL, FAILED)
        if isinstance(decision, PlannedDatum):
            return _item(slot, Action.PROCESS, self._why(slot, decision.inputs, decision.recipe))
        if (slot.stage, slot.key) in self._outdated:
            return _item(slot, Action.PROCESS, OUTDATED)
        if before is not None:
            of_group = before.stage == slot.stage
            new = slot.record is None and (of_group or before.reason not in (FAILED, CHANGED))
            return _item(slot, Action.PROCESS, NEW if new else before.reason, sure=False)
        return self._settled(slot, decision)

    def _settled(self, slot: Slot, decision: Outcome) -> Item | None:
        if decision.state in (State.FAILED, State.UNRUNNABLE):
            return _item(slot, Action.FAIL, FAILED)
        if decision.state is State.RETRACTED:
            return _item(slot, Action.RETRACT, GONE) if slot.record is not None else None
        if decision.record is not None:
            return _item(slot, Action.PUBLISH, self._why(slot, decision.record.inputs, decision.record.recipe))
        return None

    def _why(self, slot: Slot, inputs: Sequence[InputRef], recipe: str) -> str:
        """Return the first reason for which the datum differs from the live record's."""
        old = slot.record
        broken = slot.state in (State.FAILED, State.UNRUNNABLE)
        if old is None:
            return NEW if not broken else CHANGED if slot.key in self._seen else FAILED
        before, now = _by_kind(old.inputs), _by_kind(inputs)
        differing = [kind for kind in sorted(before.keys() | now.keys()) if before.get(kind) != now.get(kind)]
        if differing:
            return CHANGED if "" in differing else differing[0]
        if old.recipe != recipe:
            return RECIPE
        return FAILED if broken else FORCED


def _item(slot: Slot, action: Action, reason: str, *, sure: bool = True) -> Item:
    return Item(stage=slot.stage, key=slot.key, action=action, reason=reason, sure=sure)


def _by_kind(inputs: Sequence[InputRef]) -> dict[str, list[tuple[str, str]]]:
    """Return what a datum reads: under the bucket of references, or under "" for its other inputs."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for read in inputs:
        bucket, colon, role = read.role.partition(":")
        found[bucket if colon else ""].append((role if colon else bucket, read.ref.sha256))
    return {kind: sorted(pairs) for kind, pairs in found.items()}


def _claim(slot: Slot) -> Claim:
    """Return a claim to ask the planner about; it holds nothing. Marking a settled slot dirty resets its crash
    count, so it is 0 here."""
    slot = slot if slot.dirty else replace(slot, losses=0)
    return Claim(stage=slot.stage, key=slot.key, owner="", token=0, dirty=slot.dirty, slot=slot)
