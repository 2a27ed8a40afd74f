"""The match of a picture and a rule: a pure function that gives the objects that matter, or a reason code and numbers.

Knows no other picture: what was told before is the business of ``lookout.domain.policy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lookout.domain.policy.records import Box, Match, Sighted
from lookout.domain.records import JsonObject
from stages.threat_detect.detections import Detections
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.polygon import contains, covered
from stages.threat_detect.rules.version2.rule import ClockRule, Rule2, RuleFile2, Wanted, Zone

DRIFT_S: Final = 120.0
"""A device's clock may be ahead of the time of receipt by so much."""
OLDEST_S: Final = 1_420_070_400.0
"""2015-01-01: a picture that is older has a clock that was reset."""
_OVERLAP_ERROR: Final = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object on a picture. ``label`` is in small letters, ``box`` in shares of the picture and may reach beyond."""

    class_id: int | None
    label: str
    score: float
    box: Box

    @property
    def cut(self) -> Box:
        """The box, cut to the picture."""
        left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in self.box)
        return left, top, right, bottom

    @property
    def area(self) -> float:
        """The share of the picture that the box covers."""
        left, top, right, bottom = self.cut
        return (right - left) * (bottom - top)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture: what its device's clock said, when the ledger first saw it, and what was detected above the
    threshold. ``repeated`` tells that it was processed before."""

    key: str
    device: str
    captured_at_s: float
    received_at_s: float
    things: tuple[Thing, ...]
    threshold: float
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Miss:
    """The reason why an object does not matter. A higher ``step`` means that it came further."""

    step: int
    code: str
    score: float
    numbers: JsonObject = field(default_factory=dict)


def picture_of(found: Detections, key: str, received_at_s: float, *, repeated: bool = False) -> Picture:
    """Return the picture that object-detect's document describes; boxes in pixels become shares of the picture."""
    wide, high = found.image.width, found.image.height
    things = tuple(
        Thing(
            class_id=seen.class_id,
            label=seen.label.casefold(),
            score=seen.score,
            box=(seen.box[0] / wide, seen.box[1] / high, seen.box[2] / wide, seen.box[3] / high),
        )
        for seen in found.objects
    )
    return Picture(
        key=key,
        device=found.device,
        captured_at_s=found.captured_at_s,
        received_at_s=received_at_s,
        things=things,
        threshold=found.threshold,
        repeated=repeated,
    )


def judge(file: RuleFile2, rule: Rule2, picture: Picture) -> Match:
    """Return the verdict of one rule of the file on a picture."""
    at_s, clock = picture_time(picture, file.clock_of(picture.device))
    code, numbers, objects = _judge(rule, picture, at_s)
    return Match(
        key=picture.key,
        rule=rule.identity,
        device=picture.device,
        place=file.place(rule, picture.device),
        at_s=at_s,
        clock=clock,
        code=code,
        numbers=numbers,
        objects=objects,
        until=rule.until(at_s) if code is None else None,
        repeated=picture.repeated,
    )


def picture_time(picture: Picture, correction: ClockRule | None) -> tuple[float, str | None]:
    """Return the time of a picture in Unix seconds, and a flag if its device's clock is not believed."""
    received_s = picture.received_at_s
    if correction is not None and correction.use_received:
        return received_s, "received"
    raw_s = picture.captured_at_s + (correction.offset_s if correction is not None else 0)
    if raw_s > received_s + DRIFT_S:
        return received_s, "clock_ahead"
    if raw_s < OLDEST_S:
        return received_s, "clock_reset"
    return raw_s, None


def _judge(rule: Rule2, picture: Picture, at_s: float) -> tuple[str | None, JsonObject, tuple[Sighted, ...]]:
    if not watches(rule.devices, picture.device):
        return "other_device", {"devices": list(rule.devices)}, ()
    if not picture.things:
        return "no_objects", {}, ()
    found = misses(rule, picture)
    objects = tuple(_sighted(rule, thing) for thing, miss in zip(picture.things, found, strict=True) if miss is None)
    if not objects:
        furthest = max((miss for miss in found if miss is not None), key=lambda miss: (miss.step, miss.score))
        return furthest.code, furthest.numbers, ()
    if len(objects) < rule.count:
        return "too_few", {"seen": len(objects), "needed": rule.count}, objects
    if rule.schedule is not None and not rule.clock.any_holds(rule.schedule, at_s):
        local = rule.clock.local(at_s).isoformat(timespec="seconds")
        return "outside_schedule", {"local": local, "next_s": rule.clock.find_next(rule.schedule, at_s)}, objects
    return None, {}, objects


def misses(rule: Rule2, picture: Picture) -> list[Miss | None]:
    """Return for each object of the picture why it does not matter to the rule; None for one that matters."""
    return [_miss(rule, thing, picture) for thing in picture.things]


def _miss(rule: Rule2, thing: Thing, picture: Picture) -> Miss | None:
    """Return the first condition that the object fails; None if it matters."""
    wanted = next((item for item in rule.wanted if item.of_class.names(thing.class_id, thing.label)), None)
    if wanted is None:
        classes = sorted({one.label for one in picture.things})
        return Miss(1, "no_wanted_class", thing.score, {"classes": classes})
    needed = picture.threshold if wanted.min_score is None else wanted.min_score
    if thing.score < needed:
        return Miss(2, "below_score", thing.score, {"class": thing.label, "score": thing.score, "needed": needed})
    return _wrong_size(wanted, thing) or _wrong_place(rule, thing, picture.device)


def _wrong_size(wanted: Wanted, thing: Thing) -> Miss | None:
    if wanted.min_area <= thing.area <= wanted.max_area:
        return None
    small = thing.area < wanted.min_area
    numbers: JsonObject = {
        "class": thing.label,
        "area": thing.area,
        "needed": wanted.min_area if small else wanted.max_area,
        "min_area": wanted.min_area,
        "max_area": wanted.max_area,
    }
    return Miss(3, "too_small" if small else "too_large", thing.score, numbers)


def _wrong_place(rule: Rule2, thing: Thing, device: str) -> Miss | None:
    zones = [zone for zone in rule.zones if _binds(zone, thing, device)]
    for zone in zones:
        if zone.mode == "exclude" and is_in(zone, thing):
            return Miss(4, "excluded_zone", thing.score, _numbers_of(zone, thing))
    includes = [zone for zone in zones if zone.mode == "include"]
    if includes and not any(is_in(zone, thing) for zone in includes):
        return Miss(5, "outside_zone", thing.score, _numbers_of(includes[0], thing))
    return None


def _binds(zone: Zone, thing: Thing, device: str) -> bool:
    names_class = zone.classes is None or any(one.names(thing.class_id, thing.label) for one in zone.classes)
    return names_class and watches(zone.devices, device)


def zones_of(rule: Rule2, picture: Picture, places: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the rule's zones, but for excluded ones, in which an object at one of these places of the
    picture is, in the order of the rule."""
    things = [picture.things[place] for place in places]
    includes = (zone for zone in rule.zones if zone.mode == "include")
    return tuple(
        zone.name for zone in includes if any(_binds(zone, one, picture.device) and is_in(zone, one) for one in things)
    )


def is_in(zone: Zone, thing: Thing) -> bool:
    """Tell whether the object is in the zone; the edge is inside."""
    if zone.decides == "overlap":
        left, top, right, bottom = thing.cut
        has_area = right > left and bottom > top
        return has_area and covered(zone.polygon, thing.cut) >= zone.min_overlap - _OVERLAP_ERROR
    return contains(zone.polygon, _point(zone, thing))


def _point(zone: Zone, thing: Thing) -> tuple[float, float]:
    left, top, right, bottom = thing.cut
    return (left + right) / 2, (top + bottom) / 2 if zone.decides == "centre" else bottom


def _numbers_of(zone: Zone, thing: Thing) -> JsonObject:
    if zone.decides == "overlap":
        share = covered(zone.polygon, thing.cut)
        return {"class": thing.label, "zone": zone.name, "overlap": share, "needed": zone.min_overlap}
    return {"class": thing.label, "zone": zone.name, "point": list(_point(zone, thing))}


def _sighted(rule: Rule2, thing: Thing) -> Sighted:
    may_stand = any(one.names(thing.class_id, thing.label) for one in rule.static_classes)
    return Sighted(label=thing.label, score=thing.score, box=thing.box, may_stand=may_stand)
