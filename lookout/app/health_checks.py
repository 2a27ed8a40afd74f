"""Checks of ``lookout doctor``: one a thing, and no error of one ends the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lookout.domain.errors import LookoutError


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Check of one thing: how it is, whether that is all right, and what to do if not. A ``warning`` is all right now
    and may not stay so."""

    name: str
    ok: bool
    found: str
    hint: str = ""
    warning: bool = False


def attempt(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Give the checks, as far as they come; what stops them is a bad check of that name."""
    try:
        yield from checks()
    except (LookoutError, OSError) as exc:
        yield Check(name=name, ok=False, found=str(exc))
