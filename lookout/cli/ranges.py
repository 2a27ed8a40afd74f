"""Options by which several commands choose datums: a prefix, and the time at which their pictures were taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from lookout.app.ranges import Range
from lookout.cli.options import gather

F = TypeVar("F", bound=Callable[..., Any])

_DIGITS: Final = re.compile(r"[0-9]{10}|[0-9]{13}", re.ASCII)


class Moment(click.ParamType[float]):
    """Unix seconds from a UTC date (its beginning), an ISO time (UTC, if it names no zone), or 10 or 13 digits, which
    are seconds or milliseconds as in a picture's name."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if _DIGITS.fullmatch(value):
            return int(value) / (1000 if len(value) == 13 else 1)
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date, no ISO time and no Unix time of 10 or 13 digits.", param, ctx)


def range_options(function: F) -> F:
    """Add ``--prefix``, ``--since`` and ``--until``; the command takes them as ``chosen``, a Range."""
    function = gather("chosen", Range)(function)
    for option in reversed(
        [
            click.option("--prefix", default="", metavar="TEXT", help="Only keys that start with this."),
            click.option(
                "--since",
                "since_s",
                type=Moment(),
                metavar="TIME",
                help="Only pictures taken then or later: UTC date, ISO time, Unix seconds.",
            ),
            click.option(
                "--until",
                "until_s",
                type=Moment(),
                metavar="TIME",
                help="Only pictures taken before; a date is its beginning.",
            ),
        ]
    ):
        function = option(function)
    return function
