"""Worker processes: a picture that kills or hangs the process it is worked on in harms no other.

Jobs travel in parcels, because the way to another process costs as much as a short job. Knows no stage and no ledger.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lookout.domain.errors import InputRejected, Unavailable, find_lack
from lookout.domain.pipeline import load
from lookout.execution.crash import end_with_any_thread
from lookout.execution.executor import (
    Completion,
    Done,
    Job,
    Made,
    StageRunner,
    StageTimeoutError,
    Ticketed,
    WorkerDiedError,
    Workers,
)
from lookout.object_store.port import ObjectStore

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lookout.execution.supervised_pool import SpawnedPool

CALL_TIMEOUT_S: Final = 120.0
"""How long a function that is no datum may take: opening and trying a large model, for one."""
PARCEL_S: Final = 0.1
MAX_PARCEL: Final = 32
PARCELS_EACH: Final = 4
"""Jobs go to a worker in parcels of about so much work, of so many at most, and in so many for each worker at least."""
SPARED: Final = 2
"""How often a job goes again without a word when all of the pool ended, which is hardly ever its fault."""


class _PoolBrokeError(WorkerDiedError):
    """A process ended, it is not known with which job, and the whole pool with it."""


@dataclass
class ProcessWorkers(Workers):
    """A pool of spawned processes, started with the first job. A process that dies or overruns is replaced; its job
    ends with WorkerDiedError or StageTimeoutError and no other job is touched."""

    store: ObjectStore
    size: int = field(default=2)
    _pools: list[SpawnedPool] = field(default_factory=list, init=False)
    """The last one takes jobs; those before it broke, and are about to be over. None, when nothing runs."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _usual_s: dict[str, float] = field(default_factory=dict, init=False)
    """How long the latest job of each stage took."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputRejected(f"expected at least 1 worker, got {self.size}", "--workers")

    def submit(self, jobs: Sequence[Ticketed], timeout_s: float, done: Done) -> None:
        if not jobs:
            return
        fair = -(-len(jobs) // (PARCELS_EACH * self.size))
        short = int(PARCEL_S / max(self._usual_s.get(jobs[0][0].stage, PARCEL_S), 1e-6))
        size = max(1, min(fair, short, MAX_PARCEL))
        for first in range(0, len(jobs), size):
            self._send(jobs[first : first + size], timeout_s, done)

    def _send(self, parcel: Sequence[Ticketed], timeout_s: float, done: Done, spared: int = SPARED) -> None:
        def end(future: Future[list[Made | Exception]]) -> None:
            ends = _ends(future, timeout_s)
            if isinstance(ends, list):
                self._tell(parcel, ends, done)
                return
            if ends is None or not self._pools:
                return  # the pool was stopped, which breaks what runs: whoever stopped it hands the claims back
            broke = isinstance(ends, _PoolBrokeError)
            error = _no_workers() if broke and not spared else ends
            if not isinstance(error, Unavailable) and (len(parcel) > 1 or broke):
                # One of them, or of all that were in the pool, ended a worker: they go again one by one, so that it
                # ends only itself.
                for ticketed in parcel:
                    self._send([ticketed], timeout_s, done, spared - broke)
            else:
                self._tell(parcel, [error] * len(parcel), done)

        jobs = tuple(job for job, _ in parcel)
        self._schedule(_work, jobs, timeout_s=timeout_s).add_done_callback(end)

    def _tell(self, parcel: Sequence[Ticketed], ends: Sequence[Made | Exception], done: Done) -> None:
        for (job, ticket), end in zip(parcel, ends, strict=True):
            if isinstance(end, Made):
                self._usual_s[job.stage] = end.finished_at_s - end.started_at_s
                done(Completion(job=job, ticket=ticket, made=end))
            else:
                done(Completion(job=job, ticket=ticket, error=end))

    def call(self, function: str, *arguments: object) -> Callable[[], object]:
        future = self._schedule(_call, function, arguments, timeout_s=CALL_TIMEOUT_S)

        def wait() -> object:
            coming = future
            for _ in range(SPARED):
                with suppress(_PoolBrokeError):
                    return _answer(coming)
                coming = self._schedule(_call, function, arguments, timeout_s=CALL_TIMEOUT_S)
            try:
                return _answer(coming)
            except _PoolBrokeError as exc:
                raise _no_workers() from exc

        return wait

    def start(self, modules: Sequence[str]) -> None:
        for _ in range(self.size):
            self._schedule(_preload, tuple(modules))

    def _schedule(
        self, function: Callable[..., Any], *arguments: object, timeout_s: float | None = None
    ) -> Future[Any]:
        """The end of this call in one of the processes, which are started if there are none."""
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
                self._pools.append(SpawnedPool(self.size, _start, (self.store,)))
                return self._pools[-1].schedule(function, *arguments, timeout_s=timeout_s)
            except (BrokenProcessPool, OSError, MemoryError, RuntimeError) as exc:
                failed: Future[Any] = Future()
                failed.set_exception(_no_workers(exc.__cause__ or exc))
                return failed

    def stop(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, []
        for pool in pools:
            pool.stop()


def _no_workers(cause: BaseException | None = None) -> Unavailable:
    """Nobody's datum is to blame for it, and nobody's model."""
    if cause is not None:
        return Unavailable("worker processes", f"none can be started: {find_lack(cause) or cause}")
    hint = "look for lack of memory, processes or threads (ulimit -a, limits of the container)"
    return Unavailable("worker processes", f"all ended before they could begin, {SPARED + 1} times; {hint}")


def _answer(coming: Future[Any]) -> object:
    with _told(CALL_TIMEOUT_S):
        return coming.result()


def _ends(future: Future[list[Made | Exception]], timeout_s: float) -> list[Made | Exception] | Exception | None:
    """How each job of a parcel ended, or why that cannot be known; None when the pool was stopped: whoever stopped it
    hands the claims back."""
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
    """The pool's errors as ours."""
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


def _start(store: ObjectStore) -> None:
    """Runs once in each worker process: the one piece of state a process has."""
    import signal

    from lookout.execution.supervised_pool import end_with_parent

    global _runner
    end_with_parent()
    end_with_any_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides when to stop
    _runner = StageRunner(store)


def _preload(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _call(function: str, arguments: tuple[object, ...]) -> object:
    return load(function)(*arguments)


def _work(jobs: Sequence[Job]) -> list[Made | Exception]:
    if _runner is None:
        raise RuntimeError("a worker process was given a job before it was started")
    return [_runner.attempt(job) for job in jobs]
