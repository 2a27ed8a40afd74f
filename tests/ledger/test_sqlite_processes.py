"""Several processes on one SQLite ledger: killed, stopped, racing, out of room."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from devkit.contracts.ledger_batches import batch
from devkit.contracts.ledger_kit import SKIP, alert, done, record
from lookout.domain.errors import Corrupt, InputRejected, Unavailable
from lookout.domain.records import AlertState, Mark, State
from lookout.ledger.batches import BatchState
from lookout.ledger.port import RunRecord, Settled
from lookout.ledger.rules.alerts import WAITING
from lookout.ledger.sqlite import SqliteLedger
from lookout.ledger.sqlite import liveness as owners

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    ledger = SqliteLedger(path)
    yield ledger
    ledger.close()


@contextmanager
def worker(path, *words, wait=True, **how):
    """A process that works on the ledger; killed at the end if it still runs. Its first words are in ``said``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.worker", str(path), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **how,
    )
    try:
        if wait:
            process.said = process.stdout.readline().split()
            assert process.said[:1] == ["ready"]
        yield process
    finally:
        process.kill()
        process.communicate()


def mark(ledger, *keys):
    ledger.mark([Mark(stage="s", key=key) for key in keys])


def put_alert(ledger, id_):
    with ledger.session() as owner:
        mark(ledger, "k")
        (claim,) = ledger.claim("s", owner, 1, 60.0)
        ledger.commit([(claim, done(record("k", alerts=[alert(id_)]), alerts=[alert(id_)]))])


# --- the dead and the stopped ----------------------------------------------------------------------------------------


def test_what_a_killed_process_held_is_free_at_once_for_a_new_session(path, ledger):
    put_alert(ledger, "alert")
    mark(ledger, "a", "b")
    with worker(path, "hold", "s", "10") as process:
        assert process.said[1:] == ["a", "b"]
        (owner,) = {slot.owner for slot in ledger.slots(states=[State.RUNNING])}
        ledger.start_run(RunRecord(id="r", kind="run", owner=owner, started_at_s=1.0))
        process.kill()
        process.wait()
        with ledger.session() as me:
            assert {slot.state for slot in ledger.slots(prefix="a")} == {State.PENDING}
            assert [found.state for found in ledger.alerts()] == [AlertState.UNKNOWN]
            assert [run.state for run in ledger.runs()] == ["lost"]
            assert [claim.key for claim in ledger.claim("s", me, 10, 60.0)] == ["a"]  # half of what was lost
    assert list(path.with_name("ledger.sqlite.d").glob("*.lock")) == []


def test_a_lock_file_of_a_process_that_died_before_the_ledger_knew_it_is_removed(path, ledger):
    folder = path.with_name("ledger.sqlite.d")
    with ledger.session():
        pass  # the folder is there
    with worker(path, "hold_lock", str(folder)) as process:
        with ledger.session() as me:
            assert sorted(folder.glob("*.lock")) == sorted(folder / f"{name}.lock" for name in (me, process.said[1]))
        process.kill()
        process.wait()
        assert (folder / f"{process.said[1]}.lock").exists()
        with ledger.session() as me:
            assert list(folder.glob("*.lock")) == [folder / f"{me}.lock"]


def test_a_session_that_begins_while_others_remove_lock_files_keeps_its_own(tmp_path):
    ends = threading.Event()

    def remove():
        while not ends.is_set():
            owners.sweep(tmp_path, ())

    threads = [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            life = owners.Life(tmp_path)
            assert not owners.is_dead(tmp_path, life.owner)
            life.end()
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def test_a_session_that_is_open_already_takes_over_from_a_killed_process(path, ledger):
    mark(ledger, "a", "b")
    with ledger.session() as me, worker(path, "hold", "s", "10") as process:
        assert ledger.claim("s", me, 10, 60.0) == []
        process.kill()
        process.wait()
        assert [claim.key for claim in ledger.claim("s", me, 10, 60.0)] == ["a"]


def test_the_batch_of_a_killed_process_is_open_at_once_and_that_of_a_living_one_is_not(path, ledger):
    ledger.add_batches([batch("1", "a")])
    with ledger.session() as me, worker(path, "hold_batch") as process:
        assert process.said[1:] == ["1"]
        assert ledger.take_batch(me, 60.0) is None
        process.kill()
        process.wait()
        taken = ledger.take_batch(me, 60.0)
        assert (taken.id, taken.losses) == ("1", 1)
        ledger.end_batch(taken)


def test_a_forked_child_does_not_keep_its_dead_parents_session_alive(path, ledger):
    mark(ledger, "a", "b")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from lookout.ledger.sqlite import SqliteLedger\n"
        "ledger = SqliteLedger(Path(sys.argv[1]))\n"
        "with ledger.session() as owner:\n"
        "    ledger.claim('s', owner, 10, 3600.0)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        print(os.getpid(), flush=True)\n"
        "        signal.pause()\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        with ledger.session() as me:
            assert len(ledger.claim("s", me, 10, 60.0)) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_a_stopped_process_loses_its_claims_when_the_lease_ends(path):
    now_s = [1000.0]
    ledger = SqliteLedger(path, lambda: now_s[0])
    late = SqliteLedger(path, lambda: now_s[0])
    with late.session() as sleeper, ledger.session() as me:
        mark(ledger, "k")
        (old,) = late.claim("s", sleeper, 1, 60.0)
        assert ledger.claim("s", me, 1, 60.0) == []
        now_s[0] += 60.0
        (claim,) = ledger.claim("s", me, 1, 60.0)
        assert late.commit([(old, SKIP)]) == [Settled.LOST]
        assert ledger.commit([(claim, SKIP)]) == [Settled.DONE]
    ledger.close()
    late.close()


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 8, 40])
def test_a_process_killed_while_it_commits_leaves_all_or_nothing(path, rounds):
    with worker(path, "churn") as process:
        for _ in range(rounds):
            process.stdout.readline()
        process.kill()
        process.wait()
    ledger = SqliteLedger(path)
    a, b = (ledger.find_slots("s", [key])[key].record for key in "ab")
    n = a.counts["n"]
    assert n >= rounds
    assert b.counts == a.counts
    (tally,) = ledger.tallies()
    assert tally.counts == {"n": 2 * n}
    assert [made.hash for made in ledger.makers("s", "a.json")] == [f"a{m}" for m in range(n, 0, -1)]
    assert ledger.find_slots("t", [str(n), str(n + 1)]).keys() == {str(n)}
    assert {found.id for found in ledger.alerts(states=[AlertState.PENDING])} == {str(n)}
    with ledger.unpublished() as changes:
        assert {change.ref.version for change in changes} <= {str(n)}
        assert len(changes) in (0, 2)
    ledger.close()


# --- at once ---------------------------------------------------------------------------------------------------------


def test_two_processes_share_two_thousand_slots_without_overlap(path, ledger):
    keys = [f"{n:04}" for n in range(2000)]
    mark(ledger, *keys)
    with worker(path, "drain", "s", "25") as one, worker(path, "drain", "s", "25") as two:
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        taken = [process.stdout.read().split() for process in (one, two)]
        assert [process.wait() for process in (one, two)] == [0, 0]
    assert sorted(taken[0] + taken[1]) == keys
    assert ledger.count_slots() == {"s": {State.SUCCESS: 2000}}
    assert len(list(ledger.slots("s"))) == 2000


def test_two_processes_share_batches_without_overlap(path, ledger):
    ids = [f"{n:03}" for n in range(200)]
    ledger.add_batches([batch(id_) for id_ in ids])
    with worker(path, "share") as one, worker(path, "share") as two:
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        taken = [process.stdout.read().split() for process in (one, two)]
        assert [process.wait() for process in (one, two)] == [0, 0]
    assert sorted(taken[0] + taken[1]) == ids
    assert ledger.count_batches() == {BatchState.DONE: 200}


def test_many_processes_may_make_the_file_at_once(path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.worker", str(path), "drain", "s", "1"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(6)
    ]
    assert [process.wait() for process in workers] == [0] * 6


# --- files that are no use -------------------------------------------------------------------------------------------


def test_a_newer_form_is_refused_with_what_to_do(path):
    SqliteLedger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '6'")
    connection.commit()
    connection.close()
    with pytest.raises(InputRejected, match=r"newer.*6.*knows 5.*update"):
        SqliteLedger(path)


def test_an_older_form_is_brought_up_to_date_and_keeps_what_it_has(path, ledger):
    put_alert(ledger, "given up")
    mark(ledger, "later")
    ledger.close()
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TABLE batches; DROP TABLE batched; DROP TABLE policy; ALTER TABLE alerts DROP COLUMN doubts;"
        " UPDATE alerts SET state = 'unknown', tries = 2, open = 0; UPDATE meta SET value = '1' WHERE name = 'form'"
    )
    connection.close()
    newer = SqliteLedger(path)
    assert list(newer.dirty("s")) == ["later"]
    with newer.session() as owner:
        (again,) = newer.claim_alerts(owner, 1, 1e12)
    assert (again.id, again.state, again.doubts) == ("given up", AlertState.UNKNOWN, 1)
    assert [kept.id for kept in newer.add_batches([batch("1", "k")])] == ["1"]
    newer.close()
    SqliteLedger(path).close()


@pytest.mark.parametrize(
    ("was", "tries", "then"),
    [
        ("pending", 0, (AlertState.PENDING, 0)),
        ("pending", 1, (AlertState.PENDING, 0)),
        ("pending", 2, (AlertState.UNKNOWN, 1)),
        ("unknown", 1, (AlertState.UNKNOWN, 1)),
        ("unknown", 2, (AlertState.UNKNOWN, 1)),
        ("dead", 1, (AlertState.DEAD, 0)),
        ("dead", 2, (AlertState.DEAD, 1)),
        ("canceled", 1, (AlertState.CANCELED, 0)),
        ("canceled", 2, (AlertState.CANCELED, 1)),
        ("sent", 2, (AlertState.SENT, 0)),
        ("written", 2, (AlertState.WRITTEN, 0)),
    ],
)
def test_an_older_form_doubts_alerts_of_which_an_earlier_try_may_have_arrived(path, ledger, was, tries, then):
    """Form 2 repeated what was unknown and kept no doubt: an earlier one of several tries may have been such."""
    put_alert(ledger, "a")
    ledger.close()
    connection = sqlite3.connect(path)
    repeated = was == "pending" or (was, tries) == ("unknown", 1)
    connection.execute("UPDATE alerts SET state = ?, tries = ?, open = ?", (was, tries, repeated))
    connection.executescript(
        "DROP TABLE policy; ALTER TABLE alerts DROP COLUMN doubts; UPDATE meta SET value = '2' WHERE name = 'form'"
    )
    connection.close()
    newer = SqliteLedger(path)
    (kept,) = newer.alerts()
    assert (kept.state, kept.doubts, kept.tries) == (*then, tries)
    with newer.session() as owner:
        due = newer.claim_alerts(owner, 1, 1e12)
    assert [one.state for one in due] == [state for state in then[:1] if state in WAITING]
    newer.close()


def test_a_file_of_junk_is_corrupt_by_its_name_and_left_alone(path):
    path.write_bytes(b"junk" * 1000)
    with pytest.raises(Corrupt, match=r"ledger\.sqlite.*expected an SQLite file"):
        SqliteLedger(path)
    assert path.read_bytes() == b"junk" * 1000


def test_another_sqlite_file_is_refused(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (id)")
    connection.close()
    with pytest.raises(InputRejected, match="not a ledger"):
        SqliteLedger(path)


def test_a_damaged_ledger_is_corrupt(path):
    ledger = SqliteLedger(path)
    mark(ledger, *[f"{n:05}" for n in range(5000)])
    ledger.close()
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 60 * 4096)
    with pytest.raises(Corrupt, match=r"ledger\.sqlite"):
        SqliteLedger(path)


def test_a_record_that_cannot_be_read_is_told_by_its_slot(path, ledger):
    put_alert(ledger, "x")
    connection = sqlite3.connect(path)
    connection.execute("""UPDATE records SET body = '["half' """)
    connection.commit()
    connection.close()
    slot = ledger.find_slots("s", ["k"])["k"]
    assert slot.record is None
    assert "record hash of k of s/k" in slot.damage


def test_a_missing_folder_is_made(tmp_path):
    SqliteLedger(tmp_path / "a" / "b" / "ledger.sqlite").close()
    assert (tmp_path / "a" / "b" / "ledger.sqlite").is_file()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(InputRejected, match="state"):
        SqliteLedger(tmp_path / "state" / "ledger.sqlite")


def test_a_folder_in_the_place_of_the_file_is_unavailable(path):
    path.mkdir()
    with pytest.raises(Unavailable, match="unable to open"):
        SqliteLedger(path)


def test_a_text_without_utf8_form_is_refused(ledger):
    with pytest.raises(InputRejected, match="UTF-8"):
        mark(ledger, "bad \udcff name")
    assert list(ledger.slots()) == []


@pytest.mark.parametrize("what", ["the file", "the folder"])
def test_a_read_only_ledger_is_refused_with_a_hint(what):
    if os.geteuid() != 0:
        pytest.skip("becomes another user, which only root can")
    # Root may write anywhere, so another user tries; outside tmp_path, which is closed to others.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        SqliteLedger(path).close()
        Path(folder).chmod(0o555 if what == "the folder" else 0o777)
        path.chmod(0o444 if what == "the file" else 0o666)
        os.seteuid(65534)
        try:
            with pytest.raises(InputRejected, match=r"read-only.*writable"):
                SqliteLedger(path)
        finally:
            os.seteuid(0)


# --- no room ---------------------------------------------------------------------------------------------------------


def _check_full(path, process):
    name, count = process.said[1:]
    assert name == "Unavailable"
    assert process.wait() == 0
    ledger = SqliteLedger(path)
    with ledger.session() as owner:
        done_ = [slot for slot in ledger.slots("s") if slot.state is State.SUCCESS]
        assert len(done_) == int(count) > 0
        assert all(len(slot.record.facts["blob"]) == 20_000 for slot in done_)
        ledger.claim("s", owner, 1, 60.0)
    ledger.close()


def test_a_limit_on_the_file_size_is_unavailable_and_loses_nothing(path):
    limit = 3_000_000

    def set_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with worker(path, "fill", preexec_fn=set_limit) as process:
        _check_full(path, process)


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        with worker(disk / "ledger.sqlite", "fill") as process:
            assert process.said[1] == "Unavailable"
            process.wait()
        room = ["mount", "-o", "remount,size=20m", str(disk)]
        assert subprocess.run(room, capture_output=True).returncode == 0
        _check_full(disk / "ledger.sqlite", process)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
