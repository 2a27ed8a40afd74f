"""Findings of a proof: differences, inputs that expired, obstacles, remarks; and the comparison of two values.

Knows neither ledger nor store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

from lookout.domain.records import Json, JsonObject

MAX_DIFFERENCES: Final = 100
"""How many differences a proof names: one is enough to fail, and a changed model may move thousands of numbers."""


class Verdict(StrEnum):
    """Verdict of a proof. ``UNKNOWN``: nothing differs, but something that is needed is not there any more."""

    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One place in which what was made again is not what was kept; None on a side that has nothing there."""

    where: str
    kept: Json
    made: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One datum of the chain. ``same`` is None when it could not be run again. ``made_with`` is what it says of the
    means by which it was made again; empty if nothing."""

    stage: str
    key: str
    datum: str
    run: str
    code: str
    same: bool | None
    made_with: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The outcome: ``expired`` are inputs (path and sha256) whose bytes nobody has any more, ``obstacles`` are other
    reasons why a part could not be checked, ``remarks`` change nothing."""

    alert: str
    steps: tuple[Step, ...]
    differences: tuple[Difference, ...]
    expired: tuple[str, ...]
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        if self.differences:
            return Verdict.DIFFERS
        return Verdict.UNKNOWN if self.expired or self.obstacles else Verdict.SAME


@dataclass
class Findings:
    """A proof while it is made."""

    differences: list[Difference] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def compare(self, where: str, kept: Json, made: Json) -> None:
        """Keep each place in which the two values differ."""
        for found in differences(where, _plain(kept), _plain(made)):
            self.differ(found.where, found.kept, found.made)

    def differ(self, where: str, kept: Json, made: Json) -> None:
        """Keep one difference."""
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(Difference(where=where, kept=kept, made=made))

    def proof(self, alert: str, steps: tuple[Step, ...]) -> Proof:
        """Return all that was found."""
        return Proof(
            alert=alert,
            steps=steps,
            differences=tuple(self.differences),
            expired=tuple(dict.fromkeys(self.expired)),
            obstacles=tuple(self.obstacles),
            remarks=tuple(self.remarks),
        )


def differences(where: str, kept: Json, made: Json) -> Iterator[Difference]:
    """Yield the differences between two JSON values, leaf by leaf, in the order of names and places."""
    if isinstance(kept, dict) and isinstance(made, dict):
        for name in sorted(kept.keys() | made.keys()):
            yield from differences(f"{where}.{name}", kept.get(name), made.get(name))
    elif isinstance(kept, list) and isinstance(made, list):
        for place in range(max(len(kept), len(made))):
            old = kept[place] if place < len(kept) else None
            yield from differences(f"{where}[{place}]", old, made[place] if place < len(made) else None)
    elif type(kept) is not type(made) or kept != made:
        yield Difference(where=where, kept=kept, made=made)


def _plain(value: Json) -> Json:
    """Return the value as it comes back from where it was kept: tuples are lists."""
    return cast(Json, json.loads(json.dumps(value)))
