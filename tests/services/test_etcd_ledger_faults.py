"""Faults around the ledger in etcd: when etcd, the network, the address or what lies there is not as it should be."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest

from devkit.contracts.ledger_kit import SKIP, alert, done, record, ref, seen
from devkit.servers.etcd import encode
from devkit.servers.for_tests import make_certificates
from lookout.domain.errors import Corrupt, InputRejected, Unavailable
from lookout.domain.records import AlertState, Mark, Outcome, State
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.etcd.client import Etcd
from lookout.ledger.kv import keys
from lookout.ledger.kv.keyspace import FORM
from lookout.ledger.kv.port import Put, Unchanged
from lookout.ledger.kv.record_values import KeptAlert, write_alert
from lookout.ledger.port import Delivered, Settled

SECRET = "s3cr3t-pass"


@pytest.fixture
def make(closing):
    """Opens ledgers that are closed at the end."""

    def another(*endpoints, prefix="/lookout", times=(), **address):
        ledger = EtcdLedger(Address(endpoints=endpoints, **address), prefix, **dict(times))
        closing.callback(ledger.close)
        return ledger

    return another


def mark(ledger, *keys):
    ledger.mark([Mark(stage="s", key=key) for key in keys])


def settle_all(ledger, owner, outcome):
    claims = ledger.claim("s", owner, 5000, 60.0)
    return ledger.commit([(claim, outcome(claim)) for claim in claims])


# --- limits of a transaction -----------------------------------------------------------------------------------------


def test_a_thousand_outcomes_are_committed_whole_in_pieces(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    keys = [f"{n:04}" for n in range(1000)]
    mark(ledger, *keys)

    def outcome(claim):
        outputs = [ref("s", f"{claim.key}.json"), ref("s", f"{claim.key}.jpg")]
        made = record(claim.key, outputs=outputs, reads=[ref("images", claim.key)], counts={"n": 1}, at_s=1.0)
        return done(made, marks=[Mark(stage="t", key=claim.key), Mark(stage="plot", key="")])

    with ledger.session() as me:
        assert set(settle_all(ledger, me, outcome)) == {Settled.DONE}
    assert ledger.count_slots() == {
        "s": {State.SUCCESS: 1000}, "t": {State.PENDING: 1000}, "plot": {State.PENDING: 1}
    }  # fmt: skip
    assert ledger.tallies()[0].counts == {"n": 1000}
    with ledger.unpublished(5000) as changes:
        assert len(changes) == 2000


def test_large_records_are_cut_by_their_bytes_and_one_too_large_is_refused(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    noise = [f"{n * 2654435761 % 2**32:08x}" for n in range(100_000)]  # nothing that deflate makes much of
    mark(ledger, *"abcdef")
    with ledger.session() as me:
        claims = ledger.claim("s", me, 10, 60.0)
        large = [(claim, done(record(claim.key, facts={"noise": noise[:60_000]}))) for claim in claims]
        assert ledger.commit(large) == [Settled.DONE] * 6
        assert ledger.find_slots("s", ["f"])["f"].record.facts == {"noise": noise[:60_000]}
        mark(ledger, "g")
        (claim,) = ledger.claim("s", me, 1, 60.0)
        too_large = done(record("g", facts={"noise": noise * 4}), marks=[Mark(stage="t", key="g")])
        too_large = replace(too_large, marks_if_refused=(Mark(stage="u", key="g"),))
        assert ledger.commit([(claim, too_large)]) == [Settled.CONFLICT]
    slot = ledger.find_slots("s", ["g"])["g"]
    assert (slot.state, slot.dirty, slot.record) == (State.FAILED, 0, None)
    assert "too large" in slot.error
    assert ledger.find_slots("t", ["g"]) == {}
    assert ledger.find_slots("u", ["g"])["g"].dirty == 1


def test_a_datum_with_more_alerts_than_a_transaction_has_operations_enters_whole(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    alerts = [alert(f"{n:04}") for n in range(300)]
    mark(ledger, "k")
    with ledger.session() as me:
        assert settle_all(ledger, me, lambda claim: done(record("k", alerts=alerts), alerts=alerts)) == [Settled.DONE]
        assert len(list(ledger.alerts())) == 300
        assert len(ledger.claim_alerts(me, 1000, 1e12)) == 300


# --- what happens to etcd --------------------------------------------------------------------------------------------


def test_a_listing_survives_compactions_while_it_is_read(new_etcd, make):
    etcd = new_etcd()
    ledger, other = make(etcd.endpoint), make(etcd.endpoint)
    keys = [f"{n:05}" for n in range(4500)]
    ledger.observe([seen(key) for key in keys], ["s"])
    got, listed = [], []
    for item, slot in zip(ledger.inputs("images"), ledger.slots("s"), strict=True):
        got.append(item.key)
        listed.append(slot.key)
        if len(got) % 900 == 10:
            other.put_note("n", str(len(got)))
            etcd.compact()
    assert got == listed == keys


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_under_load_loses_nothing_and_does_nothing_twice(new_etcd, make, how):
    etcd = new_etcd(fsync=True)
    ledger = make(etcd.endpoint)
    rounds, stop, errors = count(1), threading.Event(), []

    def work():
        worker = make(etcd.endpoint)
        try:
            with worker.session() as owner:
                while not stop.is_set():
                    n = next(rounds)
                    mark(worker, f"{n:05}")
                    made = lambda claim: done(record(claim.key, f"h{n}", counts={"n": 1}))  # noqa: B023, E731
                    assert settle_all(worker, owner, made) == [Settled.DONE]
        except Exception as exc:  # noqa: BLE001 - the test fails with it
            errors.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    seen_before = 0
    for _ in range(3):
        await_more(ledger, seen_before, thread)
        seen_before = ledger.count_slots()["s"].get(State.SUCCESS, 0)
        getattr(etcd, how)()
        etcd.start()
    await_more(ledger, seen_before, thread)
    stop.set()
    thread.join()
    assert errors == []
    n = next(rounds) - 1
    assert ledger.count_slots() == {"s": {State.SUCCESS: n}}
    assert ledger.tallies()[0].counts == {"n": n}


def await_more(ledger, seen_before, thread):
    """Wait until the thread has settled more slots than before."""
    while ledger.count_slots().get("s", {}).get(State.SUCCESS, 0) <= seen_before + 3:
        assert thread.is_alive()
        thread.join(timeout=0.02)


def test_a_change_of_the_leader_under_load_is_ridden_out(new_cluster, make):
    cluster = new_cluster()
    endpoints = [member.endpoint for member in cluster.members]
    ledger = make(*endpoints)
    with ledger.session() as me:
        for n in range(30):
            if n in (8, 18):
                cluster.get_leader().kill()
            if n in (14, 24):
                cluster.start()
            mark(ledger, f"{n:03}")
            answers = settle_all(ledger, me, lambda claim: done(record(claim.key, counts={"n": 1})))
            assert answers == [Settled.DONE]
    assert ledger.count_slots() == {"s": {State.SUCCESS: 30}}
    assert ledger.tallies()[0].counts == {"n": 30}


def test_without_an_answer_it_is_unavailable_and_says_where(make, new_etcd):
    etcd = new_etcd()
    ledger = make(etcd.endpoint, times={"patience_s": 0.5, "timeout_s": 0.5})
    etcd.stop()
    with pytest.raises(Unavailable, match=etcd.endpoint):
        ledger.count_slots()
    with pytest.raises(Unavailable, match=etcd.endpoint):
        mark(ledger, "k")


def test_without_space_it_is_unavailable_and_says_what_to_do(make, new_etcd):
    etcd = new_etcd(arguments=["--quota-backend-bytes=2000000"])
    ledger = make(etcd.endpoint)

    def fill():
        for n in range(100):
            ledger.put_note(f"{n}", "".join(f"{n * m * 2654435761 % 2**32:08x}" for m in range(10_000)))

    with pytest.raises(Unavailable, match=r"NOSPACE.*compact"):
        fill()
    assert ledger.find_note("0") is not None


# --- answers that are lost -------------------------------------------------------------------------------------------


def test_a_write_whose_answer_is_lost_is_applied_once(etcd, new_proxy, prefix):
    proxy = new_proxy(etcd.endpoint)
    client = Etcd(Address(endpoints=(proxy.endpoint, etcd.endpoint)), prefix.encode(), timeout_s=2.0)
    key = prefix.encode() + b"key"
    assert client.write([], [Put(prefix.encode() + b"other", b"")]).succeeded
    proxy.cut_after_bytes = 1
    assert client.write([Unchanged(key, 0)], [Put(key, b"1")]).succeeded
    assert client.get_many([key])[key].version == 1
    client.close()


def test_a_write_that_arrives_late_is_refused_after_it_was_sent_again(etcd, new_proxy, prefix):
    proxy = new_proxy(etcd.endpoint)
    client = Etcd(Address(endpoints=(proxy.endpoint, etcd.endpoint)), prefix.encode(), timeout_s=0.5)
    key = prefix.encode() + b"key"
    assert client.write([], [Put(prefix.encode() + b"other", b"")]).succeeded
    proxy.freeze()
    assert client.write([], [Put(key, b"1")]).succeeded
    proxy.thaw()
    assert client.write([], [Put(prefix.encode() + b"last", b"")]).succeeded
    assert client.get_many([key])[key].version == 1
    client.close()


def test_commits_through_a_network_that_cuts_are_done_once(etcd, new_proxy, make, prefix):
    proxy = new_proxy(etcd.endpoint)
    ledger = make(proxy.endpoint, prefix=prefix)
    stop = threading.Event()

    def cut():
        while not stop.wait(0.03):
            proxy.cut()

    thread = threading.Thread(target=cut)
    with ledger.session() as me:
        thread.start()
        for n in range(25):
            mark(ledger, f"{n}")
            assert settle_all(ledger, me, lambda claim: done(record(claim.key, counts={"n": 1}))) == [Settled.DONE]
        stop.set()
        thread.join()
    assert ledger.tallies()[0].counts == {"n": 25}


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_passwords_are_asked_for_checked_and_never_shown(new_etcd, make):
    etcd = new_etcd()
    etcd.demand_passwords("root-pass", {"lookout": SECRET})
    with pytest.raises(InputRejected, match="LOOKOUT_LEDGER_USER") as none:
        make(etcd.endpoint)
    with pytest.raises(InputRejected, match="user or password is wrong") as wrong:
        make(etcd.endpoint, user="lookout", password="wr0ng")
    address = Address(endpoints=(etcd.endpoint,), user="lookout", password=SECRET)
    assert SECRET not in repr(address) + str(none.value) + str(wrong.value)
    assert "wr0ng" not in str(wrong.value)
    ledger = make(etcd.endpoint, user="lookout", password=SECRET)
    with ledger.session() as me:
        mark(ledger, "k")
        assert settle_all(ledger, me, lambda _claim: SKIP) == [Settled.DONE]


def test_a_token_that_has_ended_is_renewed(new_etcd, make):
    etcd = new_etcd(arguments=["--auth-token-ttl=1"])
    etcd.demand_passwords("root-pass", {"lookout": SECRET})
    ledger = make(etcd.endpoint, user="lookout", password=SECRET)
    etcd.restart()  # simple tokens do not survive it
    ledger.put_note("a", "1")
    assert ledger.find_note("a") == "1"


def test_a_user_for_an_etcd_that_asks_nobody_is_refused(etcd, make, prefix):
    with pytest.raises(InputRejected, match="asks nobody"):
        make(etcd.endpoint, prefix=prefix, user="lookout", password=SECRET)


def test_tls_with_a_client_certificate_works_and_a_foreign_authority_is_refused(
    new_etcd, make, certificates, tmp_path_factory
):
    etcd = new_etcd(tls=certificates, client_certificates=True)
    ours = {"tls": True, "cert": certificates.client_certificate, "key": certificates.client_key}
    ledger = make(etcd.endpoint, ca=certificates.ca, **ours)
    with ledger.session() as me:
        mark(ledger, "k")
        assert settle_all(ledger, me, lambda _claim: SKIP) == [Settled.DONE]
    foreign = make_certificates(tmp_path_factory.mktemp("foreign"))
    with pytest.raises((InputRejected, Unavailable), match=etcd.endpoint):
        make(etcd.endpoint, ca=foreign.ca, times={"patience_s": 1.0}, **ours)
    with pytest.raises((InputRejected, Unavailable), match=etcd.endpoint):
        make(etcd.endpoint, ca=certificates.ca, tls=True, times={"patience_s": 1.0})


def test_a_certificate_that_cannot_be_read_is_named(make, tmp_path):
    with pytest.raises(InputRejected, match=r"none\.pem"):
        make("127.0.0.1:1", tls=True, ca=tmp_path / "none.pem")


def test_a_publisher_that_etcd_left_takes_its_publication_up_again(new_etcd, make):
    etcd = new_etcd(fsync=True)
    ledger = make(etcd.endpoint, times={"patience_s": 1.0, "timeout_s": 1.0})
    with ledger.session() as me:
        mark(ledger, "k")
        settle_all(ledger, me, lambda claim: done(record(claim.key)))
        with pytest.raises(Unavailable), ledger.unpublished() as changes:
            etcd.stop()
        etcd.start()
        mark(ledger, "k")
        assert settle_all(ledger, me, lambda claim: done(record(claim.key, "again"))) == [Settled.DONE]
        with ledger.unpublished() as again:
            assert [change.key for change in again] == [change.key for change in changes] == ["k.json"]
            assert again[0].ref == record("k", "again").outputs[0]


@pytest.mark.parametrize("half", [{"user": "u"}, {"password": SECRET}, {"cert": "c"}, {"endpoints": ()}])
def test_half_an_address_is_refused(half):
    with pytest.raises(InputRejected) as refused:
        Address(**{"endpoints": ("127.0.0.1:1",), **half})
    assert SECRET not in str(refused.value)


# --- what lies in it -------------------------------------------------------------------------------------------------


def put_raw(etcd, key, value):
    etcd.ask("kv/put", {"key": encode(key), "value": encode(value)})


def get_raw(etcd, key):
    (found,) = etcd.ask("kv/range", {"key": encode(key)})["kvs"]
    return base64.b64decode(found.get("value", ""))


def test_a_newer_form_is_refused_with_what_to_do(etcd, make, prefix):
    make(etcd.endpoint, prefix=prefix).close()
    put_raw(etcd, prefix.encode() + b"\0!", b"%d" % (FORM + 1))
    with pytest.raises(InputRejected, match=rf"newer.*{FORM + 1}.*knows {FORM}.*update"):
        make(etcd.endpoint, prefix=prefix)


def test_an_older_form_is_raised_once_and_what_it_holds_is_worked_on(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    mark(ledger, "k")
    entered = [alert("a"), alert("b")]
    with ledger.session() as me:
        settle_all(ledger, me, lambda _claim: done(record("k", alerts=entered), alerts=entered))
    form, name = prefix.encode() + b"\0!", prefix.encode() + b"\0"
    ledger.close()
    # As the version before wrote it: unknown, without the number of its doubts, and apart in the index.
    older = KeptAlert(replace(alert("a"), state=AlertState.UNKNOWN, tries=2, settled_at_s=5.0))
    put_raw(etcd, name + keys.ALERT + b"a\0", write_alert(older))
    index = keys.moment(1.0) + keys.text("a")
    etcd.ask("kv/deleterange", {"key": encode(name + keys.ALERT_STATE + b"p\0" + index)})
    put_raw(etcd, name + keys.ALERT_STATE + b"v\0" + index, b"[0.0,null]")
    put_raw(etcd, form, b"2")

    opened = [make(etcd.endpoint, prefix=prefix) for _ in range(2)]
    (kv,) = etcd.ask("kv/range", {"key": encode(form)})["kvs"]
    assert base64.b64decode(kv["value"]) == b"%d" % FORM
    with opened[0].session() as one, opened[1].session() as other:
        (repeat,) = opened[0].claim_alerts(one, 10, 10.0, ["a"])
        assert (repeat.state, repeat.doubts) == (AlertState.UNKNOWN, 1)
        assert [held.id for held in opened[1].claim_alerts(other, 10, 10.0)] == ["b"]
        assert opened[0].begin_sending(one, ["a"]) == {"a"}
        opened[0].settle_alerts(one, {"a": Delivered(state=AlertState.SENT)}, 11.0)
    assert make(etcd.endpoint, prefix=prefix).count_alerts() == {AlertState.PENDING: 1, AlertState.SENT: 1}
    (again,) = etcd.ask("kv/range", {"key": encode(form)})["kvs"]
    assert again["mod_revision"] == kv["mod_revision"], "it is raised once"


def test_several_that_raise_an_older_form_at_once_all_work_on(etcd, make, prefix):
    make(etcd.endpoint, prefix=prefix).close()
    put_raw(etcd, prefix.encode() + b"\0!", b"2")
    with ThreadPoolExecutor(6) as threads:
        ledgers = list(threads.map(lambda _: make(etcd.endpoint, prefix=prefix), range(6)))
    mark(ledgers[0], "k")
    assert [ledger.count_dirty("s") for ledger in ledgers] == [1] * 6


def test_something_else_in_its_place_is_refused(etcd, make, prefix):
    put_raw(etcd, prefix.encode() + b"\0!", b"hello")
    with pytest.raises(InputRejected, match="not a ledger"):
        make(etcd.endpoint, prefix=prefix)


def test_two_ledgers_in_one_etcd_know_nothing_of_each_other(etcd, make, prefix):
    one, inner = make(etcd.endpoint, prefix=f"/{prefix}"), make(etcd.endpoint, prefix=f"/{prefix}/inner/")
    mark(one, "a")
    mark(inner, "b")
    with one.session() as me, inner.session() as other:
        assert [claim.key for claim in one.claim("s", me, 10, 60.0)] == ["a"]
        assert [claim.key for claim in inner.claim("s", other, 10, 60.0)] == ["b"]
    assert [slot.key for slot in one.slots()] == ["a"]


@pytest.mark.parametrize("tail", [b"sno end", b"ss\0a", b"ss\0\xff\0", b"ds\0k\0", b"cs\0short", b"ls\0" + bytes(12)])
def test_a_foreign_key_among_ours_is_corrupt_and_named(etcd, make, prefix, tail):
    ledger = make(etcd.endpoint, prefix=prefix)
    put_raw(etcd, prefix.encode() + b"\0" + tail, b"foreign")

    def look():
        list(ledger.slots())
        with ledger.session() as me:
            ledger.claim("s", me, 10, 60.0)

    with pytest.raises(Corrupt):
        look()


@pytest.fixture(params=[b"zjunk", b"junk", b"", b"j[]", b"j{}", b'j["s",0,1,0,0,0,0,"",null,1,[],"ff",1]\njunk'])
def damaged(etcd, make, prefix, request):
    """A ledger with five settled slots, of which the row of k2 is damaged; with the key and the value of that row."""
    ledger = make(etcd.endpoint, prefix=prefix)
    mark(ledger, *(f"k{n}" for n in range(5)))
    with ledger.session() as me:
        settle_all(ledger, me, lambda claim: done(record(claim.key)))
    name = prefix.encode() + b"\0ss\0k2\0"
    put_raw(etcd, name, request.param)
    return ledger, name, request.param


def test_a_row_that_cannot_be_read_is_failed_and_named_and_harms_no_other(etcd, damaged, make, prefix):
    ledger, name, value = damaged
    assert "k2" in ledger.find_slots("s", ["k2"])["k2"].damage
    assert [slot.key for slot in ledger.slots() if slot.damage is None] == ["k0", "k1", "k3", "k4"]
    mark(ledger, *(f"k{n}" for n in range(5)))
    with make(etcd.endpoint, prefix=prefix).session(), ledger.session() as me:
        claims = ledger.claim("s", me, 5000, 60.0)
        assert [claim.key for claim in claims if claim.slot.damage is None] == ["k0", "k1", "k3", "k4"]
        outcomes = [(claim, done(record(claim.key, "new"))) for claim in claims]
        assert ledger.commit(outcomes) == [Settled.DONE] * 5
        assert ledger.claim("s", me, 5000, 60.0) == []
    assert {slot.key: slot.state for slot in ledger.slots()} == {
        "k0": State.SUCCESS, "k1": State.SUCCESS, "k2": State.FAILED, "k3": State.SUCCESS, "k4": State.SUCCESS
    }  # fmt: skip
    (failed,) = ledger.slots(states=[State.FAILED])
    assert failed.key == "k2"
    assert "k2" in failed.error
    assert ledger.count_slots() == {"s": {State.SUCCESS: 4, State.FAILED: 1}}
    assert get_raw(etcd, name) == value


def test_a_row_that_cannot_be_read_is_given_back_marked_and_lost_like_any_other(etcd, damaged, make, prefix):
    ledger, name, value = damaged
    for how in (State.PENDING, State.KILLED):
        ledger.mark([Mark(stage="s", key="k2")], revive=True, salt="salt")
        with ledger.session() as me:
            assert settle_all(ledger, me, lambda _claim, how=how: Outcome(state=how)) == [Settled.DONE]
            assert settle_all(ledger, me, lambda _claim: Outcome(state=State.RETRACTED)) == [Settled.DONE]
    mark(ledger, "k1", "k2", "k3")
    with ledger.session() as me:
        assert len(ledger.claim("s", me, 5000, 60.0)) == 3
    with ledger.session() as me:
        assert ledger.claim("s", me, 5000, -1.0)
    found = set()
    with ledger.session() as me:
        while claims := ledger.claim("s", me, 5000, 60.0):
            found.update(claim.key for claim in claims)
            ledger.commit([(claim, SKIP) for claim in claims])
    assert found == {"k1", "k2", "k3"}
    assert [slot.key for slot in ledger.slots(states=[State.FAILED])] == ["k2"]
    assert get_raw(etcd, name) == value


def test_a_suspect_whose_row_is_damaged_is_claimed_and_failed(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    keys = [f"k{n}" for n in range(4)]
    mark(ledger, *keys)
    with ledger.session() as me:
        assert ledger.claim("s", me, 5000, -1.0)
    with ledger.session() as me:
        assert ledger.claim("s", me, 0, 60.0) == []  # those that were late are suspects now
    put_raw(etcd, prefix.encode() + b"\0ss\0k0\0", b"zjunk")
    found = set()
    with ledger.session() as me:
        while claims := ledger.claim("s", me, 5000, 60.0):
            assert not found.intersection(claim.key for claim in claims)
            found.update(claim.key for claim in claims)
            ledger.commit([(claim, done(record(claim.key))) for claim in claims])
    assert found == set(keys)
    assert [slot.key for slot in ledger.slots(states=[State.FAILED])] == ["k0"]


def test_a_row_that_cannot_be_read_is_in_no_backup(damaged):
    ledger, _, _ = damaged
    with pytest.raises(Corrupt, match="k2"), ledger.snapshot() as entries:
        list(entries)


def test_a_text_without_utf8_form_is_refused(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix=prefix)
    with pytest.raises(InputRejected, match="UTF-8"):
        mark(ledger, "bad \udcff name")
    assert list(ledger.slots()) == []


@pytest.mark.parametrize("key", ["\0", "a\0b", "\1", "a\1\2\0", "\x7f", "\U0010ffff", "a\0"])
def test_keys_of_any_unicode_go_the_whole_way_in_their_order(etcd, make, prefix, key):
    ledger = make(etcd.endpoint, prefix=prefix)
    mark(ledger, "a", key, "b")
    with ledger.session() as me:
        claims = ledger.claim("s", me, 10, 60.0)
        assert [claim.key for claim in claims] == sorted(["a", key, "b"])
        ledger.commit([(claim, done(record(claim.key, outputs=[ref("s", claim.key)]))) for claim in claims])
    assert [slot.key for slot in ledger.slots("s", prefix=key)][:1] == [key]
    assert [made.key for made in ledger.makers("s", key)] == [key]
