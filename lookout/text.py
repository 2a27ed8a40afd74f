"""Text for terminals: tables, counts and times, with control characters escaped."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

WIDE: Final = 60
"""Cells of more columns do not widen the others of their column, where no terminal sets the width."""


NARROW: Final = 12
"""A column of text is not made narrower than so, nor narrower than its header; the last one not than twice so."""


def table(rows: Iterable[Sequence[object]], header: Sequence[str], width: int | None = None) -> str:
    """Columns padded to their widest cell, numbers to the right; control characters in cells are escaped.

    Where the lines would be wider than ``width``, that of the terminal unless given, long cells lose their middle, and
    sentences in the last column continue on the next line. Elsewhere, as in a pipe, every cell is whole, and one of
    more than 60 characters widens its own line only.
    """
    body = [[printable(cell) for cell in row] for row in rows]
    numeric = [bool(body) and all(row[i].lstrip("-").isdigit() for row in body) for i in range(len(header))]
    columns = list(zip(header, *body, strict=True))
    width = _terminal_width() if width is None else width
    if width is None:
        widths = [max([len(column[0]), *(n for n in map(columns_of, column) if n <= WIDE)]) for column in columns]
    else:
        widths = _narrowed(columns, numeric, width)
        body = [line for row in body for line in _fitted(row, widths)]
    lines = []
    for row in [list(header), *body]:
        cells = [
            " " * (room - columns_of(cell)) + cell if right else cell + " " * (room - columns_of(cell))
            for cell, room, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def columns_of(text: str) -> int:
    """Count the columns that the text takes on a terminal: two a wide character (as emoji), none a combining one."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_one, text))


def shortened(text: str, width: int) -> str:
    """Return the text in at most this many columns: a long one loses its middle, since keys mostly differ at their
    end."""
    if columns_of(text) <= width:
        return text
    head, tail = _beginning(text, (width - 1) // 3), _beginning(text[::-1], width - 1 - (width - 1) // 3)[::-1]
    while tail and not _columns_of_one(tail[0]):  # it would combine with the ellipsis
        tail = tail[1:]
    return f"{head}\N{HORIZONTAL ELLIPSIS}{tail}"


def printable(value: object) -> str:
    """Text that cannot move the cursor or break a line."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def when(seconds: float | None) -> str:
    """Return a time in UTC to the second, or a dash."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """Return a length of time: ``5 s``, ``12 min``, ``3 h``, ``2 days``."""
    for limit_s, unit_s, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def _terminal_width() -> int | None:
    """None where stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _columns_of_one(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _beginning(text: str, width: int) -> str:
    taken = 0
    for i, character in enumerate(text):
        taken += _columns_of_one(character)
        if taken > width:
            return text[:i]
    return text


def _narrowed(columns: Sequence[Sequence[str]], numeric: Sequence[bool], width: int) -> list[int]:
    """Return the width of each column, the widest made narrower until a line fits or none can give any more."""
    widths = [max(map(columns_of, column)) for column in columns]
    least = [
        have if right else min(have, max(columns_of(column[0]), NARROW))
        for column, have, right in zip(columns, widths, numeric, strict=True)
    ]
    least[-1] = min(widths[-1], max(least[-1], 2 * NARROW))
    while sum(widths) + 2 * (len(widths) - 1) > width:
        spare, i = max((have - low and have, i) for i, (have, low) in enumerate(zip(widths, least, strict=True)))
        if not spare:
            break
        widths[i] -= 1
    return widths


def _fitted(row: Sequence[str], widths: Sequence[int]) -> Iterator[list[str]]:
    """Yield the lines of a row: one, or more where a sentence in its last cell needs them."""
    *first, last = row
    cells = [shortened(cell, room) for cell, room in zip(first, widths, strict=False)]
    for line in _wrapped(last, widths[-1]):
        yield [*cells, line]
        cells = [""] * len(cells)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the words of the text in lines of this width; a word that is longer loses its middle."""
    line = ""
    for word in text.split(" "):
        cut = shortened(word, width)
        if line and columns_of(line) + 1 + columns_of(cut) > width:
            yield line
            line = cut
        else:
            line = f"{line} {cut}" if line else cut
    yield line
