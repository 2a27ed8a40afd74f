"""From a rule file to rules that can be applied: reads both written forms, resolves classes, refuses what is unclear.

A refused file never takes part; what was in force under its name stays so. Knows nothing of pictures and mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Accepted, Refused
from lookout.domain.records import JsonObject
from lookout.domain.rule_fit.codec import EVERY_DEVICE, file_to_meta, rule_to_meta
from lookout.domain.rule_fit.records import FileFacts, RuleFacts, Wish
from stages import coco_labels as coco
from stages.strict_json import path, printable, read, show
from stages.threat_detect.rules.classes import ClassRef, check_coco_id, check_once, resolve
from stages.threat_detect.rules.schema import MAX_NAME, ClassForm, OriginalForm, RuleForm, RulesForm, problems

if TYPE_CHECKING:
    from stages.threat_detect.rules.version2.rule import Rule2, RuleFile2

ROLE: Final = "rules"
NOBODY: Final = "nobody"
"""User of a rule of the original form that names no recipient."""
NEXT_VERSION: Final = 2
_ORIGINAL_FIELDS: Final = frozenset(OriginalForm.model_fields)
_NOTES: Final = (".md", ".txt")
_META_EDITION: Final = 2
"""Raised when more is kept of a file: the same files are examined again then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One class that matters: exactly one of ``class_id`` and ``label`` (in small letters) is set.

    ``min_score`` None means the detection threshold; ``min_area`` is a share of the picture, 0 to 1.
    """

    class_id: int | None
    label: str | None
    min_score: float | None
    min_area: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Rule for alerts: recipients, classes and devices. ``devices`` are globs; ``timezone`` is an IANA name."""

    name: str
    user: str
    devices: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    sender: str
    recipients: tuple[str, ...]
    timezone: str

    @property
    def identity(self) -> tuple[str, str]:
        """User and name, which identify a rule."""
        return self.user, self.name


def accept(files: Mapping[str, bytes]) -> list[Accepted | Refused]:
    """One verdict per rule file, in the order of the names; ``meta`` holds each rule's name, user, device globs,
    channels that are not mail, and what it is compared with model and devices by.

    Rule files end with ``.json``. Hidden files and notes (``.md``, ``.txt``) get no verdict; anything else is refused,
    so that a ``rules.yaml`` is not passed over in silence. Never raises for a bad file.
    """
    verdicts: list[Accepted | Refused] = []
    taken: dict[tuple[str, str], str] = {}
    of_version2: list[Rule2] = []
    for name in sorted(files):
        if is_note(name):
            continue
        try:
            found = parse_file(name, files[name])
            rules = _rules_of(found)
            _check_others(rules, name, taken)
            of_version2 = _with_version2(of_version2, rules, name)
        except InputRejected as exc:
            verdicts.append(Refused(name=name, reason=str(exc)))
            continue
        taken.update((rule.identity, name) for rule in rules)
        verdicts.append(Accepted(name=name, files={ROLE: files[name]}, meta=_meta_of(files[name], found)))
    return verdicts


def context() -> str:
    """Return what the ``meta`` of a file depends on beside its bytes."""
    return f"meta {_META_EDITION}"


def is_note(name: str) -> bool:
    """Tell whether a file among rule files is a note or hidden, and so no rule file."""
    last = name.rpartition("/")[2].lower()
    return last.startswith(".") or last.endswith(_NOTES)


def parse_file(name: str, data: bytes) -> tuple[Rule, ...] | RuleFile2:
    """Return the rules of one file, or the whole file if it is of version 2. Raises InputRejected with a sentence that
    names file, place and field."""
    if not name.lower().endswith(".json"):
        raise InputRejected("a rule file is JSON and its name ends with .json", printable(name))
    try:
        tree = read(data)
        if isinstance(tree, dict) and tree.get("version") == NEXT_VERSION:
            from stages.threat_detect.rules.version2.reading import parse_tree  # its forms are many

            return parse_tree(tree)
        return _parse(tree, name)
    except ValidationError as exc:
        raise InputRejected(problems(exc), printable(name)) from exc
    except InputRejected as exc:
        raise exc.within(printable(name)) from exc


def parse(name: str, data: bytes) -> tuple[Rule, ...]:
    """Return the rules of one file of version 1 or of the original form. Raises InputRejected."""
    found = parse_file(name, data)
    if not isinstance(found, tuple):
        raise InputRejected("expected a file of version 1", printable(name))
    return found


def _with_version2(before: list[Rule2], rules: Sequence[Rule | Rule2], name: str) -> list[Rule2]:
    """Return the rules of version 2 of all files so far. Raises InputRejected if too many of them watch one device."""
    new = [rule for rule in rules if not isinstance(rule, Rule)]
    if new:
        from stages.threat_detect.rules.version2.reading import check_rules_of_a_device

        try:
            check_rules_of_a_device([*before, *new])
        except InputRejected as exc:
            raise exc.within(printable(name)) from exc
    return [*before, *new]


def _parse(tree: object, name: str) -> tuple[Rule, ...]:
    if not isinstance(tree, dict):
        raise InputRejected(f'expected an object with "rules", got {show(tree)}')
    if _ORIGINAL_FIELDS & tree.keys() and "rules" not in tree:
        return (_original(OriginalForm.model_validate(tree), _stem(name)),)
    return _rules(RulesForm.model_validate(tree))


def _check_others(rules: Sequence[Rule | Rule2], name: str, taken: Mapping[tuple[str, str], str]) -> None:
    """Refuse a rule that an earlier file has: with user, name and recipients alike, only one of two could ever mail."""
    for number, rule in enumerate(rules):
        other = taken.get(rule.identity)
        if other is not None:
            what = f"user {show(rule.user)} has a rule {show(rule.name)} in {printable(other)} too"
            raise InputRejected(what, f"{printable(name)}: rules[{number}].name")


def _original(form: OriginalForm, name: str) -> Rule:
    for number, class_id in enumerate(form.threat_classes):
        check_coco_id(class_id, ("threat_classes", number))
    ids = dict.fromkeys(form.threat_classes)
    if form.to_email and not form.from_email:
        raise InputRejected("a sender is needed, as somebody is to be told", "from_email")
    return Rule(
        name=name,
        user=form.to_email or NOBODY,
        devices=("*",),
        wanted=tuple(Wanted(class_id=class_id, label=None, min_score=None, min_area=0.0) for class_id in ids),
        sender=form.from_email,
        recipients=(form.to_email,) if form.to_email else (),
        timezone="UTC",
    )


def _rules(form: RulesForm) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for number, written in enumerate(form.rules):
        for other, rule in enumerate(rules):
            if (rule.user, rule.name) == (written.user, written.name):
                what = f"user {show(rule.user)} has a rule {show(rule.name)} in rules[{other}] too"
                raise InputRejected(what, path(("rules", number, "name")))
        rules.append(_rule(written, number, custom=form.labels == "custom"))
    return tuple(rules)


def _rule(form: RuleForm, number: int, *, custom: bool) -> Rule:
    place = ("rules", number)
    check_once([address.casefold() for address in form.to], (*place, "to"))
    check_once(form.devices, (*place, "devices"))
    wanted = tuple(
        _wanted(item, form, (*place, "classes", index), custom=custom) for index, item in enumerate(form.classes)
    )
    check_once([ClassRef(item.class_id, item.label).meaning(custom=custom) for item in wanted], (*place, "classes"))
    return Rule(
        name=form.name,
        user=form.user,
        devices=tuple(form.devices),
        wanted=wanted,
        sender=form.sender,
        recipients=tuple(form.to),
        timezone=form.timezone,
    )


def _wanted(form: ClassForm, rule: RuleForm, place: tuple[int | str, ...], *, custom: bool) -> Wanted:
    of_class = resolve(form.of_class, place, custom=custom)
    return Wanted(
        class_id=of_class.class_id,
        label=of_class.label,
        min_score=form.min_score if form.min_score is not None else rule.min_score,
        min_area=form.min_area if form.min_area is not None else rule.min_area,
    )


def _meta_of(data: bytes, found: tuple[Rule, ...] | RuleFile2) -> JsonObject:
    """Return what is kept of a file for planning, and for the comparison with model and devices."""
    rules, of_coco = _rules_of(found), _names_coco(data)
    ids = {one for rule in rules for wish in _wishes(rule) for one in wish.classes if isinstance(one, int)}
    file = FileFacts(
        file="",
        rules=(),
        sites={} if isinstance(found, tuple) else found.sites,
        clocks=() if isinstance(found, tuple) else tuple(clock.devices for clock in found.clocks),
        meanings={one: coco.NAMES[one] for one in sorted(ids) if of_coco},
    )
    return {"rules": [_meta(rule) for rule in rules], **file_to_meta(file)}


def _names_coco(data: bytes) -> bool:
    tree = read(data)
    return isinstance(tree, dict) and tree.get("labels", "coco") == "coco"


def _meta(rule: Rule | Rule2) -> JsonObject:
    silent: JsonObject = {} if rule.recipients else {"silent": True}
    others = () if isinstance(rule, Rule) else rule.other_channels
    channels: JsonObject = {"channels": list(others)} if others else {}
    zones = () if isinstance(rule, Rule) else rule.zones
    facts = RuleFacts(
        name=rule.name,
        devices=rule.devices,
        wishes=tuple(_wishes(rule)),
        zones={zone.name: zone.devices for zone in zones if zone.devices != EVERY_DEVICE},
    )
    plain: JsonObject = {"name": rule.name, "user": rule.user, "devices": list(rule.devices)}
    return {**plain, **silent, **channels, **rule_to_meta(facts)}


def _wishes(rule: Rule | Rule2) -> Iterator[Wish]:
    """Give the classes of a rule by the least score that they need."""
    by_score: dict[float | None, list[int | str]] = {}
    for wanted in rule.wanted:
        named = wanted if isinstance(wanted, Wanted) else wanted.of_class
        by_score.setdefault(wanted.min_score, []).append(str(named.label) if named.class_id is None else named.class_id)
    for min_score, classes in by_score.items():
        yield Wish(min_score=min_score, classes=tuple(classes))


def _rules_of(found: tuple[Rule, ...] | RuleFile2) -> tuple[Rule | Rule2, ...]:
    return found if isinstance(found, tuple) else found.rules


def _stem(name: str) -> str:
    last = name.rpartition("/")[2]
    plain = "".join(char for char in last[: -len(".json")] if char.isprintable())
    return plain[:MAX_NAME].strip() or "rule"
