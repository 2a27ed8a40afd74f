"""``lookout status``: where a state stands."""

from __future__ import annotations

from pathlib import Path

import click

from lookout.cli.options import json_option, state_option
from lookout.cli.output import count, echo_json, printable, table, when
from lookout.cli.state import open_state
from lookout.datum import State
from lookout.settings import Settings
from stages.pipeline import PIPELINE


@click.command(short_help="What is done, waiting, failed and alerted, and the last runs.")
@state_option
@click.option(
    "--runs", "shown", type=click.IntRange(0, 1000), default=5, show_default=True, help="How many runs to show."
)
@json_option
@click.pass_obj
def status(settings: Settings, state: Path | None, shown: int, as_json: bool) -> None:
    """Show stages by state, pictures, what is in force, alerts and the last runs."""
    with open_state(settings, state) as opened:
        ledger = opened.ledger
        counts = ledger.count_slots()
        stages = {
            stage.name: {
                **{one.value: counts.get(stage.name, {}).get(one, 0) for one in State},
                "waiting": ledger.count_dirty(stage.name),
            }
            for stage in PIPELINE.stages
        }
        source = ledger.find_note("source")
        pictures = ledger.count_inputs(PIPELINE.inputs)
        in_force = {bucket: [unit.name for unit in ledger.references(bucket)] for bucket in ("model", "rules")}
        alerts = {one.value: number for one, number in ledger.count_alerts().items()}
        runs = ledger.runs(shown)
    if as_json:
        echo_json(
            {
                "state": str(opened.path),
                "source": source,
                "pictures": pictures,
                "stages": stages,
                "in_force": in_force,
                "alerts": alerts,
                "runs": runs,
            }
        )
        return
    columns = ("success", "failed", "unrunnable", "killed", "retracted", "waiting")
    click.echo(f"source    {printable(source) or 'single files'}, {count(pictures, 'picture')}")
    for bucket, names in in_force.items():
        click.echo(f"{bucket:<9} {printable(', '.join(names)) or 'none in force'}")
    said = ", ".join(f"{number:,} {name}" for name, number in alerts.items()) or "none"
    click.echo(f"alerts    {said}\n")
    click.echo(
        table([(name, *(row[column] for column in columns)) for name, row in stages.items()], ("stage", *columns))
    )
    if runs:
        rows = [(run.id, run.kind, run.state, when(run.started_at_s), when(run.ended_at_s)) for run in runs]
        click.echo("\n" + table(rows, ("run", "kind", "state", "started", "ended")))
