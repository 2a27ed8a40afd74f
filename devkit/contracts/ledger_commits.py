"""Contract of all ledgers: commits, conflicts, what is published, retraction. See ``devkit.contracts.ledger``."""

# ruff: noqa: S101
from __future__ import annotations

from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import GONE, SKIP, Desk, done, failed, record, ref
from lookout.domain.records import Mark, Outcome, State
from lookout.ledger.port import Settled
from lookout.object_store.port import Publish


class CommitsContract:
    """Subclasses have a fixture ``bench``."""

    def test_a_committed_record_is_live_whole_and_as_it_was(self, desk: Desk) -> None:
        made = record(
            "k",
            outputs=[ref("s", "k.json", "j", "v1"), ref("s", "k.jpg", "p")],
            reads=[ref("images", "k"), ref("model", "m")],
            counts={"objects": 2},
            at_s=7.5,
            label="invalid: cut",
            facts={"a": [1, 2.5, None, True, {"ü": "☃\n"}]},
        )
        assert desk.do(made) is Settled.DONE
        slot = desk.slot("k")
        assert slot.record == made
        assert (slot.state, slot.hash, slot.group, slot.dirty) == (State.SUCCESS, made.hash, "g", 0)
        assert (slot.owner, slot.updated_at_s) == (None, desk.clock())
        assert desk.ledger.find_records([made.hash, "unknown"]) == {made.hash: made}

    def test_a_skip_keeps_the_live_record(self, desk: Desk) -> None:
        desk.do(record("k"))
        desk.publish()
        assert desk.settle("k", SKIP) is Settled.DONE
        assert desk.slot("k").record == record("k")
        assert desk.slot("k").state is State.SUCCESS
        assert desk.publish() == []

    def test_a_failed_try_keeps_the_last_success(self, desk: Desk) -> None:
        desk.do(record("k"))
        desk.settle("k", failed())
        assert (desk.slot("k").state, desk.slot("k").record) == (State.FAILED, record("k"))
        assert desk.ledger.is_live(["hash of k"]) == {"hash of k"}

    def test_answers_come_in_the_order_given(self, desk: Desk) -> None:
        desk.mark("a", "b", "c")
        a, b, c = desk.claim()
        desk.mark("b")
        answers = desk.ledger.commit([(c, done(record("c"))), (b, done(record("b"))), (a, failed())])
        assert answers == [Settled.DONE, Settled.SUPERSEDED, Settled.DONE]

    def test_a_record_of_another_slot_is_refused_before_anything_is_written(self, desk: Desk) -> None:
        desk.mark("a", "b")
        a, b = desk.claim()
        with pytest.raises(ValueError, match="s/b"):
            desk.ledger.commit([(a, done(record("a"))), (b, done(record("a")))])
        assert desk.slot("a").record is None

    def test_facts_that_json_has_not_are_refused_before_anything_is_written(self, desk: Desk) -> None:
        desk.mark("a", "b")
        a, b = desk.claim()
        with pytest.raises(TypeError):
            desk.ledger.commit([(a, done(record("a"))), (b, done(record("b", facts={"x": {1}})))])  # type: ignore[dict-item]
        assert desk.slot("a").record is None

    # --- superseded -------------------------------------------------------------------------------------------------

    def test_an_outcome_is_superseded_by_a_mark_after_its_claim(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.mark("k")
        answer = desk.ledger.commit([(claim, done(record("k"), marks=[Mark(stage="t", key="k")]))])
        assert answer == [Settled.SUPERSEDED]
        slot = desk.slot("k")
        assert (slot.record, slot.state, slot.owner, slot.dirty) == (None, State.PENDING, None, 2)
        assert desk.publish() == []
        assert desk.ledger.find_slots("t", ["k"]) == {}
        (again,) = desk.claim()
        assert desk.ledger.commit([(again, done(record("k")))]) == [Settled.DONE]

    @pytest.mark.parametrize("state", [State.FAILED, State.KILLED, State.PENDING])
    def test_a_mark_during_a_try_that_did_not_work_out_counts_no_try(self, desk: Desk, state: State) -> None:
        claim = desk.take("k")
        desk.mark("k")
        desk.ledger.commit([(claim, Outcome(state=state, error="x" if state is State.FAILED else None))])
        slot = desk.slot("k")
        assert (slot.tries, slot.dirty, slot.owner) == (0, 2, None)
        assert [claim.key for claim in desk.claim()] == ["k"]

    def test_an_interim_outcome_is_applied_though_its_slot_was_marked_and_the_slot_stays_dirty(
        self, desk: Desk
    ) -> None:
        desk.do(record("k", "old", counts={"n": 1}))
        desk.publish()
        claim = desk.take("k")
        desk.mark("k", "other")
        newer = record("k", "newer", counts={"n": 2})
        interim = replace(done(newer, marks=[Mark(stage="t", key="k")]), interim=True)
        assert desk.ledger.commit([(claim, interim)]) == [Settled.DONE]
        slot = desk.slot("k")
        assert (slot.record, slot.state, slot.owner) == (newer, State.SUCCESS, None)
        assert slot.dirty > 0
        assert [change.ref for change in desk.publish()] == list(newer.outputs)
        assert [tally.counts for tally in desk.ledger.tallies(["g"])] == [{"n": 2}]
        assert desk.ledger.find_slots("t", ["k"])["k"].dirty == 1
        again = {found.key: found for found in desk.claim()}
        assert again.keys() == {"k", "other"}
        last = replace(done(record("k", "last", counts={"n": 3})), interim=True)
        assert desk.ledger.commit([(again["k"], last)]) == [Settled.DONE]
        assert (desk.slot("k").hash, desk.slot("k").dirty) == ("last", 0)

    def test_an_interim_outcome_whose_claim_is_lost_writes_nothing(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.outlive_lease()
        desk.claim()
        interim = replace(done(record("k")), interim=True)
        assert desk.ledger.commit([(claim, interim)]) == [Settled.LOST]
        assert desk.slot("k").record is None

    # --- marks ------------------------------------------------------------------------------------------------------

    def test_marks_are_set_with_the_commit(self, desk: Desk) -> None:
        desk.do(record("k"), marks=[Mark(stage="t", key="k"), Mark(stage="t", key="other")])
        assert [claim.key for claim in desk.claim(stage="t")] == ["k", "other"]

    def test_a_mark_on_the_very_slot_makes_it_dirty_again(self, desk: Desk) -> None:
        desk.do(record("k"), marks=[Mark(stage="s", key="k")])
        assert (desk.slot("k").state, desk.slot("k").dirty) == (State.SUCCESS, 1)

    def test_a_mark_reaches_a_slot_that_is_settled_later_in_the_same_call(self, desk: Desk) -> None:
        desk.mark("a", "b")
        a, b = desk.claim()
        answers = desk.ledger.commit([(a, done(record("a"), marks=[Mark(stage="s", key="b")])), (b, SKIP)])
        assert answers == [Settled.DONE, Settled.SUPERSEDED]

    # --- paths ------------------------------------------------------------------------------------------------------

    def test_a_path_of_another_live_slot_is_a_conflict_that_marks_who_must_know_and_changes_nothing_else(
        self, desk: Desk
    ) -> None:
        shared = ref("s", "shared")
        desk.do(record("a", outputs=[shared]))
        desk.do(record("b", "old of b", counts={"n": 1}))
        desk.publish()
        own = ref("s", "own of b")
        clash = done(record("b", "new of b", outputs=[own, shared], counts={"n": 5}), marks=[Mark(stage="t", key="b")])
        clash = replace(clash, marks_if_refused=(Mark(stage="u", key="b"),))
        assert desk.settle("b", clash) is Settled.CONFLICT
        slot = desk.slot("b")
        assert (slot.state, slot.dirty, slot.hash) == (State.FAILED, 0, "old of b")
        assert slot.error is not None
        assert "s/shared" in slot.error
        assert "'a'" in slot.error
        assert desk.publish() == []
        assert desk.ledger.find_records(["new of b"]) == {}
        assert desk.ledger.tallies()[0].counts == {"n": 1}
        assert desk.ledger.find_slots("t", ["b"]) == {}
        assert desk.ledger.find_slots("u", ["b"])["b"].dirty == 1

    @pytest.mark.parametrize(
        ("taken", "wanted"),
        [("a/1.json", "a/1.json/x/y.json"), ("a/1.json/x/y.json", "a/1.json"), ("a", "a/b"), ("a/b", "a")],
    )
    @pytest.mark.parametrize("together", [True, False])
    def test_a_path_that_would_be_a_folder_of_another_live_one_is_a_conflict(
        self, desk: Desk, taken: str, wanted: str, together: bool
    ) -> None:
        first, second = done(record("a", outputs=[ref("s", taken)])), done(record("b", outputs=[ref("s", wanted)]))
        if together:
            desk.mark("a", "b")
            a, b = desk.claim()
            assert desk.ledger.commit([(a, first), (b, second)]) == [Settled.DONE, Settled.CONFLICT]
        else:
            assert desk.settle("a", first) is Settled.DONE
            assert desk.settle("b", second) is Settled.CONFLICT
        slot = desk.slot("b")
        assert slot.state is State.FAILED
        assert slot.error is not None
        assert f"s/{taken}" in slot.error
        assert f"s/{wanted}" in slot.error
        assert "'a'" in slot.error
        assert [change.key for change in desk.publish()] == [taken]

    def test_paths_that_only_begin_alike_are_no_conflict(self, desk: Desk) -> None:
        for n, path in enumerate(["a/b", "a/b.json", "a/b-c/d", "a/b0", "a/b!", "a/bc/d", "b/a/b"]):
            assert desk.do(record(f"{n}", outputs=[ref("s", path)])) is Settled.DONE
        assert desk.do(record("t", outputs=[ref("t", "a/b/c")])) is Settled.DONE, "another bucket is another tree"

    def test_a_slot_may_turn_its_own_path_into_a_folder_and_back(self, desk: Desk) -> None:
        for n, path in enumerate(["a", "a/b", "a"]):
            assert desk.do(record("k", f"h{n}", outputs=[ref("s", path)])) is Settled.DONE
        assert {change.key: change.ref is not None for change in desk.publish()} == {"a": True, "a/b": False}

    def test_outputs_of_one_datum_of_which_one_is_a_folder_of_another_are_a_conflict(self, desk: Desk) -> None:
        assert desk.do(record("k", outputs=[ref("s", "a"), ref("s", "a/b")])) is Settled.CONFLICT

    def test_a_folder_that_was_given_up_can_be_taken_as_a_path_in_the_same_call(self, desk: Desk) -> None:
        desk.do(record("a", outputs=[ref("s", "p/q")]))
        desk.mark("a", "b")
        a, b = desk.claim()
        assert desk.ledger.commit([(a, GONE), (b, done(record("b", outputs=[ref("s", "p")])))]) == [Settled.DONE] * 2
        desk.mark("a", "c")
        a, c = desk.claim()
        again = [(a, done(record("a", outputs=[ref("s", "p/q")]))), (c, done(record("c", outputs=[ref("s", "p/r")])))]
        assert desk.ledger.commit(again) == [Settled.CONFLICT] * 2

    def test_of_two_that_write_one_path_in_one_call_the_first_wins(self, desk: Desk) -> None:
        desk.mark("a", "b")
        a, b = desk.claim()
        shared = [ref("s", "shared")]
        answers = desk.ledger.commit([(a, done(record("a", outputs=shared))), (b, done(record("b", outputs=shared)))])
        assert answers == [Settled.DONE, Settled.CONFLICT]

    def test_a_path_that_was_given_up_can_be_taken(self, desk: Desk) -> None:
        desk.do(record("a", outputs=[ref("s", "p", "of a")]))
        desk.publish()
        desk.mark("a", "b")
        a, b = desk.claim()
        new = ref("s", "p", "of b")
        assert desk.ledger.commit([(a, GONE), (b, done(record("b", outputs=[new])))]) == [Settled.DONE] * 2
        assert desk.publish() == [Publish(bucket="s", key="p", ref=new)]

    # --- what is published ------------------------------------------------------------------------------------------

    def test_new_outputs_are_handed_out_with_their_version_and_old_ones_go(self, desk: Desk) -> None:
        kept, dropped = ref("s", "kept", "1"), ref("s", "dropped", "1")
        desk.do(record("k", "h1", outputs=[kept, dropped]))
        desk.publish()
        newer = ref("s", "kept", "2", version="v7")
        desk.do(record("k", "h2", outputs=[newer]))
        assert desk.publish() == [
            Publish(bucket="s", key="kept", ref=newer),
            Publish(bucket="s", key="dropped", ref=None),
        ]
        assert desk.publish() == []

    def test_a_later_change_takes_the_place_of_an_earlier_one_of_its_path(self, desk: Desk) -> None:
        desk.do(record("a", "h1", outputs=[ref("s", "a", "1")]))
        desk.do(record("b", outputs=[ref("s", "b")]))
        newest = ref("s", "a", "2")
        desk.do(record("a", "h2", outputs=[newest]))
        assert [change.key for change in desk.publish()] == ["b", "a"]
        desk.do(record("a", "h3", outputs=[ref("s", "a", "3")]))
        desk.settle("a", GONE)
        assert desk.publish() == [Publish(bucket="s", key="a", ref=None)]

    def test_changes_are_handed_out_again_after_an_exception(self, desk: Desk) -> None:
        desk.do(record("k"))
        with pytest.raises(ZeroDivisionError), desk.ledger.unpublished() as first:
            raise ZeroDivisionError
        assert desk.publish() == list(first) != []
        assert desk.publish() == []

    def test_changes_are_handed_out_up_to_the_limit(self, desk: Desk) -> None:
        for key in "abc":
            desk.do(record(key))
        with desk.ledger.unpublished(2) as changes:
            assert [change.key for change in changes] == ["a.json", "b.json"]
        with desk.ledger.unpublished(2) as changes:
            assert [change.key for change in changes] == ["c.json"]

    def test_changes_of_some_buckets_are_handed_out_and_those_of_others_stay_in_their_order(self, desk: Desk) -> None:
        for key, bucket in [("a", "s"), ("b", "t"), ("c", "s"), ("d", "t")]:
            desk.do(record(key, outputs=[ref(bucket, key)]))
        for buckets in ([], ["u"]):
            with desk.ledger.unpublished(buckets=buckets) as changes:
                assert list(changes) == []
        with desk.ledger.unpublished(1, ["t", "u"]) as changes:
            assert [change.key for change in changes] == ["b"]
        with pytest.raises(ZeroDivisionError), desk.ledger.unpublished(buckets=["s"]) as changes:
            raise ZeroDivisionError
        assert [change.key for change in desk.publish()] == ["a", "c", "d"]

    def test_changes_of_some_paths_are_left_out_and_stay(self, desk: Desk) -> None:
        for key in "abc":
            desk.do(record(key))
        stuck = {("s", "a.json"), ("s", "b.json")}
        with desk.ledger.unpublished(1, without=stuck) as changes:
            assert [change.key for change in changes] == ["c.json"]
        with desk.ledger.unpublished(without=stuck) as changes:
            assert list(changes) == []
        desk.do(record("d"))
        with desk.ledger.unpublished(without={("s", "b.json")}) as changes:
            assert [change.key for change in changes] == ["a.json", "d.json"]
        assert [change.key for change in desk.publish()] == ["b.json"]

    def test_a_change_of_a_bucket_that_was_left_out_is_still_replaced_by_a_later_one(self, desk: Desk) -> None:
        desk.do(record("a", "h1", outputs=[ref("s", "p", "1"), ref("t", "q", "1")]))
        with desk.ledger.unpublished(buckets=["t"]) as changes:
            assert [change.key for change in changes] == ["q"]
        newest = [ref("s", "p", "2"), ref("t", "q", "2")]
        desk.do(record("a", "h2", outputs=newest))
        assert [change.ref for change in desk.publish()] == newest

    def test_the_ledger_can_be_read_but_not_written_while_changes_are_handed_out(self, desk: Desk) -> None:
        desk.do(record("k"))
        with desk.ledger.unpublished() as changes:
            assert desk.slot("k").record is not None
            with pytest.raises(RuntimeError):
                desk.mark("other")
        assert len(changes) == 1
        assert desk.publish() == []

    def test_a_record_of_history_comes_back_and_is_the_newest_maker(self, desk: Desk) -> None:
        a, b = (record("k", f"h{n}", outputs=[ref("s", "k", n)], counts={n: 1}) for n in "ab")
        desk.do(a)
        desk.do(b)
        desk.publish()
        back = Outcome(state=State.SUCCESS, record=a, republished=True)
        assert desk.settle("k", back) is Settled.DONE
        assert desk.publish() == [Publish(bucket="s", key="k", ref=a.outputs[0])]
        assert desk.ledger.makers("s", "k") == [a, b]
        assert desk.ledger.is_live(["ha", "hb"]) == {"ha"}
        assert desk.ledger.tallies()[0].counts == {"a": 1}

    def test_a_hash_made_anew_replaces_its_record(self, desk: Desk) -> None:
        desk.do(record("k", "h", outputs=[ref("s", "p"), ref("s", "q")], counts={"n": 1}))
        anew = record("k", "h", outputs=[ref("s", "p", "other")], counts={"n": 2})
        desk.do(anew)
        assert desk.slot("k").record == anew
        assert desk.ledger.makers("s", "q") == []
        assert desk.ledger.tallies()[0].counts == {"n": 2}

    # --- retraction -------------------------------------------------------------------------------------------------

    def test_a_retracted_slot_keeps_nothing_live_but_its_history(self, desk: Desk) -> None:
        made = record("k", counts={"n": 1}, at_s=1.0, label="x", reads=[ref("images", "k")])
        desk.do(made)
        desk.publish()
        desk.settle("k", GONE)
        slot = desk.slot("k")
        assert (slot.state, slot.record, slot.hash, slot.dirty) == (State.RETRACTED, None, None, 0)
        assert desk.publish() == [Publish(bucket="s", key="k.json", ref=None)]
        assert desk.ledger.tallies() == []
        assert desk.ledger.is_live([made.hash]) == set()
        assert list(desk.ledger.slots(labelled=True)) == []
        assert desk.ledger.makers("s", "k.json") == [made]
        assert desk.ledger.users(made.inputs[0].ref.sha256) == [made]

    def test_a_slot_that_never_held_anything_vanishes_when_retracted(self, desk: Desk) -> None:
        desk.settle("k", failed())
        desk.settle("k", GONE)
        assert desk.ledger.find_slots("s", ["k"]) == {}
        assert desk.ledger.count_slots() == {}

    def test_a_retracted_slot_can_come_back(self, desk: Desk) -> None:
        desk.do(record("k"))
        desk.settle("k", GONE)
        assert desk.do(record("k")) is Settled.DONE
        assert desk.slot("k").state is State.SUCCESS
