"""``lookout batches``: work cut into pieces for workers that share it."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import click

from lookout.batches import BACKFILL, Cutter, ensure_run, ordinary, run_id
from lookout.cli.options import json_option, state_option
from lookout.cli.output import count, echo_json, echo_json_line, printable, when
from lookout.cli.ranges import Range, range_options
from lookout.cli.state import Deployment, open_state, pipeline_for
from lookout.datum import JsonObject
from lookout.errors import InputRejected
from lookout.ledger.batching import LIVE, MAX_KEYS, Batch, BatchState, with_batches
from lookout.settings import Settings
from stages.pipeline import PIPELINE


@click.group(short_help="Cut waiting work into batches for several workers, and list them.")
def batches() -> None:
    """A batch is some pictures for one worker, which does all that waits of them. See lookout work."""


@batches.command("cut", short_help="Cut what waits into batches.")
@click.option("--run", metavar="ID", help="Of this run, which may be there already. [a new one]")
@click.option("--live", is_flag=True, help="Outside any run, and taken before what belongs to one.")
@click.option("--size", type=click.IntRange(1, MAX_KEYS), default=200, show_default=True, help="Pictures in a batch.")
@click.option(
    "--age",
    "age_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Leave fewer than that waiting until one has waited so long. [0]",
)
@range_options
@state_option
@json_option
@click.pass_obj
def cut(
    settings: Settings,
    run: str | None,
    live: bool,
    size: int,
    age_s: float,
    prefix: str,
    since: float | None,
    until: float | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Cut what waits, and is in no batch yet, into batches; by default of a new run, whose id is printed.

    Recipes, model and rules that are new are taken into account: what they touch waits too.
    """
    if live and run is not None:
        raise InputRejected("expected one of --live and --run", "lookout batches cut")
    chosen = Range(prefix=prefix, since_s=since, until_s=until)
    with open_state(settings, state) as opened:
        ledger = with_batches(opened.ledger)
        cutter = Cutter(
            pipeline=pipeline_for(opened, None),
            ledger=ledger,
            store=opened.store,
            clock=time.time,
            size=size,
            age_s=age_s,
        )
        run = "" if live else run or run_id(time.time())
        if run:
            ensure_run(ledger, run, time.time())
        made = cutter.cut(kind=LIVE if live else BACKFILL, run=run, prefix=prefix, wanted=chosen.has)
        if run and not made:
            ledger.close_run(run, "success", time.time(), {"batches": 0, "failed": 0})
    keys = sum(len(batch.keys) for batch in made)
    if as_json:
        echo_json({"run": run or None, "keys": keys, "batches": [_brief(batch) for batch in made]})
    elif not made:
        click.echo("Nothing waits that is in no batch.")
    else:
        click.echo(f"{count(len(made), 'batch', 'batches')} of {count(keys, 'picture')}")
        click.echo(f"lookout work --pull {run}" if run else "\n".join(f"lookout work --batch {one.id}" for one in made))


@batches.command("list", short_help="List batches in the order of their making.")
@click.option("--run", metavar="ID", help="Of this run only.")
@click.option(
    "--in",
    "states",
    type=click.Choice([one.value for one in BatchState]),
    multiple=True,
    help="In this state only; may be given several times.",
)
@click.option("--after", default="", metavar="ID", help="Go on after this batch.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@state_option
@json_option
@click.pass_obj
def list_batches(
    settings: Settings,
    run: str | None,
    states: tuple[str, ...],
    after: str,
    limit: int | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """List batches; with --json, one object a line."""
    with open_state(settings, state) as opened:
        wanted = [BatchState(name) for name in states]
        for batch in islice(with_batches(opened.ledger).batches(run=run, states=wanted, after=after), limit):
            if as_json:
                echo_json_line(_brief(batch))
            else:
                where = f"  run {batch.run}" if batch.run else ""
                line = f"{batch.state.value:<6} {batch.id}  {count(len(batch.keys), 'picture')}, {batch.kind}{where}"
                click.echo(printable(line + (f"  held by {batch.owner}" if batch.owner else "")))


@batches.command("show", short_help="Show one batch, and what waits of it.")
@click.argument("id_", metavar="ID")
@state_option
@json_option
@click.pass_obj
def show(settings: Settings, id_: str, state: Path | None, as_json: bool) -> None:
    """Show one batch: its state, who holds it, its pictures, and how many datums of them wait in which stage."""
    with open_state(settings, state) as opened:
        batch = with_batches(opened.ledger).find_batches([id_]).get(id_)
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
        for stage in ordinary(PIPELINE)
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
