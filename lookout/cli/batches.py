"""``lookout batches``: work cut into pieces for workers that share it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import click

from lookout.app.batch_cutting import FULL, NONE, RECENT, CutRequest, CutResult, cut_backlog
from lookout.app.deployment import Deployment, Program
from lookout.app.page_status import reporting
from lookout.app.ranges import Range
from lookout.app.run_summary import unlistable_lines
from lookout.batches.cutter import BACKFILL, ordinary
from lookout.cli.options import PATH, STAGE, Templated, gather, json_option, page_status_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.cli.ranges import range_options
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected
from lookout.domain.pipeline import Refused
from lookout.domain.records import JsonObject
from lookout.filesystem.files import failure
from lookout.ledger.batches import LIVE, MAX_KEYS, Batch, BatchState
from lookout.sources.deletion_guard import ALLOW_HINT
from lookout.sources.reconcile import Reconciled
from lookout.text import count, printable, when


@click.group(short_help="Cut waiting work into batches for several workers, and list them.")
def batches() -> None:
    """A batch is a set of pictures for one worker, which does all their waiting datums. See lookout work."""


@batches.command("cut", cls=Templated, short_help="Cut the backlog into batches.")
@click.option("--run", default="", metavar="ID", help="Cut for this run, which may exist already. [a new one]")
@click.option(
    "--kind",
    type=click.Choice([BACKFILL, LIVE]),
    default=BACKFILL,
    show_default=True,
    help="Live batches are taken before others, and need no run.",
)
@click.option(
    "--reconcile",
    type=click.Choice([NONE, RECENT, FULL]),
    default=NONE,
    show_default=True,
    help="First compare with the source: keys after the last one of each device, or all.",
)
@click.option("--size", type=click.IntRange(1, MAX_KEYS), default=200, show_default=True, help="Pictures in a batch.")
@click.option(
    "--age",
    "age_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Let fewer than --size wait until one has waited so long. [0]",
)
@range_options
@click.option("--stage", type=STAGE, help="Only the backlog of this stage.")
@click.option("--force", type=bool, default=False, metavar="BOOL", help="Do finished datums of this range again.")
@click.option(
    "--take-over",
    "take_over_s",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Also cut batches of runs without any worker for so long. [0; 3600 if live]",
)
@click.option("--workers", type=click.IntRange(1), default=1, metavar="N", help="Number of workers at once. [1]")
@click.option("--workers-to", type=PATH, metavar="FILE", help="Write a JSON list there: 1, 2 and so on to that number.")
@page_status_option
@state_option
@json_option
@gather("request", CutRequest)
@click.pass_obj
def cut(
    program: Program,
    request: CutRequest,
    chosen: Range,
    workers_to: Path | None,
    page_status: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Cut the backlog that is in no batch yet into batches; by default of a new run, whose id is printed.

    Datums with a new recipe, model or rules are part of the backlog. --reconcile first compares the store's buckets
    with the ledger: pictures, models and rules. It exits with 1 if a model or rules there cannot be used and nothing
    else is to be done; otherwise lookout verdict says so.
    """
    with program.open(state) as opened, reporting(opened, wanted=page_status):
        result = cut_backlog(opened, request, chosen)
    if workers_to is not None:
        _write(workers_to, json.dumps(result.workers))
    _tell_left(result.seen, result.refused)
    for note in result.notes:
        click.echo(f"does not fit: {printable(note.sentence)}", err=True)
    if as_json:
        echo_json(_as_json(result))
    elif not result.batches:
        click.echo("The backlog is empty, or in batches already.")
    else:
        run, made = result.run, result.batches
        click.echo(f"{count(len(made), 'batch', 'batches')} of {count(result.keys, 'picture')}")
        click.echo(f"lookout work --pull {run}" if run else "\n".join(f"lookout work --batch {one.id}" for one in made))
    sys.exit(EXIT_DATUM_FAILED if result.refused and not result.workers else EXIT_OK)


def _as_json(result: CutResult) -> JsonObject:
    seen = result.seen
    looked = (
        None
        if seen is None
        else {"seen": seen.seen, "changed": seen.changed, "gone": seen.gone, "held_back": seen.held}
    )
    return {
        "run": result.run or None,
        "keys": result.keys,
        "batches": [_brief(batch) for batch in result.batches],
        "workers": result.workers,
        "reconciled": looked,
        "refused": [one.reason for one in result.refused],
        "rule_notes": [note.as_json() for note in result.notes],
    }


def _tell_left(seen: Reconciled | None, refused: Sequence[Refused]) -> None:
    """Tell on stderr what a look has left as it was."""
    for one in refused:
        click.echo(f"refused; the references in force stay: {printable(one.reason)}", err=True)
    if seen is not None and seen.held:
        click.echo(f"held back: {count(seen.held, 'picture')} that are gone ({ALLOW_HINT})", err=True)
    for line in unlistable_lines({} if seen is None else seen.unlistable):
        click.echo(line, err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise failure(str(path), error) from error


@batches.command("list", short_help="List batches in the order of their making.")
@click.option("--run", metavar="ID", help="Only batches of this run.")
@click.option(
    "--in",
    "states",
    type=click.Choice([one.value for one in BatchState]),
    multiple=True,
    help="Only batches in this state; may be given several times.",
)
@click.option("--after", default="", metavar="ID", help="Continue after this batch.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@state_option
@json_option
@click.pass_obj
def list_batches(
    program: Program,
    run: str | None,
    states: tuple[str, ...],
    after: str,
    limit: int | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """List batches; with --json, one object a line."""
    with program.open(state) as opened:
        wanted = [BatchState(name) for name in states]
        for batch in islice(opened.ledger.batches(run=run, states=wanted, after=after), limit):
            if as_json:
                echo_json_line(_brief(batch))
            else:
                where = f"  run {batch.run}" if batch.run else ""
                line = f"{batch.state.value:<6} {batch.id}  {count(len(batch.keys), 'picture')}, {batch.kind}{where}"
                click.echo(printable(line + (f"  held by {batch.owner}" if batch.owner else "")))


@batches.command("show", short_help="Show one batch and its backlog.")
@click.argument("id_", metavar="ID")
@state_option
@json_option
@click.pass_obj
def show(program: Program, id_: str, state: Path | None, as_json: bool) -> None:
    """Show one batch: its state, its owner, its pictures, and the number of their datums that wait in each stage."""
    with program.open(state) as opened:
        batch = opened.ledger.find_batches([id_]).get(id_)
        if batch is None:
            raise InputRejected("no such batch", id_, "see lookout batches list")
        waiting = _waiting(opened, batch)
    if as_json:
        echo_json({**_brief(batch), "waiting": waiting, "basis": batch.basis, "pictures": list(batch.keys)})
        return
    of_run = f", run {printable(batch.run)}" if batch.run else ""
    click.echo(f"{batch.id}: {batch.state.value}, {batch.kind}{of_run}")
    click.echo(f"cut       {when(batch.created_at_s)}, {when(batch.updated_at_s)} as it is now")
    if batch.owner:
        click.echo(f"held by   {printable(batch.owner)} until {when(batch.lease_end_s)}")
    if batch.losses:
        click.echo(f"lost      {count(batch.losses, 'time')}, with whoever held it")
    click.echo("waiting   " + (", ".join(f"{number} {name}" for name, number in waiting.items()) or "nothing"))
    for key in batch.keys:
        click.echo(f"picture   {printable(key)}")


def _waiting(opened: Deployment, batch: Batch) -> dict[str, int]:
    found = {
        stage.name: sum(1 for slot in opened.ledger.find_slots(stage.name, batch.keys).values() if slot.dirty)
        for stage in ordinary(opened.pipeline)
    }
    return {name: number for name, number in found.items() if number}


def _brief(batch: Batch) -> JsonObject:
    return {
        "id": batch.id,
        "kind": batch.kind,
        "run": batch.run or None,
        "state": batch.state.value,
        "keys": len(batch.keys),
        "owner": batch.owner,
        "losses": batch.losses,
        "created_at_s": batch.created_at_s,
        "updated_at_s": batch.updated_at_s,
    }
