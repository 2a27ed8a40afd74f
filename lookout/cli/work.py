"""``lookout work``: what a worker's container runs."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import click

from lookout.batches import run_id
from lookout.cli.options import json_option, state_option
from lookout.cli.output import count, echo_json, printable, table
from lookout.cli.state import Deployment, channel_for, check_channel, default_workers, open_state, pipeline_for
from lookout.datum import JsonObject, State
from lookout.engine import Progress
from lookout.errors import EXIT_OK, EXIT_STOPPED, InputRejected
from lookout.intake import SOURCE_NOTE, BucketIntake, Intake
from lookout.ledger.base import RunRecord
from lookout.ledger.batching import with_batches
from lookout.outbox import Outbox
from lookout.processes import ProcessWorkers
from lookout.settings import Settings
from lookout.version import code_version
from lookout.working import Worked, Working
from stages.pipeline import PIPELINE

MAILS: Final = "threat-detect"
"""The stage whose container may send mail, and has the key for it."""


@click.command(short_help="Work on one batch, one picture, or all batches of a run.")
@click.option("--batch", metavar="ID", help="All that waits of this batch.")
@click.option("--object", "key", metavar="KEY", help="All that waits of this picture, which is looked at first.")
@click.option("--pull", metavar="RUN", help="One batch of this run after the other until none is left.")
@click.option(
    "--stage", type=click.Choice([one.name for one in PIPELINE.stages]), help="This stage only, and its mails."
)
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Worker processes. [one a core]")
@click.option(
    "--max-mails",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="More alerts than this become one digest a recipient.",
)
@state_option
@json_option
@click.pass_obj
def work(
    settings: Settings,
    batch: str | None,
    key: str | None,
    pull: str | None,
    stage: str | None,
    workers: int | None,
    max_mails: int,
    state: Path | None,
    as_json: bool,
) -> None:
    """Work on what was cut by lookout batches cut. Any number of these may work on one run at once.

    It ends with 0 when all was worked through, though datums failed: they are in the ledger. With 75 when another holds
    what is left, or something does not answer: then the same call may work later. Ctrl-C or SIGTERM hands back.
    """
    if sum(one is not None for one in (batch, key, pull)) != 1:
        raise InputRejected("expected one of --batch, --object and --pull", "lookout work")
    check_channel(settings)
    began_s = time.monotonic()
    with open_state(settings, state) as opened, opened.ledger.session() as owner:
        pool = ProcessWorkers(store=opened.store, size=workers or default_workers())
        try:
            working = _working(settings, opened, owner, pool, mails=max_mails if stage in (None, MAILS) else None)
            _stop_on_signals(working)
            only = None if stage is None else working.pipeline.stage(stage)
            if batch is not None:
                run, worked = None, working.one_batch(batch, only)
            elif pull is not None:
                run, worked = pull, working.pull(pull, only)
            else:
                run, worked = _object(working, key or "", stage)
        finally:
            pool.stop()
    if as_json:
        echo_json(_as_json(run, worked, stopped=working.stopped, elapsed_s=time.monotonic() - began_s))
    else:
        click.echo(_as_text(worked, stopped=working.stopped, elapsed_s=time.monotonic() - began_s))
    sys.exit(EXIT_STOPPED if working.stopped else EXIT_OK)


def _working(settings: Settings, opened: Deployment, owner: str, pool: ProcessWorkers, *, mails: int | None) -> Working:
    def send() -> None:
        if mails is not None:
            Outbox(
                ledger=opened.ledger,
                store=opened.store,
                channel=partial(channel_for, settings, opened),
                owner=owner,
                clock=time.time,
                max_letters=mails,
            ).dispatch()

    return Working(
        pipeline=pipeline_for(opened, None),
        ledger=with_batches(opened.ledger),
        store=opened.store,
        workers=pool,
        owner=owner,
        code=code_version(),
        look=_look(opened),
        clock=time.time,
        on_progress=_tell,
        send=send,
    )


def _look(opened: Deployment) -> Callable[[str], None]:
    """Observes one picture as it is now, in the bucket or in the folder of this state."""
    readers = tuple(stage.name for stage in PIPELINE.readers(PIPELINE.inputs))
    if opened.bucket is not None:
        bucket = BucketIntake(
            ledger=opened.ledger, source=opened.bucket, bucket=PIPELINE.inputs, readers=readers, clock=time.time
        )
        return bucket.look_again
    folder = Intake(ledger=opened.ledger, bucket=PIPELINE.inputs, readers=readers, clock=time.time)
    root = opened.ledger.find_note(SOURCE_NOTE)
    if root is None:
        return folder.look_again

    def look(key: str) -> None:
        folder.take_changes(Path(root), [key])

    return look


def _object(working: Working, key: str, stage: str | None) -> tuple[str, Worked]:
    """One picture, as a run of its own, so that what is made of it names one."""
    ledger, run = working.ledger, run_id(time.time())
    ledger.start_run(RunRecord(id=run, kind="work", owner=working.owner, started_at_s=time.time()))
    state, summary = "failed", {"object": key, "stage": stage}
    try:
        worked = working.one_object(key, run, None if stage is None else working.pipeline.stage(stage))
        state = "stopped" if working.stopped else "failed" if worked.report.failed else "success"
    finally:
        ledger.end_run(run, state, time.time(), summary)
    return run, worked


def _stop_on_signals(working: Working) -> None:
    """The first signal hands back what is at work; a second one ends at once."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, _interrupt)
        working.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def _tell(progress: Progress) -> None:
    if progress.state is State.FAILED:
        click.echo(f"failed: {progress.stage} of {printable(progress.key)}: {printable(progress.error)}", err=True)


def _counts(worked: Worked) -> dict[str, dict[str, int]]:
    report = worked.report
    return {
        stage.name: {
            "success": report.success[stage.name],
            "skipped": report.skipped[stage.name],
            "failed": report.failed[stage.name],
            "unrunnable": report.unrunnable[stage.name],
            "retracted": report.retracted[stage.name],
        }
        for stage in PIPELINE.stages
    }


def _as_json(run: str | None, worked: Worked, *, stopped: bool, elapsed_s: float) -> JsonObject:
    return {
        "run": run,
        "batches": worked.batches,
        "stages": _counts(worked),
        "run_ended": worked.closed,
        "stopped": stopped,
        "elapsed_s": round(elapsed_s, 3),
    }


def _as_text(worked: Worked, *, stopped: bool, elapsed_s: float) -> str:
    counts = _counts(worked)
    columns = list(next(iter(counts.values())))
    lines = [table([(name, *row.values()) for name, row in counts.items()], ("stage", *columns)), ""]
    ends = list(worked.batches.values())
    if ends:
        said = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
        lines.append(f"{count(len(ends), 'batch', 'batches')}: {said}")
    if worked.closed:
        lines.append("The run has ended.")
    lines.append(f"{'Stopped after' if stopped else 'Done in'} {elapsed_s:.1f} s.")
    return "\n".join(lines)
