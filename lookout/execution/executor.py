"""Where stages run: in processes of their own, so that a picture that kills or hangs its process harms nobody else.

A worker gets a Job, reads the inputs, runs the pure stage, and puts the outputs as versions that nobody sees yet; only
the small description of what it made comes back. It knows no ledger: what counts is decided by the engine's commit.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias, cast

from lookout.domain.errors import find_lack
from lookout.domain.pipeline import Prepare, Run, load
from lookout.domain.records import (
    AlertDraft,
    Input,
    JsonObject,
    LoadedReference,
    Member,
    ObjectRef,
    Reference,
    Tally,
    Work,
)
from lookout.object_store.port import ObjectReader, ObjectStore

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
    made_by: Mapping[str, str] = field(default_factory=dict)
    """What each output is told of its making, for whoever finds it without the ledger."""


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


Ticketed: TypeAlias = tuple[Job, int]
"""A job with the number under which its end is told."""
Done: TypeAlias = Callable[[Completion], None]


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
                known = _digest_of(output.data, inputs.values())
                outputs.append(
                    self._store.put(
                        job.stage,
                        output.key,
                        output.data,
                        output.content_type,
                        known_sha256=known,
                        made_by=job.made_by,
                    )
                )
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

    def attempt(self, job: Job) -> Made | Exception:
        """Do one job; give what was made, or the error that ended it.

        A stage that cannot be prepared for lack of something, or a machine without files or threads left, gives
        Unavailable: that is no datum's fault. A datum for which the memory does not suffice is at fault.
        """
        try:
            self.prepare(job)
        except Exception as exc:  # noqa: BLE001 - as below
            return find_lack(exc) or exc
        try:
            return self(job)
        except MemoryError:
            return MemoryError("the memory of its process does not suffice for it")
        except Exception as exc:  # noqa: BLE001 - any failure of a stage is the datum's, never the engine's
            return find_lack(exc) or exc

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


def _digest_of(data: bytes, inputs: Iterable[Input]) -> str | None:
    """The digest of bytes that are those of a whole input, handed on as they are; None for any other."""
    return next((seen.ref.sha256 for seen in inputs if seen.data is data and len(data) == seen.ref.size), None)


def _load_files(store: ObjectReader, reference: Reference) -> dict[str, bytes]:
    return {role: store.get(ref) for role, ref in reference.files.items()}


class Workers(ABC):
    """Takes jobs and tells of their ends, in any order and from any thread."""

    size: int

    @abstractmethod
    def submit(self, jobs: Sequence[Ticketed], timeout_s: float, done: Done) -> None:
        """Queue jobs of one stage, each of which may take ``timeout_s``. ``done`` is called exactly once for each, in
        any order and from any thread, unless ``stop`` comes first."""

    def call(self, function: str, *arguments: object) -> Callable[[], object]:
        """Begin ``module:function`` with these arguments, where a crash of it harms nobody else; gives a function that
        waits for its answer. That raises what the function raises, and StageTimeoutError or WorkerDiedError. Here, for
        workers that are no processes: when it is waited for."""
        return partial(load(function), *arguments)

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

    def submit(self, jobs: Sequence[Ticketed], timeout_s: float, done: Done) -> None:
        del timeout_s
        for job, ticket in jobs:
            end = self._run.attempt(job)
            if isinstance(end, Made):
                done(Completion(job=job, ticket=ticket, made=end))
            else:
                done(Completion(job=job, ticket=ticket, error=end))

    def stop(self) -> None:
        pass
