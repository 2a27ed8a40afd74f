"""``lookout run``, and ``lookout watch`` without ``--upload``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import DETECTION, OBJECTS_FOLDER, Deployment, Program, default_workers
from lookout.app.folder_watcher import FolderWatcher
from lookout.app.page_status import status_file
from lookout.app.process import stop_on_signals
from lookout.app.reference_checks import try_stage
from lookout.app.run_summary import Summary, summarize
from lookout.app.service_manager import ServiceManager
from lookout.app.source_checks import check_folder, check_sources
from lookout.app.state_identity import check_results
from lookout.cli.options import NO_RETENTION, PATH, RunOptions, json_option, run_options, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, EXIT_STOPPED, InputRejected, Unavailable
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import State
from lookout.engine.report import Progress
from lookout.execution.executor import Workers
from lookout.execution.process_pool import ProcessWorkers
from lookout.runs.runner import Order, Ran, Runner
from lookout.sources.deletion_guard import keep_retention
from lookout.sources.ingest import IngestResult
from lookout.text import count, printable
from lookout.version import code_version

OF_MODEL: Final = "model"
"""Passes as the model in force names them."""


@click.command(short_help="Process photographs through all stages, once.")
@click.argument("source", nargs=-1, type=PATH)
@state_option
@run_options
@click.option("--verify", is_flag=True, help="Read every picture and every result again, whatever the ledger says.")
@json_option
@click.pass_obj
def run(
    program: Program,
    /,
    source: tuple[Path, ...],
    state: Path | None,
    verify: bool,
    as_json: bool,
    options: RunOptions,
) -> None:
    """Process the photographs of SOURCE through validate, object-detect, threat-detect and plot.

    SOURCE is a folder, where the results of deleted pictures are removed too, or single files, which are only added.
    Only new or changed pictures are done, so it can run at any time. With a store in LOOKOUT_STORE its bucket of
    photographs is the source, and none is named.
    """
    check_sources(program, source, state)
    with program.open(state, create=True) as opened, _progress(as_json) as tell:
        order = _order(opened, source, options, verify=verify)
        with _runner(program, opened, options, tell) as runner:
            ran = runner.run(order)
        summary = summarize(runner.pipeline, opened, ran, time.time())
        if as_json:
            echo_json(summary.as_json())
        else:
            click.echo(summary.as_text())
        if program.settings.store is None:
            check_results(opened.pipeline, opened.ledger, opened.path / OBJECTS_FOLDER)
    sys.exit(_exit_code(summary, ran))


def watch_folder(
    program: Program, folder: Path, state: Path | None, options: RunOptions, *, walk_every_s: float, as_json: bool
) -> int:
    """Run ``lookout watch`` on a ledger; return the exit code."""
    check_folder(program, folder, state)
    with program.open(state, create=True) as opened:
        order = _order(opened, (folder,), options)
        service = ServiceManager(program.settings.notify_socket, program.settings.watchdog_s)

        def tell_ready(taken: IngestResult) -> None:
            changed = count(taken.changed, "new or changed picture")
            click.echo(f"watching {folder}: {changed}; page: {opened.page}", err=True)
            service.ready()

        with service, _runner(program, opened, options, partial(_tell_event, as_json), service.turned) as runner:
            ran = runner.watch(
                order,
                FolderWatcher(
                    folder_watch=program.installation.load_folder_watch(),
                    exclude=runner.exclude,
                    walk_every_s=walk_every_s,
                    tell=lambda text: click.echo(f"watch: {printable(text)}", err=True),
                ),
                tell_ready,
            )
        summary = summarize(runner.pipeline, opened, ran, time.time())
    if as_json:
        echo_json_line(summary.as_json())
    else:
        click.echo(summary.as_text(), err=True)
    return _exit_code(summary, ran)


def _order(opened: Deployment, sources: tuple[Path, ...], options: RunOptions, *, verify: bool = False) -> Order:
    """Return the order for these sources; the retention is kept, if one was given."""
    if options.retention is not None:
        keep_retention(opened.ledger, None if options.retention == NO_RETENTION else options.retention)
    return Order(
        sources=sources,
        references=opened.references({"rules": options.rules, "model": options.model, "devices": options.devices}),
        verify=verify,
        allow_deletions=options.allow_deletions,
    )


@contextmanager
def _runner(
    program: Program,
    opened: Deployment,
    options: RunOptions,
    tell: Callable[[Progress], None],
    on_turn: Callable[[], None] = lambda: None,
) -> Iterator[Runner]:
    program.check_channel()
    pipeline = opened.pipeline_supposed(options.threshold, options.passes)
    pool = ProcessWorkers(store=opened.store, size=options.workers or default_workers())
    try:
        runner = Runner(
            pipeline=pipeline,
            ledger=opened.ledger,
            open_ledger=opened.open_ledger,
            store=opened.store,
            workers=pool,
            outboxes=replace(opened.outboxes, max_letters=options.max_mails),
            code=code_version(),
            bucket=opened.bucket,
            exclude=(opened.path.absolute(),),
            on_references=partial(_adopt, opened, pipeline, pool, options),
            on_turn=on_turn,
            status_file=status_file(opened, pipeline),
            on_progress=tell,
        )
        stop_on_signals(runner.stop)
        yield runner
    finally:
        pool.stop()


def _adopt(opened: Deployment, pipeline: Pipeline, workers: Workers, options: RunOptions) -> None:
    """Bring threshold and passes into force. Raises InputRejected, and brings none, for passes that the model in force
    cannot do; those that the model itself names were tried with it."""
    stage = pipeline.stage(DETECTION)
    passes = stage.params.get("passes")
    if passes not in (None, OF_MODEL):
        obstacle = try_stage(opened, workers, stage, opened.ledger.references("model"))
        if obstacle is not None:
            hint = "give others with --passes, or --passes model"
            raise InputRejected(f"the model in force cannot do {passes}: {obstacle}", "--passes", hint)
    opened.pipeline_in_force(options.threshold, options.passes)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show progress: on a terminal a counting line, and failures as lines of their own; elsewhere only failures."""
    done: dict[str, int] = {}
    live = sys.stderr.isatty() and not quiet

    def tell(progress: Progress) -> None:
        if progress.state is State.FAILED:
            clear = "\r\033[K" if live else ""
            click.echo(
                f"{clear}failed: {progress.stage} of {printable(progress.key)}: {printable(progress.error)}", err=True
            )
        if live:
            done[progress.stage] = done.get(progress.stage, 0) + 1
            line = "  ".join(f"{stage} {number:,}" for stage, number in done.items())
            click.echo(f"\r\033[K{line}", nl=False, err=True)

    yield tell
    if live and done:
        click.echo(err=True)


def _tell_event(as_json: bool, progress: Progress) -> None:
    if as_json:
        echo_json_line(progress)
    elif progress.state is State.FAILED:
        click.echo(f"failed: {progress.stage} of {printable(progress.key)}: {printable(progress.error)}", err=True)
    else:
        click.echo(f"{progress.state.value}: {progress.stage} of {printable(progress.key) or 'all groups'}", err=True)


def _exit_code(summary: Summary, ran: Ran) -> int:
    if ran.stopped:
        return EXIT_STOPPED
    if summary.held is not None:
        return InputRejected.exit_code
    if summary.failed or summary.unsent.dead:
        return EXIT_DATUM_FAILED
    return Unavailable.exit_code if summary.unsent.late or summary.unlistable else EXIT_OK
