"""Signal that something has happened somewhere in a storm: a line, a request, an end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Beacon:
    """Condition that every part of a storm tells, so that one place can wait for any of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def tell(self) -> None:
        """Have all that wait look again."""
        with self._changed:
            self._changed.notify_all()

    def await_any(self, met: Callable[[], bool], at_most_s: float) -> bool:
        """Wait until it is met, or the time is over. Whether it is met."""
        with self._changed:
            return self._changed.wait_for(met, at_most_s)
