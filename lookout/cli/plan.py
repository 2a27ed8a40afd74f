"""``lookout plan``: dry run of a run, with the reasons."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Deployment, Program
from lookout.app.run_summary import note_lines, unlistable_lines
from lookout.app.source_checks import check_folder
from lookout.cli.options import PASSES, PATH, PROBABILITY, gather, json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import UNNAMED, Pipeline, Refused, device_of
from lookout.domain.records import JsonObject, Observation, Reference
from lookout.domain.rule_fit.records import FitNote
from lookout.execution.process_pool import ProcessWorkers
from lookout.references.fit import FitReader
from lookout.reports.preview import Action, Item, plan, suppose
from lookout.sources.deletion_guard import ALLOW_HINT, DeletionGuard
from lookout.sources.folder import scan
from lookout.sources.folder_keys import origin_of
from lookout.sources.ingest import SOURCE_NOTE
from lookout.text import printable, table

KEYS_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Options as if they were given to run."""

    rules: Path | None
    model: Path | None
    devices: Path | None
    threshold: float | None
    passes: str | None

    def paths(self) -> dict[str, Path | None]:
        """The paths by bucket of references."""
        return {"rules": self.rules, "model": self.model, "devices": self.devices}


@click.command("plan", short_help="Dry run: show what would be done and why, and change nothing.")
@click.argument("source", required=False, type=PATH)
@click.option("--scan", "look", is_flag=True, help="Scan this deployment's own source too.")
@click.option("--rules", type=PATH, metavar="PATH", help="As if these were given to run.")
@click.option("--model", type=PATH, metavar="PATH", help="As if this were given to run.")
@click.option("--devices", type=PATH, metavar="PATH", help="As if this were given to run.")
@click.option("--threshold", type=PROBABILITY, metavar="P", help="As if this were given to run.")
@click.option("--passes", type=PASSES, metavar="TEXT", help="As if this were given to run.")
@click.option(
    "--limit", type=click.IntRange(0), default=KEYS_SHOWN, show_default=True, help="Keys to name for each reason."
)
@state_option
@json_option
@gather("given", _Given)
@click.pass_obj
def plan_command(
    program: Program,
    source: Path | None,
    look: bool,
    given: _Given,
    limit: int,
    state: Path | None,
    as_json: bool,
) -> None:
    """Show by stage which datums a run would work on, and why: new, changed, gone, model, rules, recipe, failed
    (retried), forced (invalidated), outdated (its time has come).

    Without SOURCE, the known backlog. With it, or with --scan, also what a scan of the pictures finds. "perhaps" are
    datums that are only done if their inputs come out different. Nothing is changed.
    """
    if source is not None:
        check_folder(program, source, state)
    with program.open(state) as opened:
        pipeline = opened.pipeline_supposed(given.threshold, given.passes)
        references, refused = _references(opened, pipeline, given.paths())
        seen, warning = _look(opened, source, scan_own=look)
        devices = {device_of(pipeline.group_of(one.key)) for one in seen if one.ref is not None} - {UNNAMED}
        notes = FitReader(lambda: pipeline).look(opened.ledger, references, devices)
        items = list(plan(pipeline, opened.ledger, opened.store, seen=seen, references=references, now_s=time.time()))
    if as_json:
        echo_json({**_as_json(pipeline, items, refused, warning), "rule_notes": [note.as_json() for note in notes]})
    else:
        click.echo("\n".join([_as_text(items, refused, warning, limit), *_notes(notes)]))


def _references(
    opened: Deployment, pipeline: Pipeline, given: dict[str, Path | None]
) -> tuple[dict[str, Sequence[Reference]], list[Refused]]:
    """Return the references that would be in force, for each bucket with a path given, and the files that would be
    refused."""
    references: dict[str, Sequence[Reference]] = {}
    refused: list[Refused] = []
    pool = ProcessWorkers(store=opened.store, size=1)
    try:
        for stage in pipeline.stages:
            uses = stage.references
            if uses is not None and (path := given.get(uses.bucket)) is not None:
                references[uses.bucket], bad = suppose(opened.ledger, pool, uses, path)
                refused += bad
    finally:
        pool.stop()
    return references, refused


def _look(opened: Deployment, source: Path | None, *, scan_own: bool) -> tuple[list[Observation], str | None]:
    """Compare the source with the ledger: return what is new, changed or gone, and why a run would not retract all that
    is gone, if so."""
    bound = opened.ledger.find_note(SOURCE_NOTE)
    known = opened.ledger.inputs(opened.pipeline.inputs)
    if source is None and not scan_own:
        return [], None
    notes: list[str] = []
    if source is None and opened.bucket is not None:
        parts = list(opened.bucket.scan(known, time.time(), verify=False))
        changed = [seen for part in parts for seen in part.changed]
        gone = [seen for part in parts for seen in part.gone]
        origin = opened.bucket.origin
    else:
        root = source or (Path(bound) if bound is not None else None)
        if root is None:
            raise InputRejected("this state has no source folder yet", str(opened.path), "name one")
        origin = origin_of(root)
        found = scan(Path(origin), opened.pipeline.inputs, known, time.time(), exclude=(opened.path.absolute(),))
        changed, gone, notes = found.changed, found.gone, unlistable_lines(found.unlistable)
    if bound not in (None, origin):
        raise InputRejected(f"this state belongs to the source {bound}", origin, "use another --state")
    guard = DeletionGuard(
        ledger=opened.ledger,
        bucket=opened.pipeline.inputs,
        origin=origin,
        clock=time.time,
        readers=opened.installation.readers,
    )
    blank = bool(gone) and opened.bucket is not None and origin == opened.bucket.origin and opened.bucket.is_blank()
    expected = guard.is_expected([seen.key for seen in gone])
    why = guard.find_objection(expected.count(False), blank=blank)
    if why is not None:
        notes.append(f"{why}: their results would be kept ({ALLOW_HINT})")
        gone = []
    return [*changed, *gone], "; ".join(notes) or None


def _as_json(pipeline: Pipeline, items: Sequence[Item], refused: Sequence[Refused], warning: str | None) -> JsonObject:
    counts: dict[str, dict[str, dict[str, int]]] = {stage.name: {} for stage in pipeline.stages}
    for item in items:
        reasons = counts[item.stage].setdefault(_verb(item), {})
        reasons[item.reason] = reasons.get(item.reason, 0) + 1
    return {
        "stages": counts,
        "items": [
            {
                "stage": item.stage,
                "key": item.key,
                "action": item.action.value,
                "reason": item.reason,
                "sure": item.sure,
            }
            for item in items
        ],
        "refused": [{"name": one.name, "reason": one.reason} for one in refused],
        "warning": warning,
    }


def _as_text(items: Sequence[Item], refused: Sequence[Refused], warning: str | None, limit: int) -> str:
    counts: Counter[tuple[str, str, str]] = Counter()
    keys: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        name = (item.stage, _verb(item), item.reason)
        counts[name] += 1
        if len(named := keys.setdefault(name, [])) < limit:
            named.append(item.key or "(overview)")
    rows = []
    for name, number in counts.items():
        more = ", ..." if number > len(keys[name]) > 0 else ""
        rows.append((*name, number, ", ".join(keys[name]) + more))
    lines = [table(rows, ("stage", "what", "why", "datums", "which"))] if rows else ["Nothing would be done."]
    lines += [f"Would be refused, so what is in force stays: {printable(one.reason)}" for one in refused]
    if warning is not None:
        lines.append(f"A run would leave this to a person: {printable(warning)}")
    return "\n".join(lines)


def _notes(notes: Sequence[FitNote]) -> list[str]:
    return ["Rules that would not fit:", *note_lines(notes)] if notes else []


def _verb(item: Item) -> str:
    return "perhaps" if item.action is Action.PROCESS and not item.sure else item.action.value
