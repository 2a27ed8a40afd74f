"""The ledger over key-value pairs keeps the contract, on a store in memory, through one client and through several."""

from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devkit.contracts.ledger import BatchesContract, Bench, LedgerContract, ManualClock, OpenRunsContract
from devkit.contracts.ledger_kit import LEASE_S, done, record
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from lookout.domain.errors import Unavailable
from lookout.domain.records import Mark, State
from lookout.ledger.open_runs import opening
from lookout.ledger.port import Settled


@contextmanager
def open_bench(store):
    """A bench whose handles are closed at the end, each a client of its own."""
    clock = ManualClock()
    with ExitStack() as handles:

        def another():
            ledger = memory_ledger(clock, store)
            handles.callback(ledger.close)
            return ledger

        yield Bench(open=another, clock=clock)


class TestKvLedger(LedgerContract, BatchesContract, OpenRunsContract):
    @pytest.fixture
    def bench(self):
        with open_bench(MemoryStore()) as bench:
            yield bench

    def test_changes_of_other_runs_and_stages_end_no_wait(self, bench):
        ledger = bench.open()
        ledger.start_run(opening("run", "1", 1.0))
        revision = ledger.revision()
        ledger.mark([Mark(stage="u", key="a")])
        ledger.start_run(opening("other", "1", 1.0))
        assert not ledger.await_run("run", ["s", "t"], revision, 0.1)
        assert not ledger.await_runs(revision, 0.1)


class TestKvLedgerOfCompactedStore(LedgerContract, BatchesContract, OpenRunsContract):
    """Each request finds that all older revisions are gone."""

    @pytest.fixture
    def bench(self):
        store = MemoryStore()
        store.before_request = store.compact
        with open_bench(store) as bench:
            yield bench


# --- two clients at once ---------------------------------------------------------------------------------------------


class Worker:
    """One client that claims, commits and publishes, a step at a time."""

    def __init__(self, store, clock, stack):
        self.ledger = memory_ledger(clock, store)
        stack.callback(self.ledger.close)
        self.owner = stack.enter_context(self.ledger.session())
        self.claims, self.done, self.published = [], [], []

    def step(self, limit):
        """Commit what is claimed, with a mark for the next stage; or claim; or publish, when nothing is to be done."""
        if self.claims:
            outcomes = []
            for claim in self.claims:
                made = record(claim.key, stage=claim.stage, counts={"n": 1}, at_s=1.0)
                marks = [Mark(stage="t", key=claim.key)] if claim.stage == "s" else []
                outcomes.append((claim, done(made, marks=marks)))
            answers = self.ledger.commit(outcomes)
            assert set(answers) == {Settled.DONE}
            self.done += [(claim.stage, claim.key) for claim in self.claims]
            self.claims = []
            return
        self.claims = self.ledger.claim("s", self.owner, limit, LEASE_S) or self.ledger.claim(
            "t", self.owner, limit, LEASE_S, behind=["s"]
        )
        if not self.claims:
            with self.ledger.unpublished() as changes:
                self.published += [(change.bucket, change.key) for change in changes]


interleavings = given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None, derandomize=True)
@interleavings
def test_two_workers_interleaved_between_any_two_requests_do_all_and_each_once(turns, first, second):
    work_interleaved(turns, first, second)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@interleavings
def test_two_workers_interleaved_in_many_more_ways(turns, first, second):
    work_interleaved(turns, first, second)


def work_interleaved(turns, first, second):
    """``turns`` says, round and round, how many requests of the one worker are let pass before the other has a step."""
    store, clock = MemoryStore(), ManualClock()
    store.longest_wait_s = 0.0
    with ExitStack() as stack:
        one, other = Worker(store, clock, stack), Worker(store, clock, stack)
        one.ledger.mark([Mark(stage="s", key=key) for key in "abcdef"])
        waiting, passed, inside = list(turns), 0, False

        def interrupt():
            nonlocal passed, inside
            if inside:
                return
            if passed < waiting[0]:
                passed += 1
                return
            passed, inside = 0, True
            waiting.append(waiting.pop(0))
            with suppress(Unavailable):  # it would wait for what the one publishes
                other.step(second)
            inside = False

        for _ in range(60):
            store.before_request = interrupt
            one.step(first)
            store.before_request = lambda: None
            other.step(second)
            if len(one.done) + len(other.done) == 12 and not (one.claims or other.claims):
                break
        one.step(first)
        assert sorted(one.done + other.done) == sorted((stage, key) for stage in "st" for key in "abcdef")
        assert one.ledger.count_slots() == {stage: {State.SUCCESS: 6} for stage in "st"}
        (tally,) = other.ledger.tallies()
        assert tally.counts == {"n": 12}
        assert {*one.published, *other.published} >= {(stage, f"{key}.json") for stage in "st" for key in "abcdef"}


def test_what_a_dead_client_held_is_taken_back_once_by_those_who_live():
    store, clock, time_of_leases = MemoryStore(), ManualClock(), ManualClock()
    store.clock = time_of_leases
    dying, living = memory_ledger(clock, store, ttl_s=100), memory_ledger(clock, store, ttl_s=1000)
    living.mark([Mark(stage="s", key=key) for key in "abcd"])
    with dying.session() as gone, living.session() as me:
        lost = dying.claim("s", gone, 10, LEASE_S)
        time_of_leases.now_s += 100
        assert [claim.key for claim in living.claim("s", me, 10, LEASE_S)] == ["a", "b"], "half of what was lost"
        assert dying.commit([(claim, done(record(claim.key))) for claim in lost]) == [Settled.LOST] * 4
        slots = living.find_slots("s", "abcd")
        assert {key: slot.state for key, slot in slots.items()} == {
            "a": State.RUNNING, "b": State.RUNNING, "c": State.PENDING, "d": State.PENDING
        }  # fmt: skip
    living.close()
    dying.close()
