"""Where stages run: in processes of their own, so that a picture that kills or hangs its process harms nobody else.

A worker gets a Job, reads the inputs, runs the pure stage, and puts the outputs as versions that nobody sees yet; only
the small description of what it made comes back. It knows no ledger: what counts is decided by the engine's commit.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from lookout.datum import AlertDraft, Input, JsonObject, LoadedReference, Member, ObjectRef, Reference, Tally, Work
from lookout.errors import InputRejected
from lookout.objects.base import ObjectReader, ObjectStore
from lookout.pipeline import Prepare, Run, load

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pebble import ProcessPool

PREPARED_STAGES_KEPT: Final = 32
"""How many prepared stages a worker keeps: one a stage, and one a set of references that selects differently."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobInput:
    """One input to read; not read at all when it is larger than ``max_bytes``."""

    role: str
    ref: ObjectRef
    max_bytes: int | None = None
    observed_at_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a worker needs for one datum. ``prepared`` is equal exactly when the prepared stage can be shared."""

    stage: str
    key: str
    prepare: str
    params: JsonObject
    prepared: str
    references: tuple[Reference, ...] = ()
    inputs: tuple[JobInput, ...] = ()
    tallies: tuple[Tally, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a worker made of one job: the outputs as stored, and the rest of the stage's Result."""

    outputs: tuple[ObjectRef, ...]
    facts: JsonObject
    counts: dict[str, int]
    label: str | None
    at_s: float | None
    alerts: tuple[AlertDraft, ...]
    started_at_s: float
    finished_at_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The end of a job: what was made, or the error it ended with."""

    job: Job
    ticket: int
    made: Made | None = None
    error: BaseException | None = None


class StageTimeoutError(Exception):
    """A stage took longer for one datum than it may."""


class WorkerDiedError(Exception):
    """The process that worked on a datum ended without an answer."""


class StageRunner:
    """Runs jobs one after another in this process and keeps what was prepared for the next."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._prepared: OrderedDict[str, Run] = OrderedDict()

    def __call__(self, job: Job) -> Made:
        """Do one job. Raises what the stage or the store raises; versions put for a failed job are discarded."""
        started_at_s = time.time()
        run = self.prepare(job)
        inputs = {item.role: self._read(item) for item in job.inputs}
        result = run(Work(key=job.key, inputs=inputs, tallies=job.tallies, members=job.members))
        outputs: list[ObjectRef] = []
        try:
            for output in result.outputs:
                ref = self._store.put(job.stage, output.key, output.data, output.content_type)
                outputs.append(ref)
        except BaseException:
            self._store.discard(outputs)
            raise
        return Made(
            outputs=tuple(outputs),
            facts=result.facts,
            counts=dict(result.counts),
            label=result.label,
            at_s=result.at_s,
            alerts=result.alerts,
            started_at_s=started_at_s,
            finished_at_s=time.time(),
        )

    def prepare(self, job: Job) -> Run:
        """The stage made ready with the job's parameters and references."""
        run = self._prepared.get(job.prepared)
        if run is None:
            loaded = [
                LoadedReference(reference=reference, data=_load_files(self._store, reference))
                for reference in job.references
            ]
            run = cast(Prepare, load(job.prepare))(job.params, loaded)
            self._prepared[job.prepared] = run
            if len(self._prepared) > PREPARED_STAGES_KEPT:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(job.prepared)
        return run

    def _read(self, item: JobInput) -> Input:
        too_large = item.max_bytes is not None and item.ref.size > item.max_bytes
        data = b"" if too_large else self._store.get(item.ref)
        return Input(role=item.role, ref=item.ref, data=data, observed_at_s=item.observed_at_s)


def _load_files(store: ObjectReader, reference: Reference) -> dict[str, bytes]:
    return {role: store.get(ref) for role, ref in reference.files.items()}


class Workers(ABC):
    """Takes jobs and tells of their ends, in any order and from any thread."""

    size: int

    @abstractmethod
    def submit(self, job: Job, ticket: int, timeout_s: float, done: Callable[[Completion], None]) -> None:
        """Queue a job; ``done`` is called exactly once, from any thread, unless ``stop`` comes first."""

    def start(self, modules: Sequence[str]) -> None:  # noqa: B027 - optional: whoever has nothing to start does nothing
        """Begin to start and to load these modules, for work that is sure to come; ``submit`` does so too."""

    @abstractmethod
    def stop(self) -> None:
        """End at once: running jobs are killed and nothing more is told of them. Stopping twice is allowed."""


class InlineWorkers(Workers):
    """Runs each job in ``submit``: for tests and for a process that is itself expendable. Cannot end a job in time,
    so it refuses none: whoever runs the process bounds it."""

    size = 1

    def __init__(self, store: ObjectStore) -> None:
        self._run = StageRunner(store)

    def submit(self, job: Job, ticket: int, timeout_s: float, done: Callable[[Completion], None]) -> None:
        del timeout_s
        try:
            made = self._run(job)
        except Exception as exc:  # noqa: BLE001 - any failure of a stage is the datum's, never the engine's
            done(Completion(job=job, ticket=ticket, error=exc))
        else:
            done(Completion(job=job, ticket=ticket, made=made))

    def stop(self) -> None:
        pass


@dataclass
class ProcessWorkers(Workers):
    """A pool of spawned processes, started with the first job. A process that dies or overruns is replaced; its job
    ends with WorkerDiedError or StageTimeoutError and no other job is touched."""

    store: ObjectStore
    size: int = field(default=2)
    _pool: ProcessPool | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputRejected(f"expected at least 1 worker, got {self.size}", "--workers")

    def submit(self, job: Job, ticket: int, timeout_s: float, done: Callable[[Completion], None]) -> None:
        # Imported here: a run that finds nothing to do need not load them.
        from concurrent.futures import CancelledError

        from pebble import ProcessExpired

        def finish(future: Future[Made]) -> None:
            try:
                done(Completion(job=job, ticket=ticket, made=future.result()))
            except CancelledError:
                return  # stopped: whoever stopped hands the claims back
            except TimeoutError:
                error = StageTimeoutError(f"took longer than {timeout_s:g} s")
                done(Completion(job=job, ticket=ticket, error=error))
            except ProcessExpired as exc:
                done(Completion(job=job, ticket=ticket, error=WorkerDiedError(_death(exc.exitcode))))
            except Exception as exc:  # noqa: BLE001 - any failure of a stage is the datum's, never the engine's
                done(Completion(job=job, ticket=ticket, error=exc))

        self._started().schedule(_work, args=(job,), timeout=timeout_s).add_done_callback(finish)

    def start(self, modules: Sequence[str]) -> None:
        for _ in range(self.size):
            self._started().schedule(_preload, args=(tuple(modules),))

    def _started(self) -> ProcessPool:
        if self._pool is None:
            import multiprocessing

            from pebble import ProcessPool

            # Spawned, not forked: a child must not inherit the locks by which an owner is known to be alive.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(self.size, initializer=_start, initargs=(self.store,), context=context)
        return self._pool

    def stop(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"its worker process was killed by signal {-exitcode}"
    return f"its worker process ended with exit code {exitcode}"


_runner: StageRunner | None = None


def _start(store: ObjectStore) -> None:
    """Runs once in each worker process: the one piece of state a process has."""
    import signal

    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides when to stop
    _runner = StageRunner(store)


def _preload(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _work(job: Job) -> Made:
    if _runner is None:
        raise RuntimeError("a worker process was given a job before it was started")
    return _runner(job)
