"""Opening a deployment: the one place that chooses ledger, store, workers and channel, by the settings."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from lookout.app.installation import Installation
from lookout.app.state_identity import (
    LEDGER_FILE,
    STATE_FILE,
    bind,
    bind_servers,
    check_identity,
    check_ledger_file,
    check_servers,
)
from lookout.config.addresses import StoreAddress
from lookout.config.settings import Settings
from lookout.domain.errors import InputRejected, Unavailable, find_lack
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Json
from lookout.filesystem.files import words
from lookout.ledger.notes import read_note
from lookout.object_store.port import ObjectStore
from lookout.outbox.channel import Channel
from lookout.outbox.factory import OutboxFactory
from lookout.outbox.sent_journal import JournaledChannel
from lookout.sources.merge import Bucket

if TYPE_CHECKING:
    from lookout.ledger.etcd import EtcdLedger
    from lookout.ledger.sqlite import SqliteLedger
    from lookout.object_store.minio import MinioStore

    OpenedLedger: TypeAlias = SqliteLedger | EtcdLedger

OBJECTS_FOLDER: Final = "objects"
OUTBOX_FOLDER: Final = "outbox"
JOURNAL_FILE: Final = "sent.jsonl"
"""Journal of alerts that have left; see ``JournaledChannel``."""
SENT_FILE: Final = "sent.sqlite"
"""Record of what `lookout watch --upload` has brought to a bucket."""
PLOT: Final = "plot"
PAGE: Final = "index.html"
THRESHOLD_NOTE: Final = "threshold"
PASSES_NOTE: Final = "passes"
DETECTION: Final = "object-detect"
"""Stage that threshold and passes are parameters of."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Deployment, opened: its ledger and its store, in the state folder or on servers. ``path`` is the folder for what
    stays on this machine. ``open_ledger`` gives further connections; ``bucket`` is the one of pictures, if the store
    has it; ``outboxes`` makes outboxes with the usual limits; those of
    ``services`` make no mail a file, for a process whose folder does not outlive it."""

    installation: Installation
    settings: Settings
    path: Path
    ledger: OpenedLedger
    open_ledger: Callable[[], OpenedLedger]
    store: ObjectStore
    outboxes: OutboxFactory
    services: OutboxFactory
    bucket: Bucket | None = None
    minio: MinioStore | None = None
    """The store, when it is not in the folder."""
    address: StoreAddress | None = None
    """Address of the store, when it is not in the folder."""

    @property
    def page(self) -> str:
        """Place of the page, once it is drawn."""
        if self.address is not None:
            return f"{self.address.bucket_url(PLOT)}/{PAGE}"
        return str(self.path.absolute() / OBJECTS_FOLDER / PLOT / PAGE)

    def find_page(self) -> str | None:
        """Give the place of the page, None if it was not drawn yet."""
        drawn = next(self.store.list(PLOT, PAGE), None)
        return self.page if drawn is not None and drawn.key == PAGE else None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline as it is declared; see ``pipeline_in_force`` for the parameters that were given last."""
        return self.installation.pipeline

    def pipeline_in_force(self, threshold: float | None = None, passes: str | None = None) -> Pipeline:
        """Give the pipeline with the threshold and the passes given, or else with those that were given last: they stay
        in force."""
        if threshold is not None:
            self.ledger.put_note(THRESHOLD_NOTE, repr(threshold))
        if passes is not None:
            self.ledger.put_note(PASSES_NOTE, json.dumps(passes))
        kept = read_note(self.ledger, THRESHOLD_NOTE, "a number from 0 to 1", float, None)
        return self.pipeline_with(kept, read_note(self.ledger, PASSES_NOTE, "a text", str, None))

    def pipeline_supposed(self, threshold: float | None, passes: str | None) -> Pipeline:
        """Give the pipeline as if these were given, and change nothing."""
        given: Mapping[str, Json] = {"threshold": threshold, "passes": passes}
        params = {name: value for name, value in given.items() if value is not None}
        return self.pipeline_in_force().with_params({DETECTION: params})

    def pipeline_with(self, threshold: float | None, passes: str | None) -> Pipeline:
        """Give the pipeline with these parameters where they are not None; without one it is as it is declared."""
        given: Mapping[str, Json] = {"threshold": threshold, "passes": passes}
        params = {name: value for name, value in given.items() if value is not None}
        return self.pipeline.with_params({DETECTION: params}) if params else self.pipeline

    def references(self, paths: Mapping[str, Path | None]) -> dict[str, Path]:
        """Give the paths to bring into force by bucket: those given, and the shipped model where none is in force yet,
        or one that was shipped before."""
        given = {bucket: path for bucket, path in paths.items() if path is not None}
        if "model" not in given and self.wants_shipped_model:
            shipped = self.installation.find_asset("models")
            if shipped is None:
                raise InputRejected(
                    "no model is in force and none is shipped with this installation", "--model", "name one"
                )
            given["model"] = shipped
        return given

    @property
    def wants_shipped_model(self) -> bool:
        """True if no model is in force, or only what was shipped before: that was not chosen by anybody."""
        files = {ref.sha256 for unit in self.ledger.references("model") for ref in unit.files.values()}
        if not files:
            return True
        return bool(files & self.installation.shipped_before) and self.installation.find_asset("models") is not None

    def begin_anew(self) -> None:
        """Have the ledger that is open be the one of this state from here on."""
        if self.settings.ledger is None:
            bind(self.path, self.ledger)
        else:
            bind_servers(self.ledger)


@dataclass(frozen=True, kw_only=True)
class Program:
    """Process with its settings, and the installation that its entry point put together."""

    settings: Settings
    installation: Installation

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline as it is declared."""
        return self.installation.pipeline

    @contextmanager
    def open(self, chosen: Path | None = None, *, create: bool = False, anew: bool = False) -> Iterator[Deployment]:
        """Open the ledger and the store that the settings name, or those of the chosen state folder, or of the one of
        the settings. Raises InputRejected when the folder is not there or is none, or an address is of no use;
        Unavailable when something does not answer or cannot be written; Corrupt when the ledger is damaged, or is not
        that of the results beside it. ``create`` makes what is not there; without it a state that cannot be written is
        read. ``anew`` is for a ledger that takes the place of a lost one: it is not compared with the results;
        ``begin_anew`` binds it."""
        settings = self.settings
        path = chosen or settings.state
        if settings.store is None or settings.ledger is None:
            _prepare(path, create=create or (settings.store is not None or settings.ledger is not None))
        if settings.ledger is None and not anew:
            check_ledger_file(self.pipeline, path, path / LEDGER_FILE, path / OBJECTS_FOLDER)
        store, bucket, minio = _open_store(self, path)
        another = partial(open_ledger, settings, path, writing=create)
        ledger = another()
        outboxes = OutboxFactory(store=store, channel=partial(open_channel, self, path), clock=time.time)
        try:
            opened = Deployment(
                installation=self.installation,
                settings=settings,
                path=path,
                ledger=ledger,
                open_ledger=another,
                store=store,
                outboxes=outboxes,
                services=replace(outboxes, channel=partial(open_channel, self, path, files=False)),
                bucket=bucket,
                minio=minio,
                address=settings.store,
            )
            if not anew:
                _check_identity(opened, create=create)
            yield opened
        finally:
            ledger.close()

    def check_channel(self) -> None:
        """Raise InputRejected for a host to which no mail could be sent, before any work is done."""
        self.installation.load_channels().check_mail(self.settings)


def _check_identity(opened: Deployment, *, create: bool) -> None:
    if opened.settings.ledger is None:
        check_identity(opened.path, opened.ledger)
        if create:
            bind(opened.path, opened.ledger)
    elif opened.settings.store is not None:
        check_servers(opened.pipeline, opened.ledger, opened.store)
        if create:
            bind_servers(opened.ledger)


def find_object(settings: Settings, name: str, among: Collection[str]) -> tuple[str, str]:
    """Bucket and key of ``<bucket>/<key>``, where the bucket has its full name, as in what a store tells of it; gives
    it without the deployment's prefix. Raises InputRejected unless it is one of ``among`` and the store can have it."""
    prefix = settings.store.prefix if settings.store is not None else ""
    full, _, key = name.partition("/")
    bucket = full[len(prefix) :] if full.startswith(prefix) else ""
    if bucket not in among or not key:
        known = " or ".join(f"{prefix}{bucket}/<key>" for bucket in among)
        raise InputRejected(f"expected {known}, got {name!r}", "--object", "the store is that of LOOKOUT_STORE")
    if settings.store is not None:  # what cannot be there would be kept as a picture that fails for ever
        from lookout.object_store.minio.names import check_object_key

        check_object_key(bucket, key)
    return bucket, key


def open_ledger(settings: Settings, path: Path, *, writing: bool = True) -> OpenedLedger:
    """Open a connection to the ledger that the settings name, or to the one in the folder. Raises as
    ``Program.open``."""
    # Imported here: who works in a folder need not load what speaks to servers, and the other way round.
    if settings.ledger is None:
        from lookout.ledger.sqlite import SqliteLedger

        return SqliteLedger(path / LEDGER_FILE, writing=writing)
    # gRPC's core writes to stderr what it also answers as an error, unless it is told before it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from lookout.ledger.etcd import Address, EtcdLedger

    return EtcdLedger(Address.of(settings.ledger), prefix=f"/{settings.ledger.prefix}")


def open_minio(address: StoreAddress, collected: Sequence[str] = ()) -> MinioStore:
    """Open the store on the server, which frees old versions of the buckets ``collected``; nothing is sent, and
    nothing that speaks to the server is loaded yet."""
    from lookout.object_store.minio import Access, MinioStore

    access = Access(
        endpoint=address.endpoint,
        access_key=address.access_key,
        secret_key=address.secret_key,
        secure=address.secure,
        ca=None if address.ca is None else str(address.ca),
    )
    return MinioStore(access, prefix=address.prefix, collected=collected)


def _open_store(program: Program, path: Path) -> tuple[ObjectStore, Bucket | None, MinioStore | None]:
    """Open the store, and if it is on a server, the bucket of pictures in it; no request is sent yet."""
    settings, inputs = program.settings, program.pipeline.inputs
    if settings.store is not None:
        from lookout.object_store.minio.names import FILE_ENDINGS
        from lookout.sources.bucket import BucketSource

        minio = open_minio(settings.store, program.installation.buckets[1:])
        return minio, BucketSource(minio, inputs, FILE_ENDINGS), minio
    from lookout.object_store.folder.store import FolderStore
    from lookout.object_store.routing import Routes
    from lookout.sources.folder import FolderSource

    objects = FolderStore((path / OBJECTS_FOLDER).absolute(), durable=settings.durable)
    return Routes({inputs: FolderSource()}, objects), None, None


def open_channel(program: Program, path: Path, name: str, *, files: bool = True) -> Channel:
    """Open the channel of that name, with the journal of what has left. Raises InputRejected for one that is not set
    up. ``files`` allows mails to become files in the state folder, where no mail service is set."""
    folder = path / OUTBOX_FOLDER if files else None
    channel = program.installation.load_channels().open(name, program.settings, folder)
    return JournaledChannel(channel, path / JOURNAL_FILE)


def default_workers() -> int:
    """Give the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_obstacle(path: Path) -> str | None:
    """Give the reason why the path cannot be, or become, a state folder; None when it can. Raises OSError when it
    cannot be seen."""
    if not path.is_dir():
        return "is not a folder" if path.exists() or path.is_symlink() else None
    names = {entry.name for entry in path.iterdir()}
    known = names & {LEDGER_FILE, OBJECTS_FOLDER, OUTBOX_FOLDER, SENT_FILE, STATE_FILE}
    return "holds other things than a state" if names and not known else None


def _prepare(path: Path, *, create: bool) -> None:
    hint = "choose another with --state or LOOKOUT_STATE"
    try:
        if create:
            obstacle = find_obstacle(path)
            if obstacle is not None:
                raise InputRejected(obstacle, str(path), hint)
            path.mkdir(parents=True, exist_ok=True)
        elif not any((path / name).is_file() for name in (LEDGER_FILE, STATE_FILE)):
            raise InputRejected("is not a state folder", str(path), "name one with --state or LOOKOUT_STATE")
    except OSError as exc:
        if exc.errno == errno.EIO:
            raise Unavailable(str(path), words(exc)) from exc
        what = f"cannot be the state folder: {words(exc)}"
        raise find_lack(exc) or InputRejected(what, str(path), hint) from exc
