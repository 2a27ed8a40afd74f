"""Timer of grouped stages in a watch: charts are drawn when pictures stop coming for a moment."""

from __future__ import annotations

import time


class ChartTimer:
    """Timer that is due when nothing has run for ``quiet_s``, and ``patience_s`` after charts began to wait."""

    def __init__(self, quiet_s: float, patience_s: float) -> None:
        self._quiet_s, self._patience_s = quiet_s, patience_s
        self._ran_at_s = self._waiting_since_s = time.monotonic()

    def is_due(self, *, waiting: bool, running: bool) -> bool:
        """Tell whether charts are to be drawn now, if some are ``waiting``; ``running`` says that a job runs."""
        now_s = time.monotonic()
        if running:
            self._ran_at_s = now_s
        if not waiting:
            self._waiting_since_s = now_s
            return False
        quiet = not running and now_s - self._ran_at_s >= self._quiet_s
        due = quiet or now_s - self._waiting_since_s >= self._patience_s
        if due:
            self._waiting_since_s = now_s
        return due
