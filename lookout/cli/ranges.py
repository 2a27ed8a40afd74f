"""Choosing datums by prefix and by the time at which their pictures were taken, as several commands do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import click

from lookout.app.installation import PictureName

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


@dataclass(frozen=True, kw_only=True)
class Range:
    """Keys that begin with ``prefix``, of pictures taken from ``since_s`` on and before ``until_s``."""

    prefix: str = ""
    since_s: float | None = None
    until_s: float | None = None

    @property
    def is_all(self) -> bool:
        return not self.prefix and not self.is_timed

    @property
    def is_timed(self) -> bool:
        return self.since_s is not None or self.until_s is not None

    def has(self, key: str, at_s: float | None, find_name: Callable[[str], PictureName | None]) -> bool:
        """Tell whether the time range includes the datum of this picture, which was taken ``at_s``, if a stage has said
        so, or when its name says. A picture whose time nothing says is in none."""
        if not self.is_timed:
            return True
        if at_s is None:
            name = find_name(key)
            at_s = None if name is None else name.captured_at_s
        return at_s is not None and self._has(at_s, at_s)

    def has_group(self, group: str) -> bool:
        """Tell whether the time range overlaps the day of ``<device>/<day>``."""
        if not self.is_timed:
            return True
        try:
            day = date.fromisoformat(group.rpartition("/")[2])
        except ValueError:
            return False
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return self._has(begin.timestamp(), (begin + timedelta(days=1)).timestamp() - 0.001)

    def _has(self, first_s: float, last_s: float) -> bool:
        after = self.since_s is None or last_s >= self.since_s
        return after and (self.until_s is None or first_s < self.until_s)


def range_options(function: F) -> F:
    """Add ``--prefix``, ``--since`` and ``--until``."""
    for option in reversed(
        [
            click.option("--prefix", default="", metavar="TEXT", help="Only keys that start with this."),
            click.option(
                "--since",
                type=Moment(),
                metavar="TIME",
                help="Only pictures taken then or later: UTC date, ISO time, Unix seconds.",
            ),
            click.option(
                "--until", type=Moment(), metavar="TIME", help="Only pictures taken before; a date is its beginning."
            ),
        ]
    ):
        function = option(function)
    return function
