"""The wall clock that all commands of a storm share, as the processes of one host do: it can be set while they work.

libfaketime is no help here: it moves the monotonic clock too, by which Python's waits end, so that they never do; and
told to leave that one alone, it has ``time.sleep`` fail.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_HOOK: Final = Path(__file__).parent / "clock"
_WIDTH: Final = 31


class Clock:
    """A clock whose error is kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.off_s = 0
        file.write_text(f"{0:+{_WIDTH}d}\n", encoding="ascii")

    def set_off(self, seconds: float) -> bool:
        """Have the clock be off by so much from now on. Whether it jumped."""
        jumped = round(seconds) != self.off_s
        self.off_s = round(seconds)
        number = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(number, f"{self.off_s:+{_WIDTH}d}\n".encode(), 0)
        finally:
            os.close(number)
        return jumped

    def variables(self) -> Mapping[str, str]:
        """The environment of a command that goes by this clock."""
        return {"STORM_CLOCK": str(self._file), "PYTHONPATH": str(_HOOK)}
