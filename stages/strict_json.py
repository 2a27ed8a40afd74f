"""Reading JSON that a person wrote: what Python's reader lets pass in silence is refused here, with its place.

Knows no rules. Beyond the syntax it refuses a name that stands twice in one object (the reader would keep the last and
forget the first), NaN and infinities, which JSON has not, and files of unreasonable size or depth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lookout.domain.errors import InputRejected

MAX_BYTES: Final = 1024 * 1024
_SHOWN: Final = 60
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Stands in the tree where a value cannot be kept, until the path to it is known."""

    sentence: str


def read(data: bytes) -> object:
    """Return the value that the bytes say: dicts, lists, text, numbers, booleans, None. A byte order mark is allowed.

    Raises InputRejected whose ``where`` is ``line 3, column 7`` or a path such as ``rules[0].devices``.
    """
    if len(data) > MAX_BYTES:
        raise InputRejected(f"expected at most {MAX_BYTES} bytes, got {len(data)}")
    data = data.removeprefix(_BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        before = data[: exc.start]
        where = _position(before.count(b"\n") + 1, exc.start - before.rfind(b"\n"))
        raise InputRejected(f"byte 0x{data[exc.start]:02x} is not UTF-8", where, "save the file as UTF-8") from exc
    if not text.strip():
        raise InputRejected("the file is empty")
    try:
        tree = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as exc:
        sentence = exc.msg[:1].lower() + exc.msg[1:]
        raise InputRejected(f"not JSON: {sentence}", _position(exc.lineno, exc.colno)) from exc
    except RecursionError as exc:
        raise InputRejected("lists and objects are nested too deeply") from exc
    except ValueError as exc:
        raise InputRejected("a number has too many digits") from exc
    for place, wrong in _find_wrong(tree, ()):
        raise InputRejected(wrong.sentence, path(place))
    return tree


def path(place: tuple[int | str, ...]) -> str:
    """Return a place in the tree as people write it: ``rules[2].classes[0].min_score``; empty for the whole file."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return printable(text)


def show(value: object) -> str:
    """Return a value as the file has it, shortened: ``"porch"``, ``1.7``, ``{"class": 1}``."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    text = printable(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def printable(text: str) -> str:
    """Return the text with everything that is not printable written as an escape, so that it can stand in a log
    line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _position(line: int, column: int) -> str:
    return f"line {line}, column {column}"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        found[name] = _Wrong("the name stands twice in one object") if name in found else value
    return found


def _constant(name: str) -> _Wrong:
    return _Wrong(f"expected a number that JSON has, got {name}")


def _find_wrong(tree: object, place: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], _Wrong]]:
    if isinstance(tree, _Wrong):
        yield place, tree
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from _find_wrong(value, (*place, name))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _find_wrong(value, (*place, number))
