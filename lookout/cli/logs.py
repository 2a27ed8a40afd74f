"""``lookout logs``: what can be told of a run: from the ledger, and the logs of its containers, where a cluster keeps
them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lookout.app.deployment import Program, find_object
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json_line
from lookout.domain.errors import InputRejected
from lookout.ledger.port import RunRecord
from lookout.reports.timeline import find_run, tell
from lookout.text import printable, when

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore

_DAYS: Final = (-1, 0, 1)
"""Logs lie below the day on which the workflow was made, by the cluster's clock."""


@click.command(short_help="Show a run's timeline: batches, datums, failures, alerts, containers' logs.")
@click.argument("run", metavar="RUN")
@click.option("--object", "name", default="", metavar="BUCKET/KEY", help="The picture that the run was about.")
@click.option("--each", is_flag=True, help="Show each datum that was made, not only their number.")
@click.option("--containers/--no-containers", default=True, show_default=True, help="Show logs of containers too.")
@state_option
@json_option
@click.pass_obj
def logs(
    program: Program, run: str, name: str, each: bool, containers: bool, state: Path | None, as_json: bool
) -> None:
    """Show what happened in a run, in the order of time.

    A run about one picture has no batch that names it: --object finds its datums at once, else all datums are read.
    Logs of containers are shown where a cluster's workflows keep them, to a user who may read them.
    """
    with program.open(state) as opened:
        found = find_run(opened.ledger, run)
        if found is None:
            raise InputRejected("no such run", run, "see lookout status --runs 100")
        keys = [find_object(program.settings, name, [program.pipeline.inputs])[1]] if name else []
        for event in tell(opened.pipeline_in_force(), opened.ledger, found, keys, each=each):
            if as_json:
                echo_json_line({"at_s": event.at_s, "event": event.kind, "text": event.text, **event.facts})
            else:
                click.echo(f"{when(event.at_s)}  {printable(event.text)}")
        if containers and opened.minio is not None:
            for place, text in _kept(opened.minio, found):
                _show(place, text, as_json=as_json)


def _kept(store: MinioStore, run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the kept logs of the workflow of that name: where each is, and what it says."""
    from lookout.domain.errors import Denied
    from lookout.object_store.minio.access import NoBucket
    from lookout.object_store.minio.policies import LOGS_BUCKET

    began = datetime.fromtimestamp(run.started_at_s, UTC)
    try:
        for days in _DAYS:
            for listed in store.list(LOGS_BUCKET, f"{began + timedelta(days):%Y-%m-%d}/{run.id}/"):
                data = store.connection.read(store.full(LOGS_BUCKET), listed.key)
                if data is not None:
                    yield listed.key, data.decode("utf-8", "replace")
    except Denied:
        where = store.full(LOGS_BUCKET)
        click.echo(f"the logs of containers are not shown: this user may not read the bucket {where}", err=True)
    except NoBucket:
        return  # no cluster keeps its logs here


def _show(place: str, text: str, *, as_json: bool) -> None:
    if as_json:
        echo_json_line({"event": "log", "container": place, "text": text})
        return
    click.echo(f"\n{printable(place)}")
    for line in text.splitlines():
        click.echo(f"  {printable(line)}")
