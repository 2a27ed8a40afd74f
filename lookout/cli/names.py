"""``lookout names``: reading of pictures' names, and lists of names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import Program
from lookout.cli.options import PATH, json_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.cli.ranges import Moment
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected
from lookout.domain.records import JsonObject
from lookout.filesystem.files import failure
from lookout.text import printable, table

MOST_EMPTY: Final = 6
"""Entries that read nothing are shown in a list of at most so many."""


@click.group(short_help="Try how names of pictures are read.")
def names() -> None:
    """Read device, time and number from the names of pictures."""


@names.command("read", short_help="Read the names of pictures.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--devices", type=PATH, metavar="FILE", help="A devices file: patterns, presets, zones and devices.")
@click.option(
    "--first-seen", "first_seen_s", type=Moment(), metavar="TIME", help="Time of their first observation. [now]"
)
@json_option
@click.pass_obj
def read(
    program: Program, paths: tuple[str, ...], devices: Path | None, first_seen_s: float | None, as_json: bool
) -> None:
    """Read each PATH below a source, and say its device, time and number, or why it cannot be read.

    The EXIF tags of a PATH that is a file are read too. With --json, one object a line. It ends with 1 if a PATH cannot
    be read.
    """
    reader = program.installation.open_names(devices)
    first_seen = datetime.now(UTC) if first_seen_s is None else datetime.fromtimestamp(first_seen_s, UTC)
    found = [reader(path, first_seen) for path in paths]
    for one in found:
        if as_json:
            echo_json_line(one)
        else:
            click.echo(_as_text(one))
    sys.exit(EXIT_DATUM_FAILED if any("reason" in one for one in found) else EXIT_OK)


def _as_text(one: JsonObject) -> str:
    path = printable(one["path"])
    if "ignored" in one:
        return f"{path}: ignored ({one['entry']})"
    if "reason" in one:
        return f"{path}: {one['reason']}: {printable(one['sentence'])}"
    more = [f"number {one['seq']}"] if one["seq"] is not None else []
    more += [printable(one["event"])] if one["event"] else []
    more += [str(flag) for flag in one["flags"]] if isinstance(one["flags"], list) else []
    said = ", ".join([printable(one["device"]), str(one["captured_at"]), *more])
    return f"{path}: {said} ({one['entry']})"


@names.command("try", short_help="Try a list of names on a folder.")
@click.argument("folder", type=PATH, metavar="FOLDER")
@click.option("--devices", type=PATH, metavar="FILE", help="A devices file; without one, the built-in form.")
@json_option
@click.pass_obj
def try_(program: Program, folder: Path, devices: Path | None, as_json: bool) -> None:
    """Show how each entry of a list reads the paths below FOLDER, which stay unread and why, and propose a list.

    Nothing is changed. Also shown: paths that a later entry would read differently, and clocks that look wrong.
    """
    found = program.installation.try_list(folder, devices)
    if as_json:
        echo_json(found)
    else:
        click.echo("\n".join(_trial_lines(found)))


@names.command("init", short_help="Write a list of names for a folder.")
@click.argument("folder", type=PATH, metavar="FOLDER")
@click.option("--to", type=PATH, default=Path("devices.json"), show_default=True, metavar="FILE", help="A new file.")
@click.option("--zone", metavar="NAME", help="The zone of the cameras' clocks. [that of this machine]")
@click.pass_obj
def init(program: Program, folder: Path, to: Path, zone: str | None) -> None:
    """Write the list that ``lookout names try`` proposes for FOLDER into FILE, which must be new."""
    proposal = program.installation.try_list(folder, None)["proposal"]
    document = {**proposal, "zone": zone} if zone is not None and isinstance(proposal, Mapping) else proposal
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except FileExistsError as exc:
        raise InputRejected("exists already", str(to), "name a new file with --to") from exc
    except OSError as exc:
        raise failure(str(to), exc) from exc
    click.echo(
        f"{printable(to)}: try it with lookout names try {printable(folder)} --devices {printable(to)}", err=True
    )


@names.command("schema", short_help="Print the JSON Schema of devices files.")
@click.pass_obj
def schema(program: Program) -> None:
    """Print the JSON Schema of devices files, for editors that complete and check as one types."""
    click.echo(program.installation.devices_schema_text(), nl=False)


def _trial_lines(found: JsonObject) -> Iterator[str]:
    entries = _objects(found["entries"])
    shown = [entry for entry in entries if entry["count"] or len(entries) <= MOST_EMPTY]
    rows = [(entry["count"], entry["entry"], entry["pattern"], *_example(entry)) for entry in shown]
    yield table(rows, ("read", "entry", "pattern", "device", "time", "example"))
    for unread in _objects(found["unread"]):
        yield f"\nunread: {unread['count']} for {unread['reason']}"
        for example in _objects(unread["examples"]):
            yield f"  {printable(example['path'])}: {printable(example['sentence'])}"
    for one in _objects(found["shadowed"]):
        what = f"{one['count']} read by {one['entry']} would be other pictures by {one['by']}"
        yield f"{what}: {printable(one['example'])}"
    for note in _objects(found["clocks"]):
        yield f"{printable(note['device'])}: {printable(note['sentence'])}"
    proposal = json.dumps(found["proposal"], indent=2, ensure_ascii=False)
    yield f"\nproposed list (lookout names init writes it):\n{proposal}"


def _example(entry: Mapping[str, object]) -> tuple[object, object, object]:
    examples = _objects(entry["examples"])
    return (examples[0]["device"], examples[0]["utc"], examples[0]["path"]) if examples else ("", "", "")


def _objects(value: object) -> Sequence[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, Sequence) else []
