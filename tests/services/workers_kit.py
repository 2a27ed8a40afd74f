"""Processes that work on a world, for tests that freeze and kill them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from .world import LiveWorld

ROOT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 60.0


class Worker:
    """One process, started at once. ``moments`` are (moment, object path, signal), see world_worker."""

    def __init__(
        self, world: LiveWorld, *, until_done: bool = False, moments: Sequence[tuple[str, str, int]] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.world_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        task = {"root": str(world.root), "place": asdict(world.place), "until_done": until_done, "moments": moments}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def await_freeze(self) -> None:
        """Wait until it has stopped itself."""
        end_s = time.monotonic() + DEADLINE_S
        while not _is_stopped(self._process.pid):
            assert self.running, self._process.communicate()
            assert time.monotonic() < end_s
            time.sleep(0.01)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code, and what it said."""
        _, said = self._process.communicate(timeout=DEADLINE_S)
        return self._process.returncode, said

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _is_stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "T"


def check_letters(world: LiveWorld) -> None:
    """Each alert was sent once. After a try whose end is not known it may be sent twice, and then one letter says so:
    the later one, but that of a process that was frozen before it sent the earlier one."""
    sent = world.postbox.sent()
    for alert_id in {alert_id for ids, _ in sent for alert_id in ids}:
        repeats = [resend for ids, resend in sent if alert_id in ids]
        assert sorted(repeats) in ([False], [True], [False, True]), (alert_id, repeats)
