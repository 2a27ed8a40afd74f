"""Command ``lookout demo``: the sample photographs and rules, in a state folder of their own.

It needs nothing but the installation: no server is spoken to, and no mail is sent, whatever the environment says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from lookout.app.deployment import Program
from lookout.cli.options import PATH, json_option
from lookout.cli.run import run
from lookout.domain.errors import InputRejected


@click.command(short_help="Process the sample photographs through all stages.")
@click.argument("folder", type=PATH, metavar="[DIR]", default=Path("lookout-demo"))
@json_option
@click.pass_context
def demo(context: click.Context, folder: Path, as_json: bool) -> None:
    """Process the ten sample photographs through all stages, with the sample rules, into the state folder DIR.

    DIR is lookout-demo unless it is named. Mails become files in it, as the addresses are made up. The last line names
    the page to open. Run it again, and everything is skipped.
    """
    program: Program = context.obj
    examples = program.installation.find_asset("examples")
    if examples is None:
        raise InputRejected("the sample photographs are not part of this installation", "demo", "install Lookout whole")
    settings = replace(program.settings, store=None, ledger=None, sendgrid_api_key=None, smtp=None, channels={})
    context.obj = replace(program, settings=settings)
    context.invoke(run, source=(examples / "photos",), state=folder, rules=examples / "rules", as_json=as_json)
