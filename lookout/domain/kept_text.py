"""Texts of JSON that a ledger keeps without looking into them: a damaged one is told as damage, and is no crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from lookout.domain.errors import Corrupt

T = TypeVar("T")
_SHOWN: Final = 80


def read_kept(what: str, text: str, build: Callable[[Any], T]) -> T:
    """Build what a kept text says. ``build`` may raise what Python does for another shape than it expects. Raises
    Corrupt that names ``what``, with the beginning of the text."""
    try:
        return build(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as exc:
        raise Corrupt(what, "what was written", f"{text[:_SHOWN]!r} ({exc!r})") from exc
