"""The state of a group and its sightings as JSON: lists without names, as a store keeps thousands of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any, Final

from lookout.domain.policy.records import Entry, Event, Group, Kept, LateSummary, Summary, Told
from lookout.domain.policy.sightings import Sightings

_VALUES: Final = {
    one: attrgetter(*(field.name for field in fields(one))) for one in (Event, Told, Entry, Summary, LateSummary)
}
"""By record: the values of its fields, in their order. ``dataclasses.astuple`` would copy each of them."""


def group_to_json(group: Group) -> str:
    """Return the state of a group as text."""
    parts = (group.events, group.told, group.entries, group.summaries)
    late = None if group.late is None else _values(group.late)
    plain = [group.decisions, group.newest_s, *([_values(one) for one in part] for part in parts), late]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def group_from_json(text: str) -> Group:
    """Return the group that ``group_to_json`` wrote."""
    decisions, newest_s, events, told, entries, summaries, late = json.loads(text)
    return Group(
        decisions=decisions,
        newest_s=newest_s,
        events=tuple(Event(**_named(Event, one)) for one in events),
        told=tuple(Told(**_named(Told, one)) for one in told),
        entries=tuple(Entry(**_named(Entry, one)) for one in entries),
        summaries=tuple(Summary(**_named(Summary, one)) for one in summaries),
        late=None if late is None else LateSummary(**_named(LateSummary, late)),
    )


def sightings_to_json(sightings: Sightings) -> str:
    """Return sightings as text."""
    return json.dumps(sightings.plain(), ensure_ascii=False, separators=(",", ":"))


def sightings_from_json(text: str) -> Sightings:
    """Return the sightings that ``sightings_to_json`` wrote."""
    newest_s, boxes = json.loads(text)
    return Sightings(
        -math.inf if newest_s is None else newest_s,
        {
            (label, tuple(box)): {number: (first_s, last_s) for number, first_s, last_s in times}
            for label, box, times in boxes
        },
    )


def kept_to_json(kept: Kept) -> str:
    """Return what is kept of a decision as text."""
    return json.dumps(asdict(kept), ensure_ascii=False, separators=(",", ":"))


def kept_from_json(text: str) -> Kept:
    """Return what ``kept_to_json`` wrote."""
    return Kept(**json.loads(text))


def _values(record: Any) -> Any:
    return _VALUES[type(record)](record)


def _named(record: Any, values: list[Any]) -> Mapping[str, Any]:
    return dict(zip(record.__dataclass_fields__, values, strict=True))
