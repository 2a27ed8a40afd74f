"""Spans of the wall clock: schedules, quiet times and times of digests in one time zone, over nights and clock changes.

A span holds from ``start`` to before ``end``. One that ends at or before its start is a night: it belongs to the day on
which it begins. All moments are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

DAY_S: Final = 86_400
KINDS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_AHEAD_DAYS: Final = 370
_MONDAY_S: Final = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A time of day, in seconds from 0 to 86,400, on days of some kinds: weekdays, ``holiday``, ``daily``."""

    days: frozenset[str]
    start_s: int
    end_s: int
    action: Literal["hold", "drop"] = "hold"


@dataclass(frozen=True, kw_only=True, slots=True)
class WallClock:
    """A time zone, and the days that are holidays and so no weekdays."""

    zone: ZoneInfo
    holidays: Collection[date] = field(default=frozenset())

    def local(self, at_s: float) -> datetime:
        """Return the local date and time."""
        return datetime.fromtimestamp(at_s, self.zone)

    def holds(self, span: Span, at_s: float) -> bool:
        """Tell whether the span holds at this moment."""
        now = self.local(at_s)
        today, clock_s = now.date(), _seconds_of_day(now)
        if span.start_s < span.end_s:
            return self._is_in(today, span.days) and span.start_s <= clock_s < span.end_s
        if self._is_in(today, span.days) and clock_s >= span.start_s:
            return True
        return clock_s < span.end_s and self._is_in(today - timedelta(days=1), span.days)

    def any_holds(self, spans: Sequence[Span], at_s: float) -> bool:
        """Tell whether one of the spans holds at this moment."""
        return any(self.holds(span, at_s) for span in spans)

    def find_next(self, spans: Sequence[Span], at_s: float) -> float | None:
        """Return the first moment after this one at which one of the spans begins; None if there is none in a year."""
        first = self.local(at_s).date() - timedelta(days=1)
        for number in range(_LOOK_AHEAD_DAYS):
            found = [
                moment
                for span in spans
                for moment in self._moments(first + timedelta(days=number), span.start_s)
                if moment > at_s and self.any_holds(spans, moment)
            ]
            if found:
                return min(found)
        return None

    def end_of(self, span: Span, at_s: float) -> float:
        """Return the first moment after this one at which the clock is at or past the span's end and it holds no more.

        The span must not hold all the time.
        """
        day = self.local(at_s).date() - timedelta(days=1)
        while True:
            ends = [moment for moment in self._moments(day, span.end_s) if moment > at_s]
            for moment in sorted(ends):
                if not self.holds(span, moment):
                    return moment
            day += timedelta(days=1)

    def next_time(self, times_s: Sequence[int], at_s: float) -> float:
        """Return the first moment after this one at which the clock shows one of these times of day.

        A time that a night leaves out is an hour on; one that comes twice counts twice.
        """
        today = self.local(at_s).date()
        days = (today + timedelta(days=number) for number in range(-1, 3))
        return min(moment for day in days for time_s in times_s for moment in self._shown(day, time_s) if moment > at_s)

    def quiet_until(self, spans: Sequence[Span], at_s: float) -> float | Literal["drop"] | None:
        """Return the end of the quiet time that holds at this moment, with all that follow it without a pause; ``drop``
        if the first of the spans that hold says so; None if none holds."""
        span = next((span for span in spans if self.holds(span, at_s)), None)
        if span is None or span.action == "drop":
            return None if span is None else "drop"
        until_s = at_s
        while span is not None:
            until_s = self.end_of(span, until_s)
            span = next((one for one in spans if one.action == "hold" and self.holds(one, until_s)), None)
        return until_s

    def _is_in(self, day: date, days: frozenset[str]) -> bool:
        kind = "holiday" if day in self.holidays else KINDS[day.weekday()]
        return "daily" in days or kind in days

    def _moments(self, day: date, time_s: int) -> list[float]:
        """Return the moments at which the clock comes to a time of that day: two where it comes twice; where the clock
        jumps over it, the moment of the jump."""
        first, second = self._readings(day, time_s)
        if first > second:
            return [self._jump(second, first)]
        return [first] if first == second else [first, second]

    def _shown(self, day: date, time_s: int) -> list[float]:
        first, second = self._readings(day, time_s)
        return [first, second] if first < second else [first]

    def _readings(self, day: date, time_s: int) -> tuple[float, float]:
        """Return the moment of a local time by the offset before, and after, a change of the clock near it."""
        naive = datetime(day.year, day.month, day.day) + timedelta(seconds=time_s)
        early = naive.replace(tzinfo=self.zone, fold=0)
        return early.timestamp(), early.replace(fold=1).timestamp()

    def _jump(self, before_s: float, after_s: float) -> float:
        """Return the first whole second after ``before_s`` at which the zone has the offset of ``after_s``."""
        low, high = int(before_s), int(after_s)
        offset = self.local(high).utcoffset()
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.local(middle).utcoffset() == offset else (middle, high)
        return float(high)


def is_within(spans: Sequence[Span], others: Sequence[Span]) -> bool:
    """Tell whether the others hold at every minute of a week without holidays at which one of the spans does; a span of
    holidays is within none."""
    clock = WallClock(zone=ZoneInfo("UTC"))
    moments = [at_s for at_s in _starts_and_ends([*spans, *others], _MONDAY_S) if clock.any_holds(spans, at_s)]
    has_holidays = any("holiday" in span.days for span in spans)
    return bool(moments) and not has_holidays and all(clock.any_holds(others, at_s) for at_s in moments)


def covers_week(spans: Sequence[Span]) -> bool:
    """Tell whether the spans hold at every minute of a week without holidays."""
    clock = WallClock(zone=ZoneInfo("UTC"))
    return all(clock.any_holds(spans, moment) for moment in _starts_and_ends(spans, _MONDAY_S))


def _starts_and_ends(spans: Sequence[Span], monday_s: float) -> Iterator[float]:
    """Give each moment of the week at which one of the spans may begin or end."""
    times = {0, *(time_s for span in spans for time_s in (span.start_s, span.end_s))}
    for day in range(7):
        for time_s in times:
            yield monday_s + day * DAY_S + time_s


def _seconds_of_day(moment: datetime) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
