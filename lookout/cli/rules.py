"""``lookout rules``: checks of rule files, and simulations of what they would tell."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from lookout.app.channel_checks import find_fault, named_in
from lookout.app.deployment import Program
from lookout.app.installation import TrialOf
from lookout.cli.options import PATH, PROBABILITY, gather, json_option
from lookout.cli.output import echo_json_line
from lookout.cli.ranges import Moment
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected
from lookout.domain.records import JsonObject
from lookout.text import printable

_SHOWN: Final = {
    "told_by": "told by",
    "until_s": "until",
    "left_s": "seconds left",
    "needed": "needed",
    "event": "event",
}


@click.group(short_help="Check rule files, and try what they would tell.")
def rules() -> None:
    """Check rule files, and try what they would tell. No command reads or changes a state."""


@rules.command("check", short_help="Check a rule file, or a folder of them.")
@click.argument("path", type=PATH, metavar="PATH")
@json_option
@click.pass_obj
def check(program: Program, path: Path, as_json: bool) -> None:
    """Check each rule file at PATH, a file or a folder, and say what is wrong with it or can never hold.

    With --json, one object a line. It ends with 1 if a file is refused.
    """
    refused = False
    for found in program.installation.load_rule_tools().check(path):
        refused = refused or "reason" in found
        found = _with_channels(program, found)
        if as_json:
            echo_json_line(found)
        else:
            click.echo(_as_text(found))
    sys.exit(EXIT_DATUM_FAILED if refused else EXIT_OK)


@rules.command("simulate", short_help="Decide on a list of pictures, without a state.")
@click.argument("rules_path", type=PATH, metavar="RULES")
@click.argument("events", type=PATH, metavar="EVENTS")
@click.option(
    "--threshold", type=PROBABILITY, default=0.5, show_default=True, metavar="P", help="The detection threshold."
)
@json_option
@click.pass_obj
def simulate(program: Program, rules_path: Path, events: Path, threshold: float, as_json: bool) -> None:
    """Decide on each picture of EVENTS by the rules at RULES, as if it arrived now, and show the alerts at the end.

    EVENTS is a file of JSON lines, or - for stdin. Nothing is sent and no state is read.
    """
    tools = program.installation.load_rule_tools()
    for found in tools.simulate(rules_path, events, threshold, _note):
        if as_json:
            echo_json_line(found)
        else:
            click.echo(_decision(found) if "code" in found else _alert(found))


@rules.command("test", short_help="Show what would match on photographs, and why not.")
@click.argument("rules_path", type=PATH, metavar="RULES")
@click.argument("photos", type=PATH, nargs=-1, required=True, metavar="PHOTO...")
@click.option("--model", type=PATH, metavar="PATH", help="A model. [the shipped one]")
@click.option("--threshold", type=PROBABILITY, metavar="P", help="The detection threshold. [the model's]")
@click.option("--device", metavar="NAME", help="The device that took them. [by their names]")
@click.option("--at", "at_s", type=Moment(), metavar="TIME", help="When they were taken. [by their names]")
@click.option("--to", "folder", type=PATH, metavar="DIR", help="Draw them into this folder, with zones and boxes.")
@json_option
@gather("trial", TrialOf)
@click.pass_obj
def test(
    program: Program,
    rules_path: Path,
    photos: tuple[Path, ...],
    model: Path | None,
    folder: Path | None,
    as_json: bool,
    trial: TrialOf,
) -> None:
    """Detect objects on each PHOTO, and show whether it matches the rules at RULES, and if not, why.

    What was told before is not asked. With --json, one object a photograph and rule. Nothing is sent.
    """
    shipped = model or program.installation.find_asset("models")
    if shipped is None:
        raise InputRejected("no model is shipped with this installation", "--model", "name one")
    for found in program.installation.load_rule_tools().try_photos(rules_path, shipped, photos, trial, folder):
        if as_json:
            echo_json_line(found)
        else:
            click.echo("\n".join(_trial(found)))


@rules.command("schema", short_help="Print the JSON Schema of rule files.")
@click.pass_obj
def schema(program: Program) -> None:
    """Print the JSON Schema of rule files of version 2, for editors and checks."""
    click.echo(program.installation.load_rule_tools().schema(), nl=False)


def _with_channels(program: Program, found: JsonObject) -> JsonObject:
    """Add a note for each channel that a rule names and that this environment does not have."""
    faults = {name: find_fault(program, name) for name in sorted(named_in(found))}
    said = [f"{name} is not set up here: {fault}" for name, fault in faults.items() if fault is not None]
    notes = found.get("notes")
    return {**found, "notes": [*notes, *said]} if said and isinstance(notes, Sequence) else found


def _note(sentence: str) -> None:
    click.echo(f"lookout: {sentence}", err=True)


def _as_text(found: JsonObject) -> str:
    if "reason" in found:
        return str(found["reason"])
    form = "original form" if found["version"] is None else f"version {found['version']}"
    count = len(found["rules"]) if isinstance(found["rules"], Sequence) else 0
    lines = [f"{printable(found['file'])}: {form}, {count} {'rule' if count == 1 else 'rules'}"]
    notes = found["notes"] if isinstance(found["notes"], Sequence) else ()
    return "\n".join([*lines, *(f"{printable(found['file'])}: note: {note}" for note in notes)])


def _trial(found: Mapping[str, object]) -> Iterator[str]:
    yield f"{printable(found['photo'])}: {printable(found['rule'])}: {found['code'] or 'match'}"
    objects = found["objects"] if isinstance(found["objects"], Sequence) else ()
    for one in objects:
        numbers = "".join(f", {name} {printable(value)}" for name, value in one.get("numbers", {}).items())
        yield f"  {printable(one['class'])} {one['score']:.2f}: {one['code'] or 'matters'}{numbers}"


def _decision(found: Mapping[str, object]) -> str:
    numbers = [f"{words} {printable(found[name])}" for name, words in _SHOWN.items() if found.get(name) is not None]
    said = f" ({', '.join(numbers)})" if numbers else ""
    return f"{printable(found['key'])}: {printable(found['rule'])}: {found['code']}{said}"


def _alert(found: Mapping[str, object]) -> str:
    items = found.get("items")
    said = f": {', '.join(printable(item) for item in items)}" if isinstance(items, Sequence) else ""
    return f"{printable(found['alert'])}: {found['state']}{said}"
