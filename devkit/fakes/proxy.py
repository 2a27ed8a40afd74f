"""A bad network between a client and a server: a TCP proxy of the loopback that delays, refuses, cuts and freezes.

Knows no protocol. Runs in a thread of its own; its switches may be turned from any other thread, at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Self, TypeVar

from devkit.servers.ports import LOOPBACK, free_port
from lookout.domain.errors import Unavailable

_CHUNK_BYTES: Final = 64 * 1024
_WAITING_CHUNKS: Final = 16
_BACKLOG: Final = 100
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset, as a lost peer's kernel would."""
_TRIES: Final = 5
_SWITCH_DEADLINE_S: Final = 30.0

T = TypeVar("T")


class Proxy:
    """Passes connections on to ``target`` ("127.0.0.1:port"); a context manager, or ``start`` and ``stop``.

    ``delay_s`` is added to what goes either way, as a long line does: it makes nothing narrower. ``bytes_per_s``, if
    set, is how much passes in a second, each way and each connection. ``cut_after_bytes``, if set, resets each
    connection as soon as so many bytes have come back through it. All three may be set at any time.
    """

    def __init__(self, target: str, *, delay_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        self.target = target
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.cut_after_bytes: int | None = None
        self.port = free_port()
        self.accepted = 0
        """Connections taken so far."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._listener: socket.socket | None = None
        self._passing = asyncio.Event()

    # ---- switches ----

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:port``: what to give a client instead of the server's."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._call(lambda: len(self._open))

    def refuse(self) -> None:
        """Refuse new connections from now on, as a server that is down does; open ones go on."""
        self._run(self._close_listener())

    def accept(self) -> None:
        """Take new connections again, on the same port."""
        self._run(self._listen())

    def freeze(self) -> None:
        """Let no byte pass, either way; connections stay and new ones are taken."""
        self._call(self._passing.clear)

    def thaw(self) -> None:
        """Let pass again what was held and what comes."""
        self._call(self._passing.set)

    def cut(self) -> None:
        """Reset all connections that are open now."""
        self._run(self._cut())

    # ---- life ----

    def start(self) -> Self:
        """Take connections from now on. Raises Unavailable when no port can be had."""
        self._thread.start()
        self.thaw()
        for left in reversed(range(_TRIES)):
            try:
                self.accept()
            except OSError as exc:
                if not left:
                    raise Unavailable("proxy", f"port {self.port}: {exc.strerror}") from exc
                self.port = free_port()
            else:
                break
        return self

    def stop(self) -> None:
        """Refuse, reset what is open, and end."""
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # ---- inside the loop ----

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SWITCH_DEADLINE_S)

    def _call(self, function: Callable[[], T]) -> T:
        async def work() -> T:
            return function()

        return self._run(work())

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=_BACKLOG)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._take, self._listener)

    async def _close_listener(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _take(self, listener: socket.socket) -> None:
        """Take one connection. In one step, so that no connection is between the listener and ``_open``.

        ``asyncio.start_server`` has such a gap in Python 3.11, and loses a connection that is in it when it is closed.
        """
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _ = listener.accept()
            client.setblocking(False)
            self.accepted += 1
            connection = self._loop.create_task(self._serve(client))
            self._open[connection] = client
            connection.add_done_callback(self._open.pop)

    async def _cut(self) -> None:
        connections = dict(self._open)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for client in connections.values():
            # A connection that was cut before its first step has no transport that would close it.
            _reset_on_close(client)
            client.close()

    async def _serve(self, client: socket.socket) -> None:
        """One connection, until both ends have closed it, one has reset it, or it is cut."""
        ends: list[asyncio.StreamWriter] = []
        try:
            from_client, to_client = await asyncio.open_connection(sock=client)
            ends.append(to_client)
            host, _, port = self.target.rpartition(":")
            from_server, to_server = await asyncio.open_connection(host, int(port))
            ends.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(from_client, to_server, back=False))
                both.create_task(self._pass(from_server, to_client, back=True))
        except* OSError:
            # The server is down, or one end is lost: the other one is told by a reset.
            _reset(ends)
        except* asyncio.CancelledError:
            _reset(ends)
        finally:
            for end in ends:
                end.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, back: bool) -> None:
        """One direction. Reading and writing are apart, so that a delay holds up each byte, not the next ones too."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING_CHUNKS)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._read(source, held))
            ends.create_task(self._write(held, sink, back=back))

    async def _read(self, source: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            chunk = await source.read(_CHUNK_BYTES)
            await held.put((self._loop.time() + self.delay_s, chunk))
            if not chunk:
                return

    async def _write(self, held: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, *, back: bool) -> None:
        passed = 0
        while True:
            due_s, chunk = await held.get()
            await asyncio.sleep(due_s - self._loop.time())
            await self._passing.wait()
            if not chunk:
                sink.write_eof()
                return
            for piece in self._pieces(chunk):
                allowed = self.cut_after_bytes - passed if back and self.cut_after_bytes is not None else len(piece)
                sink.write(piece[: max(0, allowed)])
                await sink.drain()
                passed += len(piece)
                if allowed < len(piece):
                    raise ConnectionResetError
                if self.bytes_per_s:
                    await asyncio.sleep(len(piece) / self.bytes_per_s)

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the chunk in pieces of about a twentieth of a second, if there is a limit."""
        size = max(1, int(self.bytes_per_s / 20)) if self.bytes_per_s else len(chunk)
        for begin in range(0, len(chunk), size):
            yield chunk[begin : begin + size]


def _reset(ends: list[asyncio.StreamWriter]) -> None:
    for end in ends:
        connection = end.get_extra_info("socket")
        if connection is not None:
            _reset_on_close(connection)
        end.transport.abort()


def _reset_on_close(connection: socket.socket | TransportSocket) -> None:
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
