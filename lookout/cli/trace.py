"""``lookout trace``: provenance both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from lookout.app.deployment import OBJECTS_FOLDER, Deployment, Program
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import InputRejected
from lookout.reports.provenance import Node, Tracer
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.ingest import SOURCE_NOTE
from lookout.text import printable


@click.command(short_help="Show the provenance of an object, and what was made from it.")
@click.argument("name", metavar="OBJECT")
@click.option("--forward", is_flag=True, help="Show what was made from it instead.")
@state_option
@json_option
@click.pass_obj
def trace(program: Program, name: str, forward: bool, state: Path | None, as_json: bool) -> None:
    """Show the provenance of OBJECT: picture, model, rule, code, run and mail.

    OBJECT is BUCKET/KEY, such as threat-detect/porch/1763798400.jpg or images/porch_1763798400.jpg, or the path of a
    file in the state folder or the source.
    """
    with program.open(state) as opened:
        bucket, key = _split(opened, name)
        tracer = Tracer(program.pipeline, opened.ledger)
        node = tracer.forward(bucket, key) if forward else tracer.back(bucket, key)
    if as_json:
        echo_json(node.as_json())
    else:
        click.echo("\n".join(_lines(node, "", "")))


def _split(opened: Deployment, name: str) -> tuple[str, str]:
    path = Path(origin_of(Path(name)))
    objects = Path(origin_of(opened.path / OBJECTS_FOLDER))
    source = opened.ledger.find_note(SOURCE_NOTE)
    if path.is_relative_to(objects):
        name = path.relative_to(objects).as_posix()
    elif source is not None and path.is_relative_to(source):
        name = f"{opened.pipeline.inputs}/{key_of(path.relative_to(source).as_posix())}"
    bucket, slash, key = name.partition("/")
    if not slash or not key:
        raise InputRejected("expected BUCKET/KEY", name, "such as images/porch_1763798400.jpg")
    return bucket, key


def _lines(node: Node, first: str, rest: str) -> Iterator[str]:
    facts = dict(node.facts)
    role = facts.pop("role", None)
    head = f"{role}: " if role else ""
    said = "  ".join(f"{name} {_short(name, value)}" for name, value in facts.items())
    yield printable(f"{first}{head}{node.kind} {node.name}" + (f"  [{said}]" if said else ""))
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _short(name: str, value: object) -> str:
    return str(value)[:16] if name in ("sha256", "datum", "recipe", "above") else str(value)
