"""``lookout look``: single objects of the store, observed and recorded in the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from lookout.app.catch_up import take_references
from lookout.app.deployment import Deployment, Program, find_object
from lookout.app.input_source import input_source
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json_line
from lookout.domain.records import Observation
from lookout.references.fit import FitReader
from lookout.sources.input_source import InputSource
from lookout.text import printable


@click.command(short_help="Observe objects of the store and record them in the ledger.")
@click.argument("objects", nargs=-1, required=True, metavar="OBJECT...")
@state_option
@json_option
@click.pass_obj
def look(program: Program, objects: tuple[str, ...], state: Path | None, as_json: bool) -> None:
    """Observe objects and record them in the ledger as they are now: OBJECT is BUCKET/KEY.

    A picture is new, changed, gone or known; a difference is work for the next cut. A model or a rule file comes into
    force, is refused, or is known.
    """
    named = [
        (name, *find_object(program.settings, name, [program.pipeline.inputs, *program.installation.references]))
        for name in objects
    ]
    with program.open(state) as opened:
        source = input_source(opened)
        for name, bucket, key in named:
            if bucket in program.installation.references:
                became, why = _reference(opened, bucket)
            else:
                became, why = _picture(opened, source, key), None
            if as_json:
                echo_json_line({"object": name, "is": became, "why": why})
            else:
                click.echo(printable(f"{became:<8} {name}" + (f"  ({why})" if why else "")))


def _picture(opened: Deployment, source: InputSource, key: str) -> str:
    def known() -> Observation | None:
        return opened.ledger.find_inputs(opened.pipeline.inputs, [key]).get(key)

    before = known()
    source.observe_again(key)
    now = known()
    if now is None:
        return "gone" if before is not None else "known"
    if before is None:
        return "new"
    same = (before.ref and before.ref.sha256, before.error) == (now.ref and now.ref.sha256, now.error)
    return "known" if same else "changed"


def _reference(opened: Deployment, bucket: str) -> tuple[str, str | None]:
    changed, refused = take_references(opened, [bucket])
    if refused:
        return "refused", "; ".join(one.reason for one in refused)
    if not changed:
        return "known", None
    notes = FitReader(opened.pipeline_in_force).look(opened.ledger)
    return "in force", "; ".join(note.sentence for note in notes) or None
