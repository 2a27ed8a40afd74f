"""The command of a stage's container, ``python -m stages.validate``: ``lookout work`` of one stage, for schedulers.

It says by its exit code whether to try again, takes empty values as not given, as templates name all parameters, and
writes only to what its own user may write to. Imports come late: the first thing that a container does is to heed
signals, which the kernel otherwise does not deliver to its first process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import click

    from lookout.app.stage_worker import Ended

EXIT_TERMINATED: Final = 128 + signal.SIGTERM
"""Stopped, and what was held is handed back: whoever sent the signal knows whether to start it again."""


def main(stage: str) -> NoReturn:
    """Run the stage's command with this process's arguments, to the process's end."""
    began_s = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from lookout.app.process import run_command

    sys.exit(run_command(_command(stage, began_s), f"python -m stages.{stage.replace('-', '_')}", EXIT_TERMINATED))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Before there is anything to hand back."""
    sys.exit(EXIT_TERMINATED)


def _command(stage: str, began_s: float) -> click.Command:
    import click

    from lookout.cli.options import Templated, json_option

    options = [
        click.option("--run", default="", metavar="ID", help="What is made names this run, which is made if need be."),
        click.option("--batch", default="", metavar="ID", help="What waits of this batch."),
        click.option(
            "--object", "name", default="", metavar="BUCKET/KEY", help="What waits of this picture, looked at first."
        ),
        click.option("--pull", default="", metavar="RUN", help="One batch of this run after the other."),
        click.option(
            "--follow", is_flag=True, help="Stay, and do what comes into the run, until it is over; ends with 0."
        ),
        click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Worker processes. [one a core]"),
        json_option,
    ]
    if stage == "threat-detect":
        said = "More alerts than this become one digest a recipient."
        options.append(click.option("--max-mails", type=click.IntRange(0), default=20, metavar="N", help=said))

    def work(
        *,
        run: str,
        batch: str,
        name: str,
        pull: str,
        follow: bool,
        workers: int | None,
        as_json: bool,
        max_mails: int = 20,
    ) -> None:
        asked = Asked(run=run, batch=batch, name=name, pull=pull, follow=follow, workers=workers, max_mails=max_mails)
        ended = _work(stage, asked)
        if as_json:
            from lookout.cli.output import echo_json_line

            echo_json_line(ended.as_json())
        else:
            click.echo(_as_text(stage, ended))
        _log_costs(stage, began_s)
        # Of a follower that ended well nobody starts another, however it came to its end.
        sys.exit(EXIT_TERMINATED if ended.stopped and not follow else 0)

    for option in reversed(options):
        work = option(work)
    said = f"Do what waits for the stage {stage} of a batch, a picture or a run. Settings come from the environment."
    return click.command(cls=Templated, help=said)(work)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of the command as they were given."""

    run: str
    batch: str
    name: str
    pull: str
    follow: bool
    workers: int | None
    max_mails: int


def _work(stage: str, asked: Asked) -> Ended:
    from lookout.app.deployment import Program, find_object
    from lookout.app.stage_worker import Task, work_through
    from lookout.config.settings import Settings
    from lookout.log import configure
    from stages.installation import INSTALLATION

    settings = Settings.from_environment(os.environ)
    configure(settings.log_level)
    program = Program(settings=settings, installation=INSTALLATION)
    _, key = find_object(settings, asked.name, [program.pipeline.inputs]) if asked.name else ("", "")
    task = Task(
        batch=asked.batch,
        key=key,
        pull=asked.pull,
        follow=asked.follow,
        run=asked.run,
        stage=stage,
        workers=asked.workers,
        max_mails=asked.max_mails,
        alone=True,
    )
    if not asked.follow:
        return work_through(program, task)
    from lookout.app.run_following import follow

    return follow(program, task)


def _log_costs(stage: str, began_s: float) -> None:
    """Log the cost of the container from this program's first line: seconds, and processor time of this process and of
    its worker processes."""
    import resource

    from lookout.log import get_logger

    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    get_logger(__name__).info(
        "ended",
        stage=stage,
        took_s=time.monotonic() - began_s,
        cpu_s=own.ru_utime + own.ru_stime,
        workers_cpu_s=others.ru_utime + others.ru_stime,
    )


def _as_text(stage: str, ended: Ended) -> str:
    """One line, for a log."""
    counts = ended.as_counts()[stage]
    did = ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "nothing to do"
    ends = list(ended.worked.batches.values())
    batches = "".join(f", batches {end}: {ends.count(end)}" for end in sorted(set(ends)))
    return f"{stage}: {did}{batches}, {'stopped after' if ended.stopped else 'in'} {ended.elapsed_s:.1f} s"
