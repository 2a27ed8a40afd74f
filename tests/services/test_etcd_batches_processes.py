"""Several processes on the batches of one ledger in etcd: pulling, cutting, killed, frozen."""

import signal
import threading
import time
from functools import partial

import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.identity import sha256
from lookout.domain.records import Mark
from lookout.ledger.batches import UNFINISHED, Batch, BatchState
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.port import RunRecord
from tests.services.etcd_kit import TTL_S, await_end, working


@pytest.fixture
def make(etcd, prefix, closing):
    """Opens handles on one ledger, closed at the end."""

    def another(endpoint=None, **times):
        ledger = EtcdLedger(Address(endpoints=(endpoint or etcd.endpoint,)), prefix, **{"ttl_s": TTL_S, **times})
        closing.callback(ledger.close)
        return ledger

    return another


@pytest.fixture
def ledger(make):
    return make()


@pytest.fixture
def worker(etcd, prefix):
    """Starts a process that works on the ledger; killed at the end if it still runs."""
    return partial(working, "etcd_batch_worker", etcd, prefix)


def batch(id_, *keys, run=""):
    return Batch(id=id_, kind="x", run=run, keys=keys or (f"key of {id_}",), created_at_s=1.0)


def await_batch(ledger, owner):
    """Take until something is open: what a dead session held is open when its lease has ended."""
    deadline_s = time.monotonic() + 10 * TTL_S
    while time.monotonic() < deadline_s:
        if taken := ledger.take_batch(owner, 60.0):
            return taken
        time.sleep(0.05)
    raise AssertionError("nothing became open")


def is_sound(ledger, runs):
    """Tell whether both indexes say of every batch what the batch says, and no key is in two unfinished ones."""
    found = {one.id: one for one in ledger.batches()}
    by_run = [one for run in ["", *runs] for one in ledger.batches(run=run)]
    assert {one.id: one for one in by_run} == found
    assert len(by_run) == len(found)
    counts = ledger.count_batches()
    for state in BatchState:
        listed = [one.id for one in ledger.batches(states=[state])]
        assert listed == [id_ for id_, one in found.items() if one.state is state]
        assert len(listed) == counts.get(state, 0)
    keys = [key for one in ledger.batches(states=UNFINISHED) for key in one.keys]
    assert len(set(keys)) == len(keys)
    return found


# --- many ------------------------------------------------------------------------------------------------------------


def test_two_processes_share_one_list_and_one_of_them_ends_the_run(ledger, worker):
    ledger.start_run(RunRecord(id="r", kind="backfill", owner="", started_at_s=1.0))
    ids = [f"{n:03}" for n in range(60)]
    ledger.add_batches([batch(id_, run="r") for id_ in ids])
    with worker("pull") as one, worker("pull") as two:
        for process in (one, two):
            process.tell()
        said = [process.stdout.read().split() for process in (one, two)]
        assert [process.wait() for process in (one, two)] == [0, 0]
    assert "closed" in (said[0][-1], said[1][-1])
    assert sorted(said[0][:-1] + said[1][:-1]) == ids
    assert min(len(said[0]), len(said[1])) > 1
    assert ledger.count_batches("r") == {BatchState.DONE: 60}
    assert [run.state for run in ledger.runs()] == ["success"]
    is_sound(ledger, ["r"])


def test_processes_that_cut_at_once_get_each_key_once(ledger, worker):
    with worker("cut") as one, worker("cut") as two:
        one.tell("a", "7")
        two.tell("b", "11")
        assert [process.wait() for process in (one, two)] == [0, 0]
    found = is_sound(ledger, [])
    assert sorted(key for one in found.values() for key in one.keys) == [f"{n:03}" for n in range(300)]


def test_a_run_that_is_closed_while_others_add_holds_no_unfinished_batch(make):
    ledger, adder = make(), make()
    for n in range(15):
        ledger.start_run(RunRecord(id=f"r{n}", kind="x", owner="", started_at_s=1.0))
        added, go = [], threading.Barrier(2)

        def add(n=n, added=added, go=go):
            go.wait()
            try:
                added.extend(adder.add_batches([batch(f"b{n}", run=f"r{n}")]))
            except InputRejected:
                added.append(None)

        thread = threading.Thread(target=add)
        thread.start()
        go.wait()
        closed = ledger.close_run(f"r{n}", "success", 2.0, {})
        thread.join()
        assert (added == [None]) == closed
        assert ledger.count_batches(f"r{n}") == ({} if closed else {BatchState.OPEN: 1})


# --- killed and frozen -----------------------------------------------------------------------------------------------


def test_what_a_killed_process_held_is_open_when_its_claims_are_free(ledger, worker):
    ledger.mark([Mark(stage="s", key="k")])
    ledger.add_batches([batch("1", "k")])
    with ledger.session() as me, worker("hold") as process:
        assert process.said == ["1", "k"]
        assert ledger.take_batch(me, 60.0) is None
        process.kill()
        process.wait()
        taken = await_batch(ledger, me)
        assert (taken.id, taken.losses, taken.owner) == ("1", 1, me)
        assert [claim.key for claim in ledger.claim("s", me, 1, 60.0)] == ["k"]
        ledger.end_batch(taken)
    is_sound(ledger, [])


def test_whoever_frees_the_claims_of_a_dead_process_opens_its_batch_too(ledger, worker, etcd, prefix):
    ledger.mark([Mark(stage="s", key="k")])
    ledger.add_batches([batch("1", "k")])
    with worker("hold") as process:
        (owner,) = {slot.owner for slot in ledger.slots("s")}
        process.kill()
        process.wait()
        await_end(etcd, prefix, owner)
    with ledger.session():  # a new session buries the dead
        assert ledger.find_slots("s", ["k"])["k"].owner is None
        assert ledger.find_batches(["1"])["1"].state is BatchState.OPEN


def test_a_frozen_process_is_refused_when_another_has_its_batch(ledger, worker):
    ledger.add_batches([batch("1")])
    with ledger.session() as me, worker("sleep") as process:
        process.send_signal(signal.SIGSTOP)
        taken = await_batch(ledger, me)
        process.send_signal(signal.SIGCONT)
        process.tell()
        assert [process.stdout.readline().strip() for _ in range(3)] == ["False", "lost", "lost"]
        assert ledger.find_batches(["1"])["1"] == taken
        ledger.end_batch(taken)


def test_a_frozen_process_is_refused_though_nobody_has_taken_its_batch(ledger, worker, etcd, prefix):
    ledger.add_batches([batch("1")])
    with worker("sleep") as process:
        process.send_signal(signal.SIGSTOP)
        await_end(etcd, prefix, ledger.find_batches(["1"])["1"].owner)
        process.send_signal(signal.SIGCONT)
        process.tell()
        assert [process.stdout.readline().strip() for _ in range(3)] == ["False", "lost", "lost"]
    assert ledger.find_batches(["1"])["1"].state is BatchState.TAKEN


@pytest.mark.parametrize("rounds", [1, 5, 17])
def test_a_process_killed_between_any_two_steps_leaves_batches_sound(ledger, worker, rounds):
    with worker("churn") as process:
        for _ in range(rounds):
            process.stdout.readline()
        time.sleep(0.001 * (rounds % 5))  # somewhere within a round, not at its end
        process.kill()
        process.wait()
    runs = [run.id for run in ledger.runs(100)]
    found = is_sound(ledger, runs)
    assert len(found) >= rounds - 1
    with ledger.session() as me:
        # A request of the process may have been on its way when it was killed, so each look may find what it took last.
        deadline_s = time.monotonic() + 10 * TTL_S
        while any(one.state is BatchState.TAKEN and one.owner != me for one in is_sound(ledger, runs).values()):
            assert time.monotonic() < deadline_s, "what the dead process held did not become open"
            ledger.take_batch(me, 60.0)
            time.sleep(0.05)
    is_sound(ledger, runs)
    assert BatchState.TAKEN not in ledger.count_batches()


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_what_is_done_costs_nothing_when_a_batch_is_taken(make, new_proxy, etcd):
    ledger = make()
    keys = sorted(sha256(b"%d" % n) + sha256(b"-%d" % n) for n in range(150))  # nothing that deflate makes much of

    def work(me, first, count):
        for n in range(first, first + count):
            ledger.add_batches([batch(f"{n:04}", *keys)])
            ledger.end_batch(ledger.take_batch(me, 60.0))

    with ledger.session() as me:
        work(me, 0, 100)
        ledger.add_batches([batch("last", *keys)])
        # Through so narrow a line the keys of all that is done, over a megabyte, would not come before the timeout.
        slow = make(new_proxy(etcd.endpoint, bytes_per_s=100_000).endpoint, timeout_s=5.0, patience_s=8.0)
        with slow.session() as owner:
            assert slow.take_batch(owner, 60.0).id == "last"
            assert [one.id for one in slow.batches(states=UNFINISHED)] == ["last"]
            assert [one.keys for one in slow.add_batches([batch("new", *sorted(["other", *keys[1:]]))])] == [("other",)]


def test_an_answer_that_is_lost_adds_and_takes_nothing_twice(make, new_proxy, etcd):
    proxy = new_proxy(etcd.endpoint)
    ledger = make(proxy.endpoint, ttl_s=10)
    with ledger.session() as me:
        for n in range(12):
            stop = threading.Event()

            def cut(stop=stop):
                while not stop.wait(0.01):
                    proxy.cut()

            thread = threading.Thread(target=cut)
            thread.start()
            try:
                (kept,) = ledger.add_batches([batch(f"{n:02}")])
                taken = ledger.take_batch(me, 60.0)
            finally:
                stop.set()
                thread.join()
            assert taken.id == kept.id
            ledger.end_batch(taken)
    assert ledger.count_batches() == {BatchState.DONE: 12}
    is_sound(ledger, [])
