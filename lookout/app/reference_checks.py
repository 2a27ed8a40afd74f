"""Checks of what is in force: its files are there, and a stage that cannot do without can still make use of them.

What was accepted by an older version, or on another machine, need not be usable here. A worker process tries it, as a
model may kill or hang whoever opens it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

from lookout.app.deployment import Deployment
from lookout.app.health_checks import Check
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Prepare, Stage, load, silent_units, unit_names
from lookout.domain.records import LoadedReference, Reference
from lookout.execution.executor import StageTimeoutError, WorkerDiedError, Workers
from lookout.execution.process_pool import ProcessWorkers
from lookout.object_store.port import ObjectReader
from lookout.references.fit import FitReader

TRY: Final = "lookout.app.reference_checks:find_obstacle"


def check_references(opened: Deployment) -> Iterator[Check]:
    """Yield a check for each bucket of references."""
    for stage in opened.pipeline_in_force().stages:
        if stage.references is None:
            continue
        bucket = stage.references.bucket
        units = opened.ledger.references(bucket)
        names = ", ".join(unit_names(units)) or "none in force"
        if silent := silent_units(units):
            names += f"; tells nobody: {', '.join(silent)}"
        there = all(opened.store.has([ref for unit in units for ref in unit.files.values()]))
        obstacle = _try_alone(opened, stage, units) if there and units and stage.references.required else None
        found = names if obstacle is None else f"{names}: {obstacle}"
        hint = f"give it again with --{bucket}" if obstacle is None else f"give another one with --{bucket}"
        yield Check(name=bucket, ok=there and obstacle is None, found=found, hint=hint)


def check_fit(opened: Deployment) -> Iterator[Check]:
    """Yield a warning for each thing in the rules in force that does not fit model, threshold and devices."""
    notes = FitReader(opened.pipeline_in_force).look(opened.ledger)
    if not notes:
        yield Check(name="fit", ok=True, found="the rules fit the model and the devices")
    for note in notes:
        hint = "this rule can match nothing; see docs/rules.md" if note.without_effect else "see docs/rules.md"
        yield Check(name="fit", ok=True, warning=True, found=note.sentence, hint=hint)


def _try_alone(opened: Deployment, stage: Stage, units: Sequence[Reference]) -> str | None:
    pool = ProcessWorkers(store=opened.store, size=1)
    try:
        return try_stage(opened, pool, stage, units)
    finally:
        pool.stop()


def try_stage(opened: Deployment, workers: Workers, stage: Stage, units: Sequence[Reference]) -> str | None:
    """Return the reason why the stage cannot be prepared, in a worker, with what is in force; None if it can."""
    try:
        return cast("str | None", workers.call(TRY, stage, units, opened.store)())
    except (StageTimeoutError, WorkerDiedError) as exc:
        return f"when it was tried, {exc}"


def find_obstacle(stage: Stage, units: Sequence[Reference], store: ObjectReader) -> str | None:
    """Prepare the stage with these references; return the sentence with which it refuses them. For a worker process."""
    loaded = [
        LoadedReference(reference=unit, data={role: store.get(ref) for role, ref in unit.files.items()})
        for unit in units
    ]
    try:
        cast(Prepare, load(stage.prepare))(stage.params, loaded)
    except InputRejected as exc:
        return str(exc)
    return None
