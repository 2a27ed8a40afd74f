"""Rows judge by their median, and processes are timed without their parent's memory."""

from __future__ import annotations

import sys

import pytest

from bench.measure import Row, percentile, run_process, table


@pytest.mark.parametrize(
    ("values", "bar", "at_least", "verdict"),
    [
        ([1.0], None, False, ""),
        ([1.0], 1.0, False, "ok"),
        ([0.5, 1.1, 9.0], 1.0, False, "over"),
        ([0.85], 0.85, True, "ok"),
        ([0.9, 0.8, 0.84], 0.85, True, "over"),
    ],
)
def test_a_median_is_held_against_the_bar(values, bar, at_least, verdict):
    row = Row(what="it", values=values, unit="s", bar=bar, at_least=at_least)
    assert row.verdict == verdict
    assert verdict in table([row])


def test_a_row_needs_a_value():
    with pytest.raises(ValueError, match="at least one"):
        Row(what="it", values=[], unit="s")


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.5, 10), (0.95, 19), (1.0, 20)])
def test_a_percentile_is_one_of_the_values(share, expected):
    assert percentile(list(range(20, 0, -1)), share) == expected


def test_a_child_does_not_show_its_parents_memory():
    ballast = bytearray(200_000_000)
    finished = run_process([sys.executable, "-S", "-c", "print('here')"])
    assert finished.stdout == "here\n"
    assert finished.peak_bytes < len(ballast) / 4


def test_a_failing_process_is_an_error_with_its_words():
    with pytest.raises(RuntimeError, match=r"exit code 3.*too bad"):
        run_process([sys.executable, "-S", "-c", "import sys; print('too bad', file=sys.stderr); sys.exit(3)"])
