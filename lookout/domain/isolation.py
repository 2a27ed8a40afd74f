"""Isolation of one bad item in a bulk call, so that what fails for one datum for ever holds up no other.

Knows no datum, no ledger and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lookout.domain.errors import LookoutError, ObjectChanged, ObjectUnreadable, Unavailable

T = TypeVar("T")
R = TypeVar("R")


def apart(items: Sequence[T], call: Callable[[Sequence[T]], Sequence[R]]) -> list[R | Exception]:
    """Call with all items at once; if that raises, with each half, and so on. Gives an answer for each item, in their
    order: what the call gave, or the exception that it raised for this item alone.

    Raises Unavailable when the backend does not answer, for then no item is to blame. The call must be one that may be
    repeated, as part of it may have been done before it raised.
    """
    if not items:
        return []
    try:
        return list(call(items))
    except Exception as exc:
        if is_outage(exc):
            raise
        if len(items) == 1:
            return [exc]
    half = len(items) // 2
    return [*apart(items[:half], call), *apart(items[half:], call)]


def is_outage(exc: BaseException) -> bool:
    """Tell whether a backend does not answer: then no single item is to blame."""
    return isinstance(exc, Unavailable) and not isinstance(exc, ObjectChanged | ObjectUnreadable)


def reason(exc: BaseException) -> str:
    """Say in one line why something failed: the text of an error of ours, the name and the text of any other."""
    return str(exc) if isinstance(exc, LookoutError) else f"{type(exc).__name__}: {exc}"


__all__ = ["apart", "is_outage", "reason"]
