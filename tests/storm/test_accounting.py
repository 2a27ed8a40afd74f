"""The account of a storm finds what it is for: a lost alert, a repeat that does not say so, anything left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storm import accounting
from tests.storm.mail import REASON, Arrival

A = "a" * 64


def arrival(status: int = 202, *, marked: bool = False) -> Arrival:
    return Arrival(alerts=(A,), status=status, marked=marked)


def alert(state: str, error: str | None = None) -> dict[str, dict[str, str | None]]:
    return {A: {"state": state, "error": error}}


@pytest.mark.parametrize(
    ("state", "error", "arrivals"),
    [("sent", None, [arrival()]), ("dead", f"400: {REASON}", [arrival(400)]), ("canceled", None, [])],
)
def test_an_alert_that_ended_as_it_may_is_accounted_for(state: str, error: str, arrivals: list[Arrival]) -> None:
    wanted = {} if state == "canceled" else alert("written")
    assert accounting.find_lost_alerts(alert(state, error), wanted, [A], arrivals) == []


@pytest.mark.parametrize(
    ("alerts", "wanted", "arrivals", "what"),
    [
        ({}, {}, [], "is gone"),
        ({}, alert("written"), [], "never made"),
        ({}, {}, [arrival(500)], "not in the ledger"),
        (alert("unknown"), {}, [arrival(500)], "unknown for good"),
        (alert("pending"), {}, [], "pending for good"),
        (alert("sending"), {}, [], "sending for good"),
        (alert("sent"), {}, [arrival(500)], "no request with it was accepted"),
        (alert("dead", "401"), {}, [], "without the API's reason"),
        (alert("canceled"), alert("written"), [], "its picture is there"),
    ],
)
def test_an_alert_that_is_lost_is_named(alerts, wanted, arrivals: list[Arrival], what: str) -> None:
    faults = accounting.find_lost_alerts(alerts, wanted, [A], arrivals)
    assert [fault for fault in faults if A in fault and what in fault], faults


def test_a_repeat_without_a_mark_is_named() -> None:
    assert accounting.find_unmarked_repeats([arrival(0), arrival(marked=True)]) == []
    assert accounting.find_unmarked_repeats([arrival(429), arrival(401), arrival()]) == []
    for first in (0, 202, 503):
        assert len(accounting.find_unmarked_repeats([arrival(first), arrival()])) == 1
    assert accounting.count_repeats([arrival(429), arrival(500), arrival(marked=True)]) == 1


def test_every_difference_is_named() -> None:
    found = accounting.find_differences("result", {"a": b"1", "b": b"2", "c": b"3"}, {"a": b"1", "b": b"x", "d": b"4"})
    assert len(found) == 3


def test_bytes_from_outside_and_files_that_are_left_are_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(b"a canary here")
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "one")
    assert len(accounting.find_bytes(tmp_path, b"canary")) == 1
    assert [path.name for path in accounting.files(tmp_path)] == ["one"]
