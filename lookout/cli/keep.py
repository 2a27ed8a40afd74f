"""``lookout keep``: the keeper of an open run, from its beginning to its verdict."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from lookout.app.deployment import Deployment, Program
from lookout.app.process import stop_on_signals
from lookout.app.run_following import another_ledger, open_run_ledger
from lookout.app.run_verdict import Verdict, judge
from lookout.app.session_place import session_in
from lookout.batches.closing import look_back
from lookout.batches.keeper import Keeper, Pace
from lookout.batches.run_watch import RunWatch
from lookout.cli.options import Templated, json_option, state_option
from lookout.cli.verdict import end_with, verdict_options
from lookout.domain.errors import InputRejected

_ABSENCE_S = 20.0
"""Longest wait for the stages at the end."""


@click.command(cls=Templated, short_help="Keep a run open for what lands, and end it.")
@click.option("--run", required=True, metavar="ID", help="The run, which an intake has begun.")
@click.option(
    "--linger",
    "linger_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="End the run when nothing has come for so many seconds.",
)
@click.option(
    "--drain-after",
    "drain_after_s",
    type=click.FloatRange(min=0),
    default=2400.0,
    show_default=True,
    metavar="S",
    help="Take nothing more after so many seconds.",
)
@verdict_options
@state_option
@json_option
@click.pass_obj
def keep(
    program: Program,
    run: str,
    linger_s: float,
    drain_after_s: float,
    to: Path | None,
    message: Path,
    state: Path | None,
    as_json: bool,
) -> None:
    """Keep a run open while its stages follow it, and end it when nothing has come for a time.

    The run is open when all stages but plot are present, and is given up with 75 when one of them is gone for 20
    seconds. It exits with 0 on success, and after SIGTERM, which hands the run's batches back; with 1 if datums failed;
    and with 75 if it cannot go on. Only a ledger on a server has such runs.
    """
    with program.open(state) as opened:
        said = _keep(opened, run, Pace(linger_s=linger_s, drain_after_s=drain_after_s))
    end_with(said, to, message, as_json=as_json)


def _keep(opened: Deployment, run: str, pace: Pace) -> Verdict:
    ledger, pipeline = open_run_ledger(opened), opened.pipeline_in_force()
    if ledger.find_run(run) is None:
        raise InputRejected("no such run", run, "an intake begins it; see lookout status")
    everybody = [stage.name for stage in pipeline.stages]
    with session_in(ledger, opened.path, f"keeper-{run}") as owner:
        keeper = Keeper(pipeline=pipeline, ledger=ledger, run=run, owner=owner, pace=pace)
        stop_on_signals(keeper.stop)
        watch = RunWatch(partial(another_ledger, opened), run, everybody, keeper.wake)
        watch.start()
        try:
            keeper.keep()
            said = judge(opened, run, look_back(pipeline, ledger, run))
            keeper.await_absence(_ABSENCE_S)
        finally:
            watch.stop()
    watch.join()
    return said
