"""Worker processes: a picture that kills or hangs the process it is worked on in harms no other.

Jobs travel in parcels, because the way to another process costs as much as a short job. Knows no stage and no ledger.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from lookout.domain.errors import InputRejected, Unavailable, find_lack
from lookout.domain.pipeline import load
from lookout.execution.crash import end_with_any_thread
from lookout.execution.executor import Done, StageTimeoutError, WorkerDiedError, Workers
from lookout.execution.jobs import Job, StageRun
from lookout.execution.stage_runner import PREPARED_STAGES_KEPT, StageRunner
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lookout.execution.supervised_pool import SpawnedPool

log = get_logger(__name__)

CALL_TIMEOUT_S: Final = 120.0
"""Time that a function that is no datum may take: opening and trying a large model, for one."""
PARCEL_S: Final = 0.1
MAX_PARCEL: Final = 32
PARCELS_EACH: Final = 4
"""Jobs go to a worker in parcels of about so much work, of so many at most, and in so many for each worker at least."""
SPARED: Final = 2
"""Times that a job goes again without a word when all of the pool ended, which is hardly ever its fault."""


class _PoolBrokeError(WorkerDiedError):
    """Error of a process that ended, with an unknown job, and the whole pool with it."""


@dataclass
class ProcessWorkers(Workers):
    """Pool of spawned processes, started with the first job. A process that dies or overruns is replaced; its job
    ends with WorkerDiedError or StageTimeoutError and no other job is touched."""

    store: ObjectStore
    size: int = field(default=2)
    kept: int = PREPARED_STAGES_KEPT
    """Prepared stages that each process keeps: few, where one is a model."""
    _pools: list[SpawnedPool] = field(default_factory=list, init=False)
    """The last one takes jobs; those before it broke, and are about to be over. None, when nothing runs."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _usual_s: dict[str, float] = field(default_factory=dict, init=False)
    """Time that the latest job of each stage took."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputRejected(f"expected at least 1 worker, got {self.size}", "--workers")

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        if not jobs:
            return
        fair = -(-len(jobs) // (PARCELS_EACH * self.size))
        short = int(PARCEL_S / max(self._usual_s.get(jobs[0].stage, PARCEL_S), 1e-6))
        size = max(1, min(fair, short, MAX_PARCEL))
        for first in range(0, len(jobs), size):
            _Parcel(self, tuple(jobs[first : first + size]), timeout_s, done).attempt()

    def call(self, function: str, *arguments: object) -> Callable[[], object]:
        future = self.schedule(_call, function, arguments, timeout_s=CALL_TIMEOUT_S)

        def wait() -> object:
            coming = future
            for _ in range(SPARED):
                with suppress(_PoolBrokeError):
                    return _answer(coming)
                coming = self.schedule(_call, function, arguments, timeout_s=CALL_TIMEOUT_S)
            try:
                return _answer(coming)
            except _PoolBrokeError as exc:
                raise _no_workers() from exc

        return wait

    def start(self, modules: Sequence[str]) -> None:
        for _ in range(self.size):
            self.schedule(_preload, tuple(modules))

    def prepare(self, job: Job) -> Callable[[], None]:
        future = self.schedule(_prepare, job, timeout_s=CALL_TIMEOUT_S)

        def wait() -> None:
            try:
                _answer(future)
            except Exception as exc:  # noqa: BLE001 - the next job of the stage fails by the same, and says so
                log.warning("stage not prepared", stage=job.stage, error=str(exc))

        return wait

    def schedule(self, function: Callable[..., Any], *arguments: object, timeout_s: float | None = None) -> Future[Any]:
        """Begin this call in one of the processes, which are started if there are none."""
        # Imported here: a run that finds nothing to do need not load them.
        from concurrent.futures import Future
        from concurrent.futures.process import BrokenProcessPool

        from lookout.execution.supervised_pool import SpawnedPool

        with self._lock:  # a job that goes again is sent by a thread of the pool
            if self._pools:
                with suppress(BrokenProcessPool):
                    return self._pools[-1].schedule(function, *arguments, timeout_s=timeout_s)
            self._pools = [pool for pool in self._pools if not pool.over]
            try:
                self._pools.append(SpawnedPool(self.size, _start, (self.store, self.kept)))
                return self._pools[-1].schedule(function, *arguments, timeout_s=timeout_s)
            except (BrokenProcessPool, OSError, MemoryError, RuntimeError) as exc:
                failed: Future[Any] = Future()
                failed.set_exception(_no_workers(exc.__cause__ or exc))
                return failed

    @property
    def stopped(self) -> bool:
        """True if no pool is at work: none was started, or ``stop`` has ended them."""
        return not self._pools

    def learn(self, stage: str, took_s: float) -> None:
        """Note the time that the latest job of a stage took."""
        self._usual_s[stage] = took_s

    def stop(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, []
        for pool in pools:
            pool.stop()


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Jobs on their way to one process and back, ``spared`` times more if all of the pool ends."""

    workers: ProcessWorkers
    jobs: tuple[Job, ...]
    timeout_s: float
    done: Done
    spared: int = SPARED

    def attempt(self) -> None:
        future = self.workers.schedule(_work, self.jobs, timeout_s=self.timeout_s)
        future.add_done_callback(self.on_done)

    def on_done(self, future: Future[list[StageRun]]) -> None:
        """Tell of the jobs' ends, or have them go again: one of them, or of all that were in the pool, ended a worker,
        and they go one by one, so that it ends only itself."""
        ends = _ends(future, self.timeout_s)
        if isinstance(ends, list):
            self._tell(ends)
            return
        if ends is None or self.workers.stopped:
            return  # the pool was stopped, which breaks what runs: whoever stopped it hands the claims back
        broke = isinstance(ends, _PoolBrokeError)
        error = _no_workers() if broke and not self.spared else ends
        if isinstance(error, Unavailable) or (len(self.jobs) == 1 and not broke):
            self._tell([StageRun(error=error)] * len(self.jobs))
            return
        for job in self.jobs:
            replace(self, jobs=(job,), spared=self.spared - broke).attempt()

    def _tell(self, runs: Sequence[StageRun]) -> None:
        for job, run in zip(self.jobs, runs, strict=True):
            if run.error is None:
                self.workers.learn(job.stage, run.finished_at_s - run.started_at_s)
            self.done(job, run)


def _no_workers(cause: BaseException | None = None) -> Unavailable:
    """Give the error of a machine that starts no processes: no datum and no model is to blame."""
    if cause is not None:
        return Unavailable("worker processes", f"none can be started: {find_lack(cause) or cause}")
    hint = "look for lack of memory, processes or threads (ulimit -a, limits of the container)"
    return Unavailable("worker processes", f"all ended before they could begin, {SPARED + 1} times; {hint}")


def _answer(coming: Future[Any]) -> object:
    with _told(CALL_TIMEOUT_S):
        return coming.result()


def _ends(future: Future[list[StageRun]], timeout_s: float) -> list[StageRun] | Exception | None:
    """Give the run of each job of a parcel, or the reason why it cannot be known; None when the pool was stopped:
    whoever stopped it hands the claims back."""
    from concurrent.futures import CancelledError

    try:
        with _told(timeout_s):
            return future.result()
    except CancelledError:
        return None
    except Exception as exc:  # noqa: BLE001 - an answer that cannot be sent is a failure of the datum too
        return exc


@contextmanager
def _told(timeout_s: float) -> Iterator[None]:
    """Raise the pool's errors as ours."""
    from concurrent.futures.process import BrokenProcessPool

    from pebble import ProcessExpired

    try:
        yield
    except TimeoutError as exc:
        raise StageTimeoutError(f"took longer than {timeout_s:g} s") from exc
    except ProcessExpired as exc:
        raise WorkerDiedError(_death(exc.exitcode)) from exc
    except BrokenProcessPool as exc:
        raise _PoolBrokeError("all worker processes ended") from exc


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"its worker process was killed by signal {-exitcode}"
    return f"its worker process ended with exit code {exitcode}"


_runner: StageRunner | None = None


def _start(store: ObjectStore, kept: int) -> None:
    """Make a worker process ready, once: its runner is the one piece of state that it has."""
    import signal

    from lookout.execution.supervised_pool import end_with_parent

    global _runner
    end_with_parent()
    end_with_any_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides when to stop
    _runner = StageRunner(store, kept)


def _preload(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _prepare(job: Job) -> None:
    if _runner is None:
        raise RuntimeError("a worker process was asked to prepare a stage before it was started")
    _runner.prepare(job)


def _call(function: str, arguments: tuple[object, ...]) -> object:
    return load(function)(*arguments)


def _work(jobs: Sequence[Job]) -> list[StageRun]:
    if _runner is None:
        raise RuntimeError("a worker process was given a job before it was started")
    return [_runner.attempt(job) for job in jobs]
