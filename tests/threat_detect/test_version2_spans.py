"""Spans of the wall clock against a table of minutes, around every change of the clock in three years and six zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.threat_detect.rules.version2.spans import KINDS, Span, WallClock, covers_week
from stages.time_zones import find_zone

ZONES = (
    "Europe/Vienna",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
)
HOLIDAYS = frozenset({date(2024, 3, 31), date(2024, 11, 3), date(2025, 1, 1), date(2025, 10, 26)})
FIRST_S, LAST_S = datetime(2024, 1, 1, tzinfo=UTC).timestamp(), datetime(2027, 1, 1, tzinfo=UTC).timestamp()
MINUTE_S, DAY_S = 60.0, 86_400.0


def clock_of(zone: str) -> WallClock:
    found = find_zone(zone)
    assert found is not None
    return WallClock(zone=found, holidays=HOLIDAYS)


@cache
def changes(zone: str) -> list[float]:
    """The hours in which the zone's clock changes, and some in which it does not."""
    found = clock_of(zone)
    hours = [FIRST_S + 3600 * number for number in range(int((LAST_S - FIRST_S) / 3600))]
    return [hour for hour in hours if found.local(hour).utcoffset() != found.local(hour + 3600).utcoffset()]


def naive(zone: ZoneInfo, at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None, fold=0)


def begun(span: Span, day: date) -> tuple[datetime, datetime] | None:
    """The span as it begins on this day, by a clock that never changes; None if the day is not one of its days."""
    kind = "holiday" if day in HOLIDAYS else KINDS[day.weekday()]
    if not {kind, "daily"} & span.days:
        return None
    start = datetime(day.year, day.month, day.day)
    longer = DAY_S if span.end_s <= span.start_s else 0
    return start + timedelta(seconds=span.start_s), start + timedelta(seconds=span.end_s + longer)


def held(span: Span, now: datetime) -> list[datetime]:
    """The ends of the span's days that hold at this local time."""
    days = [begun(span, now.date()), begun(span, now.date() - timedelta(days=1))]
    return [one[1] for one in days if one is not None and one[0] <= now < one[1]]


TIMES = st.integers(0, 96).map(lambda number: number * 900)
SPANS = st.builds(
    lambda days, start, end: Span(days=frozenset(days), start_s=start, end_s=end),
    st.sets(st.sampled_from([*KINDS, "holiday", "daily"]), min_size=1, max_size=4),
    TIMES,
    TIMES,
)


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, float]:
    """A minute near a change of the clock in one of the zones, or any minute."""
    zone = draw(st.sampled_from(ZONES))
    near = changes(zone)
    if near and draw(st.booleans()):
        return zone, draw(st.sampled_from(near)) + MINUTE_S * draw(st.integers(-2_000, 2_000))
    return zone, FIRST_S + MINUTE_S * draw(st.integers(3_000, 1_500_000))


def check(zone: str, at_s: float, span: Span) -> None:
    clock = clock_of(zone)
    ends = held(span, naive(clock.zone, at_s))
    assert clock.holds(span, at_s) == bool(ends)
    if not ends or covers_week([span]):
        return
    later, until = at_s, min(ends)
    while True:  # minute by minute: at or past the end, and not in the span
        later += MINUTE_S
        now = naive(clock.zone, later)
        if now >= until and not held(span, now):
            break
    assert clock.end_of(span, at_s) == later


@given(moments(), SPANS)
@settings(max_examples=150, deadline=None)
def test_a_span_holds_and_ends_as_a_table_of_minutes_says(moment: tuple[str, float], span: Span) -> None:
    check(*moment, span)


@pytest.mark.slow
@given(moments(), SPANS)
@settings(max_examples=10_000, deadline=None)
def test_a_span_holds_and_ends_as_a_table_of_minutes_says_long(moment: tuple[str, float], span: Span) -> None:
    check(*moment, span)


@given(moments(), st.lists(TIMES, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_the_next_time_of_a_digest_is_the_first_minute_that_shows_it(
    moment: tuple[str, float], times: list[int]
) -> None:
    zone, at_s = moment
    clock = clock_of(zone)
    found = clock.next_time(times, at_s)
    later = at_s
    while True:
        later += MINUTE_S
        now = naive(clock.zone, later)
        if (now - now.replace(hour=0, minute=0)).total_seconds() in [time_s % DAY_S for time_s in times]:
            break
        if later >= found:
            break
    if found != later:  # only a time that the night leaves out, told as much later as the clock jumps
        before, after = clock.local(found - DAY_S).utcoffset(), clock.local(found).utcoffset()
        assert before is not None
        assert after is not None
        assert after > before
    else:
        shown = naive(clock.zone, found)
        assert shown.second == 0


@pytest.mark.parametrize(
    ("span", "at", "end"),
    [
        (("22:00", "02:30"), "2025-03-30T00:10+00:00", "2025-03-30T01:00+00:00"),
        (("22:00", "02:30"), "2025-10-25T23:00+00:00", "2025-10-26T00:30+00:00"),
        (("22:00", "02:30"), "2025-10-26T01:10+00:00", "2025-10-26T01:30+00:00"),
        (("02:30", "05:00"), "2025-10-26T00:45+00:00", "2025-10-26T04:00+00:00"),
    ],
)
def test_a_span_ends_when_the_clock_passes_its_end(span: tuple[str, str], at: str, end: str) -> None:
    start_s, end_s = (int(text[:2]) * 3600 + int(text[3:]) * 60 for text in span)
    clock = clock_of("Europe/Vienna")
    one = Span(days=frozenset({"daily"}), start_s=start_s, end_s=end_s)
    assert clock.end_of(one, datetime.fromisoformat(at).timestamp()) == datetime.fromisoformat(end).timestamp()


def test_digests_are_an_hour_on_in_spring_and_twice_in_autumn() -> None:
    clock = clock_of("Europe/Vienna")
    spring, autumn = (datetime(2025, *day, tzinfo=UTC).timestamp() for day in ((3, 29, 12), (10, 25, 12)))
    assert clock.next_time([9000], spring) == datetime(2025, 3, 30, 1, 30, tzinfo=UTC).timestamp()
    first = clock.next_time([9000], autumn)
    assert first == datetime(2025, 10, 26, 0, 30, tzinfo=UTC).timestamp()
    assert clock.next_time([9000], first) == first + 3600
    assert clock.next_time([9000], first + 3600) == first + 3600 + DAY_S


def test_quiet_spans_that_touch_are_one_and_the_first_that_holds_decides() -> None:
    clock = clock_of("Europe/Vienna")
    days = frozenset({"daily"})
    night = Span(days=days, start_s=79_200, end_s=0)
    morning = Span(days=days, start_s=0, end_s=25_200)
    nap = Span(days=days, start_s=79_200, end_s=82_800, action="drop")
    at_s = datetime(2025, 11, 22, 21, 30, tzinfo=UTC).timestamp()
    assert clock.quiet_until([night, morning, nap], at_s) == datetime(2025, 11, 23, 6, tzinfo=UTC).timestamp()
    assert clock.quiet_until([nap, night, morning], at_s) == "drop"
    assert clock.quiet_until([night, morning, nap], at_s - 12 * 3600) is None
