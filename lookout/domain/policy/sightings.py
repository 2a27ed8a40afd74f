"""Sightings of one rule on one device: where objects were seen, so that one that stands still is known again.

Kept are at most 64 boxes on a coarse grid, each with few times in bins as long as ``hold_s``. For pictures up to
``hold_s`` out of order the answer is that of all sightings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lookout.domain.policy.records import Box, Sighted, Static
from lookout.domain.records import Json

MAX_BOXES: Final = 64
_NEWEST_BINS: Final = 3
_GRID_STEPS: Final = 4
Times: TypeAlias = Mapping[int, tuple[float, float]]
"""First and last time by bin; all bins before the newest three are one, of which only the last time counts."""
_OLD: Final = -1


@dataclass(frozen=True, slots=True)
class Standing:
    """The sighting by which an object stands still: its time, its overlap, and the oldest such sighting."""

    seen_at_s: float
    iou: float
    since_s: float


@dataclass(frozen=True, slots=True)
class Sightings:
    """Boxes by class and place on the grid, and the newest time of all."""

    newest_s: float = -math.inf
    boxes: Mapping[tuple[str, Box], Times] = field(default_factory=dict)

    def find(self, static: Static, thing: Sighted, at_s: float) -> Standing | None:
        """Return by what the object stands still at this time: the newest sighting of its class that overlaps it and
        is neither too young nor too old; None if there is none."""
        found: list[tuple[float, float]] = []
        for (label, box), times in self.boxes.items():
            if label == thing.label and (overlap := iou(thing.box, box)) >= static.iou:
                seen = {time_s for number, span in times.items() for time_s in _known(number, span)}
                found += [
                    (time_s, overlap) for time_s in seen if at_s - static.forget_s <= time_s <= at_s - static.hold_s
                ]
        if not found:
            return None
        newest_s, overlap = max(found)
        return Standing(newest_s, overlap, min(found)[0])

    def entered(self, static: Static, things: Iterable[Sighted], at_s: float) -> Sightings:
        """Return the sightings with these objects at this time, of the classes that may stand still."""
        boxes = dict(self.boxes)
        seen = [(thing.label, on_grid(thing.box)) for thing in things if thing.may_stand]
        if not seen:
            return self
        newest_s = max(self.newest_s, at_s)
        newest_bin = math.floor(newest_s / static.hold_s)
        for place in seen:
            number = math.floor(at_s / static.hold_s)
            times = dict(boxes.get(place, {}))
            times[number] = _widened(times.get(number), at_s)
            boxes[place] = times
        kept = {
            place: _binned(times, newest_bin, newest_s - static.forget_s - static.hold_s)
            for place, times in boxes.items()
        }
        newest_first = sorted((place for place in kept if kept[place]), key=lambda place: -_last(kept[place]))
        return Sightings(newest_s, {place: kept[place] for place in newest_first[:MAX_BOXES]})

    def plain(self) -> Json:
        """Return them as JSON."""
        return [
            self.newest_s if self.boxes else None,
            [
                [label, list(box), [[number, *span] for number, span in times.items()]]
                for (label, box), times in self.boxes.items()
            ],
        ]


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union, 0 to 1; 0 for boxes without area."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def on_grid(box: Box) -> Box:
    """Return the box on a grid whose step is an eighth to a sixteenth of its smaller side."""
    _, exponent = math.frexp(min(box[2] - box[0], box[3] - box[1]))
    step = math.ldexp(1.0, exponent - _GRID_STEPS)
    left, top, right, bottom = (round(edge / step) * step for edge in box)
    return left, top, right, bottom


def _known(number: int, span: tuple[float, float]) -> tuple[float, ...]:
    return (span[1],) if number == _OLD else span


def _widened(span: tuple[float, float] | None, at_s: float) -> tuple[float, float]:
    return (at_s, at_s) if span is None else (min(span[0], at_s), max(span[1], at_s))


def _binned(times: Times, newest_bin: int, oldest_s: float) -> Times:
    """Keep the newest three bins, the last time of all before them, and nothing that is too old."""
    kept: dict[int, tuple[float, float]] = {}
    for number, (first_s, last_s) in times.items():
        if last_s < oldest_s:
            continue
        if number > newest_bin - _NEWEST_BINS:
            kept[number] = (first_s, last_s)
        else:
            kept[_OLD] = _widened(kept.get(_OLD), last_s)
    if _OLD in kept:
        kept[_OLD] = (kept[_OLD][1], kept[_OLD][1])
    return kept


def _last(times: Times) -> float:
    return max(last_s for _, last_s in times.values())
