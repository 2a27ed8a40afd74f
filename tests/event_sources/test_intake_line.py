"""Keys leave the line when there are enough, or one has waited long enough; the oldest first, and none is lost."""

from __future__ import annotations

import threading
import time

import pytest

from event_sources.intake.key_queue import Line


@pytest.fixture
def line() -> Line:
    return Line(size=3, age_s=5.0)


def test_nothing_leaves_an_empty_line(line: Line) -> None:
    assert line.take(100.0) == {}
    assert (line.due_at_s(), line.oldest_s(), len(line)) == (None, None, 0)


def test_fewer_than_a_batch_leave_when_the_first_is_old_enough(line: Line) -> None:
    line.add(["b"], 10.0)
    line.add(["a"], 12.0)
    assert line.due_at_s() == 15.0
    assert line.take(14.9) == {}
    assert line.take(15.0) == {"b": 10.0, "a": 12.0}
    assert not len(line)


def test_enough_for_a_batch_leave_at_once_and_the_rest_waits(line: Line) -> None:
    line.add(["d", "c", "b", "a"], 10.0)
    assert line.due_at_s() == 10.0
    assert list(line.take(10.0)) == ["d", "c", "b"]
    assert line.take(10.0) == {}
    assert line.due_at_s() == 15.0


def test_a_key_that_lands_again_waits_no_longer_for_that(line: Line) -> None:
    line.add(["a"], 10.0)
    line.add(["a"], 14.0)
    assert line.take(15.0) == {"a": 10.0}


def test_with_no_age_everything_leaves_at_once() -> None:
    line = Line(size=3, age_s=0.0)
    assert line.take(1.0) == {}
    line.add(["a"], 1.0)
    assert line.take(1.0) == {"a": 1.0}


def test_who_waits_for_nothing_takes_what_is_there_but_what_is_parked(line: Line) -> None:
    assert line.take(10.0, at_once=True) == {}
    line.add(["a", "b"], 10.0)
    line.put_back({"b": 10.0}, 20.0)
    assert line.take(10.0, at_once=True) == {"a": 10.0}
    assert line.take(19.0, at_once=True) == {}
    line.add(["c", "d", "e", "f"], 19.0)
    assert list(line.take(19.0, at_once=True)) == ["c", "d", "e"], "never more than one batch"


def test_after_what_left_at_once_others_gather_until_they_would_have_left(line: Line) -> None:
    line.add(["a"], 10.0)
    assert line.take(10.0, at_once=True) == {"a": 10.0}
    line.add(["b"], 11.0)
    assert line.due_at_s() == 20.0
    assert line.take(19.9) == {}
    assert line.take(20.0) == {"b": 11.0}
    line.add(["c"], 21.0)
    assert line.due_at_s() == 26.0, "as ever after that"


def test_gathering_holds_up_no_full_batch_and_nothing_that_need_not_wait(line: Line) -> None:
    line.add(["a"], 10.0)
    line.take(10.0, at_once=True)
    line.add(["b", "c", "d", "e"], 11.0)
    assert list(line.take(11.0)) == ["b", "c", "d"]
    assert line.take(11.0) == {}
    assert list(line.take(11.0, at_once=True)) == ["e"]


def test_gathering_ends_when_the_clock_is_set_back(line: Line) -> None:
    line.add(["a"], 1000.0)
    line.take(1000.0, at_once=True)
    line.add(["b"], 1001.0)
    line.set_back(100.0)
    assert line.due_at_s() == 105.0


def test_what_is_put_back_comes_first(line: Line) -> None:
    line.add(["a"], 10.0)
    taken = line.take(15.0)
    line.add(["b"], 16.0)
    line.put_back(taken)
    assert line.oldest_s() == 10.0
    assert list(line.take(16.0)) == ["a", "b"]


def test_what_is_parked_waits_beside_the_line_until_its_time(line: Line) -> None:
    line.add(["a", "b"], 10.0)
    taken = line.take(15.0)
    line.put_back({"a": taken["a"]}, 20.0)
    line.add(["c"], 15.0)
    assert (len(line), line.due_at_s(), line.oldest_s()) == (2, 20.0, 10.0)
    line.add(["a"], 16.0)
    assert len(line) == 2, "a parked key that lands again stays parked"
    assert line.take(19.9) == {}
    assert line.take(20.0) == {"a": 10.0, "c": 15.0}


def test_what_lands_while_it_is_taken_is_news_and_may_be_parked_with_the_earlier_time(line: Line) -> None:
    line.add(["a"], 10.0)
    taken = line.take(15.0)
    line.add(["a"], 15.5)
    assert len(line) == 1
    line.put_back(taken, 20.0)
    assert (len(line), line.oldest_s()) == (1, 10.0)


@pytest.mark.parametrize("how", ["landing", "enough", "waking"])
def test_waiting_ends_when_there_is_news(line: Line, how: str) -> None:
    if how == "enough":
        line.add(["a"], 10.0)
        line.wait(0)
    began_s = time.monotonic()
    waiter = threading.Thread(target=line.wait, args=(30.0,))
    waiter.start()
    if how == "landing":
        line.add(["a"], 10.0)
    elif how == "enough":
        line.add(["b", "c"], 10.0)
    else:
        line.wake()
    waiter.join(20)
    assert time.monotonic() - began_s < 10


def test_news_from_before_the_waiting_ends_it_once(line: Line) -> None:
    line.add(["a"], 10.0)
    began_s = time.monotonic()
    line.wait(30.0)
    assert time.monotonic() - began_s < 10
    line.add(["b"], 10.0)
    line.wait(0.01)
    assert line.due_at_s() == 15.0


def test_a_clock_that_is_set_back_has_nothing_wait_for_the_time_it_showed_before(line: Line) -> None:
    line.add(["a"], 1000.0)
    line.add(["b"], 1001.0)
    line.put_back({"c": 999.0}, 5000.0)
    assert line.take(100.0) == {}
    line.set_back(100.0)
    assert (line.oldest_s(), line.due_at_s(), len(line)) == (100.0, 105.0 if len(line) < 3 else 100.0, 3)
    assert line.take(100.0).keys() == {"a", "b", "c"}


def test_what_waited_before_the_time_that_a_clock_is_set_back_to_keeps_its_place(line: Line) -> None:
    line.add(["a"], 90.0)
    line.add(["b"], 1000.0)
    line.set_back(100.0)
    assert line.take(100.0) == {"a": 90.0, "b": 100.0}


def test_who_waits_is_woken_when_the_clock_is_set_back(line: Line) -> None:
    line.add(["a"], 1000.0)
    line.wait(0.0)
    began_s = time.monotonic()
    line.set_back(100.0)
    line.wait(60.0)
    assert time.monotonic() - began_s < 30.0
