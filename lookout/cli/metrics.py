"""``lookout metrics``: metrics of a deployment for Prometheus, printed once or served."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lookout.app.deployment import Program
from lookout.app.process import interrupt
from lookout.cli.options import state_option
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.pipeline import Pipeline
from lookout.filesystem.files import words
from lookout.ledger.batches import BatchLedger
from lookout.log import get_logger
from lookout.references.fit import FitReader
from lookout.reports.device_health import HealthReader
from lookout.reports.status import look, pause_s
from lookout.text import printable

if TYPE_CHECKING:
    from lookout.reports.metrics import Measures

log = get_logger(__name__)


@click.command(short_help="Give the metrics for Prometheus, once or by HTTP.")
@click.option("--once", is_flag=True, help="Print the metrics and end.")
@click.option("--port", type=click.IntRange(1, 65535), default=9466, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Least pause between two readings of the ledger.",
)
@state_option
@click.pass_obj
def metrics(program: Program, once: bool, port: int, host: str, every_s: float, state: Path | None) -> None:
    """Say how it stands: datums by stage and outcome, what waits and since when, alerts, how long pictures take.

    Scrapes are answered from the last look at the ledger, so that they cost it nothing. It runs until a signal ends it.
    """
    from lookout.reports.metrics import Measures  # here, as it takes a while, and --help need not wait

    signal.signal(signal.SIGTERM, interrupt)  # the first process of a container has no other way to hear of it
    with program.open(state) as opened:
        ledger = opened.ledger
        measures = Measures(program.pipeline, follows=not once)
        if once:
            health, fit = HealthReader(program.pipeline), FitReader(opened.pipeline_in_force)
            measures.take(look(program.pipeline, ledger, time.time(), health=health, fit=fit), ledger)
            click.echo(measures.text(), nl=False)
            return
        _serve(measures, host, port)
        click.echo(f"http://{printable(host)}:{port}/metrics", err=True)
        _follow(program.pipeline, measures, ledger, FitReader(opened.pipeline_in_force), every_s)


def _serve(measures: Measures, host: str, port: int) -> None:
    """Answer in threads of its own, until the process ends."""
    from prometheus_client import start_http_server

    try:
        start_http_server(port, host, measures.registry)
    except OSError as error:
        raise InputRejected(
            f"cannot listen there: {words(error)}", f"{host}:{port}", "choose another --port"
        ) from error


def _follow(pipeline: Pipeline, measures: Measures, ledger: BatchLedger, fit: FitReader, every_s: float) -> NoReturn:
    was_up, health = True, HealthReader(pipeline)
    while True:
        began_s = time.monotonic()
        try:
            measures.take(look(pipeline, ledger, time.time(), health=health, fit=fit), ledger)
        except Unavailable as error:
            measures.fail()
            if was_up:
                log.error("no answer", error=error, then="asking again")  # noqa: TRY400 a stack would say nothing
            was_up, wait_s = False, every_s
        else:
            was_up, wait_s = True, pause_s(every_s, time.monotonic() - began_s)
        time.sleep(wait_s)
