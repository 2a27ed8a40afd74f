"""Reports on a deployment at work, and of a run afterwards: numbers, a picture's end, a chronicle, metrics.

Each on a ledger in memory and one in SQLite, with the toy pipeline; ``tests/services`` does the same on etcd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devkit.contracts.ledger_kit import ManualClock, alert, failed, record, seen
from devkit.fakes.memory_kv import memory_ledger
from devkit.toy_pipeline import toy_pipeline
from lookout.batches.closing import Found, close
from lookout.batches.cutter import ensure_run
from lookout.domain.records import AlertState, Mark, Observation, Outcome, Record, State
from lookout.ledger.batches import Batch, BatchLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.reports.metrics import Measures
from lookout.reports.picture_status import End, find_end
from lookout.reports.status import look, look_at_backlog, pause_s
from lookout.reports.timeline import find_run, tell

PIPELINE = toy_pipeline()
STAGES = ("first", "second", "third")
RETRACTED = Outcome(state=State.RETRACTED)


class Desk:
    """A ledger with one session, and steps by which pictures move through it. Time moves only when it is told to."""

    def __init__(self, ledger: BatchLedger, owner: str, clock: ManualClock) -> None:
        self.ledger, self.owner, self.clock = ledger, owner, clock

    def land(self, key: str, content: str | None = "1") -> Observation:
        what = seen(key, content, bucket="texts", at_s=self.clock())
        self.ledger.observe([what], ["first"])
        return what

    def settle(self, stage: str, key: str, outcome: Outcome) -> None:
        (claim,) = self.ledger.claim(stage, self.owner, 1, 60.0, [key])
        self.ledger.commit([(claim, outcome)])

    def do(self, stage: str, key: str, *, run: str = "r", label: str | None = None, **more: Any) -> None:
        """The datum is done, and what follows is marked in the same transaction."""
        group = PIPELINE.group_of(key)
        made: Record = record(key, f"{stage} of {key} at {self.clock()}", stage=stage, label=label, group=group, **more)
        made = replace(made, run=run, started_at_s=self.clock(), finished_at_s=self.clock())
        following = STAGES[STAGES.index(stage) + 1 :][:1]
        marks = tuple(Mark(stage=name, key=key) for name in following)
        self.settle(stage, key, Outcome(state=State.SUCCESS, record=made, marks=marks, alerts=more.get("alerts", ())))

    def through(self, key: str) -> None:
        for stage in STAGES:
            self.do(stage, key)


@pytest.fixture(params=["kv", "sqlite"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    clock = ManualClock(now_s=1000.0)
    ledger: BatchLedger
    ledger = memory_ledger(clock=clock) if request.param == "kv" else SqliteLedger(tmp_path / "l", clock=clock)
    try:
        with ledger.session() as owner:
            yield Desk(ledger, owner, clock)
    finally:
        ledger.close()


# --- how it stands ---------------------------------------------------------------------------------------------------


def test_of_an_empty_ledger_all_is_nothing(desk: Desk) -> None:
    status = look(PIPELINE, desk.ledger, 5.0, runs=3)
    assert set(status.stages) == {"first", "second", "third", "sums"}
    assert not any(number for row in status.stages.values() for number in row.values())
    assert (status.pictures, status.backlog.pictures, status.backlog.oldest, status.runs) == (0, 0, None, [])
    assert status.backlog.whole


def test_what_waits_is_told_by_device_and_stage_with_the_oldest(desk: Desk) -> None:
    desk.land("gate/1")
    desk.clock.now_s = 1010.0
    desk.land("porch/1")
    desk.land("porch/2")
    desk.do("first", "gate/1")
    desk.clock.now_s = 1020.0
    backlog = look_at_backlog(PIPELINE, desk.ledger)
    assert backlog.devices == {"gate": {"second": 1}, "porch": {"first": 2}}
    assert backlog.pictures == 3
    assert backlog.oldest is not None
    assert (backlog.oldest.stage, backlog.oldest.key, backlog.oldest.since_s) == ("second", "gate/1", 1000.0)
    assert backlog.landed == {"gate/1": 1000.0, "porch/1": 1010.0, "porch/2": 1010.0}
    desk.do("second", "gate/1")
    desk.do("third", "gate/1")
    backlog = look_at_backlog(PIPELINE, desk.ledger)
    assert backlog.oldest is not None
    assert backlog.oldest.key == "porch/1"


def test_what_is_to_be_done_again_waits_since_it_was_marked(desk: Desk) -> None:
    desk.land("gate/1")
    desk.clock.now_s = 1010.0
    desk.through("gate/1")
    desk.clock.now_s = 2000.0
    desk.ledger.mark([Mark(stage="second", key="gate/1")])
    backlog = look_at_backlog(PIPELINE, desk.ledger)
    assert backlog.oldest is not None
    assert backlog.oldest.since_s == 2000.0
    assert backlog.landed == {}
    desk.land("gate/1", "other bytes")
    assert look_at_backlog(PIPELINE, desk.ledger).landed == {"gate/1": 2000.0}


@pytest.mark.parametrize(("number", "whole"), [(2, True), (3, False), (1201, False)])
def test_of_very_much_only_a_part_is_told_apart(desk: Desk, number: int, whole: bool) -> None:
    for n in range(number):
        desk.land(f"gate/{n:05}")
    backlog = look_at_backlog(PIPELINE, desk.ledger, most=2)
    assert (backlog.pictures, backlog.whole) == (2, whole)
    assert look(PIPELINE, desk.ledger, 0.0).stages["first"]["waiting"] == number


@pytest.mark.parametrize(("took_s", "wait_s"), [(0.0, 1.0), (0.05, 0.95), (0.2, 2.0), (2.0, 20.0), (60.0, 30.0)])
def test_looking_is_no_load_and_never_pauses_for_long(took_s: float, wait_s: float) -> None:
    assert pause_s(1.0, took_s) == pytest.approx(wait_s)


# --- one picture -----------------------------------------------------------------------------------------------------


def test_there_is_no_moment_between_two_stages_that_looks_like_the_end(desk: Desk) -> None:
    assert find_end(PIPELINE, desk.ledger, "gate/1") is None
    desk.land("gate/1")
    for stage in STAGES:
        assert find_end(PIPELINE, desk.ledger, "gate/1") is None
        desk.do(stage, "gate/1", label="alarm" if stage == "third" else None)
    ended = find_end(PIPELINE, desk.ledger, "gate/1")
    assert ended is not None
    assert (ended.end, ended.labels, ended.failures) == (End.SUCCESS, {"third": "alarm"}, {})
    assert ended.stages == dict.fromkeys(STAGES, "success")


def test_a_failed_datum_is_an_end_once_nothing_tries_it_again(desk: Desk) -> None:
    desk.land("gate/1")
    desk.do("first", "gate/1")
    desk.settle("second", "gate/1", failed("slipped", final=False))
    assert find_end(PIPELINE, desk.ledger, "gate/1") is None
    desk.settle("second", "gate/1", failed("broken"))
    ended = find_end(PIPELINE, desk.ledger, "gate/1")
    assert ended is not None
    assert (ended.end, ended.failures) == (End.FAILED, {"second": "broken"})


def test_a_picture_that_was_removed_is_gone_once_its_results_are(desk: Desk) -> None:
    desk.land("gate/1")
    desk.through("gate/1")
    desk.land("gate/1", None)
    assert find_end(PIPELINE, desk.ledger, "gate/1") is None
    for stage in STAGES:
        following = tuple(Mark(stage=name, key="gate/1") for name in STAGES[STAGES.index(stage) + 1 :][:1])
        desk.settle(stage, "gate/1", replace(RETRACTED, marks=following))
    ended = find_end(PIPELINE, desk.ledger, "gate/1")
    assert ended is not None
    assert ended.end is End.GONE


def test_what_was_written_or_removed_just_now_is_waited_for(desk: Desk) -> None:
    desk.land("gate/1")
    desk.through("gate/1")
    as_is, other = seen("gate/1", "1", bucket="texts"), seen("gate/1", "2", bucket="texts")
    removed, unreadable = seen("gate/1", None, bucket="texts"), seen("gate/1", None, bucket="texts", error="a link")
    assert find_end(PIPELINE, desk.ledger, "gate/1", as_is) is not None
    for now in (other, removed, unreadable):
        assert find_end(PIPELINE, desk.ledger, "gate/1", now) is None
    assert find_end(PIPELINE, desk.ledger, "gate/2", removed) is None


# --- a run afterwards ------------------------------------------------------------------------------------------------


def test_a_run_is_told_in_the_order_of_time(desk: Desk) -> None:
    ledger, clock = desk.ledger, desk.clock
    for key in ("gate/1", "gate/2", "porch/1"):
        desk.land(key)
    ensure_run(ledger, "r", clock())
    ledger.add_batches([Batch(id="b1", kind="backfill", run="r", keys=("gate/1", "gate/2"), created_at_s=clock())])
    clock.now_s = 1005.0
    taken = ledger.take_batch(desk.owner, 60.0, run="r")
    assert taken is not None
    desk.do("first", "gate/1")
    clock.now_s = 1007.0
    desk.do("first", "gate/2", label="bad")
    desk.settle("second", "gate/1", failed("told to fail"))
    told = alert("a" * 64, created_at_s=clock(), run="r")
    desk.do("second", "gate/2", alerts=[told])
    desk.do("first", "porch/1", run="another")
    clock.now_s = 1009.0
    ledger.end_batch(taken)
    close(ledger, "r", Found(), clock())
    run = find_run(ledger, "r")
    assert run is not None
    events = tell(PIPELINE, ledger, run)
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    said = [event.text for event in events]
    assert said[0] == "run r began, backfill"
    assert said[1] == "batch b1 cut: 2 pictures, backfill"
    assert said[-1] == "run r ended: success"
    assert "batch b1 done" in said
    assert "failed: second of gate/1: told to fail" in said
    assert "made: first of gate/2: bad" in said
    assert "first: 2 made, from 5.0 s to 7.0 s after the run's beginning" in said
    assert any(text.startswith("alert aaaaaaaaaaaa for to@example.org: night") for text in said)
    assert not any("porch" in text or "made: first of gate/1" in text for text in said)
    each = [event.text for event in tell(PIPELINE, ledger, run, each=True)]
    assert "made: first of gate/1" in each


def test_a_run_without_batches_is_told_by_its_picture_or_by_looking_through_all(desk: Desk) -> None:
    desk.land("gate/1")
    desk.land("gate/2")
    ensure_run(desk.ledger, "r", desk.clock())
    desk.do("first", "gate/1")
    desk.settle("second", "gate/1", failed("told to fail"))
    desk.do("first", "gate/2", run="another")
    run = find_run(desk.ledger, "r")
    assert run is not None
    named = [event.text for event in tell(PIPELINE, desk.ledger, run, ["gate/1"])]
    assert [event.text for event in tell(PIPELINE, desk.ledger, run)] == named
    assert "failed: second of gate/1: told to fail" in named
    assert find_run(desk.ledger, "never") is None


def test_what_was_retracted_meanwhile_is_told(desk: Desk) -> None:
    for key in ("gate/1", "gate/2"):
        desk.land(key)
        desk.do("first", key, run="before")
        desk.land(key, None)
    desk.settle("first", "gate/2", RETRACTED)
    desk.clock.now_s = 1010.0
    ensure_run(desk.ledger, "r", desk.clock())
    desk.clock.now_s = 1012.0
    desk.settle("first", "gate/1", RETRACTED)
    run = find_run(desk.ledger, "r")
    assert run is not None
    expected = "first: 1 retracted, from 2.0 s to 2.0 s after the run's beginning"
    for keys in ([], ["gate/1", "gate/2"]):
        assert expected in [event.text for event in tell(PIPELINE, desk.ledger, run, keys)]
    assert "retracted: first of gate/1" in [event.text for event in tell(PIPELINE, desk.ledger, run, each=True)]


def test_a_batch_in_hands_and_one_let_go_say_so(desk: Desk) -> None:
    desk.land("gate/1")
    ensure_run(desk.ledger, "r", desk.clock())
    desk.ledger.add_batches([Batch(id="b1", kind="live", run="r", keys=("gate/1",), created_at_s=desk.clock())])
    run = find_run(desk.ledger, "r")
    assert run is not None
    taken = desk.ledger.take_batch(desk.owner, 60.0, run="r")
    assert taken is not None
    assert any(f"taken by {desk.owner}" in event.text for event in tell(PIPELINE, desk.ledger, run))
    desk.ledger.release_batch(taken)
    assert any("open again" in event.text for event in tell(PIPELINE, desk.ledger, run))


# --- metrics ---------------------------------------------------------------------------------------------------------


def samples(measures: Measures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every value that Prometheus would read."""
    families = text_string_to_metric_families(measures.text())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(measures: Measures, name: str, **labels: str) -> float:
    return samples(measures)[(name, frozenset(labels.items()))]


def test_the_values_are_those_of_the_ledger(desk: Desk) -> None:
    desk.land("gate/1")
    desk.land("gate/2")
    desk.land("porch/1")
    desk.through("gate/1")
    desk.do("first", "gate/2")
    desk.settle("second", "gate/2", failed("broken"))
    measures = Measures(PIPELINE, follows=False)
    measures.take(look(PIPELINE, desk.ledger, 1030.0), desk.ledger)
    counts = desk.ledger.count_slots()
    for stage in (*STAGES, "sums"):
        for state in State:
            expected = counts.get(stage, {}).get(state, 0)
            assert value(measures, "lookout_datums", stage=stage, state=state.value) == expected
        assert value(measures, "lookout_waiting_datums", stage=stage) == desk.ledger.count_dirty(stage)
    assert value(measures, "lookout_datums", stage="second", state="failed") == 1
    assert value(measures, "lookout_pictures") == 3
    assert value(measures, "lookout_waiting_pictures") == 1
    assert value(measures, "lookout_oldest_waiting_seconds") == 30.0
    assert value(measures, "lookout_ledger_up") == 1
    assert {value(measures, "lookout_alerts", state=state.value) for state in AlertState} == {0}
    assert not any(name.startswith("lookout_latency") for name, _ in samples(measures))


def test_how_long_a_picture_took_is_counted_once_and_reprocessing_is_not(desk: Desk) -> None:
    measures = Measures(PIPELINE, follows=True)

    def take() -> None:
        measures.take(look(PIPELINE, desk.ledger, desk.clock()), desk.ledger)

    desk.land("gate/1")
    desk.land("gate/gone")
    take()
    desk.clock.now_s = 1007.0
    desk.do("first", "gate/1")
    take()
    assert value(measures, "lookout_latency_seconds_count") == 0
    desk.do("second", "gate/1")
    desk.do("third", "gate/1")
    desk.land("gate/gone", None)
    desk.settle("first", "gate/gone", RETRACTED)
    for _ in range(3):
        take()
    desk.ledger.mark([Mark(stage="third", key="gate/1")])
    take()
    desk.clock.now_s = 1100.0
    desk.do("third", "gate/1")
    take()
    assert value(measures, "lookout_latency_seconds_count") == 1
    assert value(measures, "lookout_latency_seconds_sum") == 7.0
    assert value(measures, "lookout_latency_seconds_bucket", le="5.0") == 0
    assert value(measures, "lookout_latency_seconds_bucket", le="10.0") == 1


def test_a_ledger_that_does_not_answer_is_a_value_and_takes_the_others_with_it(desk: Desk) -> None:
    measures = Measures(PIPELINE, follows=True)
    assert value(measures, "lookout_ledger_up") == 0
    measures.take(look(PIPELINE, desk.ledger, 1.0), desk.ledger)
    measures.fail()
    assert value(measures, "lookout_ledger_up") == 0
    assert not any(name == "lookout_pictures" for name, _ in samples(measures))
    assert value(measures, "lookout_latency_seconds_count") == 0
