"""Saving and filling a ledger in etcd: from and to SQLite, beside writers, while etcd compacts, and cut off."""

import os
import resource
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import GONE, Bench, ManualClock, alert, done, open_desk, record, ref, seen
from devkit.contracts.ledger_upkeep import UpkeepContract, view
from devkit.fakes.memory_kv import memory_ledger
from devkit.servers.etcd import encode
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Mark, State
from lookout.ledger.backup.file import backup, inspect, restore
from lookout.ledger.batches import Batch
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.maintenance import Basis, KeptSlot, Note
from lookout.ledger.sqlite import SqliteLedger
from tests.services.etcd_kit import working


@pytest.fixture
def make(closing):
    """Opens ledgers that are closed at the end."""

    def another(endpoint, prefix="/lookout", **more):
        ledger = EtcdLedger(Address(endpoints=(endpoint,)), prefix, **more)
        closing.callback(ledger.close)
        return ledger

    return another


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sqlite(tmp_path, closing, clock):
    """Opens ledgers in SQLite that are closed at the end."""

    def another(name):
        ledger = SqliteLedger(tmp_path / name, clock)
        closing.callback(ledger.close)
        return ledger

    return another


@pytest.fixture
def process(etcd, prefix):
    """Starts a process that works on the ledger of the prefix; killed at the end if it still runs."""

    def start(module, command):
        return working(module, etcd, prefix, command)

    return start


def count_keys(etcd, prefix):
    """Return the number of a ledger's keys in etcd."""
    name = f"{prefix}\0".encode()
    found = etcd.ask("kv/range", {"key": encode(name), "range_end": encode(name[:-1] + b"\1"), "count_only": True})
    return int(found.get("count", "0"))


def entries_of(ledger):
    """Return the entries of a snapshot without tokens: in etcd a stage has them, a slot only while it is held."""
    with ledger.snapshot() as entries:
        return [replace(one, token=one.cohort) if isinstance(one, KeptSlot) else one for one in entries]


def fill(ledger, clock):
    """A bit of everything, then what is rare: suspects, lost together and alone, alerts that no record names, paths
    that many made, that nobody holds any more, and that came back."""
    with open_desk(Bench(open=lambda: ledger, clock=clock)) as desk:
        UpkeepContract.fill(desk)
        for n in range(150):
            desk.do(record("often", f"o{n:03}", outputs=[ref("s", "often", str(n))]))
        desk.do(record("gone", outputs=[ref("s", "by turns", "1")]))
        desk.settle("gone", GONE)
        desk.do(record("back", outputs=[ref("s", "by turns", "2")]))
        desk.do(record("loose"), alerts=[alert("loose", hash_="hash of loose")])
        ledger.enforce("many", [replace(unit, bucket="many", name=f"n{n}") for n in range(300) for unit in
                                ledger.references("words")])  # fmt: skip
        desk.mark("lost 1", "lost 2", "lost 3")
        desk.claim(keys=["lost 1", "lost 2"])
        desk.outlive_lease()
        desk.claim(1, keys=["never"])  # finds that all leases are over
        desk.mark("lost 2", "lost 3")


# --- from one backend to another -------------------------------------------------------------------------------------


def test_from_sqlite_to_etcd_and_back_all_entries_are_the_same(etcd, make, prefix, sqlite, clock, tmp_path):
    first, middle, last = sqlite("first"), make(etcd.endpoint, prefix, clock=clock), sqlite("last")
    fill(first, clock)
    for n, (source, target) in enumerate([(first, middle), (middle, last)]):
        backup(source, tmp_path / f"{n}", now_s=1.0, code="")
        restore(target, tmp_path / f"{n}")
    saved = [sorted(map(repr, entries_of(ledger))) for ledger in (first, middle, last)]
    assert saved[0] == saved[1]
    assert saved[1] == saved[2]
    assert inspect(tmp_path / "0").entries == inspect(tmp_path / "1").entries
    assert view(middle).rest == view(first).rest
    assert middle.size().slots == first.size().slots
    assert [made.hash for made in middle.makers("s", "often")] == [f"o{n:03}" for n in reversed(range(150))]
    assert [made.hash for made in middle.makers("s", "by turns")] == ["hash of back", "hash of gone"]


def test_a_filled_ledger_goes_on_with_suspects_and_loose_alerts(etcd, make, prefix, sqlite, clock):
    source, ledger = sqlite("source"), make(etcd.endpoint, prefix, clock=clock)
    fill(source, clock)
    with source.snapshot() as entries:
        ledger.load(entries)
    with open_desk(Bench(open=lambda: ledger)) as desk:
        assert {claim.key for claim in desk.claim()} == {"lost 3", "waiting"}
        assert len(desk.claim()) == 1  # half of the two that were lost together
        desk.settle("loose", GONE)
        assert [one.state.value for one in ledger.alerts(ids=["loose"])] == ["canceled"]


def test_batches_are_in_no_backup_for_their_keys_are_dirty(etcd, make, prefix):
    ledger, other = make(etcd.endpoint, prefix), memory_ledger()
    ledger.mark([Mark(stage="s", key="k")])
    ledger.add_batches([Batch(id="1", kind="x", keys=("k",), created_at_s=1.0)])
    with ledger.snapshot() as entries:
        other.load(entries)
    assert list(other.batches()) == []
    assert list(other.dirty("s")) == ["k"]


# --- beside others ---------------------------------------------------------------------------------------------------


def test_a_backup_beside_a_writer_is_of_one_moment(etcd, make, prefix, process, tmp_path):
    ledger = make(etcd.endpoint, prefix)
    seen_n = []
    with process("etcd_worker", "churn") as writer:
        for n in range(4):
            for _ in range(3):
                writer.stdout.readline()
            backup(ledger, tmp_path / str(n), now_s=1.0, code="")
            copy = memory_ledger()
            restore(copy, tmp_path / str(n))
            slots = copy.find_slots("s", ["a", "b"])
            counts = slots["a"].record.counts
            assert slots["b"].record.counts == counts
            assert [tally.counts for tally in copy.tallies()] == [{"n": 2 * counts["n"]}]
            assert [made.hash for made in copy.makers("s", "a.json")] == [f"a{m}" for m in range(counts["n"], 0, -1)]
            assert [one.record.hash for one in copy.named("s")] == [slots["a"].hash, slots["b"].hash]
            seen_n.append(counts["n"])
    assert seen_n == sorted(set(seen_n))


def noise(ledger, count=400):
    """Inputs that take some time to be read through a narrow line."""
    ledger.observe([seen(f"{n:04}", fingerprint=os.urandom(600).hex()) for n in range(count)], [])


def test_a_copy_that_is_compacted_away_begins_anew(new_etcd, new_proxy, make):
    etcd = new_etcd()
    other = make(etcd.endpoint)
    noise(other)
    other.put_note("n", "before")
    narrow = make(new_proxy(etcd.endpoint, bytes_per_s=300_000).endpoint)
    reading, notes = threading.Event(), []

    def save():
        reading.set()
        with narrow.snapshot() as entries:
            notes.extend(entry.value for entry in entries if isinstance(entry, Note))

    thread = threading.Thread(target=save)
    thread.start()
    reading.wait()
    thread.join(timeout=0.5)
    assert thread.is_alive()
    other.put_note("n", "after")
    etcd.compact()
    thread.join()
    assert notes == ["after"]


def test_a_compaction_after_the_copy_harms_nothing(new_etcd, make):
    etcd = new_etcd()
    ledger, other = make(etcd.endpoint), make(etcd.endpoint)
    noise(other, 700)
    with ledger.snapshot() as entries:
        first = next(entries)
        other.observe([seen("new")], [])
        etcd.compact()
        assert [first.key, *[entry.key for entry in entries]] == [f"{n:04}" for n in range(700)]


def test_an_etcd_that_compacts_all_the_time_is_told(new_etcd, new_proxy, make):
    etcd = new_etcd()
    other = make(etcd.endpoint)
    noise(other)
    narrow, stop = make(new_proxy(etcd.endpoint, bytes_per_s=300_000).endpoint), threading.Event()

    def compact():
        n = 0
        while not stop.wait(0.05):
            n += 1
            other.put_note("n", str(n))
            etcd.compact()

    thread = threading.Thread(target=compact)
    thread.start()
    try:
        with pytest.raises(Unavailable, match="auto-compaction-retention"), narrow.snapshot():
            pass
    finally:
        stop.set()
        thread.join()


def test_a_temporary_folder_without_room_is_told(etcd, make, prefix, tmp_path):
    ledger = make(etcd.endpoint, prefix)
    noise(ledger, 2500)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(Unavailable, match="temporary folder"):
            backup(ledger, tmp_path / "file", now_s=1.0, code="")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.glob("file*")) == []


# --- cut off ---------------------------------------------------------------------------------------------------------


def test_a_restore_that_was_killed_is_told_to_whoever_opens_the_ledger(etcd, make, prefix, process):
    with process("etcd_batch_worker", "fill") as filler:
        with pytest.raises(InputRejected, match="being restored into it, or its restore was interrupted"):
            make(etcd.endpoint, prefix)
        filler.kill()
        filler.wait()
    with pytest.raises(InputRejected, match="another prefix") as refused:
        make(etcd.endpoint, prefix)
    assert prefix in str(refused.value)
    make(etcd.endpoint, f"{prefix}/2").load([Note(name="n", value="1")])


def test_entries_that_break_off_after_many_leave_nothing(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix)
    empty = count_keys(etcd, prefix)

    def broken():
        yield from (Note(name=str(n), value="x") for n in range(4000))
        yield Basis(stage="s", basis="b")
        assert count_keys(etcd, prefix) > 1000
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        ledger.load(broken())
    assert count_keys(etcd, prefix) <= empty + 1  # and what makes writes happen once
    ledger.load([Note(name="n", value="1")])
    assert make(etcd.endpoint, prefix).find_note("n") == "1"


def test_nobody_else_may_be_at_work_on_a_ledger_that_is_filled(etcd, make, prefix):
    ledger, other = make(etcd.endpoint, prefix), make(etcd.endpoint, prefix)
    with other.session(), pytest.raises(InputRejected, match="other processes use the ledger"):
        ledger.load([])

    def meanwhile():
        with pytest.raises(InputRejected, match="not empty"):
            other.load([])
        yield Note(name="n", value="1")

    ledger.load(meanwhile())
    assert other.find_note("n") == "1"
    with pytest.raises(InputRejected, match="not empty"):
        other.load([])


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_paths_that_nobody_holds_cost_nothing_and_keep_their_makers(etcd, make, prefix):
    ledger = make(etcd.endpoint, prefix)
    keys = [f"{n:03}" for n in range(90)]
    with ledger.session() as me:

        def settle(outcome):
            ledger.mark([Mark(stage="s", key=key) for key in keys])
            ledger.commit([(claim, outcome(claim.key)) for claim in ledger.claim("s", me, 100, 60.0)])

        def made(key):
            return done(record(key, f"{key}{rounds}", outputs=[ref("s", f"{key}.json", str(rounds))]))

        for rounds in range(3):  # noqa: B007 - read by made
            settle(made)
            assert ledger.size().paths == len(keys)
            settle(lambda _: GONE)
            assert ledger.size().paths == 0
            assert list(ledger.named("s")) == []
        assert [one.hash for one in ledger.makers("s", "007.json")] == ["0072", "0071", "0070"]
        assert ledger.restate("s", ["007.json"]) == {"007.json": None}
        rounds = 3
        settle(made)
        assert [one.ref.key for one in ledger.named("s", "087.json")] == ["088.json", "089.json"]
        assert [one.hash for one in ledger.makers("s", "007.json")] == ["0073", "0072", "0071", "0070"]
    assert ledger.count_slots() == {"s": {State.SUCCESS: 90}}


def test_a_commit_that_comes_between_is_what_is_restated(etcd, make, prefix):
    """Whoever restates while others commit leaves what the ledger says as what is published last."""
    ledger, other = make(etcd.endpoint, prefix), make(etcd.endpoint, prefix)
    stop, errors = threading.Event(), []

    def restate():
        try:
            while not stop.is_set():
                other.restate("s", ["p", "q"])
        except Exception as exc:  # noqa: BLE001 - the test fails with it
            errors.append(exc)

    thread = threading.Thread(target=restate)
    thread.start()
    visible = {}
    with ledger.session() as me:
        for n in range(40):
            ledger.mark([Mark(stage="s", key="k")])
            (claim,) = ledger.claim("s", me, 1, 60.0)
            path = ref("s", "pq"[n % 2], str(n))
            ledger.commit([(claim, done(record("k", f"h{n}", outputs=[path])))])
            if n % 4 == 0:
                with ledger.unpublished() as changes:
                    visible.update({change.key: change.ref for change in changes})
    stop.set()
    thread.join()
    assert errors == []
    with ledger.unpublished() as changes:
        visible.update({change.key: change.ref for change in changes})
    assert visible == {"p": None, "q": ref("s", "q", "39")}
