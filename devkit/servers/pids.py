"""Processes that outlive who started them: remembered in a file, recognised again, ended. Linux, by ``/proc``.

A number alone is no name of a process, for numbers come round again. With the time of its start and the boot of the
machine it is.
"""

from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STATE, _STARTED = 0, 19
"""Places in ``/proc/PID/stat`` after the program's name: its state, and its start in clock ticks since boot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessId:
    """One process of this machine, never to be taken for another one."""

    pid: int
    started_ticks: int
    boot: str

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """Return the process that has this number now; None if there is none, or one that has ended and is not yet
        reaped."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if fields[_STATE] in "ZX":
            return None
        return cls(pid=pid, started_ticks=int(fields[_STARTED]), boot=_BOOT.read_text().strip())

    @classmethod
    def recall(cls, file: Path) -> Self | None:
        """Return the process that the file remembers, if it still runs; None for no file, or one that cannot be
        read."""
        try:
            remembered = cls(**json.loads(file.read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return remembered if remembered.is_alive() else None

    def remember(self, file: Path) -> None:
        """Write the file, whole or not at all."""
        part = file.with_name(f"{file.name}.part")
        part.write_text(json.dumps(asdict(self)), encoding="ascii")
        part.replace(file)

    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return type(self).find(self.pid) == self

    def end(self, deadline_s: float) -> bool:
        """Ask it to end (SIGTERM), kill it after the deadline, return when it is gone; False if it had to be killed."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # The handle is of one process for ever: if that is the right one now, it cannot become another.
            if not self.is_alive():
                return True
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            signal.pidfd_send_signal(handle, signal.SIGCONT)
            if select.select([handle], [], [], deadline_s)[0]:
                return True
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [])
            return False
        finally:
            os.close(handle)
