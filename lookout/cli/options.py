"""Options that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from lookout.domain.pipeline import Pipeline

F = TypeVar("F", bound=Callable[..., Any])

_EMPTY: Final = re.compile(r"--[a-z][a-z-]*=")

PATH = click.Path(path_type=Path)
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S: Final = 100 * 365 * 86400.0
NO_RETENTION: Final = -1.0


def gather(name: str, record: type[Any]) -> Callable[[F], F]:
    """Give a command one parameter ``name``, the ``record`` of the options that bear the names of its fields. The
    decorator comes directly above ``click.pass_obj``."""
    names = [one.name for one in fields(record)]

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            gathered = record(**{each: options.pop(each) for each in names})
            return function(*arguments, **{name: gathered}, **options)

        return cast(F, call)

    return decorate


class Templated(click.Command):
    """A command for templates, which name all their parameters: an option with an empty value is ignored."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [arg for arg in args if not _EMPTY.fullmatch(arg)])


def duration_s(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return seconds of a number with a unit: ``90s``, ``15m``, ``1h``, ``30d``."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd])", value, re.ASCII)
    if found is None or (seconds := int(found[1]) * _UNITS_S[found[2]]) > _LONGEST_S:
        raise click.BadParameter(f"{value!r} is not a valid time: expected 90s, 15m, 1h or 30d.", ctx, param)
    return seconds


def retention_s(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a time, ``NO_RETENTION`` for ``none``."""
    return NO_RETENTION if value == "none" else duration_s(ctx, param, value)


class _Probability(click.FloatRange):
    """A number from 0 to 1. ``nan``, which lies in no range and outside none, is refused too."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number from 0 to 1.", param, ctx)
        return number


PROBABILITY = _Probability()


class _Passes(click.ParamType[str]):
    """Passes of detection over a picture, in the short form that the stage reads."""

    name = "passes"
    _form: Final = re.compile(r"model|whole|tiles:[2-8]|\d{2,4}x\d{2,4}(,\d{2,4}x\d{2,4}){0,3}", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or not self._form.fullmatch(value):
            self.fail(f"{value!r} is not valid: expected model, whole, 768x448,1280x736 or tiles:3.", param, ctx)
        return value


PASSES = _Passes()
PASSES_HELP: Final = "Passes over large pictures: model, whole, sizes as 768x448, or tiles:N"


class _StageName(click.ParamType[str]):
    """The name of a stage of the pipeline that this program was put together with."""

    name = "stage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(self._choice(ctx).convert(value, param, ctx))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice(ctx).get_metavar(param, ctx)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        return self._choice(ctx).get_missing_message(param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._choice(ctx).shell_complete(ctx, param, incomplete)

    def _choice(self, ctx: click.Context | None) -> click.Choice[str]:
        """Return the names, from what the entry point has given to the command line."""
        if ctx is None:
            raise TypeError("a stage's name is read within a command only")
        pipeline: Pipeline = ctx.find_root().obj.pipeline
        return click.Choice([stage.name for stage in pipeline.stages])


STAGE = _StageName()


def state_option(function: F) -> F:
    """Add ``--state DIR``; its default is LOOKOUT_STATE, or ``lookout-state`` here."""
    return click.option(
        "--state", type=PATH, metavar="DIR", help="The state folder. [LOOKOUT_STATE, or ./lookout-state]"
    )(function)


def json_option(function: F) -> F:
    """Add ``--json``: the result as JSON on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def page_status_option(function: F) -> F:
    """``--page-status``: the status beside the page is written at the end."""
    return click.option("--page-status", is_flag=True, help="Write the status beside the page at the end.")(function)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that ``run`` and ``watch`` share, by their names in ``run_options``."""

    rules: Path | None
    model: Path | None
    devices: Path | None
    threshold: float | None
    passes: str | None
    workers: int | None
    max_mails: int
    allow_deletions: bool
    retention: float | None


def run_options(function: F) -> F:
    """Add the options that ``run`` and ``watch`` share; the command takes them as ``options``, a RunOptions."""
    function = gather("options", RunOptions)(function)
    for option in reversed(
        [
            click.option("--rules", type=PATH, metavar="PATH", help="A rule file or a folder of them; stays in force."),
            click.option("--model", type=PATH, metavar="PATH", help="A model's manifest or folder; stays in force."),
            click.option("--devices", type=PATH, metavar="PATH", help="A devices file; stays in force."),
            click.option(
                "--threshold",
                type=PROBABILITY,
                metavar="P",
                help="Least probability of an object; stays in force. [0.5]",
            ),
            click.option("--passes", type=PASSES, metavar="TEXT", help=f"{PASSES_HELP}; stays in force. [model]"),
            click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Worker processes. [one a core]"),
            click.option(
                "--max-mails",
                type=click.IntRange(0),
                default=20,
                show_default=True,
                metavar="N",
                help="More alerts than this become one digest a recipient.",
            ),
            click.option(
                "--allow-deletions",
                is_flag=True,
                help="Retract even when a fifth of the source is gone; a watch only at its beginning.",
            ),
            click.option(
                "--retention",
                "retention",
                callback=retention_s,
                metavar="TIME",
                help="Expect deletions of pictures that are known for so long; stays in force. [none]",
            ),
        ]
    ):
        function = option(function)
    return function
