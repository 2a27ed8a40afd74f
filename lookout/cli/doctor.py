"""``lookout doctor``: checks of this installation, its servers and a state."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final

import click

from lookout.app.channel_checks import check_channels, check_named
from lookout.app.deployment import Deployment, Program, find_obstacle
from lookout.app.health_checks import Check, attempt
from lookout.app.reference_checks import check_fit, check_references
from lookout.app.run_summary import unsent_lines, watch_troubles
from lookout.app.state_identity import LEDGER_FILE, STATE_FILE
from lookout.cli.options import json_option, state_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_DATUM_FAILED, LookoutError, ObjectChanged, ObjectMissing
from lookout.domain.records import ObjectRef, State
from lookout.outbox.unsent import find_unsent
from lookout.runs.change_feed import find_troubles
from lookout.sources.deletion_guard import ALLOW_HINT, find_held
from lookout.sources.ingest import SOURCE_NOTE
from lookout.sources.unlistable import UNLISTABLE_HINT, find_unlistable
from lookout.text import count, printable
from lookout.version import code_version

MODULES: Final = (
    "cv2",
    "onnxruntime",
    "simplejpeg",
    "numpy",
    "matplotlib",
    "sendgrid",
    "watchdog",
    "pebble",
    "pydantic",
)
AT_ONCE: Final = 500
"""Results looked for at a time: a server is asked for several at once."""
LEAST_FREE_BYTES: Final = 500 * 1024**2


@click.command(short_help="Check this installation, its servers and a state.")
@state_option
@click.option("--objects", is_flag=True, help="Read every live result and compare its sha256 as well.")
@json_option
@click.pass_obj
def doctor(program: Program, state: Path | None, objects: bool, as_json: bool) -> None:
    """Check Python, libraries, the key, the disk, the servers that are named, and, where there is one, the state.

    It changes nothing, and ends with 1 if something is bad.
    """
    path = state or program.settings.state
    checks = [*_installation(), *attempt("disk", lambda: _environment(program, path))]
    checks += _servers(program)
    if all(check.ok for check in checks if check.name in ("store", "ledger")):
        checks += attempt("state", lambda: _as_far_as_allowed(program, _state(program, path, objects)))
    if as_json:
        echo_json({"ok": all(check.ok for check in checks), "checks": checks})
    else:
        for check in checks:
            mark = "BAD " if not check.ok else "warn" if check.warning else "ok  "
            hint = f"  -> {check.hint}" if check.hint and mark != "ok  " else ""
            click.echo(printable(f"{mark} {check.name:<12} {check.found}{hint}"))
    sys.exit(0 if all(check.ok for check in checks) else EXIT_DATUM_FAILED)


def _installation() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(name="python", ok=sys.version_info >= (3, 11), found=version, hint="3.11 or newer is needed")
    yield Check(name="lookout", ok=True, found=code_version())
    yield Check(
        name="sqlite", ok=sqlite3.sqlite_version_info >= (3, 35), found=sqlite3.sqlite_version, hint="3.35 or newer"
    )
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError as exc:
            yield Check(name=name, ok=False, found=str(exc), hint="install Lookout again")
        else:
            yield Check(name=name, ok=True, found=str(getattr(module, "__version__", "present")))


def _environment(program: Program, path: Path) -> Iterator[Check]:
    yield from check_channels(program)
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Check(
        name="disk", ok=free > LEAST_FREE_BYTES, found=f"{free / 1024**3:.1f} GiB free at {folder}", hint="make room"
    )
    yield Check(name="writable", ok=os.access(folder, os.W_OK), found=str(folder), hint="choose another --state")


def _servers(program: Program) -> Iterator[Check]:
    """Yield the servers that the settings name. A bad ``store`` or ``ledger`` says that nothing can be asked of it."""
    if program.settings.store is None and program.settings.ledger is None:
        return
    # Imported here: who works in a folder need not load what speaks to servers.
    from lookout.app.server_checks import check_ledger, check_store

    store, ledger = program.settings.store, program.settings.ledger
    if store is not None:
        yield from attempt("store", lambda: check_store(store, program.installation.buckets))
    if ledger is not None:
        yield from attempt("ledger", lambda: check_ledger(ledger))


def _as_far_as_allowed(program: Program, checks: Iterator[Check]) -> Iterator[Check]:
    """Accept that a user of one stage may not read all results: it is no fault."""
    if program.settings.store is None:
        yield from checks
        return
    from lookout.domain.errors import Denied

    try:
        yield from checks
    except Denied:
        found = f"{program.settings.store.access_key} may not look at all buckets"
        yield Check(name="results", ok=True, warning=True, found=found, hint="the user engine may, for all checks")


def _state(program: Program, path: Path, objects: bool) -> Iterator[Check]:
    if program.settings.ledger is None and not any((path / name).exists() for name in (LEDGER_FILE, STATE_FILE)):
        obstacle = find_obstacle(path)
        found = f"{path}: {obstacle or 'none yet; lookout run makes it'}"
        yield Check(name="state", ok=obstacle is None, found=found, hint="choose another --state")
        return
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(program.open(path))
        except LookoutError as exc:
            yield Check(name="state" if program.settings.ledger is None else "ledger", ok=False, found=str(exc))
            return
        ledger = opened.ledger
        if program.settings.ledger is not None:
            yield Check(name="ledger", ok=True, found=f"{program.settings.ledger.url}, of a form that is known")
        yield _source(opened)
        yield from check_references(opened)
        yield from check_fit(opened)
        failed = sum(states.get(State.FAILED, 0) for states in ledger.count_slots().values())
        yield Check(
            name="datums", ok=not failed, found=count(failed, "failed datum"), hint="lookout datums list --in failed"
        )
        yield _alerts(opened)
        yield from check_named(program, opened)
        held = find_held(ledger)
        yield Check(name="deletions", ok=held is None, found=str(held or "none held back"), hint=ALLOW_HINT)
        folders = ", ".join(find_unlistable(ledger))
        found, hint = folders or "none that cannot be listed", UNLISTABLE_HINT
        yield Check(name="folders", ok=not folders, found=found, hint=hint)
        troubles = find_troubles(ledger)
        found, hint = watch_troubles(troubles), "see docs/events.md"
        yield Check(name="watch", ok=True, warning=any(troubles.values()), found=found, hint=hint)
        yield _objects(opened, read=objects)


def _alerts(opened: Deployment) -> Check:
    """Check that nobody waits to be told of a threat."""
    unsent = find_unsent(opened.ledger, time.time())
    found = " ".join(unsent_lines(unsent)[:1]) or "all sent"
    hint = "see lookout alerts list; lookout alerts resend or cancel"
    return Check(name="alerts", ok=not unsent.late, warning=unsent.total > 0, found=found, hint=hint)


def _source(opened: Deployment) -> Check:
    source = opened.ledger.find_note(SOURCE_NOTE)
    if opened.bucket is not None:
        mine = source in (None, opened.bucket.origin)
        hint = "LOOKOUT_STORE or LOOKOUT_LEDGER is another deployment's"
        return Check(name="source", ok=mine, found=source or "no run yet", hint=hint)
    there = source is None or Path(source).is_dir()
    return Check(name="source", ok=there, found=source or "single files only", hint="is it mounted?")


def _objects(opened: Deployment, *, read: bool) -> Check:
    """Check that each live result is where the ledger says, and, with ``read``, has the bytes that the ledger names."""
    seen = bad = 0
    live = (ref for slot in opened.ledger.slots(states=[State.SUCCESS]) if slot.record for ref in slot.record.outputs)
    while refs := list(islice(live, AT_ONCE)):
        seen += len(refs)
        there = [_readable(opened, ref) for ref in refs] if read else opened.store.has(refs)
        bad += there.count(False)
    found = f"{count(seen, 'object')}, {bad} lost or changed"
    return Check(name="results", ok=not bad, found=found, hint="lookout run --verify makes them again")


def _readable(opened: Deployment, ref: ObjectRef) -> bool:
    try:
        opened.store.get(ref)
    except (ObjectMissing, ObjectChanged):
        return False
    return True
