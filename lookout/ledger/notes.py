"""JSON in the notes of a ledger: a note that is damaged is named, and is never a crash. Knows no single note."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from lookout.domain.errors import Corrupt
from lookout.ledger.port import Ledger

T = TypeVar("T")


def read_note(ledger: Ledger, name: str, expected: str, build: Callable[[Any], T], otherwise: T) -> T:
    """Build what the JSON of a note says; ``otherwise`` where the note is missing or empty. ``build`` may raise what
    Python does for another shape than it expects. Raises Corrupt with the note's name where it cannot be read."""
    kept = ledger.find_note(name)
    if not kept:
        return otherwise
    try:
        return build(json.loads(kept))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as exc:
        raise Corrupt(f"the note {name}", expected, kept[:80]) from exc


def text(value: Any) -> str:
    """Take a text as it is. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


def texts(value: Any) -> dict[str, str]:
    """Take texts by name."""
    return {str(name): str(each) for name, each in value.items()}


def time_s(value: Any) -> float:
    """Take a finite number of seconds."""
    seconds = float(value)
    if seconds - seconds != 0.0:
        raise ValueError(f"expected a finite number, got {value!r}")
    return seconds


__all__ = ["read_note", "text", "texts", "time_s"]
