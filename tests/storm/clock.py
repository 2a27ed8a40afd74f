"""Clocks that are wrong for one process, by libfaketime.

The clock of a process is off by the same time from its beginning to its end; what jumps is the time between two
processes. Files keep the stamps of the real clock, as those written before a jump do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LIBRARIES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)


def find_library() -> Path | None:
    """libfaketime, if it is installed (Debian's package ``faketime``)."""
    return next((Path(name) for name in _LIBRARIES if Path(name).exists()), None)


def shifted(seconds: float) -> Mapping[str, str]:
    """The variables of a process whose clock is off by so much. None are needed for none."""
    library = find_library()
    if not seconds or library is None:
        return {}
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+.0f}",
        "NO_FAKE_STAT": "1",
    }


def clean_up(pid: int) -> None:
    """Remove what libfaketime leaves in /dev/shm of a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)
