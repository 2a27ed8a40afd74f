"""``lookout work``: one worker of batches, through all stages or one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lookout.app.deployment import Program
from lookout.app.stage_worker import Task, work_through
from lookout.cli.options import STAGE, json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_OK, EXIT_STOPPED


@click.command(short_help="Work on one batch, one picture, or all batches of a run.")
@click.option("--batch", default="", metavar="ID", help="Work on this batch.")
@click.option("--object", "key", default="", metavar="KEY", help="Observe this picture, and work on it.")
@click.option(
    "--pull",
    default="",
    metavar="RUN",
    help="Work on this run's batches, one after the other.",
)
@click.option("--stage", type=STAGE, help="This stage only, and its mails.")
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Worker processes. [one a core]")
@click.option(
    "--max-mails",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="More alerts than this become one digest a recipient.",
)
@state_option
@json_option
@click.pass_obj
def work(
    program: Program,
    /,
    state: Path | None,
    as_json: bool,
    **task: Any,
) -> None:
    """Work on batches that lookout batches cut has made. Any number of workers may work on one run at once.

    It exits with 0 when all work was done, even if datums failed: the ledger has them. It exits with 75 when another
    worker holds the rest, or something does not answer: then the same call may work later. Ctrl-C or SIGTERM hands the
    batch back.
    """
    ended = work_through(program, Task(**task), state)
    if as_json:
        echo_json(ended.as_json())
    else:
        click.echo(ended.as_text())
    sys.exit(EXIT_STOPPED if ended.stopped else EXIT_OK)
