"""Sums of the ledger's tallies for charts and page.

Pure and light: knows neither matplotlib nor HTML, no clock and no run, so that the same tallies always give the same
summary. The counts are those of the stages upstream: ``pictures``, ``valid``, ``invalid``, ``invalid:<code>``,
``threats`` (pictures with a threat) and ``threat:<label>`` (objects).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from lookout.domain.pipeline import UNNAMED
from lookout.domain.records import Tally

WINDOW_DAYS: Final = 14
COLOURED_CLASSES: Final = 6

_STEADY: Final = ("person", "car", "truck", "motorcycle", "dog", "bicycle")
"""Common labels that keep their colour whatever else is seen beside them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device over all its days. ``last_at_s`` is when its newest picture was taken."""

    name: str
    pictures: int
    invalid: int
    threats: int
    last_at_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """The threats of one device on one UTC day; ``objects`` counts threatening objects by label."""

    device: str
    day: str
    threats: int
    objects: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything at a glance.

    ``devices`` are sorted by name, ``partitions`` (those with threats only) newest day first and then by device,
    ``classes`` and ``invalid`` by falling count and then by name. ``last_day`` is the newest day of any picture.
    """

    pictures: int = 0
    valid: int = 0
    invalid: int = 0
    threats: int = 0
    devices: tuple[Device, ...] = ()
    partitions: tuple[Partition, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    last_day: str | None = None
    last_at_s: float | None = None


def summarise(tallies: Iterable[Tally]) -> Summary:
    """Return the summary of the tallies of all groups, in any order. Groups are ``<device>/<UTC day>`` or ``-/-``."""
    totals: defaultdict[str, int] = defaultdict(int)
    by_device: dict[str, defaultdict[str, int]] = {}
    last_at_s: dict[str, float] = {}
    partitions: list[Partition] = []
    last_day: str | None = None
    for tally in tallies:
        _add(totals, tally.counts)
        device, _, day = tally.group.rpartition("/")
        if device == UNNAMED:
            continue
        if device not in by_device:
            by_device[device] = defaultdict(int)
        _add(by_device[device], tally.counts)
        last_day = max(day, last_day or day)
        if tally.last_at_s is not None:
            last_at_s[device] = max(tally.last_at_s, last_at_s.get(device, tally.last_at_s))
        if threats := tally.counts.get("threats", 0):
            objects = dict(_ranked(_under("threat:", tally.counts)))
            partitions.append(Partition(device=device, day=day, threats=threats, objects=objects))
    partitions.sort(key=lambda part: part.device)
    partitions.sort(key=lambda part: part.day, reverse=True)
    return Summary(
        pictures=totals["pictures"],
        valid=totals["valid"],
        invalid=totals["invalid"],
        threats=totals["threats"],
        devices=tuple(_device(name, by_device[name], last_at_s.get(name)) for name in sorted(by_device)),
        partitions=tuple(partitions),
        classes=_ranked(_under("threat:", totals)),
        reasons=_ranked(_under("invalid:", totals)),
        last_day=last_day,
        last_at_s=max(last_at_s.values(), default=None),
    )


def slots_of_colour(classes: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return a palette index for each of the most frequent classes, by label; the rest share the colour of the others.

    A common label has its own index for good; other labels share out, in the order of their names, what is free.
    """
    chosen = [label for label, _ in classes[:COLOURED_CLASSES]]
    slots = {label: _STEADY.index(label) for label in chosen if label in _STEADY}
    free = [slot for slot in range(COLOURED_CLASSES) if slot not in slots.values()]
    return slots | dict(zip(sorted(set(chosen) - slots.keys()), free, strict=False))


def top(ranked: Sequence[tuple[str, int]], limit: int, rest: str) -> list[tuple[str, int]]:
    """Return the first ``limit`` entries; more than that are added up in a last one, named by ``rest`` with their
    number."""
    if len(ranked) <= limit:
        return list(ranked)
    others = ranked[limit - 1 :]
    return [*ranked[: limit - 1], (rest.format(len(others)), sum(count for _, count in others))]


def window(summary: Summary, days: int = WINDOW_DAYS) -> list[str]:
    """Return the last calendar days in order, without holes, up to the newest picture's; at most ``days`` and none
    before the first threat. Empty when there are no threats in them."""
    if summary.last_day is None:
        return []
    end = date.fromisoformat(summary.last_day)
    first = (end - timedelta(days=days - 1)).isoformat()
    with_threats = [part.day for part in summary.partitions if part.day >= first]
    if not with_threats:
        return []
    start = date.fromisoformat(min(with_threats))
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def _add(sums: defaultdict[str, int], counts: Mapping[str, int]) -> None:
    """Add counts as ``Counter.update`` does, at a tenth of its cost for a few names at a time."""
    for name, number in counts.items():
        sums[name] += number


def _device(name: str, counts: Mapping[str, int], last_at_s: float | None) -> Device:
    return Device(
        name=name,
        pictures=counts.get("pictures", 0),
        invalid=counts.get("invalid", 0),
        threats=counts.get("threats", 0),
        last_at_s=last_at_s,
    )


def _under(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}


def _ranked(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
