"""One stage's process that follows an open run, as a container runs it with ``--follow``: opened, worked, handed back.

Jobs run in a process of their own, so a picture that kills or hangs it does not end the stage, which others need.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from lookout.app.deployment import Deployment, Program
from lookout.app.input_source import input_source
from lookout.app.process import stop_on_signals
from lookout.app.session_place import session_in
from lookout.app.stage_worker import MAILS, Ended, Task, early_pool, find_sender, tell
from lookout.batches.follower import RunFollower
from lookout.batches.run_watch import RunWatch
from lookout.batches.worker import BatchWorkReport
from lookout.domain.errors import InputRejected
from lookout.engine.engine import Engine
from lookout.engine.report import Report
from lookout.engine.session import EngineSession
from lookout.execution.executor import Workers
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.open_runs import OpenRunLedger
from lookout.ledger.port import Ledger
from lookout.outbox.sender import OutboxSender
from lookout.version import code_version

WINDOW_S: Final = 60.0
DIGEST_EVERY_S: Final = 2.0
"""Of a stage that stays: the time in which so many letters leave singly, and the time between two digests."""


def open_run_ledger(opened: Deployment) -> OpenRunLedger:
    """Return the ledger as one of open runs. Raises InputRejected where it is a file: it has no such runs."""
    return _checked(opened.ledger)


def another_ledger(opened: Deployment) -> OpenRunLedger:
    """Open a further connection of that kind, for another thread."""
    return _checked(opened.open_ledger())


def _checked(ledger: Ledger) -> OpenRunLedger:
    if not isinstance(ledger, OpenRunLedger):
        raise InputRejected("is not set", "LOOKOUT_LEDGER", "only a ledger on a server has runs that stay open")
    return ledger


def follow(program: Program, task: Task) -> Ended:
    """Follow the run of the task until it is over or a signal comes. Raises LookoutError."""
    began_s = time.monotonic()
    if task.stage == MAILS:
        program.check_channel()
    with early_pool(program, task) as early, program.open() as opened:
        pool = early or ProcessWorkers(store=opened.store, size=task.size, kept=task.kept(opened.pipeline))
        try:
            report, stopped = _follow(opened, task, pool)
        finally:
            pool.stop()
    return Ended(
        pipeline=program.pipeline,
        run=task.run,
        worked=BatchWorkReport(report=report),
        stopped=stopped,
        elapsed_s=time.monotonic() - began_s,
    )


def _follow(opened: Deployment, task: Task, pool: Workers) -> tuple[Report, bool]:
    ledger = open_run_ledger(opened)
    pipeline = opened.pipeline_in_force()
    (stage,) = task.stages(pipeline)
    report = Report(on_progress=tell)
    with ExitStack() as after, session_in(ledger, opened.path, f"{stage.name}-{task.run}") as owner:
        follower = RunFollower(
            ledger=ledger,
            run=task.run,
            stage=stage,
            owner=owner,
            make_engine=lambda: Engine(
                pipeline=pipeline,
                ledger=ledger,
                store=opened.store,
                workers=pool,
                source=input_source(opened),
                session=EngineSession(owner=owner, run=task.run, code=code_version(), clock=time.time),
                report=report,
                publishes=(stage.name,),
            ),
        )
        stop_on_signals(follower.stop)
        watch = RunWatch(partial(another_ledger, opened), task.run, [stage.name], follower.wake)
        watch.start()
        after.callback(watch.join)
        with _sending(opened, task, owner, follower):
            try:
                follower.follow()
            finally:
                watch.stop()  # the end of the session is the change that it notes this with
    return report, not follower.over


@contextmanager
def _sending(opened: Deployment, task: Task, owner: str, follower: RunFollower) -> Iterator[None]:
    """Send alerts at once while the follower works, and what is due at the end of a run that is over."""
    sender = find_sender(opened, owner, task) if task.stage == MAILS else None
    if sender is None:
        yield
        return
    outboxes = replace(sender.outboxes, window_s=WINDOW_S, digest_every_s=DIGEST_EVERY_S)
    make = partial(outboxes.open, owner=owner)
    with OutboxSender(opened.open_ledger, make, time.time, lambda: follower.engine.stopped) as letters:
        letters.start()
        follower.engine.on_alerts = letters.wake
        letters.wake()
        yield
    if follower.over:
        sender.send(lambda: False)
