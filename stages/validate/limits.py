"""The stage's parameters: what a picture may be. They are part of the recipe, so a change validates everything again.

Knows no picture; only checks that the numbers make sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject

MOST_PIXELS: Final = 250_000_000
"""The most that the stages behind decode, which take up to 10 bytes a pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits for a picture. Bounds are inclusive."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 120_000_000
    """Width times height as the header says; checked before anything is decoded. Phones have up to 108 megapixels; at
    most ``MOST_PIXELS``, as later stages decode no more."""
    min_width_px: int = 64
    min_height_px: int = 64
    earliest_s: int = 978_307_200
    """Unix seconds; 2001-01-01 UTC. Clocks that were reset show times up to the year 2000."""
    future_tolerance_s: int = 86_400
    """How far a device's clock may be ahead of the time at which its picture was first seen."""
    max_stray_bytes: int = 8
    """So many bytes that belong to nothing may stand in coded data before a marker, whatever they are; padding may be
    longer."""
    accept_gray: bool = True
    """True if a picture may have one channel only, as infrared cameras write; a browser shows it."""

    def __post_init__(self) -> None:
        if type(self.accept_gray) is not bool:
            raise InputRejected(f"expected true or false, got {self.accept_gray!r}", _place("accept_gray"))
        for name in (field.name for field in fields(self) if field.name != "accept_gray"):
            low = 0 if name in ("earliest_s", "future_tolerance_s", "max_stray_bytes") else 1
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise InputRejected(f"expected a whole number of at least {low}, got {value!r}", _place(name))
        if self.max_pixels > MOST_PIXELS:
            raise InputRejected(f"expected at most {MOST_PIXELS}, got {self.max_pixels}", _place("max_pixels"))

    def replaced(self, changes: object, place: str) -> Limits:
        """Return the limits with some of them changed, as a devices file says. Raises InputRejected with the place."""
        if not isinstance(changes, Mapping):
            raise InputRejected(f"expected an object, got {changes!r}", place)
        for name in changes:
            if name not in CHANGEABLE:
                raise InputRejected(f"unknown name {name!r}", place, f"there are {', '.join(CHANGEABLE)}")
        try:
            return replace(self, **changes)
        except InputRejected as exc:
            raise InputRejected(exc.what, f"{place}: {(exc.where or '').rpartition(' ')[2]}", exc.hint) from exc

    def changes_of(self, other: Limits) -> JsonObject:
        """Return the limits that differ from other ones."""
        return {name: getattr(self, name) for name in CHANGEABLE if getattr(self, name) != getattr(other, name)}

    @classmethod
    def from_params(cls, params: JsonObject) -> Limits:
        """Make limits of parameters. Raises InputRejected naming the parameter that is unknown or not usable."""
        known = [field.name for field in fields(cls)]
        for name in params:
            if name not in known:
                raise InputRejected("unknown parameter", _place(name), f"one of {', '.join(known)}")
        return cls(**params)  # type: ignore[arg-type]  # each value is checked when the record is made


CHANGEABLE: Final = ("max_pixels", "min_width_px", "min_height_px", "max_stray_bytes", "accept_gray")
"""Limits of the picture itself, which a devices file may change. ``max_bytes`` decides what is read at all."""


def _place(name: str) -> str:
    return f"validate parameter {name}"
