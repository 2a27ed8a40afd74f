"""Events on the page: the threats of one device and day, as one entry for each event, and the other pictures apart.

The page loads the first of two parts when it comes to a day, and the second one when somebody asks for what stands
behind an event or was held back. So an event costs the page as much as a picture did, however many pictures it has.
Pure: knows no clock and no ledger. An event may go on at another device: the page joins its parts by their name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lookout.domain.policy import codec
from lookout.domain.policy.records import Code
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Json, JsonObject, Member
from stages.reason_codes.sentences import Seen, sentence_of

_Name: TypeAlias = tuple[int, str, str]
"""Number of the rule, place, and the event's own name."""
_COVERS: Final = (Code.SENT, Code.HELD_CONFIRM, Code.HELD_QUIET, Code.LATE_SUMMARY)
"""Codes of pictures that stand for an event, the best one first."""
_KNOWN: Final = frozenset((*_COVERS, Code.MERGED_EVENT, Code.ACKNOWLEDGED, Code.LATE_MERGED))
"""Codes of events of which somebody was told, or will be."""


@dataclass(kw_only=True, slots=True)
class _Numbered:
    """Values that many pictures share, each kept once."""

    values: list[Json] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, value: Json) -> int:
        """Return the number of a value."""
        name = repr(value)
        if name not in self._numbers:
            self._numbers[name] = len(self.values)
            self.values.append(value)
        return self._numbers[name]


@dataclass(kw_only=True, slots=True)
class _Picture:
    """One picture with a threat: what the page shows of it, and the decision of each rule that has made one, by the
    number of the rule. ``each`` is set if another rule tells every picture."""

    shown: dict[str, Json]
    at_s: float
    decisions: Mapping[int, PictureDecision]
    each: bool

    @property
    def stem(self) -> str:
        return str(self.shown["stem"])


def parts_of(members: Sequence[Member]) -> tuple[JsonObject, JsonObject | None]:
    """Return the part of the gallery that the page shows at once, and that with all other pictures, None for none."""
    rules, models = _Numbered(), _Numbered()
    pictures = sorted((_picture(member, rules, models) for member in members), key=lambda one: one.stem)
    events: dict[_Name, list[_Picture]] = {}
    for one in pictures:
        for rule, made in one.decisions.items():
            events.setdefault(_name(rule, made), []).append(one)
    numbers = {name: number for number, name in enumerate(events)}
    covers = {
        _cover(rule, some).stem
        for (rule, _, _), some in events.items()
        if any(one.decisions[rule].kept.code in _KNOWN for one in some)
    }
    for one in pictures:
        one.shown["judged"] = [_judged(rule, made, numbers, one) for rule, made in one.decisions.items()]
    first = [one.shown for one in pictures if one.each or one.stem in covers]
    others = [one.shown for one in pictures if not (one.each or one.stem in covers)]
    shared: JsonObject = {
        "rules": rules.values,
        "models": models.values,
        "events": [_event(name, some) for name, some in events.items()],
    }
    main: JsonObject = {**shared, "pictures": first, "others": len(others)}
    return main, {**shared, "pictures": others} if others else None


def _picture(member: Member, rules: _Numbered, models: _Numbered) -> _Picture:
    facts = dict(member.facts)
    named = [one for one in _listed(facts.pop("rules", ())) if isinstance(one, Mapping)]
    zones = [one.get("zones", []) for one in named]
    by_rule = {
        (str(one.get("user")), str(one["name"])): rules.number({k: v for k, v in one.items() if k != "zones"})
        for one in named
    }
    made = [] if member.decisions is None else codec.decisions_from_json(member.decisions)
    decisions = {by_rule[one.rule]: one for one in made if one.rule in by_rule and not one.kept.withdrawn}
    drawn = next(ref for ref in member.outputs if ref.key.endswith(".jpg"))
    shown: dict[str, Json] = {
        **facts,
        "model": models.number(facts.get("model")),
        "rules": list(by_rule.values()),
        "stem": drawn.key.removesuffix(".jpg"),
        "datum": member.hash,
    }
    if any(zones):
        shown["zones"] = zones
    at_s = facts.get("captured_at_s")
    return _Picture(
        shown=shown,
        at_s=at_s if isinstance(at_s, (int, float)) else 0.0,
        decisions=decisions,
        each=len(decisions) < len(by_rule),
    )


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, (list, tuple)) else ()


def _name(rule: int, made: PictureDecision) -> _Name:
    """Return the name of the event of a picture. What is in no event is put together by its summary, or by its code."""
    kept = made.kept
    event = made.numbers.get("event")
    if isinstance(event, str):
        return rule, kept.place, f"event {event}"
    return rule, kept.place, f"{kept.code} {kept.summary}" if kept.summary else str(kept.code)


def _cover(rule: int, some: Sequence[_Picture]) -> _Picture:
    """Return the picture that stands for an event: the first one of which somebody was told, or else the first one."""
    order: dict[str, int] = {code: place for place, code in enumerate(_COVERS)}
    return min(some, key=lambda one: (order.get(one.decisions[rule].kept.code, len(order)), one.at_s, one.stem))


def _event(name: _Name, some: Sequence[_Picture]) -> JsonObject:
    rule, place, own = name
    codes = Counter(one.decisions[rule].kept.code for one in some)
    labels: Counter[str] = Counter()
    for one in some:
        labels.update({str(found["label"]) for found in _listed(one.shown["threats"]) if isinstance(found, Mapping)})
    return {
        "rule": rule,
        "place": place,
        "name": own,
        "first_s": min(one.at_s for one in some),
        "last_s": max(one.at_s for one in some),
        "codes": dict(codes),
        "labels": dict(labels),
        "cover": _cover(rule, some).stem,
        "told": any(code in _KNOWN for code in codes),
    }


def _judged(rule: int, made: PictureDecision, numbers: Mapping[_Name, int], one: _Picture) -> JsonObject:
    """Return what the policy made of a picture: the number of the event, the code, and why."""
    kept = made.kept
    picture = one.shown["picture"]
    key = str(picture["key"]) if isinstance(picture, Mapping) else ""
    seen = Seen(key=key, device=str(one.shown["device"]), at_s=kept.at_s)
    return {
        "event": numbers[_name(rule, made)],
        "code": kept.code,
        "why": sentence_of(kept.code, made.numbers, seen),
    }
