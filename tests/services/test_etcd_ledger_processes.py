"""Several processes on one ledger in etcd: killed, frozen past their session, publishing, racing."""

import base64
import signal
import threading
import time
from functools import partial

import pytest

from devkit.contracts.ledger_kit import SKIP, alert, done, record, ref
from devkit.fakes.sendgrid_api import SendGridApi
from devkit.servers.etcd import encode
from lookout.domain.records import AlertState, Mark, State
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.kv import keys
from lookout.ledger.port import Settled
from lookout.outbox.departure import LIMIT_S, uptime_s
from stages.threat_detect.mail.sendgrid import SendGridChannel
from tests.services.etcd_kit import TTL_S, await_end, working
from tests.services.etcd_worker import outbox_of


@pytest.fixture
def ledger(etcd, prefix):
    ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, ttl_s=TTL_S)
    yield ledger
    ledger.close()


@pytest.fixture
def worker(etcd, prefix):
    """Starts a process that works on the ledger; killed at the end if it still runs."""
    return partial(working, "etcd_worker", etcd, prefix)


def mark(ledger, *keys):
    ledger.mark([Mark(stage="s", key=key) for key in keys])


def settle(ledger, owner, key, outcome):
    mark(ledger, key)
    (claim,) = ledger.claim("s", owner, 1, 60.0, [key])
    return ledger.commit([(claim, outcome)])


def owners(etcd, prefix):
    """The sessions that live."""
    begin = keys.text(prefix) + keys.ALIVE
    found = etcd.ask("kv/range", {"key": encode(begin), "range_end": encode(keys.after(begin)), "keys_only": True})
    return [keys.parts(base64.b64decode(kv["key"])[len(begin) :], 1)[0] for kv in found.get("kvs", [])]


def await_claim(ledger, owner):
    """Claim until something is free: what a dead session held is free when its lease has ended."""
    deadline_s = time.monotonic() + 10 * TTL_S
    while time.monotonic() < deadline_s:
        if claims := ledger.claim("s", owner, 10, 60.0):
            return claims
        time.sleep(0.05)
    raise AssertionError("nothing became free")


def test_what_a_killed_process_held_is_taken_over_when_its_session_ends(ledger, worker):
    with ledger.session() as me:
        settle(ledger, me, "k", done(record("k", alerts=[alert("a")]), alerts=[alert("a")]))
        mark(ledger, "a", "b")
        with worker("hold") as process:
            assert process.said == ["a", "b"]
            assert ledger.claim("s", me, 10, 60.0) == []
            process.kill()
            process.wait()
            assert [claim.key for claim in await_claim(ledger, me)] == ["a"]  # half of what was lost
        assert [found.state for found in ledger.alerts()] == [AlertState.UNKNOWN]
        assert [run.state for run in ledger.runs()] == ["lost"]


def test_a_frozen_process_is_refused_when_it_wakes_after_its_session(ledger, worker):
    mark(ledger, "k")
    with ledger.session() as me, worker("sleep") as process:
        process.send_signal(signal.SIGSTOP)
        (claim,) = await_claim(ledger, me)
        assert ledger.commit([(claim, done(record("k", "newer")))]) == [Settled.DONE]
        process.send_signal(signal.SIGCONT)
        process.tell()
        assert process.stdout.readline().split() == ["lost"]
        assert "has ended" in process.stdout.readline()
        assert ledger.find_slots("s", ["k"])["k"].hash == "newer"
        assert ledger.find_records(["late"]) == {}


def test_a_frozen_process_is_refused_though_nobody_has_taken_its_claims_over(ledger, worker, etcd, prefix):
    mark(ledger, "k")
    with worker("sleep") as process:
        (owner,) = {slot.owner for slot in ledger.slots("s")}
        process.send_signal(signal.SIGSTOP)
        await_end(etcd, prefix, owner)
        process.send_signal(signal.SIGCONT)
        process.tell()
        assert process.stdout.readline().split() == ["lost"]
        assert ledger.find_slots("s", ["k"])["k"].record is None


def test_a_sender_that_was_frozen_before_its_request_left_sends_nothing_after_another_has(ledger, worker, etcd, prefix):
    with ledger.session() as me:
        settle(ledger, me, "k", done(record("k", alerts=[alert("a")]), alerts=[alert("a")]))
    with SendGridApi() as api, worker(f"post {api.url}") as process:
        (owner,) = owners(etcd, prefix)
        frozen_at_s = uptime_s()
        await_end(etcd, prefix, owner)
        with ledger.session() as me:
            outbox_of(ledger, me, SendGridChannel(api.key, api.url)).dispatch()
        while uptime_s() <= frozen_at_s + LIMIT_S:
            time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        assert process.wait() == 0
    assert ["MAY BE A REPEAT" in posted.message["content"][0]["value"] for posted in api.posted] == [True]
    assert [found.state for found in ledger.alerts()] == [AlertState.SENT]


def test_a_commit_waits_while_another_session_publishes_its_path_and_no_other(ledger, etcd, prefix):
    other = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, ttl_s=TTL_S)
    answers = []

    def overwrite():
        with other.session() as owner:
            answers.extend(settle(other, owner, "k", done(record("k", "h2", outputs=[ref("s", "p", "2")]))))

    with ledger.session() as me:
        settle(ledger, me, "k", done(record("k", "h1", outputs=[ref("s", "p", "1")])))
        thread = threading.Thread(target=overwrite)
        with ledger.unpublished() as changes:
            assert [change.key for change in changes] == ["p"]
            thread.start()
            thread.join(timeout=1.0)
            assert thread.is_alive()
            assert ledger.find_slots("s", ["k"])["k"].hash == "h1"
        thread.join(timeout=10.0)
        assert answers == [Settled.DONE]
        with ledger.unpublished() as changes:
            assert [change.ref.sha256 for change in changes] == [ref("s", "p", "2").sha256]
    other.close()


def test_a_publisher_that_is_killed_holds_others_up_only_until_its_lease_ends(ledger, worker):
    with ledger.session() as me:
        settle(ledger, me, "k", done(record("k", "h1")))
        with worker("publish") as process:
            assert process.said == ["k.json"]
            process.kill()
            process.wait()
            assert settle(ledger, me, "k", done(record("k", "h2"))) == [Settled.DONE]
        with ledger.unpublished() as changes:
            assert [change.ref for change in changes] == list(record("k", "h2").outputs)


def test_a_publisher_that_was_frozen_too_long_has_what_is_live_published_again(ledger, etcd, prefix):
    late = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, ttl_s=TTL_S)
    with ledger.session() as me:
        settle(ledger, me, "k", done(record("k", "h1")))
        with late.unpublished() as changes:
            assert len(changes) == 1
            etcd.ask("kv/deleterange", {"key": encode(f"{prefix}\0P".encode())})  # as when its lease ends
            settle(ledger, me, "k", done(record("k", "h2")))
            with ledger.unpublished() as newer:
                assert [change.ref for change in newer] == list(record("k", "h2").outputs)
        with ledger.unpublished() as again:
            assert [change.ref for change in again] == list(record("k", "h2").outputs)
    late.close()


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_a_process_killed_while_it_commits_leaves_all_or_nothing(ledger, worker, rounds):
    with worker("churn") as process:
        for _ in range(rounds):
            process.stdout.readline()
        process.kill()
        process.wait()
    a, b = (ledger.find_slots("s", [key])[key].record for key in "ab")
    n = a.counts["n"]
    assert n >= rounds
    assert b.counts == a.counts
    assert [tally.counts for tally in ledger.tallies()] == [{"n": 2 * n}]
    assert [made.hash for made in ledger.makers("s", "a.json")] == [f"a{m}" for m in range(n, 0, -1)]


def test_processes_that_share_one_group_neither_overlap_nor_lose_a_sum(ledger, worker):
    keys = [f"{n:04}" for n in range(600)]
    mark(ledger, *keys)
    with worker("drain") as one, worker("drain") as two:
        for process in (one, two):
            process.tell()
        taken = [process.stdout.read().split() for process in (one, two)]
        assert [process.wait() for process in (one, two)] == [0, 0]
    assert sorted(taken[0] + taken[1]) == keys
    assert ledger.count_slots() == {"s": {State.SUCCESS: 600}}
    (tally,) = ledger.tallies()
    assert (tally.counts, tally.last_at_s) == ({"n": 600}, 599.0)
    with ledger.session() as me:
        settle(ledger, me, "0599", SKIP)
