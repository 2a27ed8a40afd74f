"""``lookout names``: how names of pictures are read."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from lookout.app.deployment import Program
from lookout.cli.options import PATH, json_option
from lookout.cli.output import echo_json_line
from lookout.cli.ranges import Moment
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK
from lookout.domain.records import JsonObject
from lookout.text import printable


@click.group(short_help="Try how names of pictures are read.")
def names() -> None:
    """Say what the names of pictures tell: device, time and number."""


@names.command("read", short_help="Read the names of pictures.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--devices", type=PATH, metavar="FILE", help="A list of names: patterns, presets, zones and devices.")
@click.option("--first-seen", "first_seen_s", type=Moment(), metavar="TIME", help="When they were first seen. [now]")
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
        return f"{path}: passed over ({one['entry']})"
    if "reason" in one:
        return f"{path}: {one['reason']}: {printable(one['sentence'])}"
    more = [f"number {one['seq']}"] if one["seq"] is not None else []
    more += [printable(one["event"])] if one["event"] else []
    more += [str(flag) for flag in one["flags"]] if isinstance(one["flags"], list) else []
    said = ", ".join([printable(one["device"]), str(one["captured_at"]), *more])
    return f"{path}: {said} ({one['entry']})"
