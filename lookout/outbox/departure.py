"""Time limit from the durable note that a request may leave until it leaves. Knows no ledger and no channel.

A process that is frozen in between (SIGSTOP, a paused machine) does not notice. Meanwhile its session may have ended,
and another sender may have sent the alert again, with a mark. So the request leaves only while much less time has
passed than a session outlives its process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LIMIT_S: Final = 5.0
"""A third of the 15 s for which a session in etcd outlives its process."""
LATE: Final = f"it was held up for more than {LIMIT_S:g} s before it left, and another may have sent it"


def uptime_s() -> float:
    """Read the clock that nobody sets. It counts the time in which the machine was suspended, where the system has
    such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Departure:
    """Limit that begins when this is made: just before the note. Several clocks are asked, as a machine that was paused
    may notice by one of them only."""

    def __init__(self, *clocks: Callable[[], float], limit_s: float = LIMIT_S) -> None:
        self._began = [(clock, clock()) for clock in clocks]
        self._limit_s = limit_s

    def is_late(self) -> bool:
        """Tell whether nothing may leave any more. Asked directly before the request leaves."""
        return any(clock() - began_s > self._limit_s for clock, began_s in self._began)
