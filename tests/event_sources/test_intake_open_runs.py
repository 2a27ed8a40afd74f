"""An intake assigns what lands to open runs: to one with room, or a new one; and moves what was in one that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devkit.contracts.ledger_kit import ManualClock
from devkit.contracts.ledger_open_runs import Party
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from event_sources.intake.dispatcher import Dispatcher, Pace
from event_sources.intake.metrics import Metrics
from event_sources.intake.open_runs import BURY_S, CROWDED_S, GRACE_S, RunPace
from lookout.domain.records import Mark
from lookout.ledger.batches import UNFINISHED
from lookout.ledger.open_runs import OPENING_S, RunState
from lookout.ledger.sqlite import SqliteLedger
from tests.event_sources.intake_kit import AWAY, Posts

RUNS = RunPace(linger_s=60.0, cap=4, most=2, release="1")
PACE = Pace(runs=RUNS, again_s=60.0)


class Place:
    """One ledger, an intake that is stepped by hand, and keepers."""

    def __init__(self, stack: ExitStack) -> None:
        self.clock, self.store, self.posts, self._stack = ManualClock(), MemoryStore(), Posts(), stack
        self.intake = self.dispatcher()
        self.ledger = memory_ledger(self.clock, self.store)
        stack.callback(self.ledger.close)

    def dispatcher(self, nonce: str = "aaaa", pace: Pace = PACE) -> Dispatcher:
        return Dispatcher(
            open_ledger=lambda: memory_ledger(self.clock, self.store),
            poster=self.posts,
            readers=("s",),
            stages=("s", "t"),
            pace=pace,
            clock=self.clock,
            nonce=nonce,
            metrics=Metrics(),
        )

    def land(self, *keys: str, at: Dispatcher | None = None) -> None:
        self.ledger.mark([Mark(stage="s", key=key) for key in keys])
        intake = at or self.intake
        intake.line.add(keys, self.clock.now_s)
        intake.step()

    def later(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.intake.step()

    def party(self) -> Party:
        party = Party(memory_ledger(self.clock, self.store), self.clock)
        self._stack.callback(party.ledger.close)
        self._stack.callback(party.leave)
        return party

    def keep(self, run: str) -> Party:
        party = self.party()
        assert party.ledger.lease_run(run, party.owner) is not None
        return party

    @property
    def runs(self) -> list[str]:
        return [view.record.id for view in self.ledger.open_runs()]

    @property
    def held(self) -> dict[str, list[str]]:
        """Keys of unfinished batches by run."""
        found: dict[str, list[str]] = {}
        for batch in self.ledger.batches(states=UNFINISHED):
            found.setdefault(batch.run, []).extend(batch.keys)
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


def test_the_first_picture_begins_a_run_and_those_behind_it_join_it(place: Place) -> None:
    place.land("a")
    (run,) = place.runs
    assert place.posts.runs == [(run, 60.0)]
    place.land("b")
    assert place.held == {run: ["a", "b"]}
    place.keep(run)
    place.land("c")
    assert place.held == {run: ["a", "b", "c"]}
    place.later(OPENING_S * 3)
    assert (place.runs, place.posts.runs) == ([run], [(run, 60.0)])


def test_another_run_is_begun_when_all_are_full_for_a_while_and_no_more_than_may_be(place: Place) -> None:
    place.land("a", "b", "c", "d", "e")
    (first,) = place.runs
    place.keep(first)
    assert place.held == {first: ["a", "b", "c", "d"]}
    place.later(CROWDED_S)
    second = place.runs[1]
    assert place.held == {first: ["a", "b", "c", "d"], second: ["e"]}
    place.land("f", "g", "h", "i")
    place.later(CROWDED_S)
    assert place.held[second] == ["e", "f", "g", "h"]
    assert (len(place.runs), len(place.intake.line)) == (2, 1)


def test_the_open_run_with_the_fewest_pictures_comes_first_and_only_of_this_release(place: Place) -> None:
    place.dispatcher("old", Pace(runs=RunPace(cap=4, release="0"))).step()
    place.land("x", at=place.dispatcher("bbbb", Pace(runs=RunPace(cap=9, release="0"))))
    (other,) = place.runs
    place.keep(other)
    place.land("a", "b", "c", "d", "e")
    place.later(CROWDED_S)
    first, second = (run for run in place.runs if run != other)
    place.keep(first), place.keep(second)
    place.land("f")
    assert place.held == {other: ["x"], first: ["a", "b", "c", "d"], second: ["e", "f"]}


def test_the_batches_of_a_run_whose_keeper_is_gone_are_moved_and_it_ends_as_lost(place: Place) -> None:
    place.land("a", "b", "c", "d", "e")
    place.later(CROWDED_S)
    first, second = place.runs
    keeper = place.keep(first)
    keeper.take_all(first)
    place.keep(second)
    keeper.leave()
    place.later(0.1)
    assert place.held[first] == ["a", "b", "c", "d"], "its keeper may come back"
    place.later(GRACE_S)
    assert sorted(place.held[second]) == ["a", "b", "c", "d", "e"]
    place.later(BURY_S)
    assert place.runs == [second]
    found = place.ledger.find_run(first)
    assert found is not None
    assert found.record.state == "lost"


def test_a_keeper_that_is_back_in_time_keeps_its_batches(place: Place) -> None:
    place.land("a")
    (run,) = place.runs
    place.keep(run).leave()
    place.later(0.1)
    place.keep(run)
    place.later(GRACE_S)
    place.later(BURY_S)
    assert place.held == {run: ["a"]}


def test_a_run_that_nobody_came_for_is_replaced_less_and_less_often(place: Place) -> None:
    place.land("a")
    (first,) = place.runs
    place.later(OPENING_S)
    second = place.runs[-1]
    assert (first != second, place.held) == (True, {second: ["a"]})
    assert [run for run, _ in place.posts.runs] == [first, first, second], "Argo may have lost the first post"
    place.later(OPENING_S)
    assert place.held == {second: ["a"]}, "it may wait for a node"
    place.later(OPENING_S)
    assert list(place.held) == [place.runs[-1]]
    assert place.runs[-1] != second


def test_a_run_that_could_not_be_posted_is_posted_later_and_also_by_an_intake_after_this_one(place: Place) -> None:
    place.posts.trouble = AWAY
    with pytest.raises(type(AWAY)):
        place.land("a")
    (run,) = place.runs
    assert place.held == {run: ["a"]}
    place.posts.trouble = None
    place.later(1.0)
    assert [posted for posted, _ in place.posts.runs] == [run]
    place.dispatcher("cccc").step()
    assert [posted for posted, _ in place.posts.runs] == [run, run]
    assert place.runs == [run]


def test_what_was_entered_by_an_intake_that_is_gone_is_assigned(place: Place) -> None:
    place.ledger.mark([Mark(stage="s", key="a")])
    place.dispatcher("dddd").step()
    assert list(place.held.values()) == [["a"]]


def test_a_picture_that_lands_again_needs_no_second_batch(place: Place) -> None:
    place.land("a")
    place.land("a")
    (run,) = place.runs
    assert place.held == {run: ["a"]}
    keeper = place.keep(run)
    assert keeper.state(run) is RunState.OPEN
    taken = keeper.take_all(run)
    keeper.finish(keeper.claim("a"))
    assert keeper.ledger.end_settled(taken, ["s", "t"]) == taken
    place.later(30.0)
    assert place.held == {}


def test_a_ledger_in_a_file_has_no_open_runs(place: Place, tmp_path) -> None:  # type: ignore[no-untyped-def]
    intake = Dispatcher(
        open_ledger=lambda: SqliteLedger(tmp_path / "ledger.sqlite", place.clock),
        poster=place.posts,
        readers=("s",),
        stages=("s",),
        pace=PACE,
        clock=place.clock,
        nonce="aaaa",
        metrics=Metrics(),
    )
    with pytest.raises(Exception, match="LOOKOUT_INTAKE_LINGER_S"):
        intake.step()
