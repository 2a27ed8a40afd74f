"""``lookout doctor``: is this installation sound, and this state."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from lookout.cli.options import json_option, state_option
from lookout.cli.output import count, echo_json, printable
from lookout.cli.state import LEDGER_FILE, StateFolder, find_obstacle, open_state
from lookout.datum import ObjectRef, State
from lookout.errors import EXIT_DATUM_FAILED, LookoutError, ObjectChanged, ObjectMissing
from lookout.settings import Settings
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
LEAST_FREE_BYTES: Final = 500 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing looked at: how it is, whether that is all right, and what to do if not."""

    name: str
    ok: bool
    found: str
    hint: str = ""


@click.command(short_help="Check that this installation and a state are sound.")
@state_option
@click.option("--objects", is_flag=True, help="Read every live result and compare its sha256 as well.")
@json_option
@click.pass_obj
def doctor(settings: Settings, state: Path | None, objects: bool, as_json: bool) -> None:
    """Check Python, libraries, the key, the disk and, where there is one, the state folder; exit 1 if one is bad."""
    path = state or settings.state
    checks = [*_installation(), *_attempt("disk", lambda: _environment(settings, path))]
    checks += _attempt("state", lambda: _state(settings, path, objects))
    if as_json:
        echo_json({"ok": all(check.ok for check in checks), "checks": checks})
    else:
        for check in checks:
            mark = "ok  " if check.ok else "BAD "
            hint = f"  -> {check.hint}" if check.hint and not check.ok else ""
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
            yield Check(name=name, ok=False, found=str(exc), hint="run make again")
        else:
            yield Check(name=name, ok=True, found=str(getattr(module, "__version__", "present")))


def _environment(settings: Settings, path: Path) -> Iterator[Check]:
    key = "set" if settings.sendgrid_api_key else "not set: mails become .eml files in the state folder"
    yield Check(name="sendgrid key", ok=True, found=key)
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Check(
        name="disk", ok=free > LEAST_FREE_BYTES, found=f"{free / 1024**3:.1f} GiB free at {folder}", hint="make room"
    )
    yield Check(name="writable", ok=os.access(folder, os.W_OK), found=str(folder), hint="choose another --state")


def _attempt(name: str, checks: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(checks())
    except (LookoutError, OSError) as exc:
        return [Check(name=name, ok=False, found=str(exc))]


def _state(settings: Settings, path: Path, objects: bool) -> Iterator[Check]:
    if not (path / LEDGER_FILE).exists():
        obstacle = find_obstacle(path)
        found = f"{path}: {obstacle or 'none yet; lookout run makes it'}"
        yield Check(name="state", ok=obstacle is None, found=found, hint="choose another --state")
        return
    with open_state(settings, path) as opened:
        ledger = opened.ledger
        source = ledger.find_note("source")
        found = source or "single files only"
        yield Check(name="source", ok=source is None or Path(source).is_dir(), found=found, hint="is it mounted?")
        for bucket in ("model", "rules"):
            units = ledger.references(bucket)
            files = [ref for unit in units for ref in unit.files.values()]
            there = all(opened.store.has(files))
            names = ", ".join(unit.name for unit in units) or "none in force"
            yield Check(name=bucket, ok=there, found=names, hint=f"give it again with --{bucket}")
        failed = sum(states.get(State.FAILED, 0) for states in ledger.count_slots().values())
        yield Check(
            name="datums", ok=not failed, found=count(failed, "failed datum"), hint="lookout datums list --in failed"
        )
        yield _objects(opened, read=objects)


def _objects(opened: StateFolder, *, read: bool) -> Check:
    """Whether each live result is where the ledger says, and, with ``read``, holds the bytes that it names."""
    seen = bad = 0
    for slot in opened.ledger.slots(states=[State.SUCCESS]):
        refs = slot.record.outputs if slot.record is not None else ()
        seen += len(refs)
        bad += sum(
            not (_readable(opened, ref) if read else there)
            for ref, there in zip(refs, opened.store.has(refs), strict=True)
        )
    found = f"{count(seen, 'object')}, {bad} lost or changed"
    return Check(name="results", ok=not bad, found=found, hint="lookout run SOURCE --verify makes them again")


def _readable(opened: StateFolder, ref: ObjectRef) -> bool:
    try:
        opened.store.get(ref)
    except (ObjectMissing, ObjectChanged):
        return False
    return True
