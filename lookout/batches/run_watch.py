"""Thread that watches a run for whoever works on it: it wakes, and says nothing else.

The watch can be cancelled, fall behind a compaction or die silently, so it is a hint: the thread wakes after each
connection, after each change, and every ``READ_S`` in any case, and whoever is woken reads the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import closing
from typing import Final

from lookout.domain.errors import LookoutError
from lookout.ledger.open_runs import OpenRunLedger
from lookout.log import get_logger

log = get_logger(__name__)

READ_S: Final = 10.0
AGAIN_S: Final = 1.0
"""Pause after an error."""


class RunWatch:
    """Watch on a run and on what waits for some stages, with a connection of its own, from ``start`` to ``end``."""

    def __init__(
        self, open_ledger: Callable[[], OpenRunLedger], run: str, stages: Collection[str], wake: Callable[[], None]
    ) -> None:
        self._open_ledger, self._run, self._stages, self._wake = open_ledger, run, tuple(stages), wake
        self._over = threading.Event()
        # A daemon: a wait that hangs must not delay the end of the process.
        self._thread = threading.Thread(target=self._serve, name="run-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end with the next change."""
        self._over.set()

    def join(self) -> None:
        """Wait for the end of the thread; the session that ended after ``stop`` was the change. A server that is away
        tells of none, so the wait has a limit."""
        self._thread.join(AGAIN_S)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                with closing(self._open_ledger()) as ledger:
                    while not self._over.is_set():
                        revision = ledger.revision()
                        self._wake()
                        ledger.await_run(self._run, self._stages, revision, READ_S)
            except LookoutError as exc:  # whoever works reads the ledger too, and knows what this means
                log.warning("watch interrupted", run=self._run, error=exc)
                self._wake()
                self._over.wait(AGAIN_S)
