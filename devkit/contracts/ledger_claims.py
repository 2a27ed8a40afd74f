"""Contract of all ledgers: marks, claims, leases, suspects, sessions. See ``devkit.contracts.ledger``."""

# ruff: noqa: S101
from __future__ import annotations

import pytest

from devkit.contracts.ledger_kit import LEASE_S, SKIP, Bench, Desk, done, failed, open_desk, record
from lookout.domain.errors import Unavailable
from lookout.domain.records import Claim, Mark, Outcome, State
from lookout.ledger.port import RunRecord, Settled


class ClaimsContract:
    """Subclasses have a fixture ``bench``."""

    @pytest.fixture
    def desk(self, bench: Bench):  # type: ignore[no-untyped-def]
        with open_desk(bench) as desk:
            yield desk

    # --- marks and claims -------------------------------------------------------------------------------------------

    def test_a_marked_slot_is_pending_and_can_be_claimed_once(self, desk: Desk) -> None:
        desk.mark("k")
        assert desk.slot("k").state is State.PENDING
        assert desk.slot("k").dirty == 1
        (claim,) = desk.claim()
        assert (claim.stage, claim.key, claim.owner, claim.dirty) == ("s", "k", desk.owner, 1)
        assert claim.slot.state is State.PENDING
        assert desk.slot("k").state is State.RUNNING
        assert desk.slot("k").owner == desk.owner
        assert desk.claim() == []

    def test_claims_come_in_the_order_of_code_points_up_to_the_limit(self, desk: Desk) -> None:
        desk.mark("b", "a\n", "", "é", "a", "Z", "🦊", "ﬀ")
        assert [claim.key for claim in desk.claim(3)] == ["", "Z", "a"]
        assert [claim.key for claim in desk.claim()] == ["a\n", "b", "é", "ﬀ", "🦊"]

    def test_a_claim_of_limit_zero_is_empty(self, desk: Desk) -> None:
        desk.mark("k")
        assert desk.claim(0) == []

    def test_a_claim_keeps_to_its_stage_and_to_the_keys_given(self, desk: Desk) -> None:
        desk.mark("a", "b", "c")
        desk.mark("a", stage="t")
        assert [claim.key for claim in desk.claim(keys=["c", "a", "never"])] == ["a", "c"]
        assert desk.claim(keys=[]) == []
        assert [(claim.stage, claim.key) for claim in desk.claim(stage="t")] == [("t", "a")]

    @pytest.mark.parametrize("keys", [None, ["a", "b", "c"]])
    def test_a_claim_waits_while_its_key_is_dirty_in_a_stage_before(self, desk: Desk, keys: list[str] | None) -> None:
        desk.mark("a", "b", "c")
        desk.mark("b", stage="before")
        desk.mark("c", stage="elsewhere")

        def claimed() -> list[str]:
            found = desk.ledger.claim("s", desk.owner, 10, LEASE_S, keys, behind=["long before", "before"])
            return [claim.key for claim in found]

        assert claimed() == ["a", "c"]
        (before,) = desk.claim(stage="before")
        assert claimed() == [], "what is claimed is not settled yet"
        desk.ledger.commit([(before, SKIP)])
        assert claimed() == ["b"]

    @pytest.mark.parametrize("key", ["k" * 1000, "../x", "a\nb", "o'clock", "日本/☃", "a%_*?", 'q"', " "])
    def test_any_key_goes_the_whole_way(self, desk: Desk, key: str) -> None:
        assert desk.do(record(key)) is Settled.DONE
        assert desk.slot(key).record == record(key)
        assert [slot.key for slot in desk.ledger.slots("s", prefix=key)] == [key]
        assert [change.key for change in desk.publish()] == [f"{key}.json"]

    def test_many_keys_at_once_are_all_found_and_claimed(self, desk: Desk) -> None:
        keys = [f"{n:04}" for n in range(1300)]
        desk.mark(*keys)
        assert sorted(desk.ledger.find_slots("s", keys)) == keys
        assert [claim.key for claim in desk.claim(2000, keys=keys)] == keys
        assert desk.ledger.count_dirty("s") == 1300

    def test_tokens_of_a_slot_only_grow(self, desk: Desk) -> None:
        first = desk.take("k")
        desk.ledger.commit([(first, Outcome(state=State.RETRACTED))])
        second = desk.take("k")
        desk.ledger.commit([(second, SKIP)])
        assert first.token < second.token < desk.take("k").token

    def test_empty_bulk_calls_do_nothing(self, desk: Desk) -> None:
        assert desk.ledger.mark([]) == 0
        assert desk.ledger.commit([]) == []
        assert desk.ledger.extend([], LEASE_S) == []
        assert desk.ledger.find_slots("s", []) == {}
        assert desk.ledger.find_inputs("images", []) == {}
        assert desk.ledger.find_records([]) == {}
        assert desk.ledger.is_live([]) == set()
        assert desk.ledger.tallies([]) == []
        assert desk.ledger.observe([], ["s"]) == 0
        assert list(desk.ledger.alerts(ids=[])) == []

    def test_two_sessions_get_disjoint_claims(self, bench: Bench, desk: Desk) -> None:
        desk.mark(*"abcdef")
        with open_desk(bench) as other:
            assert other.owner != desk.owner
            taken = [[claim.key for claim in who.claim(2)] for who in (desk, other, desk, other)]
        assert taken == [["a", "b"], ["c", "d"], ["e", "f"], []]

    def test_marking_says_how_many_and_counts_up(self, desk: Desk) -> None:
        marks = [Mark(stage="s", key="a"), Mark(stage="t", key="a"), Mark(stage="s", key="a")]
        assert desk.ledger.mark(marks) == 3
        assert desk.slot("a").dirty == 2
        assert desk.slot("a", stage="t").dirty == 1

    def test_a_claim_needs_an_open_session(self, desk: Desk) -> None:
        with desk.ledger.session() as ended:
            pass
        desk.mark("k")
        with pytest.raises(ValueError, match="session"):
            desk.claim(owner=ended)

    # --- tries ------------------------------------------------------------------------------------------------------

    def test_tries_are_counted_one_by_one_until_the_final_one(self, desk: Desk) -> None:
        desk.mark("k")
        for tries in range(3):
            (claim,) = desk.claim()
            assert claim.slot.tries == tries
            desk.ledger.commit([(claim, failed(f"try {tries}", final=tries == 2))])
        assert desk.claim() == []
        slot = desk.slot("k")
        assert (slot.state, slot.tries, slot.error, slot.dirty) == (State.FAILED, 3, "try 2", 0)

    def test_success_forgets_tries_and_error(self, desk: Desk) -> None:
        desk.settle("k", failed(final=False))
        (claim,) = desk.claim()
        desk.ledger.commit([(claim, done(record("k")))])
        assert (desk.slot("k").tries, desk.slot("k").error) == (0, None)

    def test_a_settled_failure_that_is_marked_again_has_all_its_tries(self, desk: Desk) -> None:
        desk.settle("k", failed())
        assert desk.slot("k").tries == 1
        assert desk.take("k").slot.tries == 0

    def test_a_waiting_failure_that_is_marked_again_keeps_its_tries_unless_revived(self, desk: Desk) -> None:
        desk.settle("k", failed(final=False))
        desk.mark("k")
        assert desk.slot("k").tries == 1
        desk.ledger.mark([Mark(stage="s", key="k")], revive=True)
        assert desk.slot("k").tries == 0

    def test_a_salt_is_kept_and_handed_to_the_claim(self, desk: Desk) -> None:
        desk.do(record("k"))
        desk.ledger.mark([Mark(stage="s", key="k")], salt="again")
        desk.mark("k")
        (claim,) = desk.claim()
        assert claim.slot.salt == "again"

    @pytest.mark.parametrize("state", [State.KILLED, State.PENDING])
    def test_what_is_handed_back_is_claimed_again_and_counts_no_try(self, desk: Desk, state: State) -> None:
        assert desk.settle("k", Outcome(state=state)) is Settled.DONE
        assert (desk.slot("k").state, desk.slot("k").tries, desk.slot("k").owner) == (state, 0, None)
        assert [claim.key for claim in desk.claim()] == ["k"]

    def test_an_unrunnable_slot_names_its_upstream_and_rests(self, desk: Desk) -> None:
        desk.settle("k", Outcome(state=State.UNRUNNABLE, error="validate of k: broken"))
        assert (desk.slot("k").state, desk.slot("k").error) == (State.UNRUNNABLE, "validate of k: broken")
        assert desk.claim() == []

    # --- leases -----------------------------------------------------------------------------------------------------

    def test_a_commit_after_the_lease_is_lost(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.outlive_lease()
        assert desk.ledger.commit([(claim, done(record("k")))]) == [Settled.LOST]
        assert desk.slot("k").record is None
        assert desk.publish() == []

    def test_a_late_commit_does_not_disturb_the_next_holder(self, bench: Bench, desk: Desk) -> None:
        late = desk.take("k")
        desk.outlive_lease()
        with open_desk(bench) as other:
            (claim,) = other.claim()
            assert claim.token > late.token
            assert desk.ledger.commit([(late, done(record("k", "old")))]) == [Settled.LOST]
            assert other.ledger.commit([(claim, done(record("k", "new")))]) == [Settled.DONE]
        assert desk.slot("k").hash == "new"

    def test_extending_keeps_a_claim_and_tells_what_is_lost(self, desk: Desk) -> None:
        kept, settled = desk.take("a"), desk.take("b")
        desk.ledger.commit([(settled, SKIP)])
        desk.clock.now_s += LEASE_S / 2
        assert desk.ledger.extend([settled, kept], LEASE_S) == [False, True]
        desk.clock.now_s += LEASE_S / 2
        assert desk.ledger.commit([(kept, done(record("a")))]) == [Settled.DONE]

    def test_extending_after_the_lease_is_too_late(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.outlive_lease()
        assert desk.ledger.extend([claim], LEASE_S) == [False]

    def test_a_claim_settles_once(self, desk: Desk) -> None:
        claim = desk.take("k")
        assert desk.ledger.commit([(claim, SKIP), (claim, SKIP)]) == [Settled.DONE, Settled.LOST]

    def test_a_claim_of_a_slot_that_vanished_is_lost(self, desk: Desk) -> None:
        old = desk.take("k")
        desk.outlive_lease()
        (claim,) = desk.claim()
        desk.ledger.commit([(claim, Outcome(state=State.RETRACTED))])
        assert desk.ledger.commit([(old, done(record("k")))]) == [Settled.LOST]
        desk.take("k")
        assert desk.ledger.commit([(old, done(record("k")))]) == [Settled.LOST]

    # --- suspects ---------------------------------------------------------------------------------------------------

    def test_what_was_lost_together_comes_back_in_halves_and_counts_no_try(self, desk: Desk) -> None:
        desk.mark(*"abcdefgh")
        desk.claim()
        desk.outlive_lease()
        assert [claim.key for claim in desk.claim()] == list("abcd")
        assert {slot.tries for slot in desk.ledger.slots("s")} == {0}
        desk.outlive_lease()
        assert [claim.key for claim in desk.claim()] == list("efgh")  # the larger cohort first: all may be healthy

    def test_halving_ends_with_one_alone_whose_losses_are_counted(self, desk: Desk) -> None:
        desk.mark(*"abcd")
        desk.claim()
        sizes, losses = [], []
        for _ in range(7):
            desk.outlive_lease()
            claims = desk.claim()
            sizes.append(len(claims))
            if "b" not in {claim.key for claim in claims}:
                desk.ledger.commit([(claim, done(record(claim.key))) for claim in claims])
            losses.append(desk.slot("b").losses)
        assert (sizes, losses) == ([2, 2, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 2, 3])
        assert desk.slot("b").tries == 0

    def test_losses_stay_with_a_failure_and_go_when_it_gets_another_go(self, desk: Desk) -> None:
        claim = lost_alone_twice(desk)
        assert desk.ledger.commit([(claim, failed())]) == [Settled.DONE]
        assert (desk.slot("k").state, desk.slot("k").losses) == (State.FAILED, 2)
        desk.mark("k")
        assert desk.slot("k").losses == 0

    def test_losses_go_when_what_was_read_has_changed_meanwhile(self, desk: Desk) -> None:
        claim = lost_alone_twice(desk)
        desk.mark("k")
        assert desk.ledger.commit([(claim, failed())]) == [Settled.SUPERSEDED]
        assert (desk.slot("k").losses, desk.slot("k").dirty) == (0, 2)

    def test_suspects_are_not_mixed_with_others_and_wait_for_them(self, desk: Desk) -> None:
        desk.mark("a", "b")
        desk.claim()
        desk.outlive_lease()
        desk.mark("x", "y")
        assert [[claim.key for claim in desk.claim()] for _ in range(4)] == [["x", "y"], ["a"], ["b"], []]

    def test_suspects_of_different_losses_are_not_mixed(self, desk: Desk) -> None:
        desk.mark("a", "c")
        desk.claim()
        desk.mark("b", "d")
        desk.claim()
        desk.outlive_lease()
        assert [len(desk.claim()) for _ in range(5)] == [1, 1, 1, 1, 0]

    def test_suspects_among_given_keys_come_in_halves_too(self, desk: Desk) -> None:
        desk.mark(*"abcd")
        desk.claim()
        desk.outlive_lease()
        assert [claim.key for claim in desk.claim(keys=["d", "b", "a"])] == ["a", "b"]

    def test_a_suspect_that_settles_is_none_any_more(self, desk: Desk) -> None:
        desk.mark("a", "b")
        desk.claim()
        desk.outlive_lease()
        for _ in range(2):
            desk.ledger.commit([(claim, SKIP) for claim in desk.claim()])
        desk.mark("a", "b", "c")
        assert [claim.key for claim in desk.claim()] == ["a", "b", "c"]

    # --- sessions ---------------------------------------------------------------------------------------------------

    def test_a_clean_end_frees_as_killed_without_suspicion(self, bench: Bench, desk: Desk) -> None:
        desk.mark("a", "b")
        with open_desk(bench) as other:
            claims = other.claim()
        assert {slot.state for slot in desk.ledger.slots("s")} == {State.KILLED}
        assert desk.ledger.commit([(claims[0], SKIP)]) == [Settled.LOST]
        assert [claim.key for claim in desk.claim()] == ["a", "b"]

    def test_a_session_that_ends_by_an_exception_frees_too(self, desk: Desk) -> None:
        desk.mark("k")

        def work() -> None:
            with desk.ledger.session() as owner:
                desk.claim(owner=owner)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        assert desk.slot("k").state is State.KILLED

    def test_a_run_left_open_at_a_clean_end_is_stopped(self, desk: Desk) -> None:
        with desk.ledger.session() as owner:
            desk.ledger.start_run(RunRecord(id="r", kind="run", owner=owner, started_at_s=1.0))
        (run,) = desk.ledger.runs()
        assert (run.state, run.ended_at_s) == ("stopped", desk.clock())

    def test_a_closed_ledger_is_unavailable_and_may_be_closed_again(self, bench: Bench) -> None:
        ledger = bench.open()
        ledger.close()
        ledger.close()
        with pytest.raises(Unavailable):
            ledger.count_slots()
        with pytest.raises(Unavailable):
            list(ledger.slots())


def lost_alone_twice(desk: Desk) -> Claim:
    """The claim of ``k`` after its third loss: the first says nothing."""
    desk.mark("k")
    for _ in range(3):
        desk.claim()
        desk.outlive_lease()
    (claim,) = desk.claim()
    assert claim.slot.losses == 2
    return claim
