"""Floods of silent, slow and huge requests, by real sockets: events are still taken, and health is still told."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from event_sources.intake.connections import MOST, BoundedProtocol
from event_sources.intake.s3_events import MAX_BODY_BYTES
from tests.event_sources.intake_kit import (
    PACE,
    TOKEN,
    FolderPictures,
    RealWorld,
    Served,
    call,
    event,
    make_intake,
    serving,
    serving_bus,
)

FLOOD = MOST + 18
EVENT = json.dumps(event("texts", "a/1")).encode()
SLOW_HEAD = b"POST /uploads HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = "POST /uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"


FLOODING = """
import itertools, socket, sys
from collections import deque
port, sent, most = int(sys.argv[1]), eval(sys.argv[2]), int(sys.argv[3])
lines = deque()
for number, text in enumerate(itertools.cycle(sent), 1):
    try:
        lines.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        lines[-1].sendall(text)
    except OSError:
        pass
    if len(lines) > most:
        lines.popleft().close()
    if number == most:
        print("full", flush=True)
"""


class Impatient(BoundedProtocol):
    """Waits for a request no longer than a test does."""

    request_s = 0.5


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        world = RealWorld(tmp_path)
        world.put("a/1", "calm")
        bus = stack.enter_context(serving_bus())

        def one(protocol: type[BoundedProtocol] = BoundedProtocol, answer_s: float = 6.0) -> Served:
            pictures = FolderPictures(world)
            made = make_intake(world, pictures, bus.url, pace=PACE, nonce="aaaa", protocol=protocol, answer_s=answer_s)
            return stack.enter_context(serving(made, pictures))

        yield one


def head(token: str, length: int) -> bytes:
    return BODY.format(token=token, length=length).encode()


def connect(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))


def all_is_well(intake: Served) -> None:
    assert intake.call("GET", "/healthz").status == 200
    assert intake.post("a/1").status == 200
    assert intake.call("GET", "/readyz").status == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"P", SLOW_HEAD, head("wrong", 999), head("wrong", 999) + b"{", head(TOKEN, 999) + b"{"],
    ids=["silent", "a letter", "half a head", "no token", "no token, half a body", "a token, half a body"],
)
def test_more_connections_than_there_may_be_keep_nobody_out(serve: Serve, sent: bytes) -> None:
    intake = serve(answer_s=2.0)
    with ExitStack() as stack:
        for _ in range(FLOOD):
            with suppress(ConnectionError):
                connect(stack, intake.port).sendall(sent)
        all_is_well(intake)


def test_a_flood_that_goes_on_keeps_nobody_out(serve: Serve) -> None:
    """Each connection that was ended is replaced at once, by a silent, a slow or a huge one."""
    intake = serve()
    sent = [b"", SLOW_HEAD, head("wrong", 10**12) + b"x" * 100_000]
    with subprocess.Popen(
        [sys.executable, "-c", FLOODING, str(intake.port), repr(sent), str(FLOOD)], stdout=subprocess.PIPE
    ) as flooding:
        try:
            assert flooding.stdout is not None
            assert flooding.stdout.readline() == b"full\n"
            for _ in range(5):
                all_is_well(intake)
        finally:
            flooding.kill()


@pytest.mark.parametrize("start", [b"", SLOW_HEAD, head(TOKEN, MAX_BODY_BYTES)], ids=["nothing", "head", "body"])
def test_one_byte_now_and_then_does_not_keep_a_connection(serve: Serve, start: bytes) -> None:
    intake = serve(Impatient, answer_s=30.0)
    began_s = time.monotonic()
    with ExitStack() as stack:
        slow = connect(stack, intake.port)
        slow.settimeout(0.05)
        slow.sendall(start)
        with suppress(ConnectionError):
            while time.monotonic() < began_s + 10 and not is_closed(slow):
                slow.sendall(b"x")
    assert Impatient.request_s <= time.monotonic() - began_s < 10


def is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1000) == b""
    except TimeoutError:
        return False


def test_a_connection_that_asks_again_and_again_is_kept(serve: Serve) -> None:
    """Longer in all than a single request may take."""
    line = http.client.HTTPConnection("127.0.0.1", serve(Impatient).port, timeout=10)
    line.connect()
    line.auto_open = 0
    with closing(line):
        end_s = time.monotonic() + 3 * Impatient.request_s
        while time.monotonic() < end_s:
            line.request("POST", "/uploads", EVENT, {"Authorization": f"Bearer {TOKEN}"})
            answer = line.getresponse()
            assert (answer.status, json.loads(answer.read())) == (200, {"taken": 1})


def test_what_follows_a_refusal_is_not_read(serve: Serve) -> None:
    intake = serve()
    with ExitStack() as stack:
        line = connect(stack, intake.port)
        line.sendall(head("wrong", 10**12))
        assert line.recv(1000).startswith(b"HTTP/1.1 401")
        line.settimeout(10)
        with pytest.raises(ConnectionError):
            line.sendall(b"x" * 100_000_000)


def test_all_who_ask_at_once_whether_it_is_ready_share_one_look(serve: Serve) -> None:
    intake, checks, go = serve(), [], threading.Event()

    def count() -> None:
        checks.append(1)
        go.wait(10)

    intake.pictures.check = count  # type: ignore[method-assign]
    statuses: list[int] = []
    askers = [
        threading.Thread(target=lambda: statuses.append(call(intake.port, "GET", "/readyz").status)) for _ in range(40)
    ]
    for asker in askers:
        asker.start()
    assert intake.call("GET", "/healthz").status == 200
    go.set()
    for asker in askers:
        asker.join()
    assert statuses == [200] * 40
    assert len(checks) < 10
