"""Contract of ledgers that keep batches: see ``devkit.contracts.ledger``.

class TestMyLedger(LedgerContract, BatchesContract): ...
"""

# ruff: noqa: S101
from __future__ import annotations

from typing import cast

import pytest

from devkit.contracts.ledger_kit import LEASE_S, SKIP, Bench, Desk, done, failed, open_desk, record
from lookout.domain.errors import ClaimLost, InputRejected
from lookout.domain.records import Mark, State
from lookout.ledger.batches import LIVE, MAX_KEYS, UNFINISHED, Batch, BatchLedger, BatchState
from lookout.ledger.port import RunRecord


def batch(id_: str, *keys: str, kind: str = LIVE, run: str = "") -> Batch:
    """An open batch, as it is cut."""
    return Batch(id=id_, kind=kind, run=run, keys=keys or (f"key of {id_}",), basis={"s": "b"}, created_at_s=1.0)


class Clerk:
    """A desk's ledger as one that keeps batches, and the steps that most tests are made of."""

    def __init__(self, desk: Desk) -> None:
        self.ledger, self.owner, self.clock = cast(BatchLedger, desk.ledger), desk.owner, desk.clock

    def take(self, id_: str | None = None, *, run: str | None = None) -> Batch | None:
        return self.ledger.take_batch(self.owner, LEASE_S, id_=id_, run=run)

    def get(self, id_: str | None = None, *, run: str | None = None) -> Batch:
        found = self.take(id_, run=run)
        assert found is not None
        return found

    def known(self, id_: str) -> Batch:
        return self.ledger.find_batches([id_])[id_]

    def start(self, run: str) -> None:
        self.ledger.start_run(RunRecord(id=run, kind="backfill", owner="", started_at_s=1.0))


class BatchesContract:
    """Subclasses have a fixture ``bench`` whose ledgers are ``BatchLedger``."""

    @pytest.fixture
    def clerk(self, bench: Bench):  # type: ignore[no-untyped-def]
        with open_desk(bench) as desk:
            yield Clerk(desk)

    # --- what is dirty ----------------------------------------------------------------------------------------------

    def test_dirty_keys_come_in_order_of_one_stage_with_a_prefix_and_after_a_key(self, clerk: Clerk) -> None:
        keys = ["", "Z", "a", "a\n", "a/1", "a/2", "b", "é", "ﬀ", "🦊"]
        clerk.ledger.mark([Mark(stage="s", key=key) for key in reversed(keys)])
        clerk.ledger.mark([Mark(stage="t", key="other")])
        assert list(clerk.ledger.dirty("s")) == keys
        assert list(clerk.ledger.dirty("s", after="")) == keys[1:]
        assert list(clerk.ledger.dirty("s", "a/")) == ["a/1", "a/2"]
        assert list(clerk.ledger.dirty("s", "a/", "a/1")) == ["a/2"]
        assert list(clerk.ledger.dirty("s", "a/", "Z")) == ["a/1", "a/2"]
        assert list(clerk.ledger.dirty("s", "a/", "b")) == []
        assert list(clerk.ledger.dirty("never")) == []

    def test_what_is_claimed_tried_or_suspect_is_dirty_and_what_is_settled_is_not(self, clerk: Clerk) -> None:
        keys = ["claimed", "failed", "lost", "retried", "skipped", "waiting"]
        clerk.ledger.mark([Mark(stage="s", key=key) for key in keys])
        clerk.ledger.claim("s", clerk.owner, 1, LEASE_S, ["lost"])
        clerk.clock.now_s += LEASE_S
        ends = {"failed": failed(), "retried": failed(final=False), "skipped": SKIP}
        claims = clerk.ledger.claim("s", clerk.owner, 9, LEASE_S, list(ends))
        clerk.ledger.commit([(claim, ends[claim.key]) for claim in claims])
        clerk.ledger.claim("s", clerk.owner, 1, LEASE_S, ["claimed"])
        assert list(clerk.ledger.dirty("s")) == ["claimed", "lost", "retried", "waiting"]

    def test_many_dirty_keys_among_held_and_suspect_ones_are_each_given_once(self, clerk: Clerk) -> None:
        keys = [f"{n:04}" for n in range(1203)]
        clerk.ledger.mark([Mark(stage="s", key=key) for key in keys])
        clerk.ledger.claim("s", clerk.owner, 9, 1.0, keys[::300])
        clerk.clock.now_s += 2.0
        clerk.ledger.claim("s", clerk.owner, 9, LEASE_S, keys[499:504])
        assert list(clerk.ledger.dirty("s")) == keys
        streamed = []
        for key in clerk.ledger.dirty("s"):  # it goes from hand to hand while it is listed
            streamed.append(key)
            if key in ("0100", "0700"):
                clerk.ledger.claim("s", clerk.owner, 200, LEASE_S)
        assert streamed == keys

    # --- adding -----------------------------------------------------------------------------------------------------

    def test_a_batch_is_kept_as_it_was_cut(self, clerk: Clerk) -> None:
        keys = tuple(sorted({"a", "b c", "k" * 900, "日本/☃", "a\nb", 'q"', "\x00", "🦊"}))
        cut = Batch(id="1", kind="backfill", keys=keys, basis={"s": "b", "t": "c"}, created_at_s=1.5)
        (kept,) = clerk.ledger.add_batches([cut])
        assert (kept.id, kept.kind, kept.keys, kept.basis) == ("1", "backfill", keys, {"s": "b", "t": "c"})
        assert (kept.state, kept.owner, kept.losses, kept.run) == (BatchState.OPEN, None, 0, "")
        assert (kept.created_at_s, kept.updated_at_s) == (1.5, clerk.clock.now_s)
        assert clerk.known("1") == kept
        assert list(clerk.ledger.batches()) == [kept]

    def test_a_large_batch_is_kept_whole(self, clerk: Clerk) -> None:
        keys = [f"{n:04}" + "x" * 900 for n in range(MAX_KEYS)]
        clerk.ledger.add_batches([batch("1", *keys)])
        assert clerk.known("1").keys == tuple(keys)

    def test_no_key_is_in_two_unfinished_batches(self, clerk: Clerk) -> None:
        added = clerk.ledger.add_batches([batch("1", "a", "b"), batch("2", "b", "c"), batch("3", "a", "c")])
        assert [(kept.id, kept.keys) for kept in added] == [("1", ("a", "b")), ("2", ("c",))]
        clerk.get("1")
        assert clerk.ledger.add_batches([batch("4", "a", "b", "c")]) == []
        assert clerk.ledger.find_batches(["3", "4"]) == {}

    def test_the_keys_of_a_finished_batch_can_be_cut_again(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1", "a", "b")])
        clerk.ledger.end_batch(clerk.get())
        (kept,) = clerk.ledger.add_batches([batch("2", "a", "b")])
        assert kept.keys == ("a", "b")

    def test_what_is_no_new_batch_is_refused(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1")])
        with pytest.raises(ValueError, match="new batch id"):
            clerk.ledger.add_batches([batch("1", "other")])
        with pytest.raises(ValueError, match="open"):
            clerk.ledger.add_batches([clerk.get()])
        with pytest.raises(KeyError):
            clerk.ledger.add_batches([batch("2", run="never")])
        assert clerk.ledger.add_batches([]) == []

    # --- taking -----------------------------------------------------------------------------------------------------

    def test_a_batch_is_taken_once_live_ones_first_then_the_oldest(self, clerk: Clerk) -> None:
        added = [batch("1", kind="backfill"), batch("4"), batch("3"), batch("2", kind="again")]
        clerk.ledger.add_batches(added)
        taken = [clerk.get() for _ in added]
        assert [held.id for held in taken] == ["3", "4", "1", "2"]
        assert {(held.state, held.owner, held.lease_end_s) for held in taken} == {
            (BatchState.TAKEN, clerk.owner, clerk.clock.now_s + LEASE_S)
        }
        assert len({held.token for held in taken}) == 4
        assert clerk.take() is None

    def test_a_batch_is_taken_by_its_id_or_by_its_run(self, clerk: Clerk) -> None:
        clerk.start("r")
        clerk.ledger.add_batches([batch("1"), batch("2", kind="x", run="r"), batch("3", kind="x", run="r")])
        assert clerk.get("3").id == "3"
        assert clerk.take("3") is None
        assert clerk.take("never") is None
        assert clerk.take("1", run="r") is None
        assert clerk.get(run="r").id == "2"
        assert clerk.take(run="r") is None
        assert clerk.take(run="never") is None
        assert clerk.get().id == "1"

    def test_taking_needs_an_open_session(self, clerk: Clerk) -> None:
        with clerk.ledger.session() as ended:
            pass
        clerk.ledger.add_batches([batch("1")])
        with pytest.raises(ValueError, match="session"):
            clerk.ledger.take_batch(ended, LEASE_S)

    def test_two_sessions_take_different_batches(self, bench: Bench, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch(str(n)) for n in range(4)])
        with open_desk(bench) as desk:
            other = Clerk(desk)
            taken = [each.get().id for each in (clerk, other, other, clerk)]
            assert other.take() is None
        assert taken == ["0", "1", "2", "3"]

    # --- leases, letting go, ending ----------------------------------------------------------------------------------

    def test_what_a_late_owner_held_is_open_again_and_its_end_is_refused(self, bench: Bench, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1", "a")])
        late = clerk.get()
        clerk.clock.now_s += LEASE_S
        for write in (clerk.ledger.end_batch, clerk.ledger.release_batch):
            with pytest.raises(ClaimLost, match="batch 1"):
                write(late)
        assert clerk.ledger.extend_batches([late], LEASE_S) == [False]
        with open_desk(bench) as desk:
            other = Clerk(desk)
            held = other.get()
            assert (held.id, held.losses) == ("1", 1)
            assert held.token > late.token
            with pytest.raises(ClaimLost) as lost:
                clerk.ledger.end_batch(late)
            assert lost.value.holder == other.owner
            other.ledger.end_batch(held)
        assert clerk.known("1").state is BatchState.DONE

    def test_a_token_of_before_is_refused_though_the_owner_is_the_same(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1")])
        first = clerk.get()
        clerk.ledger.release_batch(first)
        second = clerk.get()
        assert clerk.ledger.extend_batches([first, second], LEASE_S) == [False, True]
        with pytest.raises(ClaimLost):
            clerk.ledger.end_batch(first)
        clerk.ledger.end_batch(second)
        with pytest.raises(ClaimLost):
            clerk.ledger.end_batch(second)

    def test_extending_begins_the_lease_anew(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1")])
        held = clerk.get()
        for _ in range(3):
            clerk.clock.now_s += LEASE_S - 1
            assert clerk.ledger.extend_batches([held], LEASE_S) == [True]
        assert clerk.take() is None
        clerk.ledger.end_batch(held)
        assert clerk.ledger.extend_batches([held], LEASE_S) == [False]
        assert clerk.ledger.extend_batches([], LEASE_S) == []

    def test_a_released_batch_is_open_with_its_keys_and_counts_no_loss(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1", "a", "b")])
        clerk.clock.now_s += 5
        clerk.ledger.release_batch(clerk.get())
        known = clerk.known("1")
        assert (known.state, known.owner, known.losses) == (BatchState.OPEN, None, 0)
        assert (known.keys, known.updated_at_s) == (("a", "b"), clerk.clock.now_s)
        assert clerk.ledger.add_batches([batch("2", "a")]) == []

    def test_a_clean_end_of_a_session_opens_what_it_held(self, bench: Bench, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch("1"), batch("2")])
        with open_desk(bench) as desk:
            Clerk(desk).get()
            Clerk(desk).ledger.end_batch(Clerk(desk).get())
        assert (clerk.known("1").state, clerk.known("1").losses) == (BatchState.OPEN, 0)
        assert clerk.known("2").state is BatchState.DONE

    # --- looking ----------------------------------------------------------------------------------------------------

    def test_batches_are_listed_in_order_of_their_ids_by_run_and_state_and_in_pages(self, clerk: Clerk) -> None:
        clerk.start("r")
        ids = [f"{n:03}" for n in range(120)]
        clerk.ledger.add_batches([batch(id_, run="r" if id_ >= "100" else "") for id_ in reversed(ids)])
        clerk.get("005")
        clerk.ledger.end_batch(clerk.get("110"))

        def listed(**how: object) -> list[str]:
            return [found.id for found in clerk.ledger.batches(**how)]  # type: ignore[arg-type]

        assert listed() == ids
        assert listed(after="117") == ["118", "119"]
        assert listed(run="r") == ids[100:]
        assert listed(run="r", states=UNFINISHED) == [id_ for id_ in ids[100:] if id_ != "110"]
        assert listed(states=[BatchState.TAKEN]) == ["005"]
        assert listed(states=[BatchState.DONE, BatchState.TAKEN]) == ["005", "110"]
        assert listed(run="never") == []
        assert clerk.ledger.count_batches("r") == {BatchState.OPEN: 19, BatchState.DONE: 1}
        assert clerk.ledger.count_batches() == {BatchState.OPEN: 118, BatchState.TAKEN: 1, BatchState.DONE: 1}
        assert clerk.ledger.count_batches("never") == {}
        assert clerk.ledger.find_batches([]) == {}

    # --- runs -------------------------------------------------------------------------------------------------------

    def test_a_run_that_nobody_owns_survives_its_sessions(self, bench: Bench, clerk: Clerk) -> None:
        with open_desk(bench) as desk:
            Clerk(desk).start("r")
        assert [run.state for run in clerk.ledger.runs()] == ["running"]

    def test_a_run_ends_once_and_not_before_its_last_batch(self, clerk: Clerk) -> None:
        clerk.start("r")
        clerk.ledger.add_batches([batch("1", run="r"), batch("2", run="r"), batch("3")])

        def close() -> bool:
            return clerk.ledger.close_run("r", "success", 9.0, {"n": 1})

        assert not close()
        clerk.ledger.end_batch(clerk.get(run="r"))
        last = clerk.get(run="r")
        assert not close()
        clerk.ledger.end_batch(last)
        assert close()
        (run,) = clerk.ledger.runs()
        assert (run.state, run.ended_at_s, run.summary) == ("success", 9.0, {"n": 1})
        assert not close()
        with pytest.raises(KeyError):
            clerk.ledger.close_run("never", "success", 9.0, {})

    def test_an_ended_run_takes_no_more_batches(self, clerk: Clerk) -> None:
        clerk.start("r")
        assert clerk.ledger.close_run("r", "success", 9.0, {})
        with pytest.raises(InputRejected, match="has ended"):
            clerk.ledger.add_batches([batch("1", "a", run="r")])
        assert list(clerk.ledger.batches()) == []
        (kept,) = clerk.ledger.add_batches([batch("1", "a")])
        assert kept.keys == ("a",)

    # --- forgetting -------------------------------------------------------------------------------------------------

    def test_only_what_was_done_long_ago_is_forgotten_in_the_order_of_ids(self, clerk: Clerk) -> None:
        clerk.ledger.add_batches([batch(str(n)) for n in range(5)])
        for _ in range(3):
            clerk.ledger.end_batch(clerk.get())
        clerk.get()
        clerk.clock.now_s += 10
        clerk.ledger.release_batch(clerk.get("4"))
        clerk.ledger.end_batch(clerk.get("4"))
        assert clerk.ledger.expire_batches(clerk.clock.now_s, limit=2) == 2
        assert [found.id for found in clerk.ledger.batches()] == ["2", "3", "4"]
        assert clerk.ledger.expire_batches(clerk.clock.now_s) == 1
        assert clerk.ledger.expire_batches(clerk.clock.now_s) == 0
        assert [found.id for found in clerk.ledger.batches()] == ["3", "4"]

    # --- beside the slots -------------------------------------------------------------------------------------------

    def test_batches_change_no_slot(self, clerk: Clerk) -> None:
        clerk.ledger.mark([Mark(stage="s", key="a")])
        clerk.ledger.add_batches([batch("1", "a")])
        held = clerk.get()
        assert [slot.state for slot in clerk.ledger.slots()] == [State.PENDING]
        (claim,) = clerk.ledger.claim("s", clerk.owner, 9, LEASE_S, held.keys)
        clerk.ledger.commit([(claim, done(record("a")))])
        clerk.ledger.end_batch(held)
        assert [slot.state for slot in clerk.ledger.slots()] == [State.SUCCESS]
