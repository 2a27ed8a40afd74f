"""An intake, put together and served: the API, the recorder and the dispatcher. Knows no environment and no backend."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.applications import Starlette

from event_sources.intake.connections import BoundedProtocol
from event_sources.intake.dispatcher import Dispatcher, Pace
from event_sources.intake.hints import HintReader
from event_sources.intake.http_api import ANSWER_S, Buckets, IntakeApi
from event_sources.intake.metrics import Metrics
from event_sources.intake.picture_api import PictureApi, PictureProtocol, WayIn
from event_sources.intake.recent_versions import RecentVersions
from event_sources.intake.recorder import Pictures, Recorder
from event_sources.intake.settings import HintSettings
from event_sources.intake.workflow_trigger import EventSource
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Pipeline
from lookout.filesystem.files import words
from lookout.ledger.batches import BatchLedger
from lookout.ledger.port import Ledger

if TYPE_CHECKING:
    from event_sources.intake.hint_listener import HintListener

GRACE_S: Final = 7
"""How long posts that have come may take when it is told to end; with what follows it ends within ten seconds."""
_STOP_S: Final = 0.7
_ACCEPTED_TOGETHER: Final = 128
"""Connections accepted before those that are there are read: of a burst, none is ended before its request was seen."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Surroundings of an intake. ``buckets`` are full names; each thread opens a ledger of its own."""

    open_ledger: Callable[[], BatchLedger]
    pictures: Pictures
    pipeline: Pipeline
    buckets: Buckets
    event_source: EventSource
    check: Callable[[Ledger], None] = lambda _: None
    """Raises a LookoutError for a ledger that nothing may be entered into."""
    hints: HintSettings | None = None


class Intake:
    """One intake; ``nonce`` sets it apart from others. A post is answered within ``answer_s``; ``protocol`` has the
    limits of connections. With ``way_in`` devices may upload by HTTP, on a port and a thread of their own, so that no
    flood of pictures blocks events and health checks."""

    def __init__(
        self,
        where: Where,
        *,
        token: str,
        pace: Pace,
        clock: Callable[[], float],
        nonce: str,
        answer_s: float = ANSWER_S,
        protocol: type[BoundedProtocol] = BoundedProtocol,
        way_in: WayIn | None = None,
    ) -> None:
        self._protocol = protocol
        self._side: _SideServer | None = None
        readers = [stage.name for stage in where.pipeline.readers(where.pipeline.inputs)]
        self.metrics, self.recent = Metrics(clock), RecentVersions()
        self.dispatcher = Dispatcher(
            open_ledger=where.open_ledger,
            poster=where.event_source,
            readers=readers,
            stages=[stage.name for stage in where.pipeline.stages],
            pace=pace,
            clock=clock,
            nonce=nonce,
            metrics=self.metrics,
        )
        self.recorder = Recorder(
            open_ledger=where.open_ledger,
            pictures=where.pictures,
            check_ledger=where.check,
            readers=readers,
            clock=clock,
            on_taken=lambda keys: self.dispatcher.line.add(sorted(keys), clock()),
            metrics=self.metrics,
            on_recorded=self.recent.add,
        )
        self.api = IntakeApi(
            token=token,
            buckets=where.buckets,
            recorder=self.recorder,
            forward=where.event_source.post_event,
            is_alive=self._is_alive,
            metrics=self.metrics,
            answer_s=answer_s,
            recent=self.recent,
        )
        self._hints = None if where.hints is None else self._listener(where.hints, where.buckets.pictures)
        self.pictures = (
            None
            if way_in is None
            else PictureApi(way_in, on_kept=self.recorder.take, metrics=self.metrics, clock=clock)
        )

    def _listener(self, hints: HintSettings, bucket: str) -> HintListener:
        from event_sources.intake.hint_listener import HintListener  # NATS's client, which takes a while to load

        reader = HintReader(bucket=bucket, recorder=self.recorder, recent=self.recent, metrics=self.metrics)
        return HintListener(hints, reader, self.metrics)

    def _is_alive(self) -> bool:
        others = [one for one in (self._side, self._hints) if one is not None]
        return self.recorder.is_alive and self.dispatcher.is_alive and all(one.is_alive for one in others)

    def serve(self, listening: socket.socket, for_pictures: socket.socket | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then answer what has come and end, within ten seconds."""
        server = self.server()

        def stop(_number: int, _frame: FrameType | None) -> None:
            server.should_exit = True  # before it serves and after; while it does, it has a handler of its own

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        self.run(server, listening, for_pictures)

    def server(self) -> uvicorn.Server:
        """Return the server that ``run`` runs; ``should_exit`` ends it."""
        return _Server(_config(self.api.app(), self._protocol))

    def run(self, server: uvicorn.Server, listening: socket.socket, for_pictures: socket.socket | None = None) -> None:
        """Work and serve until the server is told to exit. Devices are served by ``for_pictures``."""
        self.recorder.start()
        self.dispatcher.start()
        if self._hints is not None:
            self._hints.start()
        if self.pictures is not None and for_pictures is not None:
            self._side = _SideServer(_Server(_config(self.pictures.app(), PictureProtocol)), for_pictures)
            if isinstance(server, _Server):
                server.other = self._side
            self._side.start()
        try:
            server.run([listening])
        finally:
            if self._side is not None:
                self._side.end()
                self._side.join()
            if self._hints is not None:
                self._hints.stop(_STOP_S)
            self.dispatcher.stop(_STOP_S)
            self.recorder.stop(_STOP_S)


class _Server(uvicorn.Server):
    """A server that tells another one of the signal to end, so that both answer what has come at the same time."""

    other: _SideServer | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.other is not None:
            self.other.end()
        super().handle_exit(sig, frame)


class _SideServer:
    """A server on a thread of its own."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self._server = server
        self._end_at_s = 0.0
        # Daemon: a store that does not answer must not delay the end of the process.
        self._thread = threading.Thread(target=server.run, args=([listening],), name="pictures", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Tell it to end; returns at once."""
        self._server.should_exit = True
        self._end_at_s = self._end_at_s or time.monotonic() + GRACE_S

    def join(self) -> None:
        """Return when it has ended, or has had its time for that."""
        self._thread.join(max(0.0, self._end_at_s - time.monotonic()))


def _config(app: Starlette, protocol: type[BoundedProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_ACCEPTED_TOGETHER,
        timeout_graceful_shutdown=GRACE_S,
    )


def listen(host: str, port: int, setting: str = "LOOKOUT_INTAKE_LISTEN") -> socket.socket:
    """Return a listening socket; with port 0 the system chooses one. Raises InputRejected that names the setting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is named, and an answer goes out in two pieces: otherwise the
    # second waits for 40 ms, until the other side has confirmed the first.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_ACCEPTED_TOGETHER)
    except OSError as exc:
        listening.close()
        raise InputRejected(f"cannot listen on {host}:{port}: {words(exc)}", setting) from exc
    return listening
