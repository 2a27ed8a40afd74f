"""Worker processes: one that dies or hangs harms its own datum and no other."""

from __future__ import annotations

import errno
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from pebble.pool import process as pebble_process

from devkit.toy_pipeline import toy_pipeline
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import State
from lookout.execution.jobs import Job, StageRun
from lookout.execution.process_pool import SPARED, ProcessWorkers
from lookout.execution.stage_runner import StageRunner
from lookout.execution.supervised_pool import SpawnedPool, UnnamedLock
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.routing import Routes
from lookout.sources.folder import FolderSource

from .world import World, words

DEADLINE_S = 30.0
JOB = Job(stage="first", key="a/1", prepare="", params={}, prepared="")


@pytest.fixture
def processes(world: World) -> Iterator[ProcessWorkers]:
    store = Routes({"texts": FolderSource()}, FolderStore(world.objects, durable=False))
    workers = ProcessWorkers(store=store, size=2)
    yield workers
    workers.stop()


def test_processes_and_this_process_make_the_same(world: World, processes: ProcessWorkers, tmp_path: Path) -> None:
    other = World(root=tmp_path / "other")
    for each in (world, other):
        for key, text in {"a/1": "alarm", "a/2": "bad", "b/1": "calm"}.items():
            each.put(key, text)
    world.run(workers=processes)
    other.run()
    assert world.results() == other.results()
    assert world.live() == other.live()


def test_a_text_that_kills_its_worker_fails_after_its_tries_and_spares_the_others(
    world: World, processes: ProcessWorkers
) -> None:
    for i in range(8):
        world.put(f"a/{i}", "alarm")
    world.put("a/8", "die")
    world.run(workers=processes)
    assert world.states()["first"] == {"success": 8, "failed": 1}
    with world.ledger() as ledger:
        slot = ledger.find_slots("first", ["a/8"])["a/8"]
        assert slot.error == "WorkerDiedError: its worker process was killed by signal 9"
        assert slot.tries == 3
        assert [one.tries for one in ledger.slots("first", states=[State.SUCCESS])] == [0] * 8


def test_a_text_that_hangs_times_out_and_spares_the_others(world: World, processes: ProcessWorkers) -> None:
    world.pipeline = toy_pipeline(tries=1, timeout_s=1.0)
    world.put("a/1", "hang")
    world.put("a/2", "alarm")
    world.run(workers=processes)
    with world.ledger() as ledger:
        assert ledger.find_slots("first", ["a/1"])["a/1"].error == "StageTimeoutError: took longer than 1 s"
        assert ledger.find_slots("third", ["a/2"])["a/2"].state is State.SUCCESS


def test_a_stop_at_any_moment_counts_no_try(world: World, processes: ProcessWorkers) -> None:
    """Also while workers come up, when what is stopped breaks."""
    for i in range(4):
        world.put(f"a/{i}", "hang")
    for delay_s in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
        with world.runner(processes) as runner:
            threading.Timer(delay_s, runner.stop).start()
            assert runner.run(world.order()).stopped
        assert world.states()["first"] == {"killed": 4}
        with world.ledger() as ledger:
            assert {slot.tries for slot in ledger.slots("first")} == {0}


def test_processes_that_die_between_two_runs_are_replaced(world: World, processes: ProcessWorkers) -> None:
    """All of them, with nothing at work: the memory of the machine ran out, or somebody cleaned up."""
    for i in range(3):
        world.put(f"a/{i}", "calm")
        world.run(workers=processes)
        died = multiprocessing.active_children()
        assert died
        for child in died:
            child.kill()
            child.join()
        world.put(f"b/{i}", "calm")
        world.run(workers=processes)
    assert world.states()["first"] == {"success": 6}


def test_a_job_on_its_way_into_a_pool_that_breaks_goes_again(
    world: World, processes: ProcessWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool has ended all jobs that it knows, and then gets to know this one."""
    aborted = threading.Event()
    schedule, abort = pebble_process.PoolManager.schedule, pebble_process.TaskManager.tasks_abort

    def late(manager: pebble_process.PoolManager, task: object) -> None:
        if not aborted.is_set():
            for child in multiprocessing.active_children():
                child.kill()
            assert aborted.wait(DEADLINE_S)
        schedule(manager, task)

    def told(manager: pebble_process.TaskManager, error: Exception) -> None:
        abort(manager, error)
        aborted.set()

    monkeypatch.setattr(pebble_process.PoolManager, "schedule", late)
    monkeypatch.setattr(pebble_process.TaskManager, "tasks_abort", told)
    world.put("a/1", "alarm")
    world.run(workers=processes)
    assert aborted.is_set()
    with world.ledger() as ledger:
        assert [(slot.state, slot.tries) for slot in ledger.slots("first")] == [(State.SUCCESS, 0)]


@pytest.mark.parametrize("times", [SPARED, SPARED + 1])
def test_a_job_that_was_in_pools_that_broke_is_told_of_in_the_end(
    processes: ProcessWorkers, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    schedule = SpawnedPool.schedule
    left = list(range(times))

    def broken(pool: SpawnedPool, *arguments: object, timeout_s: float | None = None) -> Future[object]:
        if not left:
            return schedule(pool, *arguments, timeout_s=timeout_s)
        left.pop()
        failed: Future[object] = Future()
        failed.set_exception(BrokenProcessPool())
        return failed

    monkeypatch.setattr(SpawnedPool, "schedule", broken)
    ends: queue.SimpleQueue[StageRun] = queue.SimpleQueue()
    processes.submit([JOB], DEADLINE_S, lambda _, run: ends.put(run))
    end = ends.get(timeout=DEADLINE_S)
    assert isinstance(end.error, Unavailable) == (times > SPARED)


def test_where_no_process_can_be_started_the_run_ends_and_no_datum_is_to_blame(
    world: World, processes: ProcessWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    world.put("a/1", "alarm")
    with monkeypatch.context() as patched:
        patched.setattr(pebble_process, "launch_process", launch)
        with pytest.raises(Unavailable, match=r"worker processes: none can be started: .*temporarily unavailable"):
            world.run(workers=processes)
    world.run(workers=processes)
    with world.ledger() as ledger:
        assert [(slot.state, slot.tries) for slot in ledger.slots("first")] == [(State.SUCCESS, 0)]


def test_fewer_than_one_worker_is_refused(world: World) -> None:
    with pytest.raises(InputRejected, match="at least 1 worker"):
        ProcessWorkers(store=FolderStore(world.objects), size=0)


def test_one_that_kills_its_worker_spares_those_that_travel_with_it(world: World, processes: ProcessWorkers) -> None:
    """So many short texts go to a worker in parcels; whoever shares one with the killer is done again, as no try."""
    for i in range(400):
        world.put(f"a/{i:03}", "die" if i == 390 else "calm")
    world.run(workers=processes)
    assert world.states()["first"] == {"success": 399, "failed": 1}
    with world.ledger() as ledger:
        assert ledger.find_slots("first", ["a/390"])["a/390"].tries == 3
        assert {one.tries for one in ledger.slots("first", states=[State.SUCCESS])} == {0}


def test_a_reference_that_kills_whoever_tries_it_is_refused_and_the_last_good_one_stays(
    world: World, processes: ProcessWorkers
) -> None:
    world.put("a/1", "alarm")
    world.run(references=words(world, all="!"), workers=processes)
    good = world.pipeline
    world.pipeline = replace(
        good,
        stages=tuple(
            replace(stage, references=replace(stage.references, accept=f"{__name__}:deadly"))
            if stage.references is not None
            else stage
            for stage in good.stages
        ),
    )
    ran = world.run(references=words(world, all="?"), workers=processes)
    assert [refused.reason.partition(": ")[2] for refused in ran.refused] == [
        "when it was tried, its worker process was killed by signal 9"
    ]
    assert world.results()["second/a/1.loud"] == b"ALARM!"


def deadly(files: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


STOPPED_AT_ONCE = """
import sys
from pathlib import Path
from lookout.object_store.folder.store import FolderStore
from lookout.execution.process_pool import ProcessWorkers
if __name__ == "__main__":
    for _ in range(3):
        workers = ProcessWorkers(store=FolderStore(Path(sys.argv[1])), size=2)
        workers.start(["json"])
        workers.stop()
"""


def test_a_pool_that_is_stopped_at_once_complains_of_nothing(world: World) -> None:
    """Processes that are just beginning find the pool's locks, though it is gone."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE, world.objects], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_process_takes_a_lock_as_often_as_it_gives_it_back() -> None:
    lock = UnnamedLock()
    assert lock.acquire()
    assert lock.acquire(timeout=0.1)
    lock.release()
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(lock.acquire, block=False).result()
        assert not other.submit(lock.acquire, timeout=0.05).result()
        with pytest.raises(RuntimeError, match="not held"):
            other.submit(lock.release).result()
        lock.release()
        assert other.submit(lock.acquire, timeout=DEADLINE_S).result()
        assert not lock.acquire(block=False)


def test_a_thread_that_waits_for_a_lock_gets_it_when_it_is_given_back() -> None:
    lock = UnnamedLock()
    assert lock.acquire()
    with ThreadPoolExecutor(1) as other:
        waits = other.submit(lock.acquire, timeout=DEADLINE_S)
        lock.release()
        assert waits.result()


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "open files of this process: Too many open files"),
        (RuntimeError("can't start new thread"), "processes and threads: Resource temporarily unavailable"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x"),
            "disk: /tmp/x: No space left on device; make room",
        ),
        (MemoryError(), "the memory of its process does not suffice for it"),
        (ValueError("x"), "x"),
    ],
)
def test_what_the_machine_lacks_is_no_datums_fault_but_a_datum_too_large_is(
    world: World, raised: Exception, found: str
) -> None:
    global failing
    failing = raised
    runner = StageRunner(FolderStore(world.objects))
    end = runner.attempt(replace(JOB, prepare=f"{__name__}:prepare_failing")).error
    assert str(end).startswith(found)
    assert isinstance(end, Unavailable) == (type(raised) not in (MemoryError, ValueError))


@pytest.mark.parametrize("raised", [MemoryError(), ImportError("x.so: failed to map segment from shared object")])
def test_a_stage_that_cannot_be_prepared_for_lack_of_memory_is_no_datums_fault(world: World, raised: Exception) -> None:
    global failing
    failing = raised
    end = StageRunner(FolderStore(world.objects)).attempt(replace(JOB, prepare=f"{__name__}:failing_prepare")).error
    assert isinstance(end, Unavailable)
    assert str(end).startswith("memory: Cannot allocate memory; raise the limit (ulimit -v")


failing: Exception = ValueError()


def failing_prepare(params: object, references: object) -> object:
    raise failing


def prepare_failing(params: object, references: object) -> object:
    return lambda work: failing_prepare(work, None)
