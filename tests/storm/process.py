"""The real command as a child process whose lines and end can be waited for, and which can be ended in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.storm.beacon import Beacon

LOOKOUT: Final = Path(sys.executable).parent / "lookout"
DEADLINE_S: Final = 300.0
"""Of anything that has to end by itself, on a machine that does much else."""
GOOD_CODES: Final = frozenset((0, 1, 2, 75, 130, -signal.SIGTERM, -signal.SIGKILL))
"""2 as deletions are held back or there is no state yet; a signal may come before the command heeds it."""


class Fault(AssertionError):
    """Something that the product promises and that does not hold."""


class Process:
    """One command at work."""

    def __init__(
        self, arguments: Sequence[object], *, cwd: Path, env: Mapping[str, str], log: Path, beacon: Beacon
    ) -> None:
        self.arguments = tuple(map(str, arguments))
        self._beacon, self._log = beacon, log
        self.lines = 0
        self.ended = False
        self.killed = False
        with log.open("ab") as said:
            said.write(f"\n== {' '.join(self.arguments)}\n".encode())
            self._from = said.tell()
            self._process = subprocess.Popen(
                [LOOKOUT, *self.arguments],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        self._out: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As the out-of-memory killer does: this process, without a warning."""
        self.killed = True
        self._process.kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing if it has ended."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it where it is; returns when it stands, or has ended."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wait(self) -> int:
        """The exit code. Raises Fault if it does not end, or not as it should."""
        try:
            code = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)  # with PYTHONFAULTHANDLER, it says where each thread is
            self._process.wait()
            raise Fault(f"{self} did not end within {DEADLINE_S:.0f} s:\n{self.said()[-8000:]}") from None
        self._reader.join()
        said = self.said()
        if code not in GOOD_CODES or (code == -signal.SIGKILL and not self.killed) or "Traceback" in said:
            raise Fault(f"{self} ended with {code}:\n{said[-4000:]}")
        return code

    @property
    def out(self) -> str:
        """All that it said on stdout; after its end."""
        return b"".join(self._out).decode(errors="replace")

    def said(self) -> str:
        """All that it said on stderr."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace").partition("\n== ")[0]

    def __str__(self) -> str:
        return f"lookout {' '.join(self.arguments)}"

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                self._out.append(line)
                self.lines += 1
                self._beacon.tell()
        self.ended = True
        self._beacon.tell()
