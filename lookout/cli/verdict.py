"""``lookout verdict``: the end of a run, in a sentence, an exit code and a few small files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from lookout.app.deployment import Deployment, Program, find_object
from lookout.app.run_verdict import MESSAGE_FILE, Verdict, judge, write_verdict
from lookout.batches.closing import Found, close, give_up, look_back
from lookout.cli.options import PATH, F, Templated, json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_OK


def verdict_options(function: F) -> F:
    """Add ``--to`` and ``--message``: where a verdict is written beside its output."""
    to = click.option("--to", type=PATH, metavar="DIR", help="Write the files device, count, found and failed there.")
    message = click.option(
        "--message",
        type=PATH,
        default=MESSAGE_FILE,
        show_default=True,
        metavar="FILE",
        help="Write the sentence there too, if that file exists.",
    )
    return to(message(function))


def end_with(said: Verdict, to: Path | None, message: Path, *, as_json: bool) -> NoReturn:
    """Write and print a verdict, and end the command with its exit code."""
    write_verdict(said, to, message)
    if as_json:
        echo_json(said.as_json())
    else:
        click.echo(said.as_text(), err=said.exit_code != EXIT_OK)
    sys.exit(said.exit_code)


@click.command(cls=Templated, short_help="End a run, and say what was found and what failed.")
@click.option("--run", required=True, metavar="ID", help="The run that ends.")
@click.option("--object", "name", default="", metavar="BUCKET/KEY", help="The picture that it was about.")
@click.option("--batch", default="", metavar="ID", help="The batch that it was about, if it is of no run.")
@verdict_options
@state_option
@json_option
@click.pass_obj
def verdict(
    program: Program,
    run: str,
    name: str,
    batch: str,
    to: Path | None,
    message: Path,
    state: Path | None,
    as_json: bool,
) -> None:
    """End a run, and say what was found in its pictures and what failed.

    Its batches without an owner end; their backlog belongs to the next cut. It exits with 0 on success, with 1 if
    datums failed or a model or rules cannot be used, and with 75 while a worker holds one of its batches.
    """
    keys = [find_object(program.settings, name, [program.pipeline.inputs])[1]] if name else []
    with program.open(state) as opened:
        said = _end(opened, run, keys, batch)
    end_with(said, to, message, as_json=as_json)


def _end(opened: Deployment, run: str, keys: list[str], batch: str) -> Verdict:
    ledger, pipeline = opened.ledger, opened.pipeline_in_force()
    ids = [batch] if batch else []
    give_up(ledger, run, ids)
    for known in ledger.find_batches(ids).values():
        keys += known.keys
    found: Found | None = look_back(pipeline, ledger, run, keys)
    try:
        close(ledger, run, found or Found(), time.time())
    except KeyError:
        found = None
    return judge(opened, run, found)
