"""``lookout batches``: work cut into pieces for workers that share it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import click

from lookout.app.catch_up import keep_refused, take_pictures, take_references
from lookout.app.deployment import Deployment, Program
from lookout.app.page_status import reporting
from lookout.app.run_summary import unlistable_lines
from lookout.batches.cutter import BACKFILL, Cutter, abandoned, end_open, ensure_run, ordinary, run_id
from lookout.cli.datums import invalidate_range
from lookout.cli.options import PATH, STAGE, Templated, json_option, page_status_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.cli.ranges import Range, range_options
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected
from lookout.domain.identity import digest
from lookout.domain.pipeline import Refused
from lookout.domain.records import JsonObject
from lookout.filesystem.files import failure
from lookout.ledger.batches import LIVE, MAX_KEYS, UNFINISHED, Batch, BatchLedger, BatchState
from lookout.sources.deletion_guard import ALLOW_HINT
from lookout.sources.reconcile import Reconciled
from lookout.text import count, printable, when

NONE, RECENT, FULL = "none", "recent", "full"
LIVE_TAKE_OVER_S: Final = 3600.0
"""Longer than the work on live batches waits for its turn."""


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
@click.pass_obj
def cut(
    program: Program,
    run: str,
    kind: str,
    reconcile: str,
    size: int,
    age_s: float,
    prefix: str,
    since: float | None,
    until: float | None,
    stage: str | None,
    force: bool,
    take_over_s: float | None,
    workers: int,
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
    run = run or ("" if kind == LIVE else run_id(time.time()))
    chosen = Range(prefix=prefix, since_s=since, until_s=until)
    with program.open(state) as opened, reporting(opened, wanted=page_status):
        ledger = opened.ledger
        if run:
            ensure_run(ledger, run, time.time(), kind)
        seen, refused = _look(opened, reconcile, run)
        if force:
            invalidate_range(opened, stage, chosen, digest("invalidate/1", run or time.time_ns())[:16])
        idle_s = take_over_s if take_over_s is not None else LIVE_TAKE_OVER_S if kind == LIVE else 0.0
        cutter = Cutter(
            pipeline=opened.pipeline_in_force(),
            ledger=ledger,
            store=opened.store,
            clock=time.time,
            size=size,
            age_s=age_s,
        )
        now_s = time.time()
        left = abandoned(ledger, now_s - idle_s, but=run)
        if take_over_s is None:
            # What was cut live and has no run yet is still to be begun: a backfill must not put it behind itself.
            left = [one for one in left if one.run or one.kind != LIVE or one.updated_at_s <= now_s - LIVE_TAKE_OVER_S]
        end_open(ledger, [batch for batch in left if any(_is_in(opened, chosen, key) for key in batch.keys)])
        made = cutter.cut(
            kind=kind,
            run=run,
            prefix=prefix,
            wanted=partial(_has, opened, chosen),
            stages=None if stage is None else (stage,),
        )
        wanted = _workers(opened, ledger, run, made, at_most=workers, charts=kind == BACKFILL)
        if run and not wanted:
            ledger.close_run(run, "failed" if refused else "success", time.time(), {"batches": 0, "failed": 0})
    if workers_to is not None:
        _write(workers_to, json.dumps(wanted))
    _tell_left(seen, refused)
    keys = sum(len(batch.keys) for batch in made)
    if as_json:
        looked = (
            None
            if seen is None
            else {"seen": seen.seen, "changed": seen.changed, "gone": seen.gone, "held_back": seen.held}
        )
        said: JsonObject = {"run": run or None, "keys": keys, "batches": [_brief(batch) for batch in made]}
        echo_json({**said, "workers": wanted, "reconciled": looked, "refused": [one.reason for one in refused]})
    elif not made:
        click.echo("The backlog is empty, or in batches already.")
    else:
        click.echo(f"{count(len(made), 'batch', 'batches')} of {count(keys, 'picture')}")
        click.echo(f"lookout work --pull {run}" if run else "\n".join(f"lookout work --batch {one.id}" for one in made))
    sys.exit(EXIT_DATUM_FAILED if refused and not wanted else EXIT_OK)


def _look(opened: Deployment, how: str, run: str) -> tuple[Reconciled | None, list[Refused]]:
    """Compare the store's buckets with the ledger and record what is new."""
    if how == NONE:
        return None, []
    seen = take_pictures(opened, full=how == FULL)
    _, refused = take_references(opened)
    keep_refused(opened.ledger, run, refused)
    return seen, refused


def _tell_left(seen: Reconciled | None, refused: Sequence[Refused]) -> None:
    """Tell on stderr what a look has left as it was."""
    for one in refused:
        click.echo(f"refused; the references in force stay: {printable(one.reason)}", err=True)
    if seen is not None and seen.held:
        click.echo(f"held back: {count(seen.held, 'picture')} that are gone ({ALLOW_HINT})", err=True)
    for line in unlistable_lines({} if seen is None else seen.unlistable):
        click.echo(line, err=True)


def _has(opened: Deployment, chosen: Range, key: str) -> bool:
    if not chosen.is_timed:
        return True
    slots = [opened.ledger.find_slots(stage, [key]).get(key) for stage in opened.installation.readers]
    at_s = next((slot.record.at_s for slot in slots if slot is not None and slot.record is not None), None)
    return chosen.has(key, at_s, opened.installation.find_name)


def _is_in(opened: Deployment, chosen: Range, key: str) -> bool:
    return key.startswith(chosen.prefix) and _has(opened, chosen, key)


def _workers(
    opened: Deployment, ledger: BatchLedger, run: str, made: Sequence[Batch], *, at_most: int, charts: bool
) -> list[int]:
    """Return the numbers of the workers for which there is a batch; of one, if only charts are to be drawn."""
    counts = ledger.count_batches(run) if run else {BatchState.OPEN: len(made)}
    number = sum(counts.get(state, 0) for state in UNFINISHED)
    if not number and charts:
        number = any(ledger.count_dirty(stage.name) for stage in opened.pipeline.stages if stage.grouped)
    return list(range(1, min(at_most, number) + 1))


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
