"""Tallies to summary: totals, order, windows, what is added up as others, colours that stay."""

from __future__ import annotations

import pytest

from lookout.domain.records import Tally
from stages.plot.summary import COLOURED_CLASSES, Summary, slots_of_colour, summarise, top, window


def test_no_tallies_give_the_empty_summary() -> None:
    assert summarise(()) == Summary()
    assert window(Summary()) == []


def test_one_group_is_counted_everywhere() -> None:
    counts = {"pictures": 3, "valid": 2, "invalid": 1, "invalid:truncated": 1, "threats": 1, "threat:car": 2}
    summary = summarise([Tally(group="porch/2025-11-22", counts=counts, last_at_s=1763798400.0)])
    assert (summary.pictures, summary.valid, summary.invalid, summary.threats) == (3, 2, 1, 1)
    assert [(d.name, d.pictures, d.invalid, d.threats, d.last_at_s) for d in summary.devices] == [
        ("porch", 3, 1, 1, 1763798400.0)
    ]
    assert [(p.device, p.day, p.threats, dict(p.objects)) for p in summary.partitions] == [
        ("porch", "2025-11-22", 1, {"car": 2})
    ]
    assert summary.classes == (("car", 2),)
    assert summary.reasons == (("truncated", 1),)
    assert (summary.last_day, summary.last_at_s) == ("2025-11-22", 1763798400.0)


def test_many_groups_are_added_up_and_sorted() -> None:
    def tally(group: str, threats: int, last_at_s: float, **objects: int) -> Tally:
        counts = {"pictures": 5, "valid": 5, "threats": threats, **{f"threat:{k}": n for k, n in objects.items()}}
        return Tally(group=group, counts={k: n for k, n in counts.items() if n}, last_at_s=last_at_s)

    summary = summarise(
        [
            tally("yard/2025-11-20", 1, 30.0, dog=1),
            tally("gate/2025-11-22", 2, 20.0, person=2),
            tally("gate/2025-11-20", 1, 10.0, person=1, car=3),
            tally("gate/2025-11-23", 0, 40.0),
        ]
    )
    assert [device.name for device in summary.devices] == ["gate", "yard"]
    assert summary.devices[0].threats == 3
    assert summary.devices[0].last_at_s == 40.0
    assert [(part.day, part.device) for part in summary.partitions] == [
        ("2025-11-22", "gate"),
        ("2025-11-20", "gate"),
        ("2025-11-20", "yard"),
    ]
    assert summary.classes == (("car", 3), ("person", 3), ("dog", 1))
    assert summary.last_day == "2025-11-23"


def test_pictures_without_a_name_count_but_are_no_device() -> None:
    summary = summarise([Tally(group="-/-", counts={"pictures": 2, "invalid": 2, "invalid:name": 2}, last_at_s=9e9)])
    assert (summary.pictures, summary.invalid, summary.reasons) == (2, 2, (("name", 2),))
    assert (summary.devices, summary.last_at_s, summary.last_day) == ((), None, None)


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (0, []),
        (3, [("d0", 3), ("d1", 2), ("d2", 1)]),
        (4, [("d0", 4), ("d1", 3), ("2 others", 3)]),
    ],
)
def test_what_does_not_fit_is_added_up(rows: int, shown: list[tuple[str, int]]) -> None:
    assert top([(f"d{n}", rows - n) for n in range(rows)], 3, "{} others") == shown


def test_the_window_ends_with_the_newest_picture_and_begins_with_a_threat() -> None:
    def days(*groups: tuple[str, int]) -> list[str]:
        return window(
            summarise([Tally(group=f"gate/{day}", counts={"pictures": 1, "threats": n}) for day, n in groups])
        )

    assert days(("2025-11-22", 1)) == ["2025-11-22"]
    assert days(("2025-11-20", 1), ("2025-11-22", 0)) == ["2025-11-20", "2025-11-21", "2025-11-22"]
    assert days(("2025-01-01", 1), ("2025-11-22", 1)) == ["2025-11-22"]
    assert days(("2025-01-01", 1), ("2025-11-22", 0)) == []
    long = days(*((f"2025-{month:02d}-{day:02d}", 1) for month in range(1, 12) for day in range(1, 29)))
    assert (len(long), long[0], long[-1]) == (14, "2025-11-15", "2025-11-28")


def test_common_classes_keep_their_colour_and_the_rest_share_what_is_free() -> None:
    assert slots_of_colour([]) == {}
    assert slots_of_colour([("car", 9)])["car"] == slots_of_colour([("zebra", 9), ("car", 1)])["car"]
    many = slots_of_colour([(f"class {n}", 10) for n in range(9)])
    assert sorted(many.values()) == list(range(COLOURED_CLASSES))
    mixed = slots_of_colour([("bus", 9), ("person", 5), ("cat", 1)])
    assert mixed == {"person": 0, "bus": 1, "cat": 2}
