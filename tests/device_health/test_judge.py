"""Judgement of devices: limits and hysteresis of each kind, and a thousand simulated devices over thirty days."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.device_health.codec import findings_from_json, findings_to_json
from lookout.domain.device_health.judge import follow, silent_after_s
from lookout.domain.device_health.records import DAY_S, HOUR_S, Day, Finding, Kind, Limits, Observed, Sample

from .fleet import RHYTHMS, Device, device, found

LIMITS = Limits()
NOW_S = 40 * DAY_S + 12 * HOUR_S
TODAY_S = 40 * DAY_S


def regular(*, until_day: int = 40, pictures: int = 24, invalid: int = 0) -> list[Day]:
    """Days of a device that sends a picture each hour, the last at noon."""
    return [
        Day(
            begin_s=day * DAY_S,
            pictures=pictures,
            invalid=invalid if day == until_day else 0,
            last_at_s=day * DAY_S + 12 * HOUR_S,
        )
        for day in range(20, until_day + 1)
    ]


def kinds(found: list[Finding]) -> list[Kind]:
    return [one.kind for one in found if one.end_s is None]


def samples(number: int, *, delay_s: float = 5.0, every_s: float = 1800.0, content: str = "") -> list[Sample]:
    """Pictures until now, each seen so long after it was taken by the device's clock."""
    return [
        Sample(at_s=seen_s - delay_s, seen_at_s=seen_s, sha256=content or str(seen_s))
        for seen_s in (NOW_S - i * every_s for i in reversed(range(number)))
    ]


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_device_with_even_pauses_is_missed_soon_and_an_irregular_one_late() -> None:
    even = [day * DAY_S for day in range(20)]
    assert silent_after_s(even, LIMITS) == LIMITS.least_silence_s
    office = [day * DAY_S for day in range(28) if day % 7 < 5]
    assert silent_after_s(office, LIMITS) == 7 * DAY_S
    assert silent_after_s([], LIMITS) == silent_after_s([1.0], LIMITS) == LIMITS.unknown_silence_s


def test_one_outage_among_the_pauses_changes_nothing_and_two_are_usual() -> None:
    even = [day * DAY_S for day in range(10)]
    once = [*even, *(15 * DAY_S + time_s for time_s in even)]
    twice = [*once, *(40 * DAY_S + time_s for time_s in even)]
    assert silent_after_s(once, LIMITS) == LIMITS.least_silence_s
    assert silent_after_s(twice, LIMITS) > 6 * DAY_S


def test_silence_begins_with_the_last_picture_and_ends_with_the_next() -> None:
    days = regular(until_day=38)
    last_s = 38 * DAY_S + 12 * HOUR_S
    at_limit = follow([], Observed(days=days), last_s + LIMITS.least_silence_s, LIMITS)
    assert at_limit == []
    first = follow([], Observed(days=days), last_s + LIMITS.least_silence_s + 1, LIMITS)
    assert first == [Finding(kind=Kind.SILENT, begin_s=last_s, value=LIMITS.least_silence_s)]
    assert follow(first, Observed(days=days), NOW_S + 5 * DAY_S, LIMITS) == first
    again = [*days, Day(begin_s=TODAY_S, pictures=1, last_at_s=NOW_S)]
    (over,) = follow(first, Observed(days=again), NOW_S, LIMITS)
    assert (over.begin_s, over.end_s) == (last_s, NOW_S)
    assert follow([over], Observed(days=again), NOW_S + HOUR_S, LIMITS) == [over]


def test_a_picture_of_long_ago_that_arrives_now_is_a_sign_of_life() -> None:
    days = regular(until_day=30)
    assert kinds(follow([], Observed(days=days), NOW_S, LIMITS)) == [Kind.SILENT]
    assert follow([], Observed(days=days, arrivals=[NOW_S - HOUR_S]), NOW_S, LIMITS) == []


def test_a_memory_card_that_is_read_each_week_is_no_silent_device() -> None:
    read = [NOW_S - 6 * DAY_S - week * 7 * DAY_S + i for week in range(5) for i in range(20)]
    days = regular(until_day=33)
    assert follow([], Observed(days=days, arrivals=read), NOW_S, LIMITS) == []


# --- days ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("today", "is_flood"), [(24, False), (1000, False), (1001, True)])
def test_a_flood_is_far_more_than_usual(today: int, is_flood: bool) -> None:
    days = [*regular(until_day=39), Day(begin_s=TODAY_S, pictures=today, last_at_s=NOW_S)]
    assert kinds(follow([], Observed(days=days), NOW_S, LIMITS)) == [Kind.FLOOD] * is_flood


def test_a_flood_over_midnight_is_one_and_ends_below_half_of_the_limit() -> None:
    def day(number: int, pictures: int) -> Day:
        return Day(begin_s=number * DAY_S, pictures=pictures, last_at_s=number * DAY_S + 1)

    days = [*regular(until_day=39), day(40, 3000)]
    first = follow([], Observed(days=days), NOW_S, LIMITS)
    midnight = follow(first, Observed(days=[*days, day(41, 2)]), 41 * DAY_S + 60, LIMITS)
    assert [(one.begin_s, one.end_s) for one in midnight] == [(TODAY_S, None)]
    less = follow(midnight, Observed(days=[*days, day(41, 700), day(42, 501)]), 42 * DAY_S + 60, LIMITS)
    assert kinds(less) == [Kind.FLOOD]
    over = follow(less, Observed(days=[*days, day(41, 24), day(42, 500)]), 42 * DAY_S + 60, LIMITS)
    assert kinds(over) == []


def test_a_new_device_that_sends_much_is_no_flood() -> None:
    days = [Day(begin_s=(38 + i) * DAY_S, pictures=5000, last_at_s=NOW_S) for i in range(3)]
    assert follow([], Observed(days=days), NOW_S, LIMITS) == []


@pytest.mark.parametrize(("pictures", "invalid", "is_found"), [(9, 9, False), (10, 4, False), (10, 5, True)])
def test_half_of_a_days_pictures_invalid_is_trouble(pictures: int, invalid: int, is_found: bool) -> None:
    days = [*regular(until_day=38), Day(begin_s=TODAY_S, pictures=pictures, invalid=invalid, last_at_s=NOW_S)]
    assert kinds(follow([], Observed(days=days), NOW_S, LIMITS)) == [Kind.INVALID] * is_found


def test_invalid_pictures_are_over_below_a_quarter() -> None:
    first = follow([], Observed(days=regular(invalid=12)), NOW_S, LIMITS)
    assert kinds(first) == [Kind.INVALID]
    assert kinds(follow(first, Observed(days=regular(invalid=6)), NOW_S, LIMITS)) == [Kind.INVALID]
    assert kinds(follow(first, Observed(days=regular(invalid=5)), NOW_S, LIMITS)) == []


# --- pictures --------------------------------------------------------------------------------------------------------


def test_ten_equal_pictures_in_a_row_are_trouble_until_another_comes() -> None:
    days = regular()
    assert follow([], Observed(days=days, samples=samples(9, content="same")), NOW_S, LIMITS) == []
    first = follow([], Observed(days=days, samples=samples(10, content="same")), NOW_S, LIMITS)
    assert kinds(first) == [Kind.IDENTICAL]
    next_day = follow(first, Observed(days=days, samples=samples(1, content="same")), NOW_S, LIMITS)
    assert [one.begin_s for one in next_day] == [first[0].begin_s]
    other = [*samples(10, content="same")[:-1], Sample(at_s=NOW_S, seen_at_s=NOW_S, sha256="other")]
    assert kinds(follow(next_day, Observed(days=days, samples=other), NOW_S, LIMITS)) == []


@pytest.mark.parametrize(("delay_s", "is_found"), [(5, False), (-600, False), (-601, True), (600, False), (3600, True)])
def test_a_clock_that_is_off_is_found(delay_s: float, is_found: bool) -> None:
    pictures = samples(6, delay_s=delay_s)
    found = follow([], Observed(days=regular(), samples=pictures), NOW_S, LIMITS)
    assert [(one.kind, one.value) for one in found] == [(Kind.CLOCK, -delay_s)] * is_found


def test_pictures_that_waited_in_the_device_say_nothing_of_its_clock() -> None:
    waited = [Sample(at_s=NOW_S - i * HOUR_S, seen_at_s=NOW_S, sha256=str(i)) for i in range(1, 10)]
    assert follow([], Observed(days=regular(), samples=waited), NOW_S, LIMITS) == []
    short = samples(6, delay_s=3600, every_s=60)
    assert follow([], Observed(days=regular(), samples=short), NOW_S, LIMITS) == []


def test_a_clock_that_was_set_is_right_with_its_next_picture() -> None:
    first = follow([], Observed(days=regular(), samples=samples(6, delay_s=3600)), NOW_S, LIMITS)
    one_more = [*samples(6, delay_s=3600), Sample(at_s=NOW_S + 55, seen_at_s=NOW_S + 60, sha256="new")]
    over = follow(first, Observed(days=regular(), samples=one_more), NOW_S + 60, LIMITS)
    assert [one.end_s for one in over] == [NOW_S + 60]


# --- all of it -------------------------------------------------------------------------------------------------------

_days = st.lists(st.tuples(st.integers(20, 42), st.integers(0, 3000), st.integers(0, 20)), max_size=12)
_pictures = st.lists(
    st.tuples(st.integers(-90_000, 90_000), st.integers(0, 90_000), st.sampled_from("abc")), max_size=25
)


@settings(max_examples=300, deadline=None)
@given(looks=st.lists(st.tuples(st.integers(0, 5 * 86_400), _days, _pictures), max_size=6))
def test_any_history_has_at_most_one_lasting_trouble_of_a_kind_and_keeps_what_ended(
    looks: list[tuple[int, list[tuple[int, int, int]], list[tuple[int, int, str]]]],
) -> None:
    kept: list[Finding] = []
    now_s = NOW_S
    for later_s, days, pictures in looks:
        now_s += later_s
        known = {day: (n, bad) for day, n, bad in days}
        observed = Observed(
            days=[
                Day(begin_s=day * DAY_S, pictures=n, invalid=min(n, bad), last_at_s=day * DAY_S + 60 if n else None)
                for day, (n, bad) in sorted(known.items())
                if n
            ],
            samples=[Sample(at_s=now_s + at, seen_at_s=now_s - seen, sha256=name) for at, seen, name in pictures],
        )
        before, kept = kept, follow(kept, observed, now_s, LIMITS)
        lasting = kinds(kept)
        assert len(lasting) == len(set(lasting))
        assert [one for one in before if one.end_s is not None] == [
            one for one in kept if one.end_s is not None and one in before
        ]
        begins = {(one.kind, one.begin_s) for one in kept}
        assert all((one.kind, one.begin_s) in begins for one in before)
        assert findings_from_json("porch", findings_to_json(kept)) == kept


def _gap(made: Device, at_s: float) -> float:
    """Return how long before that time its last picture was, or a day if that is more: days begin at midnight."""
    last_s = max(sample.at_s for sample, _ in made.pictures if sample.at_s < at_s)
    return max(DAY_S, at_s - last_s)


def test_a_thousand_devices_over_thirty_days_each_outage_is_found_once() -> None:
    dice = random.Random(20261130)
    troubles = {
        "hourly": list(Kind),
        "daylight": [Kind.SILENT],
        "office": [Kind.SILENT],
        "trail": [Kind.SILENT],
        "rare": [None],
        "card": [None],
    }
    false: Counter[str] = Counter()
    number: Counter[str] = Counter()
    outages = 0
    for i in range(1000):
        rhythm = RHYTHMS[i % len(RHYTHMS)]
        kind = dice.choice(troubles[rhythm]) if dice.random() < 0.3 else None
        made = device(rhythm, kind, dice)
        told = found(made, LIMITS)
        number[rhythm] += 1
        for trouble in made.troubles:
            outages += 1
            of_it = [
                one
                for one in told
                if one.kind is trouble.kind
                and trouble.begin_s - _gap(made, trouble.begin_s) <= one.begin_s <= trouble.end_s
            ]
            assert len(of_it) == 1, (rhythm, trouble, told)
            told.remove(of_it[0])
        false[rhythm] += len(told)
    assert outages > 100
    for rhythm in RHYTHMS:
        assert false[rhythm] / number[rhythm] < 1, rhythm
    assert false.total() / 1000 < 0.1
