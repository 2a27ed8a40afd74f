"""The written form of a rule file of version 2, field by field; ``rules-2.schema.json`` beside it says the same.

Knows each field by itself. Fields that depend on each other are checked in ``reading.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from stages.strict_json import show
from stages.threat_detect.rules.schema import (
    MAX_NAME,
    Address,
    ClassForm,
    ClassName,
    Form,
    Glob,
    Name,
    Share,
    TimeZone,
    User,
    text_of,
    wrong,
)
from stages.threat_detect.rules.version2.spans import Span

MAX_DURATION_S: Final = 366 * 86_400
DAY_S: Final = 86_400
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,8})([smhd])", re.ASCII)
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MIN_IOU: Final = 0.3
_MAX_COUNT: Final = 100


def _seconds(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        seconds = int(found[1]) * _UNITS_S[found[2]]
    else:
        raise wrong(f'expected a duration such as 90 or "10m" (units s, m, h, d), got {show(value)}')
    if not 0 <= seconds <= MAX_DURATION_S:
        raise wrong(f"expected a duration from 0 s to 366 d, got {show(value)}")
    return seconds


def _offset(value: object) -> int:
    if isinstance(value, str) and value[:1] in "+-" and value[1:2].isdigit():
        seconds = _seconds(value[1:])
        return -seconds if value[0] == "-" else seconds
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return -_seconds(-value)
    return _seconds(value)


def _time_of_day(value: object) -> int:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise wrong(f'expected a time of day from "00:00" to "24:00", got {show(value)}')
    return int(value[:2]) * 3600 + int(value[3:]) * 60


def _days(value: object) -> tuple[str, ...]:
    """Return the kinds of day that one text means: ``fri-mon`` is fri, sat, sun, mon."""
    if value in ("daily", "holiday", *WEEKDAYS):
        return (str(value),)
    first, _, last = value.partition("-") if isinstance(value, str) else ("", "", "")
    if first not in WEEKDAYS or last not in WEEKDAYS:
        raise wrong(f'expected a day such as "mon", "mon-fri", "daily" or "holiday", got {show(value)}')
    start, end = WEEKDAYS.index(first), WEEKDAYS.index(last)
    return tuple(WEEKDAYS[number % 7] for number in range(start, end + 1 + (7 if end < start else 0)))


def _date(value: object) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) and _DATE.fullmatch(value) else "")
    except ValueError:
        raise wrong(f'expected a date such as "2026-12-25", got {show(value)}') from None


def _iou(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _MIN_IOU <= value <= 1:
        raise wrong(f"expected a number from 0.3 to 1, got {show(value)}")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
        raise wrong(f"expected a whole number from 1 to {_MAX_COUNT}, got {show(value)}")
    return value


def _point(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(f"expected a point [x, y] with numbers from 0 to 1, got {show(value)}")
    return _coordinate(value[0]), _coordinate(value[1])


def _coordinate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise wrong(f"expected a point [x, y] with numbers from 0 to 1, got {show(value)} in it")
    return float(value)


def _site(value: object) -> str:
    return text_of(value, "a site's name", MAX_NAME)


Seconds = Annotated[int, BeforeValidator(_seconds)]
Offset = Annotated[int, BeforeValidator(_offset)]
TimeOfDay = Annotated[int, BeforeValidator(_time_of_day)]
Days = Annotated[tuple[str, ...], BeforeValidator(_days)]
Date = Annotated[date, BeforeValidator(_date)]
Iou = Annotated[float, BeforeValidator(_iou)]
Count = Annotated[int, BeforeValidator(_count)]
Point = Annotated[tuple[float, float], BeforeValidator(_point)]
Site = Annotated[str, BeforeValidator(_site)]
Globs = Annotated[list[Glob], Field(min_length=1, max_length=100)]
ClassNames = Annotated[list[ClassName], Field(min_length=1, max_length=1000)]
Addresses = Annotated[list[Address], Field(min_length=1, max_length=100)]


class WantedForm(ClassForm):
    """One class that matters; ``1`` and ``"person"`` are short for an object with ``class``."""

    max_area: Share | None = None


class ChannelForm(Form):
    """One way to tell: mail with ``from`` and ``to``, or a webhook or a service of apprise with a ``name``."""

    type: Literal["mail", "webhook", "apprise"]
    sender: Address | None = Field(default=None, alias="from")
    to: Addresses | None = None
    name: Name | None = None


class ZoneForm(Form):
    """A part of the picture in which objects count, or do not."""

    name: Name
    polygon: Annotated[list[Point], Field(min_length=3, max_length=50)]
    mode: Literal["include", "exclude"] = "include"
    devices: Globs = Field(default=["*"])
    classes: ClassNames | None = None
    decides: Literal["foot", "centre", "overlap"] = "foot"
    min_overlap: Share = 0.5


class SpanForm(Form):
    """A time of day on some days; ``to`` at or before ``from`` is on the next day."""

    days: Annotated[list[Days], Field(min_length=1, max_length=100)] = Field(default=[("daily",)])
    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")

    def span(self) -> Span:
        """Return the span that is written."""
        return Span(days=frozenset(day for days in self.days for day in days), start_s=self.start, end_s=self.end)


class QuietForm(SpanForm):
    """A span in which nothing is told at once."""

    action: Literal["hold", "drop"] = "hold"

    def span(self) -> Span:
        """Return the span that is written, with its action."""
        return replace(super().span(), action=self.action)


class EventForm(Form):
    """The bounds of an event, and when one that goes on is told again."""

    gap: Seconds = 120
    again: Seconds | None = 3600


class StaticForm(Form):
    """Classes whose objects do not match while they stand still."""

    classes: ClassNames
    iou: Iou = 0.6
    hold: Seconds = 600
    forget: Seconds = DAY_S


class LateForm(Form):
    """Treatment of pictures that are judged long after they were taken."""

    after: Seconds = 3600
    action: Literal["summary", "drop", "send"] = "summary"


class EscalateForm(Form):
    """Recipients who are told if nobody acknowledges."""

    after: Seconds
    to: Addresses


class RuleForm2(Form):
    """One rule."""

    name: Name
    user: User
    sender: Address | None = Field(default=None, alias="from")
    to: Addresses | None = None
    channels: Annotated[list[ChannelForm], Field(min_length=1, max_length=10)] | None = None
    devices: Globs = Field(default=["*"])
    timezone: TimeZone = "UTC"
    classes: Annotated[list[WantedForm], Field(min_length=1, max_length=1000)]
    min_score: Share | None = None
    min_area: Share = 0.0
    max_area: Share = 1.0
    count: Count = 1
    zones: Annotated[list[ZoneForm], Field(max_length=50)] = Field(default=[])
    schedule: Annotated[list[SpanForm], Field(min_length=1, max_length=100)] | None = None
    severity: Literal["info", "warning", "alarm"] = "warning"
    group: Literal["device", "site", "all"] = "device"
    event: EventForm = EventForm()
    cooldown: Seconds = 600
    static: StaticForm | None = None
    quiet: Annotated[list[QuietForm], Field(max_length=100)] = Field(default=[])
    digest: Annotated[list[TimeOfDay], Field(max_length=100)] = Field(default=[])
    late: LateForm = LateForm()
    escalate: EscalateForm | None = None
    reorder: Seconds | None = None


class ClockForm(Form):
    """The known error of some devices' clocks, or the order not to use them."""

    devices: Globs
    offset: Offset | None = None
    use: Literal["received"] | None = None


class RulesForm2(Form):
    """A file of version 2."""

    version: Literal[2]
    labels: Literal["coco", "custom"] = "coco"
    sites: dict[Site, Globs] = Field(default={})
    clocks: Annotated[list[ClockForm], Field(max_length=1000)] = Field(default=[])
    holidays: Annotated[list[Date], Field(max_length=10_000)] = Field(default=[])
    rules: Annotated[list[RuleForm2], Field(min_length=1, max_length=1000)]


FORMS: Final[Mapping[str, type[Form]]] = {
    "": RulesForm2,
    "clocks": ClockForm,
    "rules": RuleForm2,
    "classes": WantedForm,
    "channels": ChannelForm,
    "zones": ZoneForm,
    "schedule": SpanForm,
    "quiet": QuietForm,
    "event": EventForm,
    "static": StaticForm,
    "late": LateForm,
    "escalate": EscalateForm,
}
"""The forms of what lies below each field, for ``schema.problems``."""
