"""The stage's parameters: what a picture may be. They are part of the recipe, so a change validates everything again.

Knows no picture; only checks that the numbers make sense.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits for a picture. Bounds are inclusive."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 50_000_000
    """Width times height as the header says; checked before anything is decoded."""
    min_width_px: int = 64
    min_height_px: int = 64
    earliest_s: int = 946_684_800
    """Unix seconds; 2000-01-01 UTC. Devices without a clock start at 1970, 1980 or so."""
    future_tolerance_s: int = 86_400
    """How far a device's clock may be ahead of the time at which its picture was first seen."""
    max_stray_bytes: int = 8
    """So many bytes that belong to nothing may stand before a marker, whatever they are; padding may be longer."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            low = 0 if name in ("earliest_s", "future_tolerance_s", "max_stray_bytes") else 1
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise InputRejected(f"expected a whole number of at least {low}, got {value!r}", _place(name))

    @classmethod
    def from_params(cls, params: JsonObject) -> Limits:
        """Make limits of parameters. Raises InputRejected naming the parameter that is unknown or not usable."""
        known = [field.name for field in fields(cls)]
        for name in params:
            if name not in known:
                raise InputRejected("unknown parameter", _place(name), f"one of {', '.join(known)}")
        return cls(**params)  # type: ignore[arg-type]  # each value is checked when the record is made


def _place(name: str) -> str:
    return f"validate parameter {name}"
