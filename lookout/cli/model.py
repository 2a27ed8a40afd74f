"""``lookout model``: manifests for exports, and checks of models. No command reads or changes a state."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from lookout.app.deployment import Program
from lookout.app.installation import ModelFacts
from lookout.cli.options import PASSES, PASSES_HELP, PATH, PROBABILITY, gather, json_option
from lookout.cli.output import echo_json
from lookout.domain.errors import InputRejected
from lookout.text import printable

COLORS: Final = ("RGB", "BGR")
PIXELS: Final = ("0-255", "0-1", "imagenet")
RESIZES: Final = ("stretch", "letterbox", "letterbox-top-left")
_QUESTIONS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "labels": ("A file with the labels, one a line in the order of the scores, or coco", ()),
    "color": ("The order of colours that it was trained with", COLORS),
    "pixels": ("The range of pixels that it takes", PIXELS),
    "resize": ("How a picture is brought to the size of the input", RESIZES),
}


class _Size(click.ParamType[tuple[int, int]]):
    """Width and height in pixels."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not a size in pixels: expected 640x640.", param, ctx)
        return int(found[1]), int(found[2])


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Options of ``init`` about the export, as ``ModelFacts`` has them."""

    labels: str | None
    color: str | None
    pixels: str | None
    resize: str | None
    size_px: tuple[int, int] | None
    name: str | None
    license: str | None
    source: str | None

    def as_facts(self) -> ModelFacts:
        return ModelFacts(**vars(self))


@click.group(short_help="Write a model's manifest, and check a model.")
def model() -> None:
    """Write the manifest of an ONNX export, and check a model on a photograph."""


@model.command("init", short_help="Write the manifest of an ONNX file.")
@click.argument("file", type=PATH, metavar="FILE")
@click.option("--labels", metavar="FILE", help="A file with one label a line, or coco. [those of the export]")
@click.option("--color", type=click.Choice(COLORS), help="The order of colours. [as its makers' exports]")
@click.option("--pixels", type=click.Choice(PIXELS), help="The range of pixels. [as its makers' exports]")
@click.option("--resize", type=click.Choice(RESIZES), help="How a picture is resized. [as its makers' exports]")
@click.option("--size", "size_px", type=_Size(), metavar="WxH", help="The input, where it takes any. [the export's]")
@click.option("--name", metavar="NAME", help="The model's name. [the file's]")
@click.option("--license", metavar="TEXT", help="The licence of the weights. [the export's]")
@click.option("--source", metavar="TEXT", help="Where they come from. [the export's]")
@click.option("--force", is_flag=True, help="Replace a manifest that is there.")
@json_option
@gather("facts", _Facts)
@click.pass_obj
def init(program: Program, file: Path, force: bool, as_json: bool, facts: _Facts) -> None:
    """Write FILE.json, the manifest of the ONNX export FILE.onnx, and say what was assumed.

    What the export does not say, and cannot be assumed, is asked for on a terminal, and else must be given.
    """
    tools = program.installation.load_model_tools()
    given = facts.as_facts()
    made = tools.draft(file, given)
    while missing := [str(name) for name in _list(made["missing"])]:
        given = _with(given, missing[0], _ask(missing, str(file)))
        made = tools.draft(file, given)
    document = made["manifest"]
    if not isinstance(document, Mapping):
        raise TypeError(f"expected a manifest, got {document!r}")
    path = tools.write(file, document, force=force)
    if as_json:
        echo_json({"written": path, **made})
        return
    for sentence in _list(made["assumed"]):
        click.echo(f"assumed  {printable(sentence)}")
    click.echo(f"written  {printable(path)}")
    click.echo(f"Try it:  lookout model check {printable(path)} PHOTO")


@model.command("check", short_help="Open a model, and detect on a photograph.")
@click.argument("path", type=PATH, metavar="MODEL")
@click.argument("photo", type=PATH, required=False, metavar="[PHOTO]")
@click.option("--threshold", type=PROBABILITY, metavar="P", help="Least probability of an object. [the manifest's]")
@click.option("--passes", type=PASSES, metavar="TEXT", help=f"{PASSES_HELP}. [model]")
@click.option("--to", type=PATH, metavar="FILE", help="The picture with boxes. [PHOTO-NAME.jpg here]")
@json_option
@click.pass_obj
def check(
    program: Program,
    path: Path,
    photo: Path | None,
    threshold: float | None,
    passes: str | None,
    to: Path | None,
    as_json: bool,
) -> None:
    """Open MODEL, its manifest or its folder, as a run does, detect on PHOTO, and write it with boxes.

    Colour order and scaling cannot be checked otherwise: look at the boxes.
    """
    found = program.installation.load_model_tools().check(path, photo, threshold, passes, to)
    if as_json:
        echo_json(found)
    else:
        click.echo("\n".join(_lines(found)))


def _with(given: ModelFacts, name: str, answer: str) -> ModelFacts:
    changes: Any = {name: answer}
    return replace(given, **changes)


def _ask(missing: Sequence[str], file: str) -> str:
    """Return what a person says about the first of these facts; without a terminal, refuse to go on."""
    question, choices = _QUESTIONS[missing[0]]
    if not sys.stdin.isatty():
        options = ", ".join(f"--{name} {'|'.join(_QUESTIONS[name][1]) or 'FILE'}" for name in missing)
        raise InputRejected("the export does not say all that must be known", file, f"give {options}")
    kind = click.Choice(choices) if choices else None
    return str(click.prompt(question, type=kind, err=True))


def _lines(found: Mapping[str, object]) -> Iterator[str]:
    labels, runtime = _list(found["labels"]), found["runtime"]
    yield f"model    {printable(found['name'])}, sha256 {str(found['sha256'])[:12]}, {printable(found['license'])}"
    yield f"decoder  {found['decoder']}, {len(labels)} labels: {printable(', '.join(map(str, labels[:8])))}" + (
        ", ..." if len(labels) > 8 else ""
    )
    if isinstance(runtime, Mapping):
        yield f"runtime  {runtime['name']} {runtime['version']}, {runtime['provider']}"
    if "photo" not in found:
        return
    sizes = ", ".join(f"{wide} x {high}" for wide, high in _list(found["passes"]))
    yield f"photo    {printable(found['photo'])}, {found['width']} x {found['height']}, passes {sizes}"
    yield f"time     {1000 * float(str(found['took_s'])):.0f} ms"
    for one in _list(found["objects"]):
        yield f"object   {printable(one['label'])} {one['score']:.2f} at {one['box']}"
    yield f"drawn    {printable(found['drawn'])}"


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
