"""Kit for tests of the ledger in etcd: benches for contracts, and other processes at work on a ledger."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from devkit.contracts.ledger import Bench, ManualClock
from devkit.servers.etcd import encode
from devkit.servers.for_tests import EtcdServer
from lookout.ledger.etcd import Address, EtcdLedger

ROOT: Final = Path(__file__).parents[2]
TTL_S: Final = 2
"""Of the sessions of processes that are killed and frozen: etcd ends them after this time."""


@contextmanager
def open_bench(etcd: EtcdServer, prefix: str) -> Iterator[Bench]:
    """A bench for contracts, whose handles are closed at the end."""
    clock = ManualClock()
    with ExitStack() as handles:

        def another() -> EtcdLedger:
            ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, clock)
            handles.callback(ledger.close)
            return ledger

        yield Bench(open=another, clock=clock)


class Worker:
    """A process at work on a ledger. ``said`` is what it said when it was ready."""

    def __init__(self, process: subprocess.Popen[str], said: list[str]) -> None:
        self._process, self.said = process, said
        self.stdout, self.kill, self.wait = process.stdout, process.kill, process.wait
        self.send_signal: Callable[[int], None] = process.send_signal

    def tell(self, *words: str) -> None:
        """Say something to it; nothing but that it may go on, if nothing is given."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()


@contextmanager
def working(module: str, etcd: EtcdServer, prefix: str, command: str) -> Iterator[Worker]:
    """Start ``python -m tests.services.MODULE ... COMMAND`` and wait until it is ready; killed at the end if it still
    runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.services.{module}", etcd.endpoint, prefix, str(TTL_S), command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, *said = process.stdout.readline().split()
        assert ready == "ready"
        yield Worker(process, said)
    finally:
        process.kill()
        process.communicate()


def await_end(etcd: EtcdServer, prefix: str, owner: str) -> None:
    """Wait until etcd has ended the session."""
    deadline_s = time.monotonic() + 10 * TTL_S
    while etcd.ask("kv/range", {"key": encode(f"{prefix}\0w{owner}\0".encode())}).get("count", "0") != "0":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
