"""``lookout watch DIR --upload``: continuous upload of a folder to the bucket on the server, which survives outages.

For a device or a gateway: it knows no ledger, no stage's code and no model, and imports none of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click

from lookout.app.deployment import SENT_FILE, Program, open_minio
from lookout.app.installation import Change
from lookout.app.process import stop_on_signals
from lookout.app.service_manager import ServiceManager
from lookout.cli.output import echo_json_line
from lookout.domain.errors import EXIT_STOPPED, InputRejected, LookoutError
from lookout.object_store.minio.names import check_object_key
from lookout.text import printable
from lookout.uploader.folder_sync import FolderSync, Options
from lookout.uploader.sent_log import Memory
from lookout.uploader.upload import Sender, Sent

DEFAULT_WORKERS: Final = 4


def watch_and_upload(
    program: Program,
    folder: Path,
    *,
    prefix: str,
    workers: int | None,
    state: Path,
    walk_every_s: float,
    as_json: bool,
) -> int:
    """Bring what is in the folder and what lands in it until a signal ends it; gives the exit code."""
    if program.settings.store is None:
        raise InputRejected("is not set, so there is no bucket to upload to", "LOOKOUT_STORE", "or leave out --upload")
    check_object_key(program.pipeline.inputs, f"{prefix}x")
    if not folder.is_dir():
        raise InputRejected("no such folder to watch", str(folder), "check the name, and that its disk is mounted")
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(state)):
        raise InputRejected(f"is in the state folder {state}", str(folder), "choose another with --state")
    store = open_minio(program.settings.store)
    target = f"{store.access.url}/{store.full(program.pipeline.inputs)}"
    teller = _Teller(as_json)
    exclude = (state.absolute(),)
    service = ServiceManager(program.settings.notify_socket, program.settings.watchdog_s)
    memory = Memory(state / SENT_FILE, target)
    sync = FolderSync(
        folder,
        Sender(store, program.pipeline.inputs).send,
        memory,
        Options(prefix=prefix, workers=workers or DEFAULT_WORKERS, walk_every_s=walk_every_s, exclude=exclude),
        tell=teller.tell,
        tell_trouble=teller.tell_trouble,
        on_turn=service.turned,
    )

    def on_change(change: Change) -> None:
        if not change.gone:  # what was brought stays in the bucket
            sync.changed(change.key)

    def on_lost(error: LookoutError) -> None:
        if not error.retryable:  # else the watch says that a walk is due
            sync.end(error)

    stop_on_signals(sync.stop)
    try:
        begin = partial(program.installation.load_folder_watch(), folder, on_change, on_lost, exclude=exclude)
        with service, begin(walk_every_s=walk_every_s, tell=teller.tell_watch) as watch:
            sync.look_after(watch)
            click.echo(f"watching {printable(folder)} for {printable(target)}", err=True)
            service.ready()
            sync.run()
    finally:
        teller.sum_up(sync)
        memory.close()
    return EXIT_STOPPED


def check_alone(context: click.Context, foreign: Sequence[str]) -> None:
    """Raise UsageError for an option of the way with a ledger that was given beside ``--upload``."""
    given = [name for name in foreign if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"{names} cannot be used with --upload, which only brings files to the bucket.")


class _Teller:
    """Teller of a line for each file on stderr, or with ``--json`` on stdout; trouble once, until it changes."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._began_s = time.monotonic()
        self._trouble: str | None = None

    def tell(self, sent: Sent) -> None:
        size = sent.ref.size if sent.ref is not None else None
        if self._as_json:
            echo_json_line({"key": sent.file.key, "is": sent.became, "bytes": size, "error": sent.error})
            return
        why = f": {printable(sent.error)}" if sent.error else f" ({size:,} bytes)"
        click.echo(f"{sent.became.value}: {printable(sent.file.key)}{why}", err=True)

    def tell_trouble(self, error: LookoutError | None, pause_s: float) -> None:
        text = None if error is None else printable(error)
        if text is None:
            click.echo("the store takes files again", err=True)
        elif text != self._trouble:
            then = f"; trying again in {pause_s:.0f} s, and from then on" if pause_s else ""
            click.echo(f"waiting: {text}{then}" if pause_s else f"passed over: {text}", err=True)
        self._trouble = text

    def tell_watch(self, text: str) -> None:
        click.echo(f"watch: {printable(text)}", err=True)

    def sum_up(self, sync: FolderSync) -> None:
        counts, elapsed_s = sync.counts, time.monotonic() - self._began_s
        if self._as_json:
            facts = {"uploaded": counts.uploaded, "skipped": counts.skipped, "failed": counts.failed}
            more = {"gone": counts.gone, "waiting": sync.waiting, "bytes": counts.sent_bytes}
            echo_json_line({**facts, **more, "elapsed_s": round(elapsed_s, 3)})
            return
        parts = [
            f"{counts.uploaded:,} uploaded ({counts.sent_bytes / 1e6:,.1f} MB)",
            f"{counts.skipped:,} there already",
        ]
        named = {"failed": counts.failed, "gone before they were sent": counts.gone, "waiting": sync.waiting}
        parts += [f"{number:,} {name}" for name, number in named.items() if number]
        click.echo(f"{', '.join(parts)}, in {elapsed_s:.1f} s", err=True)
