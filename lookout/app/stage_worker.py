"""One worker of many, as ``lookout work`` and the containers of the stages run it: opened, worked, handed back.

What a stage alone needs is imported here and nothing else: a container of validate has no model and sends no mail.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from lookout.app.batch_mails import BatchMails
from lookout.app.deployment import Deployment, Program, default_workers, open_minio
from lookout.app.input_source import input_source
from lookout.app.process import stop_on_signals
from lookout.batches.cutter import ensure_run, run_id
from lookout.batches.worker import BatchWorker, BatchWorkReport
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Pipeline, Stage
from lookout.domain.records import JsonObject, State
from lookout.engine.report import Progress
from lookout.execution.executor import Done, InlineWorkers, Workers
from lookout.execution.jobs import Job
from lookout.execution.process_pool import ProcessWorkers
from lookout.execution.stage_runner import PREPARED_STAGES_KEPT
from lookout.ledger.batches import LIVE
from lookout.ledger.port import RunRecord
from lookout.log import get_logger
from lookout.text import count, printable, table
from lookout.version import code_version

log = get_logger(__name__)

MAILS: Final = "threat-detect"
"""The stage whose container may send mail, and has the key for it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Task of one worker: exactly one of a batch, a picture (``key``), the batches of a run (``pull``), and whatever
    comes into an open run (``follow``, with ``run`` and ``stage``).

    ``stage`` None means all. ``run`` is what the records name; empty: that of the batch, or a new one. ``alone`` says
    that this process may write to its stage's bucket only, and that letters which it cannot send must wait.
    """

    batch: str = ""
    key: str = ""
    pull: str = ""
    follow: bool = False
    run: str = ""
    stage: str | None = None
    workers: int | None = None
    max_mails: int = 20
    alone: bool = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.batch, self.key, self.pull, self.follow))) != 1:
            also = ", or of --follow" if self.alone else ""
            raise InputRejected(f"expected one of --batch, --object and --pull{also}", "lookout work")
        if self.follow and not (self.run and self.stage):
            raise InputRejected("expected --run with --follow", "--follow")

    @property
    def size(self) -> int:
        """Number of worker processes; for one picture never more than one, and one by default to follow a run."""
        return 1 if self.key else self.workers or (1 if self.follow else default_workers())

    def stages(self, pipeline: Pipeline) -> tuple[Stage, ...]:
        """Give those that are worked, but charts only if they alone are meant."""
        ordinary = tuple(stage for stage in pipeline.stages if not stage.grouped)
        return ordinary if self.stage is None else (pipeline.stage(self.stage),)

    def kept(self, pipeline: Pipeline) -> int:
        """Number of prepared stages that a worker process keeps: a process that stays keeps two models at most, the one
        in force and the one before."""
        lone = all(stage.references is not None and not stage.references.select for stage in self.stages(pipeline))
        return 2 if self.follow and lone else PREPARED_STAGES_KEPT

    def by_itself(self, pipeline: Pipeline) -> bool:
        """Tell whether this process runs the stage itself: a container for one picture has no other that it could harm,
        and a process more would take as long to load as all the rest. Charts may be many, so they are drawn by
        another."""
        return self.alone and bool(self.key) and not any(stage.grouped for stage in self.stages(pipeline))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Account of a worker that has ended. ``stopped`` says that a signal ended it."""

    pipeline: Pipeline
    run: str | None
    worked: BatchWorkReport
    stopped: bool
    elapsed_s: float

    def as_counts(self) -> dict[str, dict[str, int]]:
        """Count the datums by stage and by the way in which they ended."""
        kinds = ("success", "skipped", "failed", "unrunnable", "retracted")
        report = self.worked.report
        return {
            stage.name: {kind: getattr(report, kind)[stage.name] for kind in kinds} for stage in self.pipeline.stages
        }

    def as_json(self) -> JsonObject:
        """Give the contract of ``--json``; documented in docs/cli.md."""
        return {
            "run": self.run,
            "batches": dict(self.worked.batches),
            "stages": {stage: dict(counts) for stage, counts in self.as_counts().items()},
            "run_ended": self.worked.closed,
            "stopped": self.stopped,
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def as_text(self) -> str:
        """Give the text for a person."""
        counts = self.as_counts()
        columns = list(next(iter(counts.values())))
        lines = [table([(name, *row.values()) for name, row in counts.items()], ("stage", *columns)), ""]
        ends = list(self.worked.batches.values())
        if ends:
            said = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
            lines.append(f"{count(len(ends), 'batch', 'batches')}: {said}")
        if self.worked.closed:
            lines.append("The run has ended.")
        lines.append(f"{'Stopped after' if self.stopped else 'Done in'} {self.elapsed_s:.1f} s.")
        return "\n".join(lines)


def work_through(program: Program, task: Task, state: Path | None = None) -> Ended:
    """Do all of a task. Raises LookoutError: Unavailable when others hold what is left."""
    began_s = time.monotonic()
    if task.stage in (None, MAILS):
        program.check_channel()
    with (
        early_pool(program, task) as early,
        program.open(state) as opened,
        opened.ledger.session() as owner,
    ):
        pool = early or _workers(opened, task)
        try:
            worker = _batch_worker(opened, owner, pool, task)
            stop_on_signals(worker.stop)
            run, worked = _work(worker, task)
        finally:
            pool.stop()
    return Ended(
        pipeline=program.pipeline, run=run, worked=worked, stopped=worker.stopped, elapsed_s=time.monotonic() - began_s
    )


def _work(worker: BatchWorker, task: Task) -> tuple[str | None, BatchWorkReport]:
    only = None if task.stage is None else worker.pipeline.stage(task.stage)
    if task.run:
        ensure_run(worker.ledger, task.run, time.time(), LIVE)
    if task.batch:
        return task.run or None, worker.one_batch(task.batch, only, task.run)
    if task.pull:
        return task.pull, worker.pull(task.pull, only)
    if task.run:
        return task.run, worker.one_object(task.key, task.run, only)
    return _one_object(worker, task.key, only)


def _one_object(worker: BatchWorker, key: str, only: Stage | None) -> tuple[str, BatchWorkReport]:
    """Work on one picture, as a run of its own, so that what is made of it names one."""
    ledger, run = worker.ledger, run_id(time.time())
    ledger.start_run(RunRecord(id=run, kind="work", owner=worker.owner, started_at_s=time.time()))
    state, summary = "failed", {"object": key, "stage": None if only is None else only.name}
    try:
        worked = worker.one_object(key, run, only)
        state = "stopped" if worker.stopped else "failed" if worked.report.failed else "success"
    finally:
        ledger.end_run(run, state, time.time(), summary)
    return run, worked


# --- putting it together ---------------------------------------------------------------------------------------------


@contextmanager
def early_pool(program: Program, task: Task) -> Iterator[ProcessWorkers | None]:
    """Start the worker processes of a container, which was started because there is something to do: they load what
    they need while this process loads what speaks to the servers, and connects. None where there is no hurry."""
    if not task.alone or task.by_itself(program.pipeline) or program.settings.store is None:
        yield None
        return
    size, kept = task.size, task.kept(program.pipeline)
    pool = ProcessWorkers(store=open_minio(program.settings.store), size=size, kept=kept)
    try:
        stages = [stage.prepare.partition(":")[0] for stage in task.stages(program.pipeline)]
        pool.start(["lookout.object_store.minio.client", *stages])
        yield pool
    finally:
        pool.stop()


class OwnProcess(InlineWorkers):
    """Workers in this process, which ends when jobs take longer than they may. It leaves its claims as a killed one
    does: whoever claims them next works on them alone, in a process of their own."""

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        # Not by a signal: a decoder that hangs lets no handler run, and the first process of a container gets no other.
        faulthandler.dump_traceback_later(timeout_s * max(1, len(jobs)), exit=True)
        try:
            super().submit(jobs, timeout_s, done)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _workers(opened: Deployment, task: Task) -> Workers:
    return (
        OwnProcess(opened.store)
        if task.by_itself(opened.pipeline)
        else ProcessWorkers(store=opened.store, size=task.size)
    )


def _batch_worker(opened: Deployment, owner: str, pool: Workers, task: Task) -> BatchWorker:
    return BatchWorker(
        pipeline=opened.pipeline_in_force(),
        ledger=opened.ledger,
        store=opened.store,
        workers=pool,
        owner=owner,
        code=code_version(),
        source=input_source(opened),
        clock=time.time,
        on_progress=tell,
        sender=find_sender(opened, owner, task),
        publishes=(task.stage,) if task.alone and task.stage is not None else None,
    )


def find_sender(opened: Deployment, owner: str, task: Task) -> BatchMails | None:
    """Give the sender of a worker that may send mail; None for any other."""
    if task.stage not in (None, MAILS):
        return None
    if task.alone and opened.settings.mail_service is None:
        then = "alerts wait in the outbox"
        log.warning("mail disabled", why="neither SENDGRID_API_KEY nor LOOKOUT_SMTP_URL is set", then=then)
        if not opened.settings.channels:
            return None
    outboxes = opened.services if task.alone else opened.outboxes
    outboxes = replace(outboxes, max_letters=task.max_mails)
    return BatchMails(outboxes=outboxes, ledger=opened.ledger, owner=owner)


def tell(progress: Progress) -> None:
    if progress.state is State.FAILED:
        click.echo(f"failed: {progress.stage} of {printable(progress.key)}: {printable(progress.error)}", err=True)
