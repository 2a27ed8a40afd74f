"""Notes on a rule file: what is allowed, and can never hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stages import coco_labels as coco
from stages.strict_json import path, show
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.form import RuleForm2, RulesForm2, SpanForm
from stages.threat_detect.rules.version2.spans import is_within

_NO_HOLIDAYS: Final = 'the span is for holidays only, and the file names none in "holidays"'
_WEEK: Final = frozenset(("daily", "mon", "tue", "wed", "thu", "fri", "sat", "sun"))


def find(form: RulesForm2) -> Iterator[str]:
    """Give a sentence with its place for each thing in the file that can never hold."""
    for number, rule in enumerate(form.rules):
        place = ("rules", number)
        yield from (f"{path((*place, *where))}: {what}" for where, what in _of_rule(rule, form))


def _of_rule(rule: RuleForm2, file: RulesForm2) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for number, item in enumerate(rule.classes):
        least = rule.min_area if item.min_area is None else item.min_area
        most = rule.max_area if item.max_area is None else item.max_area
        if least > most or most == 0:
            yield ("classes", number), f"no object can cover at least {least:g} and at most {most:g} of the picture"
    if rule.static is not None:
        custom = file.labels == "custom"
        names = {_plain(name, custom) for name in rule.static.classes}
        wanted = {_plain(one.of_class, custom) for one in rule.classes}
        for number, name in enumerate(rule.static.classes):
            if _plain(name, custom) not in wanted:
                yield ("static", "classes", number), f"the rule does not want the class {show(name)}"
        if rule.count > 1 and wanted <= names:
            yield ("count",), f"all classes are static: nothing that stands still counts towards the {rule.count}"
    yield from _of_zones_and_times(rule)
    for field, spans in (("schedule", rule.schedule or ()), ("quiet", rule.quiet)):
        if not file.holidays:
            yield from (((field, number), _NO_HOLIDAYS) for number, span in enumerate(spans) if _is_of_holidays(span))


def _of_zones_and_times(rule: RuleForm2) -> Iterator[tuple[tuple[str | int, ...], str]]:
    are_names = not any(char in glob for glob in rule.devices for char in "*?[")
    for number, zone in enumerate(rule.zones):
        if are_names and not any(watches(zone.devices, device) for device in rule.devices):
            yield ("zones", number, "devices"), "the rule watches none of these devices"
    if rule.escalate is not None and rule.digest:
        yield ("escalate",), "nothing is told at once beside a digest, so nobody can fail to acknowledge it"
    dropping = [span.span() for span in rule.quiet if span.action == "drop"]
    if rule.schedule is not None and dropping and is_within([span.span() for span in rule.schedule], dropping):
        yield ("schedule",), "all of it lies in quiet times that drop: nothing is ever told"


def _is_of_holidays(span: SpanForm) -> bool:
    return not any(day in _WEEK for days in span.days for day in days)


def _plain(name: int | str, custom: bool) -> int | str:
    """Return the class in one spelling: COCO's id where it has one of this id or name."""
    if isinstance(name, int):
        return name
    label = None if custom else coco.find_name(name)
    return name.casefold() if label is None else coco.IDS[label]
