"""Contract of ledgers that keep runs which stay open: see ``devkit.contracts.ledger``.

class TestMyLedger(LedgerContract, BatchesContract, OpenRunsContract): ...
"""

# ruff: noqa: S101
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest

from devkit.contracts.ledger_batches import batch
from devkit.contracts.ledger_kit import LEASE_S, Bench, ManualClock, done, record
from lookout.domain.errors import ClaimLost, InputRejected, Unavailable
from lookout.domain.records import Claim, Mark
from lookout.ledger.batches import UNFINISHED, Batch, BatchState
from lookout.ledger.open_runs import OPENING_S, OpenRunLedger, RunState, RunView, opening, release_of
from lookout.ledger.port import RunRecord
from lookout.ledger.rules.open_runs import state_of

STAGES = ("s", "t")


class Party:
    """One process at a ledger of its own, with a session: an intake, a keeper or a stage."""

    def __init__(self, ledger: OpenRunLedger, clock: ManualClock) -> None:
        self.ledger, self.clock, self._stack = ledger, clock, ExitStack()
        self.owner = self._stack.enter_context(ledger.session())

    def leave(self) -> None:
        """End the session; twice is allowed."""
        self._stack.close()

    def begin(self, run: str = "run", *, release: str = "1") -> None:
        self.ledger.start_run(opening(run, release, self.clock.now_s))

    def assign(self, id_: str, *keys: str, run: str = "run") -> Batch | None:
        self.ledger.mark([Mark(stage="s", key=key) for key in keys])
        return self.ledger.assign_batch(batch(id_, *keys, run=run))

    def view(self, run: str = "run") -> RunView:
        found = self.ledger.find_run(run, STAGES)
        assert found is not None
        return found

    def state(self, run: str = "run") -> RunState:
        view = self.view(run)
        return state_of(view.record, view.lease, self.clock.now_s, OPENING_S)

    def take_all(self, run: str = "run") -> list[Batch]:
        taken = []
        while (one := self.ledger.take_batch(self.owner, LEASE_S, run=run)) is not None:
            taken.append(one)
        return taken

    def claim(self, *keys: str, stage: str = "s") -> list[Claim]:
        return self.ledger.claim(stage, self.owner, 8, LEASE_S, keys)

    def finish(self, claims: list[Claim], *, then: str | None = None) -> None:
        """Commit success, with a mark for the stage after it."""
        marks = {claim.key: [Mark(stage=then, key=claim.key)] if then else [] for claim in claims}
        made = {claim.key: record(claim.key, stage=claim.stage) for claim in claims}
        self.ledger.commit([(claim, done(made[claim.key], marks=marks[claim.key])) for claim in claims])


class OpenRunsContract:
    """Subclasses have a fixture ``bench`` whose ledgers are ``OpenRunLedger``."""

    @pytest.fixture
    def party(self, bench: Bench) -> Iterator[Party]:
        with _party(bench) as party:
            yield party

    @pytest.fixture
    def keeper(self, bench: Bench) -> Iterator[Party]:
        with _party(bench) as party:
            yield party

    # --- states -------------------------------------------------------------------------------------------------------

    def test_a_run_goes_from_opening_to_closed(self, party: Party, keeper: Party) -> None:
        party.begin(release="7")
        assert party.state() is RunState.OPENING
        assert release_of(party.view().record) == "7"
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        assert party.view().lease == lease
        assert party.state() is RunState.OPEN
        drained = keeper.ledger.drain_run(lease, "a new release")
        assert party.view().lease == drained
        assert (drained.draining, party.state()) == ("a new release", RunState.DRAINING)
        assert keeper.ledger.drain_run(lease, "another reason") == drained
        assert keeper.ledger.close_kept_run(lease, "success", {"failed": 0})
        closed = party.view()
        assert (closed.lease, party.state()) == (None, RunState.CLOSED)
        assert (closed.record.state, closed.record.ended_at_s) == ("success", party.clock.now_s)
        assert (closed.record.summary or {})["failed"] == 0
        assert party.ledger.open_runs() == []

    def test_a_run_without_a_keeper_is_lost_in_time_and_one_that_had_one_at_once(
        self, party: Party, keeper: Party
    ) -> None:
        party.begin()
        party.begin("kept")
        assert keeper.ledger.lease_run("kept", keeper.owner) is not None
        party.clock.now_s += OPENING_S - 1
        keeper.leave()
        assert (party.state(), party.state("kept")) == (RunState.OPENING, RunState.LOST)
        party.clock.now_s += 1
        assert party.state() is RunState.LOST
        assert party.ledger.bury_run("run")
        assert not party.ledger.bury_run("run")
        assert party.view().record.state == "lost"
        assert [view.record.id for view in party.ledger.open_runs()] == ["kept"]

    def test_a_run_has_one_keeper_at_a_time(self, party: Party, keeper: Party) -> None:
        party.begin()
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        assert party.ledger.lease_run("run", party.owner) is None
        keeper.leave()
        assert party.ledger.lease_run("run", party.owner) is not None
        for write in (lambda: party.ledger.drain_run(lease, "x"), lambda: party.ledger.close_kept_run(lease, "x", {})):
            with pytest.raises(ClaimLost):
                write()
        assert party.state() is RunState.OPEN

    def test_only_runs_that_stay_open_can_be_kept_and_a_run_is_made_once(self, party: Party) -> None:
        party.ledger.start_run(RunRecord(id="cut", kind="backfill", owner="", started_at_s=1.0))
        with pytest.raises(InputRejected, match="backfill"):
            party.ledger.lease_run("cut", party.owner)
        with pytest.raises(InputRejected, match="backfill"):
            party.assign("1", "a", run="cut")
        assert not party.ledger.bury_run("cut")
        assert party.ledger.open_runs() == []
        for call in (
            lambda: party.ledger.lease_run("none", party.owner),
            lambda: party.ledger.join_run("none", "s", party.owner),
            lambda: party.assign("1", "a", run="none"),
        ):
            with pytest.raises(KeyError):
                call()
        assert party.ledger.find_run("none") is None
        party.begin()
        with pytest.raises(ValueError, match="again"):
            party.begin()

    def test_a_session_that_is_not_open_keeps_nothing(self, party: Party) -> None:
        party.begin()
        with pytest.raises(ValueError, match="owner"):
            party.ledger.lease_run("run", "nobody")
        with pytest.raises(ValueError, match="owner"):
            party.ledger.join_run("run", "s", "nobody")

    # --- presence -----------------------------------------------------------------------------------------------------

    def test_a_stage_is_present_as_long_as_its_session(self, party: Party, keeper: Party) -> None:
        party.begin()
        assert keeper.ledger.join_run("run", "s", keeper.owner)
        assert party.ledger.join_run("run", "t", party.owner)
        assert party.view().present == {"s", "t"}
        keeper.leave()
        assert party.view().present == {"t"}

    def test_a_new_process_of_a_stage_takes_the_place_of_the_one_before(
        self, bench: Bench, party: Party, keeper: Party
    ) -> None:
        party.begin()
        with _party(bench) as before:
            before.ledger.join_run("run", "s", before.owner)
            assert keeper.ledger.join_run("run", "s", keeper.owner)
        assert party.view().present == {"s"}

    def test_nobody_joins_a_run_that_has_ended(self, party: Party) -> None:
        party.begin()
        assert party.ledger.bury_run("run")
        assert not party.ledger.join_run("run", "s", party.owner)
        assert party.ledger.waiting("run", "s").over

    # --- assigning ----------------------------------------------------------------------------------------------------

    def test_batches_are_assigned_while_a_run_is_opening_or_open(self, party: Party, keeper: Party) -> None:
        party.begin()
        first = party.assign("1", "a", "b")
        assert first is not None
        assert first.run == "run"
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        assert party.assign("2", "b", "c") == party.ledger.find_batches(["2"])["2"]
        assert party.assign("3", "a") is None
        view = party.view()
        assert (view.unfinished, view.pictures) == ({"1": ("a", "b"), "2": ("c",)}, 3)
        assert party.ledger.open_runs()[0].unfinished == view.unfinished
        keeper.ledger.drain_run(lease, "why")
        with pytest.raises(InputRejected, match="draining"):
            party.assign("4", "d")

    def test_nothing_is_assigned_to_a_run_that_is_lost_or_has_ended(self, party: Party, keeper: Party) -> None:
        party.begin("late")
        party.begin()
        party.begin("ended")
        party.ledger.bury_run("ended")
        keeper.ledger.lease_run("run", keeper.owner)
        keeper.leave()
        party.clock.now_s += OPENING_S
        for run in ("late", "run", "ended"):
            with pytest.raises(InputRejected, match="lost"):
                party.assign("1", "a", run=run)
        assert list(party.ledger.batches()) == []

    def test_a_run_with_an_unfinished_batch_is_neither_closed_nor_buried(self, party: Party, keeper: Party) -> None:
        party.begin()
        party.assign("1", "a")
        assert not party.ledger.bury_run("run")
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        assert not keeper.ledger.close_kept_run(lease, "success", {})
        assert not party.ledger.bury_run("run")
        assert party.state() is RunState.OPEN

    # --- working ------------------------------------------------------------------------------------------------------

    def test_what_waits_for_a_stage_comes_oldest_batch_first_and_only_of_the_run(self, party: Party) -> None:
        party.begin()
        party.begin("other")
        party.assign("1", "x", "y")
        party.assign("2", "a", "b")
        party.assign("3", "c", run="other")
        assert party.ledger.waiting("run", "s").keys == ("x", "y", "a", "b")
        assert party.ledger.waiting("run", "t").keys == ()
        party.finish(party.claim("x", "a"), then="t")
        claims = party.claim("b")
        assert party.ledger.waiting("run", "s").keys == ("y", "b")
        assert party.ledger.waiting("run", "t").keys == ("x", "a")
        party.clock.now_s += LEASE_S
        assert party.claim("nothing") == []
        assert party.ledger.waiting("run", "s").keys == ("y", "b")
        assert [claim.key for claim in claims] == ["b"]

    def test_a_run_is_over_for_a_stage_when_it_is_drained_without_a_batch(self, party: Party, keeper: Party) -> None:
        party.begin()
        party.assign("1", "a")
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        keeper.ledger.drain_run(lease, "why")
        assert not party.ledger.waiting("run", "s").over
        party.finish(party.claim("a"))
        assert not party.ledger.waiting("run", "s").over
        assert keeper.ledger.end_settled(keeper.take_all(), STAGES)
        assert party.ledger.waiting("run", "s").over
        assert party.ledger.waiting("none", "s").over

    def test_batches_end_when_nothing_of_them_is_dirty(self, party: Party, keeper: Party) -> None:
        party.begin()
        for id_, key in (("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")):
            party.assign(id_, key)
        taken = keeper.take_all()
        assert keeper.ledger.end_settled(taken, STAGES) == []
        party.finish(party.claim("a", "c"))
        party.finish(party.claim("b"), then="t")
        party.claim("d")
        assert [one.id for one in keeper.ledger.end_settled(taken, STAGES)] == ["1", "3"]
        party.claim("b", stage="t")
        assert keeper.ledger.end_settled(taken[1:2], STAGES) == []
        party.clock.now_s += LEASE_S - 1
        assert keeper.ledger.extend_batches(taken, LEASE_S) == [False, True, False, True]
        party.clock.now_s += 1
        party.claim("nothing")
        assert keeper.ledger.end_settled(taken, STAGES) == [], "suspects are dirty too"
        assert {one.id for one in party.ledger.batches(states=UNFINISHED)} == {"2", "4"}

    def test_a_batch_that_is_not_held_any_more_is_left_as_it_is(self, party: Party, keeper: Party) -> None:
        party.begin()
        party.ledger.assign_batch(batch("1", "a", run="run"))
        taken = keeper.take_all()
        party.clock.now_s += LEASE_S
        (mine,) = party.take_all()
        assert keeper.ledger.end_settled(taken, STAGES) == []
        keeper.leave()
        assert keeper.ledger.end_settled([mine], ()) == [mine], "the caller's session does not count, the holder's does"

    # --- moving -------------------------------------------------------------------------------------------------------

    def test_batches_of_a_run_without_a_keeper_are_moved(self, party: Party, keeper: Party) -> None:
        party.begin()
        party.begin("other")
        party.assign("1", "a")
        lease = keeper.ledger.lease_run("run", keeper.owner)
        assert lease is not None
        (taken,) = keeper.take_all()
        assert party.ledger.move_batch("1", "other") is None, "its run has a keeper"
        keeper.leave()
        moved = party.ledger.move_batch("1", "other")
        assert moved is not None
        assert (moved.run, moved.state, moved.owner, moved.losses) == ("other", BatchState.OPEN, None, 1)
        assert moved == party.ledger.find_batches(["1"])["1"]
        assert party.ledger.move_batch("1", "other") is None
        assert (party.view().unfinished, party.view("other").unfinished) == ({}, {"1": ("a",)})
        with pytest.raises(ClaimLost):
            party.ledger.end_batch(taken)
        assert party.ledger.bury_run("run")
        assert not party.ledger.bury_run("other")

    def test_a_batch_is_moved_only_to_a_run_that_takes_some(self, party: Party) -> None:
        party.begin()
        party.begin("ended")
        party.ledger.bury_run("ended")
        party.assign("1", "a")
        party.ledger.add_batches([batch("2", "b")])
        with pytest.raises(InputRejected, match="lost"):
            party.ledger.move_batch("1", "ended")
        with pytest.raises(KeyError):
            party.ledger.move_batch("1", "none")
        assert party.ledger.move_batch("2", "run") is None, "a batch of no run is somebody else's"
        assert party.ledger.move_batch("3", "run") is None
        assert party.view().unfinished == {"1": ("a",)}

    def test_who_publishes_after_a_dead_process_does_not_wait(self, party: Party, keeper: Party) -> None:
        party.begin()
        party.assign("1", "a")
        keeper.finish(keeper.claim("a"))
        dead = keeper.ledger.unpublished()
        handed = dead.__enter__()
        party.ledger.end_session(keeper.ledger.session_token(keeper.owner))
        with party.ledger.unpublished() as changes:
            assert list(changes) == list(handed) != []
        dead.__exit__(None, None, None)
        with party.ledger.unpublished() as changes:
            assert list(changes) == list(handed), "who was frozen may have put something late"

    def test_the_session_of_a_dead_process_is_ended_by_its_token(self, party: Party, keeper: Party) -> None:
        party.begin()
        assert keeper.ledger.lease_run("run", keeper.owner) is not None
        assert keeper.ledger.join_run("run", "s", keeper.owner)
        party.assign("1", "a")
        keeper.claim("a")
        for token in ("", "no token", "-1", "9" * 30, "12345678901"):
            party.ledger.end_session(token)
        assert party.state() is RunState.OPEN
        token = keeper.ledger.session_token(keeper.owner)
        party.ledger.end_session(token)
        party.ledger.end_session(token)
        assert (party.state(), party.view().present) == (RunState.LOST, frozenset())
        assert [claim.key for claim in party.claim("a")] == ["a"], "free at once"
        for call in (lambda: keeper.claim("a"), lambda: keeper.ledger.waiting("run", "s", keeper.owner)):
            with pytest.raises(Unavailable):
                call()

    # --- waiting for changes ------------------------------------------------------------------------------------------

    def test_changes_of_a_run_and_of_its_stages_end_a_wait(self, party: Party, keeper: Party) -> None:
        ledger = party.ledger
        party.begin()
        changes = (
            lambda: party.assign("1", "a"),
            lambda: ledger.mark([Mark(stage="t", key="b")]),
            lambda: ledger.join_run("run", "t", party.owner),
            lambda: keeper.ledger.lease_run("run", keeper.owner),
            keeper.leave,
        )
        for change in changes:
            revision = ledger.revision()
            change()
            assert ledger.revision() > revision
            assert ledger.await_run("run", STAGES, revision, 20.0)
        assert ledger.await_runs(revision, 20.0)


@contextmanager
def _party(bench: Bench) -> Iterator[Party]:
    party = Party(cast(OpenRunLedger, bench.open()), bench.clock)
    try:
        yield party
    finally:
        party.leave()
