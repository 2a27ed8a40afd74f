"""State of the policy as JSON: lists without names for groups and sightings, as a store keeps thousands of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any, Final

from lookout.domain.kept_text import read_kept
from lookout.domain.policy.records import (
    Entry,
    Event,
    Group,
    Kept,
    LateSummary,
    Policy,
    Silence,
    Static,
    Summary,
    Told,
)
from lookout.domain.policy.sightings import Sightings
from lookout.domain.policy.verdicts import KeptGroup, PictureDecision

_VALUES: Final = {
    one: attrgetter(*(field.name for field in fields(one))) for one in (Event, Told, Entry, Summary, LateSummary)
}
"""By record: the values of its fields, in their order. ``dataclasses.astuple`` would copy each of them."""


def group_to_json(group: Group) -> str:
    """Return the state of a group as text."""
    return _dump(_group_to_plain(group))


def group_from_json(text: str) -> Group:
    """Return the group that ``group_to_json`` wrote."""
    return read_kept("the state of a group", text, _group_from_plain)


def kept_group_to_json(kept: KeptGroup) -> str:
    """Return the state of a group as a ledger keeps it as text."""
    policy = None if kept.policy is None else _fields(kept.policy)
    return _dump([_group_to_plain(kept.group), policy, kept.waiting])


def kept_group_from_json(text: str) -> KeptGroup:
    """Return what ``kept_group_to_json`` wrote."""
    return read_kept("the state of a group", text, _kept_group)


def _kept_group(plain: list[Any]) -> KeptGroup:
    group, policy, waiting = plain
    return KeptGroup(
        group=_group_from_plain(group),
        policy=None if policy is None else _policy(**policy),
        waiting={name: tuple(ids) for name, ids in waiting.items()},
    )


def _policy(static: Mapping[str, float] | None, **others: Any) -> Policy:
    return Policy(static=None if static is None else Static(**static), **others)


def _group_to_plain(group: Group) -> list[Any]:
    parts = (group.events, group.told, group.entries, group.summaries)
    late = None if group.late is None else _values(group.late)
    return [group.decisions, group.newest_s, *([_values(one) for one in part] for part in parts), late]


def _group_from_plain(plain: list[Any]) -> Group:
    decisions, newest_s, events, told, entries, summaries, late = plain
    return Group(
        decisions=decisions,
        newest_s=newest_s,
        events=tuple(Event(**_named(Event, one)) for one in events),
        told=tuple(Told(**_named(Told, one)) for one in told),
        entries=tuple(Entry(**_named(Entry, one)) for one in entries),
        summaries=tuple(Summary(**_named(Summary, one)) for one in summaries),
        late=None if late is None else LateSummary(**_named(LateSummary, late)),
    )


def decisions_to_json(decisions: Iterable[PictureDecision]) -> str:
    """Return the decisions on one picture as text."""
    return _dump([_fields(one) for one in decisions])


def decisions_from_json(text: str) -> list[PictureDecision]:
    """Return what ``decisions_to_json`` wrote."""
    return read_kept("the decisions on a picture", text, lambda plain: [_decision(**one) for one in plain])


def undated(text: str) -> str:
    """Return what ``decisions_to_json`` wrote without the moment of each decision and its number in the group, so that
    it is the same whenever the pictures were decided. ``decided_s`` is 0 then."""
    plain = json.loads(text)
    for one in plain:
        one["kept"]["decided_s"] = 0.0
        for name in ("d", "n"):
            one["numbers"].pop(name, None)
    return _dump(plain)


def _decision(rule: list[str], kept: Mapping[str, Any], alerts: list[str], **others: Any) -> PictureDecision:
    user, name = rule
    return PictureDecision(rule=(user, name), kept=Kept(**kept), alerts=tuple(alerts), **others)


def silences_to_json(silences: Iterable[Silence]) -> str:
    """Return silences as text."""
    return _dump([asdict(one) for one in silences])


def silences_from_json(text: str) -> tuple[Silence, ...]:
    """Return what ``silences_to_json`` wrote."""
    return read_kept("the silences", text, lambda plain: tuple(map(_silence, plain)))


def _silence(plain: Mapping[str, Any]) -> Silence:
    return Silence(**{**plain, "devices": tuple(plain["devices"])})


def sightings_to_json(sightings: Sightings) -> str:
    """Return sightings as text."""
    return _dump(sightings.plain())


def sightings_from_json(text: str) -> Sightings:
    """Return the sightings that ``sightings_to_json`` wrote."""
    return read_kept("the sightings of a device", text, _sightings)


def _sightings(plain: list[Any]) -> Sightings:
    newest_s, boxes = plain
    return Sightings(
        -math.inf if newest_s is None else newest_s,
        {
            (label, tuple(box)): {number: (first_s, last_s) for number, first_s, last_s in times}
            for label, box, times in boxes
        },
    )


def kept_to_json(kept: Kept) -> str:
    """Return what is kept of a decision as text."""
    return _dump(asdict(kept))


def kept_from_json(text: str) -> Kept:
    """Return what ``kept_to_json`` wrote."""
    return read_kept("what is kept of a decision", text, lambda plain: Kept(**plain))


def _fields(record: Any) -> dict[str, Any]:
    """Return the fields of a record, of those within it too, by name; ``dataclasses.asdict`` would copy all values."""
    names = record.__dataclass_fields__
    values = ((name, getattr(record, name)) for name in names)
    return {name: _fields(value) if isinstance(value, Kept | Static) else value for name, value in values}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _values(record: Any) -> Any:
    return _VALUES[type(record)](record)


def _named(record: Any, values: list[Any]) -> Mapping[str, Any]:
    return dict(zip(record.__dataclass_fields__, values, strict=True))
