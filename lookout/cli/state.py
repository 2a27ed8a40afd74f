"""Opening a state folder: the one place that chooses the embedded ledger, store, workers and channel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from lookout.datum import Json
from lookout.errors import InputRejected, Unavailable
from lookout.ledger.base import Ledger
from lookout.ledger.sqlite import SqliteLedger
from lookout.objects.base import ObjectStore
from lookout.objects.files import words
from lookout.objects.folder import FolderStore
from lookout.objects.routes import Routes
from lookout.objects.source import FolderSource
from lookout.outbox import Channel
from lookout.pipeline import Pipeline, load
from lookout.settings import Settings
from stages.pipeline import PIPELINE

LEDGER_FILE: Final = "ledger.sqlite"
OBJECTS_FOLDER: Final = "objects"
OUTBOX_FOLDER: Final = "outbox"
THRESHOLD_NOTE: Final = "threshold"


@dataclass(frozen=True, kw_only=True)
class StateFolder:
    """A state on disk, opened. ``open_ledger`` gives further connections."""

    path: Path
    ledger: Ledger
    open_ledger: Callable[[], Ledger]
    store: ObjectStore

    def page(self) -> Path:
        """Where the page is, once it was drawn."""
        return self.path.absolute() / OBJECTS_FOLDER / "plot" / "index.html"


@contextmanager
def open_state(settings: Settings, chosen: Path | None, *, create: bool = False) -> Iterator[StateFolder]:
    """Open the chosen state folder, or the one of the settings. Raises InputRejected when it is not there or is none,
    Unavailable when it cannot be written, Corrupt when its ledger is damaged."""
    path = chosen or settings.state
    _prepare(path, create=create)

    def open_ledger() -> Ledger:
        return SqliteLedger(path / LEDGER_FILE)

    ledger = open_ledger()
    try:
        objects = FolderStore((path / OBJECTS_FOLDER).absolute(), durable=settings.durable)
        store = Routes({PIPELINE.inputs: FolderSource()}, objects)
        yield StateFolder(path=path, ledger=ledger, open_ledger=open_ledger, store=store)
    finally:
        ledger.close()


def channel_for(settings: Settings, state: StateFolder) -> Channel:
    """SendGrid when there is a key, else files in the state folder."""
    if settings.sendgrid_api_key:
        options = {"host": settings.sendgrid_host} if settings.sendgrid_host else {}
        make = load("stages.threat_detect.sendgrid_channel:SendGridChannel")
        return cast(Channel, make(settings.sendgrid_api_key, **options))
    make = load("stages.threat_detect.folder_channel:FolderChannel")
    return cast(Channel, make(state.path / OUTBOX_FOLDER))


def pipeline_for(state: StateFolder, threshold: float | None) -> Pipeline:
    """The pipeline with the threshold given, or else with the one that was given last: it stays in force."""
    if threshold is not None:
        state.ledger.put_note(THRESHOLD_NOTE, repr(threshold))
    kept = state.ledger.find_note(THRESHOLD_NOTE)
    if kept is None:
        return PIPELINE
    overrides: Mapping[str, Mapping[str, Json]] = {"object-detect": {"threshold": float(kept)}}
    return PIPELINE.with_params(overrides)


def references_for(state: StateFolder, rules: Path | None, model: Path | None) -> dict[str, Path]:
    """The paths to bring into force: those given, and the shipped model where none is in force yet."""
    given = {name: path for name, path in (("rules", rules), ("model", model)) if path is not None}
    if "model" not in given and not state.ledger.references("model"):
        shipped = Path(__file__).parents[2] / "models"
        if not shipped.is_dir():
            raise InputRejected(
                "no model is in force and none is shipped with this installation", "--model", "name one"
            )
        given["model"] = shipped
    return given


def default_workers() -> int:
    """One worker a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_obstacle(path: Path) -> str | None:
    """Why the path cannot be, or become, a state folder; None when it can. Raises OSError when it cannot be seen."""
    if not path.is_dir():
        return "is not a folder" if path.exists() or path.is_symlink() else None
    names = {entry.name for entry in path.iterdir()}
    return "holds other things than a state" if names and not names & {LEDGER_FILE, OBJECTS_FOLDER} else None


def check_channel(settings: Settings) -> None:
    """Raises InputRejected for a host to which no mail could be sent, before any work is done."""
    if settings.sendgrid_api_key and settings.sendgrid_host:
        try:
            load("stages.threat_detect.http_post:target")(settings.sendgrid_host)
        except InputRejected as exc:
            raise InputRejected(exc.what, "LOOKOUT_SENDGRID_HOST", exc.hint) from exc


def _prepare(path: Path, *, create: bool) -> None:
    hint = "choose another with --state or LOOKOUT_STATE"
    try:
        if create:
            obstacle = find_obstacle(path)
            if obstacle is not None:
                raise InputRejected(obstacle, str(path), hint)
            path.mkdir(parents=True, exist_ok=True)
        elif not (path / LEDGER_FILE).is_file():
            raise InputRejected("is not a state folder", str(path), "name one with --state or LOOKOUT_STATE")
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise Unavailable(str(path), words(exc)) from exc
        raise InputRejected(f"cannot be the state folder: {words(exc)}", str(path), hint) from exc
