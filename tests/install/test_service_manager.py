"""A watch tells the service manager that it is ready, that its loop turns, and of its end, on a real socket."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lookout.app.service_manager import ServiceManager
from lookout.config.settings import Settings
from lookout.domain.errors import InputRejected
from tests.install.conftest import ROOT

LOOKOUT = Path(sys.executable).with_name("lookout")
PHOTOS = ROOT / "examples" / "photos"
HANGS_S = 3.0
"""Longer than the pauses of a loop that turns, which are of a second."""


class Manager:
    """The end of the socket at which a service manager listens."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def receive(self, limit_s: float = 60.0) -> str | None:
        """The next message; None when none comes in that time."""
        self._socket.settimeout(limit_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return None

    def drain(self) -> None:
        while self.receive(0.01) is not None:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    with closing(Manager(address)) as manager:
        yield manager


def test_an_abstract_address_is_reached() -> None:
    with closing(Manager("@lookout-test-notify")) as manager:
        ServiceManager("@lookout-test-notify", None).ready()
        assert manager.receive() == "READY=1"


def test_turns_are_told_four_times_within_the_limit(manager: Manager, address: str) -> None:
    times_s = iter([100.0, 102.4, 102.5, 103.0, 105.1])
    service = ServiceManager(address, 10.0, steady=lambda: next(times_s))
    told = []
    for _ in range(5):
        service.turned()
        told.append(manager.receive(0.05))
    assert told == ["WATCHDOG=1", None, "WATCHDOG=1", None, "WATCHDOG=1"]


def test_turns_are_not_told_without_a_limit(manager: Manager, address: str) -> None:
    ServiceManager(address, None).turned()
    assert manager.receive(0.05) is None


def test_the_end_is_told_however_it_comes(manager: Manager, address: str) -> None:
    with pytest.raises(ValueError, match="ended"), ServiceManager(address, None):
        raise ValueError("ended")
    assert manager.receive() == "STOPPING=1"


@pytest.mark.parametrize("address", [None, "/nowhere/notify"])
def test_a_manager_that_is_not_there_harms_nothing(address: str | None) -> None:
    with ServiceManager(address, 1.0) as service:
        service.ready()
        service.turned()


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e6"])
def test_a_limit_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputRejected, match="WATCHDOG_USEC"):
        Settings.from_environment({"WATCHDOG_USEC": text})


def test_a_watch_tells_of_itself_and_is_silent_while_its_loop_stands(
    manager: Manager, address: str, tmp_path: Path
) -> None:
    source, state = tmp_path / "source", tmp_path / "state"
    source.mkdir()
    with watching(source, state, address) as process:
        assert manager.receive() == "READY=1"
        assert [manager.receive(), manager.receive()] == ["WATCHDOG=1", "WATCHDOG=1"]
        with closing(sqlite3.connect(state / "ledger.sqlite", isolation_level=None)) as ledger:
            ledger.execute("BEGIN IMMEDIATE")  # the loop waits for its turn to write
            shutil.copy(PHOTOS / "kitchen_1763798520.jpg", source)
            wait_for_silence(manager)
            ledger.execute("ROLLBACK")
        manager.drain()
        assert manager.receive() == "WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        while (message := manager.receive()) == "WATCHDOG=1":
            pass
        assert message == "STOPPING=1"
        assert process.wait(30) == 130


def test_a_watch_that_uploads_tells_of_itself(manager: Manager, address: str, tmp_path: Path) -> None:
    source, state = tmp_path / "source", tmp_path / "state"
    source.mkdir()
    store = {"LOOKOUT_STORE": "s3+http://127.0.0.1:9"}
    keys = {"LOOKOUT_STORE_ACCESS_KEY": "a", "LOOKOUT_STORE_SECRET_KEY": "b"}
    with watching(source, state, address, "--upload", **store, **keys) as process:
        assert [manager.receive(), manager.receive()] == ["READY=1", "WATCHDOG=1"]
        process.send_signal(signal.SIGTERM)
        while (message := manager.receive()) == "WATCHDOG=1":
            pass
        assert message == "STOPPING=1"
        assert process.wait(30) == 130


def wait_for_silence(manager: Manager) -> None:
    ends_s = time.monotonic() + 60
    while manager.receive(HANGS_S) is not None:
        assert time.monotonic() < ends_s


@contextmanager
def watching(
    source: Path, state: Path, address: str, *options: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    command = [LOOKOUT, "watch", source, "--state", state, *options]
    told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
    process = subprocess.Popen(command, env=environment | told, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
