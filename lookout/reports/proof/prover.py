"""Proof of an alert: it is made again from what its record names, in memory, and compared with what was kept.

The way goes back from the alert to its datum, to the datums that made its inputs, and to the picture, by digests only.
Each of these datums is run again on bytes with exactly the recorded digests, with the recorded recipe. Nothing is
written. Must not know any stage, and must not trust a name where there is a digest.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from lookout.domain.errors import ObjectChanged, ObjectMissing, Unavailable
from lookout.domain.identity import alert_id, datum_hash, references_digest, sha256
from lookout.domain.pipeline import Pipeline, Prepare, Stage, load
from lookout.domain.records import (
    Alert,
    Input,
    InputRef,
    Json,
    JsonObject,
    LoadedReference,
    ObjectRef,
    Record,
    Reference,
    Result,
    Work,
)
from lookout.engine.earlier_alerts import same_recipient
from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectReader
from lookout.reports.proof.findings import Findings, Proof, Step
from lookout.reports.proof.means import RUNTIME, differs_in_runtime_only, find_means


class Prover:
    """Proves alerts of one ledger. ``pipelines`` are the same stages with the parameters that may have been in force:
    a record's recipe says by its digest which one it was. ``code`` is the version of the code that runs now."""

    def __init__(self, pipelines: Sequence[Pipeline], ledger: Ledger, store: ObjectReader, code: str) -> None:
        self._pipelines, self._ledger, self._store, self._code = pipelines, ledger, store, code

    def prove(self, alert: Alert) -> Proof:
        """Make the alert again. Raises Unavailable when ledger or store do not answer; all else is in the proof."""
        return _Attempt(self._pipelines, self._ledger, self._store, self._code, alert).prove()


@dataclass
class _Attempt:
    """One proof while it is made."""

    pipelines: Sequence[Pipeline]
    ledger: Ledger
    store: ObjectReader
    code: str
    alert: Alert
    found: Findings = field(default_factory=Findings)
    same_bytes: dict[str, list[ObjectRef]] = field(default_factory=dict)
    """Every object of the chain by its digest: the same bytes may be kept in a second place."""
    made: dict[str, bytes] = field(default_factory=dict)

    def prove(self) -> Proof:
        record = self.ledger.find_records([self.alert.datum_hash]).get(self.alert.datum_hash)
        steps: list[Step] = []
        if record is None:
            self.found.obstacles.append(f"the ledger has no record of the datum {self.alert.datum_hash}")
        else:
            self._check_alert(record)
            chain: dict[str, Record] = {}
            self._collect(record, chain)
            for link in chain.values():
                for ref in (*(item.ref for item in link.inputs), *link.outputs):
                    self.same_bytes.setdefault(ref.sha256, []).append(ref)
            steps = [self._again(link) for link in chain.values()]
            codes = sorted({link.code for link in chain.values()} - {self.code})
            if codes:
                self.found.remarks.append(f"made by other code: {', '.join(codes)}; this is {self.code}")
        return self.found.proof(self.alert.id, tuple(steps))

    # --- the chain of digests ---------------------------------------------------------------------------------------

    def _check_alert(self, record: Record) -> None:
        """The alert is the one that its draft says, and hangs on its datum and its picture by digests."""
        draft = self.alert.draft
        self.found.compare("the alert's id", self.alert.id, alert_id(draft))
        if self.alert.id not in record.alert_ids:
            self.found.differ(f"the alerts of {_name(record)}", self.alert.id, None)
        evidence = {ref.key: ref.sha256 for ref in record.outputs}
        self.found.compare("the alert's evidence", self.alert.evidence.sha256, evidence.get(draft.evidence))
        if draft.picture_sha256 not in {item.ref.sha256 for item in record.inputs}:
            self.found.differ(f"the picture that {_name(record)} read", draft.picture_sha256, None)

    def _collect(self, record: Record, chain: dict[str, Record]) -> None:
        """All datums on the way from the inputs to this one, each after those it needs."""
        stages = {stage.name for stage in self.pipelines[0].stages}
        for item in record.inputs:
            if item.ref.bucket not in stages or item.role == "members":
                continue
            maker = self._maker(item.ref)
            if maker is None:
                self.found.obstacles.append(
                    f"no record says how {item.ref.path} with sha256 {item.ref.sha256} was made"
                )
            elif maker.hash not in chain:
                self._collect(maker, chain)
        chain[record.hash] = record

    def _maker(self, ref: ObjectRef) -> Record | None:
        wanted = (ref.key, ref.sha256)
        for record in self.ledger.makers(ref.bucket, ref.key):
            if any((made.key, made.sha256) == wanted for made in record.outputs):
                return record
        return None

    def _check_hash(self, record: Record, stage: Stage) -> None:
        """The record's name is the digest of what it says it read."""
        references = references_digest(_references(stage, record))
        read = [item for item in record.inputs if not _is_reference(stage, item)]
        slot = self.ledger.find_slots(record.stage, [record.key]).get(record.key)
        salts = ["", *([slot.salt] if slot is not None and slot.salt else [])]
        hashes = [datum_hash(record.stage, record.key, read, references, record.recipe, salt) for salt in salts]
        if record.hash in hashes:
            return
        if slot is not None and slot.salt:
            # Done anew on purpose more than once: only the last salt is kept, so the older name cannot be computed.
            self.found.remarks.append(f"the name of {_name(record)} cannot be checked: it was done anew since")
        else:
            self.found.differ(f"the hash of {_name(record)}", record.hash, hashes[0])

    # --- running again ----------------------------------------------------------------------------------------------

    def _again(self, record: Record) -> Step:
        """Run one datum of the chain again and compare all that it made."""
        before = len(self.found.differences)
        result = self._run(record)
        made_with: JsonObject = {}
        if result is not None:
            self._compare_result(record, result)
            made_with = next(filter(None, (find_means(output.data) for output in result.outputs)), {})
        same: bool | None = None if result is None else True
        if len(self.found.differences) > before:
            same = False
        return Step(
            stage=record.stage,
            key=record.key,
            datum=record.hash,
            run=record.run,
            code=record.code,
            same=same,
            made_with=made_with,
        )

    def _run(self, record: Record) -> Result | None:
        stage = self._stage(record)
        if stage is None:
            return None
        self._check_hash(record, stage)
        work = self._work(stage, record)
        loaded = self._load(stage, record)
        if work is None or loaded is None:
            return None
        try:
            return cast(Prepare, load(stage.prepare))(stage.params, loaded)(work)
        except Unavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a stage ends with, it did not end so when it was recorded
            self.found.differ(_name(record), "success", f"{type(exc).__name__}: {exc}")
            return None

    def _stage(self, record: Record) -> Stage | None:
        """Return the stage with the recorded recipe; without it, nothing can be said."""
        found = [stage for pipeline in self.pipelines for stage in pipeline.stages if stage.name == record.stage]
        stage = next((stage for stage in found if stage.recipe == record.recipe), None)
        if stage is None:
            self.found.obstacles.append(
                f"{_name(record)} was made by a recipe (version or parameters) that is not known here: {record.recipe};"
                f" its code was {record.code}"
            )
        elif stage.grouped:
            self.found.obstacles.append(f"{_name(record)} is made of sums, which are not kept as they were")
            return None
        return stage

    def _work(self, stage: Stage, record: Record) -> Work | None:
        inputs: dict[str, Input] = {}
        limits = {read.role: read.max_bytes for read in stage.reads}
        complete = True
        for item in record.inputs:
            if _is_reference(stage, item):
                continue
            limit = limits.get(item.role)
            data = b"" if limit is not None and item.ref.size > limit else self._bytes(item.ref)
            if data is None:
                complete = False
                continue
            seen_at_s = self._first_seen_at_s(stage, record, item)
            inputs[item.role] = Input(
                role=item.role,
                ref=item.ref,
                data=data,
                observed_at_s=seen_at_s,
                planned_at_s=None if seen_at_s is None else max(seen_at_s, record.started_at_s),
            )
        return Work(key=record.key, inputs=inputs) if complete else None

    def _first_seen_at_s(self, stage: Stage, record: Record, item: InputRef) -> float | None:
        """Return when the picture was first seen, where the stage is told."""
        bucket = self.pipelines[0].inputs
        is_told = any(read.role == item.role and read.first_seen for read in stage.reads)
        if item.ref.bucket != bucket and not is_told:
            return None
        known = self.ledger.find_inputs(bucket, [record.key]).get(record.key)
        same = known is not None and known.ref is not None and known.ref.sha256 == item.ref.sha256
        return known.observed_at_s if known is not None and same else None

    def _load(self, stage: Stage, record: Record) -> list[LoadedReference] | None:
        loaded = []
        for reference in _references(stage, record):
            data = {role: found for role, ref in reference.files.items() if (found := self._bytes(ref)) is not None}
            if len(data) < len(reference.files):
                return None
            loaded.append(LoadedReference(reference=reference, data=data))
        return loaded

    def _bytes(self, ref: ObjectRef) -> bytes | None:
        """Return the bytes with this digest: as made again just now, or as stored, under this name or another of the
        chain."""
        data = self.made.get(ref.sha256)
        for place in (ref, *self.same_bytes.get(ref.sha256, ())):
            if data is not None:
                break
            try:
                data = self.store.get(place)
            except (ObjectMissing, ObjectChanged):
                continue
        if data is None:
            # What the chain makes is missing because of something before it, which is named: only if that is no
            # expired input, this is a thing to look for too.
            if not any(stage.name == ref.bucket for stage in self.pipelines[0].stages) or self.found.obstacles:
                self.found.expired.append(f"{ref.path} with sha256 {ref.sha256}")
        else:
            self.made[ref.sha256] = data
        return data

    # --- comparing --------------------------------------------------------------------------------------------------

    def _compare_result(self, record: Record, result: Result) -> None:
        name = _name(record)
        kept = {ref.key: ref for ref in record.outputs}
        made = {output.key: output.data for output in result.outputs}
        self.made.update((sha256(data), data) for data in made.values())
        for key in sorted(kept.keys() | made.keys()):
            self._compare_output(f"{name}: {record.stage}/{key}", kept.get(key), made.get(key))
        for what, old, new in (
            ("facts", record.facts, result.facts),
            ("counts", record.counts, result.counts),
            ("label", record.label, result.label),
            ("at_s", record.at_s, result.at_s),
        ):
            self.found.compare(f"{name}: {what}", cast(Json, old), cast(Json, new))
        if record.hash == self.alert.datum_hash:
            self._compare_alert(result)

    def _compare_output(self, where: str, kept: ObjectRef | None, made: bytes | None) -> None:
        if kept is not None and made is not None and sha256(made) == kept.sha256:
            return
        digest = sha256(made) if made is not None else None
        if kept is None or made is None:
            self.found.differ(f"{where}: sha256", kept.sha256 if kept is not None else None, digest)
            return
        try:
            was, now = json.loads(self.store.get(kept)), json.loads(made)
        except (ObjectMissing, ObjectChanged, ValueError):
            self.found.differ(f"{where}: sha256", kept.sha256, digest)
            self.found.compare(f"{where}: bytes", kept.size, len(made))  # no JSON, or the old bytes are gone
            return
        if differs_in_runtime_only(was, now):
            self.found.remarks.append(f"{where}: made with {json.dumps(was[RUNTIME])}, here with "
                                      f"{json.dumps(now[RUNTIME])}")  # fmt: skip
            return
        self.found.differ(f"{where}: sha256", kept.sha256, digest)
        self.found.compare(where, was, now)

    def _compare_alert(self, result: Result) -> None:
        drafts = [*result.alerts, *(draft for verdict in result.verdicts for draft in verdict.all_drafts)]
        draft = same_recipient(drafts, self.alert.draft)
        if draft is None:
            self.found.differ("the alert", self.alert.id, None)
        else:
            self.found.compare("the alert", dataclasses.asdict(self.alert.draft), dataclasses.asdict(draft))


def _name(record: Record) -> str:
    return f"{record.stage} of {record.key or 'all groups'}"


def _is_reference(stage: Stage, item: InputRef) -> bool:
    return stage.references is not None and item.ref.bucket == stage.references.bucket


def _references(stage: Stage, record: Record) -> list[Reference]:
    """Return the references that a record names, as units again. Their files lie under ``<unit>/<role>``; what was
    extracted from them for choosing among units is not needed once they are chosen."""
    units: dict[str, dict[str, ObjectRef]] = {}
    for item in record.inputs:
        if _is_reference(stage, item):
            name, _, role = item.ref.key.rpartition("/")
            units.setdefault(name, {})[role] = item.ref
    bucket = stage.references.bucket if stage.references is not None else ""
    return [Reference(bucket=bucket, name=name, files=files) for name, files in sorted(units.items())]
