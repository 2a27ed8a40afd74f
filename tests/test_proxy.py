"""The bad network that tests put before a server: it passes on, delays, narrows, refuses, cuts and freezes."""

from __future__ import annotations

import gc
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from devkit.fakes.proxy import Proxy


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, and closes when the other end has no more."""

    def handle(self) -> None:
        try:
            while chunk := self.request.recv(65_536):
                self.request.sendall(chunk)
        except ConnectionError:
            return


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def target() -> Iterator[str]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(target: str) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    found = b""
    while len(found) < size and (chunk := connection.recv(size - len(found))):
        found += chunk
    return found


@pytest.mark.parametrize("size", [1, 65_536, 3_000_000])
def test_bytes_pass_whole_both_ways(proxy: Proxy, size: int) -> None:
    sent = bytes(range(256)) * (size // 256 + 1)
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(sent[:size],))
        sender.start()
        assert receive(connection, size) == sent[:size]
        sender.join()
    assert proxy.accepted == 1


def test_an_end_passes_and_what_is_under_way_comes_still(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 100) == b"last words"


def test_a_delay_holds_up_and_does_not_narrow(proxy: Proxy) -> None:
    proxy.delay_s = 0.1
    with connect(proxy) as connection:
        began_s = time.monotonic()
        connection.sendall(b"x")
        assert receive(connection, 1) == b"x"
        assert time.monotonic() - began_s >= 0.2
        began_s = time.monotonic()
        sender = threading.Thread(target=connection.sendall, args=(bytes(1_000_000),))
        sender.start()
        assert len(receive(connection, 1_000_000)) == 1_000_000
        sender.join()
        # 1 MB is 16 chunks of 64 KiB at least: one delay after the other would take 1.6 s each way.
        assert time.monotonic() - began_s < 3


def test_a_limit_narrows(proxy: Proxy) -> None:
    proxy.bytes_per_s = 100_000
    with connect(proxy) as connection:
        began_s = time.monotonic()
        connection.sendall(bytes(30_000))
        assert len(receive(connection, 30_000)) == 30_000
        assert time.monotonic() - began_s >= 0.25


def test_refusing_refuses_new_ones_and_leaves_open_ones(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy).close()
        connection.sendall(b"2")
        assert receive(connection, 1) == b"2"
    proxy.accept()
    with connect(proxy) as connection:
        connection.sendall(b"3")
        assert receive(connection, 1) == b"3"


def test_a_cut_resets_open_ones_and_takes_new_ones(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        assert proxy.connections == 1
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        connection.sendall(b"2")
        assert receive(connection, 1) == b"2"


def test_a_cut_in_mid_answer_comes_after_so_many_bytes(proxy: Proxy) -> None:
    proxy.cut_after_bytes = 10
    with connect(proxy) as connection:
        connection.sendall(bytes(10))
        assert len(receive(connection, 10)) == 10
        connection.sendall(b"more")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_frozen_one_takes_connections_and_passes_nothing_until_it_thaws(proxy: Proxy) -> None:
    with connect(proxy) as old:
        old.sendall(b"1")
        assert receive(old, 1) == b"1"
        proxy.freeze()
        old.sendall(b"2")
        with connect(proxy) as new:
            new.sendall(b"3")
            for connection in (old, new):
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(10)
            proxy.thaw()
            assert (receive(old, 1), receive(new, 1)) == (b"2", b"3")


def test_a_frozen_one_can_be_cut(proxy: Proxy) -> None:
    proxy.freeze()
    with connect(proxy) as connection:
        connection.sendall(b"1")
        end_s = time.monotonic() + 10
        while not proxy.connections:
            assert time.monotonic() < end_s
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_server_that_is_down_is_a_reset(target: str) -> None:
    with Proxy("127.0.0.1:1") as proxy:
        with pytest.raises(ConnectionError), connect(proxy) as connection:  # as early as in connect
            assert connection.recv(1), "a reset was expected, not an end"
        proxy.target = target
        with connect(proxy) as again:
            again.sendall(b"1")
            assert receive(again, 1) == b"1"


def test_stopping_ends_what_is_open(target: str) -> None:
    proxy = Proxy(target).start()
    with connect(proxy) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        proxy.stop()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy).close()


def test_it_may_be_stopped_while_clients_connect(target: str) -> None:
    """No connection is left without an owner, whatever it was doing: pytest makes an unclosed one an error."""
    for _ in range(50):
        with Proxy(target) as proxy:
            clients = [socket.socket() for _ in range(20)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", proxy.port))
        for client in clients:
            client.close()
    gc.collect()
