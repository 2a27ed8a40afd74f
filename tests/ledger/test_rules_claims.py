"""The choice of a claim: fresh slots first, suspects last, of one cohort, and ever fewer at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout.ledger.rules.claims import Cohort, Listed, choose, portion
from lookout.ledger.rules.slots import SlotState, hold, lose, touch


def row(key: str, suspect: int = 0, cohort: int = 0) -> SlotState:
    return SlotState("s", key, dirty=1, suspect=suspect, cohort=cohort)


@pytest.mark.parametrize(
    ("rows", "limit", "keys"),
    [
        ([], 5, []),
        ([row("a")], 0, []),
        ([row("a")], -1, []),
        ([row("b"), row("a")], 5, ["a", "b"]),
        ([row("b"), row("a"), row("c")], 2, ["a", "b"]),
        ([row("a", 1, 7), row("b")], 5, ["b"]),
        ([row("a", 1, 7)], 5, ["a"]),
        ([row("b", 2, 7), row("a", 2, 7)], 5, ["a"]),
        ([row(key, 6, 7) for key in "fedcba"], 5, ["a", "b", "c"]),
        ([row(key, 6, 7) for key in "fedcba"], 2, ["a", "b"]),
        ([row("a", 2, 9), row("b", 4, 7), row("c", 4, 7)], 5, ["b", "c"]),
        ([row("a", 2, 7), row("b", 2, 9)], 5, ["b"]),
    ],
    ids=[
        "nothing is free",
        "no limit left",
        "a negative limit",
        "the order of keys",
        "a limit",
        "a fresh slot before a suspect",
        "a suspect alone",
        "half of two is one",
        "half of six",
        "half of six, with a limit",
        "the largest cohort, however late",
        "of equal cohorts the latest",
    ],
)
def test_a_claim_takes(rows: list[SlotState], limit: int, keys: list[str]) -> None:
    assert [each.key for each in choose(Listed(rows), limit)] == keys


@pytest.mark.parametrize(("suspect", "number"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (256, 128)])
def test_a_portion_is_half_and_at_least_one(suspect: int, number: int) -> None:
    assert portion(suspect) == number


def test_the_worst_cohort_is_none_without_suspects() -> None:
    assert Listed([row("a")]).worst() is None
    assert Listed([row("a"), row("b", 3, 1), row("c", 3, 2)]).worst() == Cohort(3, 2)


@given(size=st.integers(1, 200), killer=st.integers(0, 199), limit=st.integers(1, 256))
def test_a_slot_that_ends_its_owner_is_soon_claimed_alone_and_all_others_are_done(
    size: int, killer: int, limit: int
) -> None:
    rows = [row(f"{number:03}") for number in range(size)]
    deadly = rows[killer % size]
    claims = losses = 0
    while deadly.losses < 3:
        claims += 1
        taken = choose(Listed(each for each in rows if each.dirty), limit)
        assert taken, "the deadly slot is still dirty, so it is claimed"
        for each in taken:
            hold(each, "owner", claims, 0.0, 60.0)
        if deadly in taken:
            losses += 1
            lose(taken, 0.0)
        else:
            for each in taken:
                each.dirty = each.suspect = each.cohort = 0
    assert not any(each.dirty for each in rows if each is not deadly)
    assert losses <= min(size, limit).bit_length() + 4


def test_a_suspect_that_is_marked_again_is_still_a_suspect() -> None:
    lost = row("a", 4, 7)
    touch(lost, 1.0)
    assert choose(Listed([lost, row("b")]), 5) == [row("b")]
