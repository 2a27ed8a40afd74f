"""Times as people write them, and which datums lie between two of them."""

from __future__ import annotations

import click
import pytest

from lookout.app.ranges import Range
from lookout.cli.ranges import Moment
from stages.picture_names import find_name

DAY_S = 1763769600.0
"""2025-11-22, 00:00 UTC."""


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("2025-11-22", DAY_S),
        ("2025-11-22T00:00", DAY_S),
        ("2025-11-22T01:02:03", DAY_S + 3723),
        ("2025-11-22 01:02:03Z", DAY_S + 3723),
        ("2025-11-22T02:00:00+02:00", DAY_S),
        ("1763769600", DAY_S),
        ("1763769600250", DAY_S + 0.25),
    ],
)
def test_a_time_may_be_a_date_an_iso_time_or_a_unix_time(text: str, expected_s: float) -> None:
    assert Moment().convert(text, None, None) == expected_s


@pytest.mark.parametrize("text", ["", "yesterday", "176376960", "17637696000", "2025-13-01", "\u0661763769600", "-1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no date"):
        Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("since_s", "until_s", "key", "expected"),
    [
        (None, None, "anything", True),
        (DAY_S, None, "porch_1763769600.jpg", True),
        (DAY_S, None, "porch_1763769599.jpg", False),
        (None, DAY_S, "porch_1763769600.jpg", False),
        (None, DAY_S, "folder/porch_1763769599999.JPEG", True),
        (DAY_S, DAY_S + 10, "porch_1763769605.jpg", True),
        (DAY_S, None, "IMG_0001.jpg", False),
        (None, DAY_S, "", False),
    ],
)
def test_a_picture_is_in_a_range_by_the_time_in_its_name(
    since_s: float | None, until_s: float | None, key: str, expected: bool
) -> None:
    assert Range(since_s=since_s, until_s=until_s).has(key, None, find_name) is expected


@pytest.mark.parametrize(
    ("since_s", "until_s", "group", "expected"),
    [
        (None, None, "", True),
        (DAY_S, DAY_S + 1, "porch/2025-11-22", True),
        (DAY_S + 86399, None, "porch/2025-11-22", True),
        (DAY_S + 86400, None, "porch/2025-11-22", False),
        (None, DAY_S, "porch/2025-11-22", False),
        (None, DAY_S + 1, "porch/2025-11-22", True),
        (DAY_S, None, "-/-", False),
        (DAY_S, None, "", False),
    ],
)
def test_a_day_is_in_a_range_that_has_a_part_of_it(
    since_s: float | None, until_s: float | None, group: str, expected: bool
) -> None:
    assert Range(since_s=since_s, until_s=until_s).has_group(group) is expected


def test_a_range_is_all_only_without_any_limit() -> None:
    assert Range().is_all
    assert not any(one.is_all for one in (Range(prefix="x"), Range(since_s=0.0), Range(until_s=0.0)))


def test_a_picture_is_in_a_range_by_the_time_that_a_stage_has_found() -> None:
    range_ = Range(since_s=1763769600.0, until_s=1763769600.0 + 10)
    assert range_.has("IMG_0001.jpg", 1763769600.0, find_name)
    assert not range_.has(f"porch_{int(1763769600.0)}.jpg", 1763769600.0 + 20, find_name)
