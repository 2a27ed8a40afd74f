"""Subscription to hints on NATS core, on a thread of its own. The only module that knows NATS.

Messages wait in a bounded queue; while it is full, the newest is dropped, as the durable event comes anyway. The
client's own reconnecting is off: here one loop connects, subscribes and backs off, whether the server is gone, frozen,
refuses the user or refuses the subscription.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError

from event_sources.intake.hints import HintReader
from event_sources.intake.metrics import Metrics
from event_sources.intake.settings import HintSettings
from lookout.domain.errors import InputRejected
from lookout.filesystem.files import words
from lookout.log import get_logger

log = get_logger(__name__)

WAITING: Final = 1000
"""Messages that wait."""
_WAITING_BYTES: Final = 8 * 1024 * 1024
_CONNECT_S: Final = 2
_PING_S: Final = 5
_PINGS: Final = 2
"""A server that answers no ping is taken for lost after 15 s."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 15.0


class HintListener:
    """Hands the messages of a subject to a reader, from ``start`` to ``stop``; whatever happens to the connection."""

    def __init__(self, settings: HintSettings, reader: HintReader, metrics: Metrics) -> None:
        """Raises InputRejected when the file of the authority cannot be read."""
        self._settings, self._reader, self._metrics = settings, reader, metrics
        self._tls = _trust(settings) if settings.is_tls else None
        self._runner = asyncio.Runner()
        self._ended = asyncio.Event()
        # Daemon: a server that does not answer must not delay the end of the process.
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._loop = self._runner.get_loop()
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End the thread that ``start`` began; what hangs in a call is left alone after so long."""
        with suppress(RuntimeError):  # the loop is closed: the thread has ended
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(within_s)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._listen())

    async def _listen(self) -> None:
        pauses = pauses_s()
        while not self._ended.is_set():
            connection = _Connection(self._settings, self._tls, self._reader)
            try:
                await connection.open()
                self._metrics.hints_connected.set(1)
                log.info("listening for hints", server=self._settings.server, subject=self._settings.subject)
                pauses = pauses_s()
                await connection.wait(self._ended)
            except Exception as error:  # noqa: BLE001 (whatever the client raises: hints must not end the intake)
                self._metrics.hint_losses.inc()
                log.warning("no hints", server=self._settings.server, error=_said(error), hint=_MEANWHILE)
            finally:
                self._metrics.hints_connected.set(0)
                await connection.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), next(pauses))


_MEANWHILE: Final = "durable events come within seconds; it connects again by itself"


class _Connection:
    """One connection, until it is lost."""

    def __init__(self, settings: HintSettings, tls: ssl.SSLContext | None, reader: HintReader) -> None:
        self._settings, self._tls, self._reader = settings, tls, reader
        self._client = Client()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Return when the server has taken the subscription. Raises OSError, TimeoutError or NatsError."""
        opening = asyncio.create_task(self._subscribe())
        either: list[asyncio.Future[None]] = [opening, self._lost]
        try:
            # The client itself goes on for two minutes; it tells the first error by its callback.
            async with asyncio.timeout(4 * _CONNECT_S):
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            await (self._lost if self._lost.done() else opening)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)

    async def _subscribe(self) -> None:
        await self._client.connect(
            self._settings.server,
            user=self._settings.user,
            password=self._settings.password,
            tls=self._tls,
            name="lookout-intake",
            connect_timeout=_CONNECT_S,
            allow_reconnect=False,
            ping_interval=_PING_S,
            max_outstanding_pings=_PINGS,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
        )
        await self._client.subscribe(
            self._settings.subject,
            cb=self._on_message,
            pending_msgs_limit=WAITING,
            pending_bytes_limit=_WAITING_BYTES,
        )
        # The client's first ping overtakes the subscription; the server refuses that before it answers the second.
        for _ in range(2):
            await self._client.flush(_CONNECT_S)

    async def wait(self, ended: asyncio.Event) -> None:
        """Return at the end. Raises OSError, TimeoutError or NatsError when the connection is lost before."""
        ending = asyncio.create_task(ended.wait())
        ending.add_done_callback(lambda _: self._lost.cancel())
        try:
            await self._lost
        except asyncio.CancelledError:
            if not ended.is_set():
                raise
        finally:
            ending.cancel()

    async def close(self) -> None:
        """Close it, however far it was opened."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._client.close()
        except (OSError, TimeoutError, NatsError) as error:
            log.debug("connection not closed in order", error=_said(error))
        if self._lost.done() and not self._lost.cancelled():
            self._lost.exception()  # it was told, or came after the end

    async def _on_message(self, message: Msg) -> None:
        await self._reader.take(message.data)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._reader.drop()
        elif not self._lost.done():
            self._lost.set_exception(error)

    async def _on_closed(self) -> None:
        if not self._lost.done():
            self._lost.set_exception(self._client.last_error or ConnectionResetError("the server closed it"))


def pauses_s() -> Iterator[float]:
    """Yield the pauses between attempts to connect: doubled up to a limit, and shortened by up to half at random, so
    that many clients do not come back together."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _trust(settings: HintSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except OSError as exc:
        raise InputRejected(
            f"cannot read the authorities: {words(exc)}", "LOOKOUT_INTAKE_HINTS_CA", str(settings.ca)
        ) from exc


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
