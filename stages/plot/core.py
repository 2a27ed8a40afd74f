"""The stage itself: a group's datum becomes its part of the gallery, the overview's datum the charts and the page.

Only what changed is drawn again because each datum depends on its own group, and the overview on the sums alone. Pure:
knows no clock, no run and no store, so the same tallies and members give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import OVERVIEW, Run
from lookout.domain.records import JsonObject, LoadedReference, Output, Result, Work
from stages.plot import page
from stages.plot.events import parts_of
from stages.plot.summary import Summary, slots_of_colour, summarise

PNG: Final = "image/png"
SCRIPT: Final = "text/javascript; charset=utf-8"


def prepare(params: JsonObject, references: Sequence[LoadedReference]) -> Run:
    """Return the stage, ready to draw. Raises InputRejected for a parameter or a reference: it has none."""
    if references:
        raise InputRejected(f"unknown reference {references[0].reference.name!r}", "plot", "plot takes no references")
    if params:
        raise InputRejected(f"unknown parameter {min(params)!r}", "plot", "plot takes no parameters")
    return _run


def _run(work: Work) -> Result:
    return _overview(work) if work.key == OVERVIEW else _partition(work)


def _overview(work: Work) -> Result:
    from stages.plot import charts

    summary = summarise(work.tallies)
    return Result(
        outputs=(
            Output(key="threats.png", data=charts.threats(summary), content_type=PNG),
            Output(key="days.png", data=charts.days(summary), content_type=PNG),
            Output(key="invalid.png", data=charts.invalid(summary), content_type=PNG),
            Output(key="last_seen.png", data=charts.last_seen(summary), content_type=PNG),
            Output(key="index.html", data=page.index(_index(summary)), content_type="text/html; charset=utf-8"),
        )
    )


def _index(summary: Summary) -> JsonObject:
    """Return what the page loads first: all sums, and the list of partitions."""
    colours = slots_of_colour(summary.classes)
    device_at = {device.name: index for index, device in enumerate(summary.devices)}
    class_at = {label: index for index, (label, _) in enumerate(summary.classes)}
    return {
        "pictures": summary.pictures,
        "valid": summary.valid,
        "invalid": summary.invalid,
        "threats": summary.threats,
        "last_at_s": summary.last_at_s,
        "last_day": summary.last_day,
        "reasons": [[code, count] for code, count in summary.reasons],
        "classes": [[label, count, colours.get(label)] for label, count in summary.classes],
        "devices": [[device.name, device.pictures, device.threats, device.last_at_s] for device in summary.devices],
        "partitions": [
            [device_at[part.device], part.day, part.threats, [[class_at[name], n] for name, n in part.objects.items()]]
            for part in summary.partitions
        ],
    }


def _partition(work: Work) -> Result:
    """Return the gallery's parts of one device and day; a group without a threat has none."""
    if not work.members:
        return Result()
    shown, others = parts_of(work.members)
    parts = {f"data/{work.key}.js": page.partition(work.key, shown)}
    if others is not None:
        parts[f"data/{work.key}.others.js"] = page.partition(f"{work.key}.others", others)
    return Result(outputs=tuple(Output(key=key, data=data, content_type=SCRIPT) for key, data in parts.items()))
