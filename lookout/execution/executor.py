"""Port of workers, which run stages in processes of their own, so that a picture that kills or hangs its process harms
nobody else. Knows no ledger: the engine's commit decides what counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from lookout.domain.pipeline import load
from lookout.execution.jobs import Job, StageRun
from lookout.execution.stage_runner import StageRunner
from lookout.object_store.port import ObjectStore

Done: TypeAlias = Callable[[Job, StageRun], None]


class StageTimeoutError(Exception):
    """Error of a stage that took longer for one datum than it may."""


class WorkerDiedError(Exception):
    """Error of a process that ended without an answer while it worked on a datum."""


class Workers(ABC):
    """Port of workers: they take jobs and tell of their ends, in any order and from any thread."""

    size: int

    @abstractmethod
    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        """Queue jobs of one stage, each of which may take ``timeout_s``. ``done`` is called exactly once for each, in
        any order and from any thread, unless ``stop`` comes first."""

    def call(self, function: str, *arguments: object) -> Callable[[], object]:
        """Begin ``module:function`` with these arguments, where a crash of it harms nobody else; gives a function that
        waits for its answer. That raises what the function raises, and StageTimeoutError or WorkerDiedError. Here, for
        workers that are no processes: when it is waited for."""
        return partial(load(function), *arguments)

    def start(self, modules: Sequence[str]) -> None:  # noqa: B027 - optional: whoever has nothing to start does nothing
        """Begin to start and to load these modules, for work that is sure to come; ``submit`` does so too."""

    def prepare(self, job: Job) -> Callable[[], None]:  # noqa: ARG002 - workers that are no processes are loaded by a job
        """Begin to make the stage of the job ready, which need not have inputs; gives a function that waits for it."""
        return lambda: None

    @abstractmethod
    def stop(self) -> None:
        """End at once: running jobs are killed and nothing more is told of them. Stopping twice is allowed."""


class InlineWorkers(Workers):
    """Workers without processes: each job runs in ``submit``. For tests, and for a process that is itself expendable.
    They cannot end a job in time, so they refuse none: whoever runs the process bounds it."""

    size = 1

    def __init__(self, store: ObjectStore) -> None:
        self._runner = StageRunner(store)

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        del timeout_s
        for job in jobs:
            done(job, self._runner.attempt(job))

    def stop(self) -> None:
        pass
