"""How results are shown: JSON, tables, times."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

import click


def echo_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def echo_json_line(value: object) -> None:
    """One JSON object on a line of its own, for streams."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, default=str))


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Columns padded to their widest cell, numbers to the right; control characters in cells are escaped."""
    body = [[printable(cell) for cell in row] for row in rows]
    numeric = [bool(body) and all(row[i].lstrip("-").isdigit() for row in body) for i in range(len(header))]
    widths = [max(len(row[i]) for row in [list(header), *body]) for i in range(len(header))]
    lines = []
    for row in [list(header), *body]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def printable(value: object) -> str:
    """Text that cannot move the cursor or break a line."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def when(seconds: float | None) -> str:
    """A time in UTC to the second, or a dash."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def watch_troubles(counts: Mapping[str, int]) -> str:
    """What went wrong with a watch, in words: ``2 folders without events, 1 restart``."""
    words = {
        "unwatched": ("folder without events", "folders without events"),
        "missed": ("file that no event told of", "files that no event told of"),
        "restarts": ("restart", "restarts"),
        "clock_jumps": ("jump of the clock", "jumps of the clock"),
    }
    return ", ".join(count(counts[name], *text) for name, text in words.items() if counts.get(name)) or "none"


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
