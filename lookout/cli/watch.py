"""``lookout watch``: new files of a folder are processed at once, or, with ``--upload``, sent to the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Program
from lookout.cli.options import PATH, RunOptions, duration_s, json_option, run_options, state_option

_OF_A_RUN: Final = ("rules", "model", "devices", "threshold", "passes", "max_mails", "allow_deletions", "retention")


@click.command(short_help="Process every photograph that arrives in a folder, at once.")
@click.argument("folder", type=PATH, metavar="DIR")
@state_option
@run_options
@click.option("--upload", is_flag=True, help="Only upload the files to the store's bucket; another machine works.")
@click.option("--prefix", default="", metavar="TEXT", help="With --upload: prefix of every key.")
@click.option(
    "--walk-every",
    "walk_every_s",
    callback=duration_s,
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Longest time between two walks through DIR, for changes without an event.",
)
@json_option
@click.pass_context
def watch(
    context: click.Context,
    /,
    folder: Path,
    state: Path | None,
    walk_every_s: float,
    upload: bool,
    prefix: str,
    as_json: bool,
    options: RunOptions,
) -> None:
    """Process every photograph that arrives in DIR, until stopped with Ctrl-C or SIGTERM.

    Photographs that are in DIR already are processed too; a half-copied file waits until it is whole. With --json, one
    line a datum.

    With --upload nothing is processed here: each file goes to the bucket of photographs of LOOKOUT_STORE, as soon as it
    is whole and the store can be reached. What is deleted from DIR stays in the bucket.
    """
    program: Program = context.obj
    # Imported here: a device has neither models nor a ledger, and what works on pictures need not speak to a store.
    if upload:
        from lookout.cli.watch_upload import check_alone, watch_and_upload

        check_alone(context, _OF_A_RUN)
        where = state or program.settings.state
        sys.exit(
            watch_and_upload(
                program,
                folder,
                prefix=prefix,
                workers=options.workers,
                state=where,
                walk_every_s=walk_every_s,
                as_json=as_json,
            )
        )
    if prefix:
        raise click.UsageError("--prefix is for --upload; here a picture's key is its path below DIR.")
    from lookout.cli.run import watch_folder

    sys.exit(watch_folder(program, folder, state, options, walk_every_s=walk_every_s, as_json=as_json))
