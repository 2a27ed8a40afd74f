"""Inbox of an engine's loop: other threads put something into it, and only the loop takes it out."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, TypeAlias

from lookout.execution.jobs import Job, StageRun

_PIECE_S: Final = 1.0

Received: TypeAlias = tuple[Job, StageRun] | Callable[[], None]
"""The end of a job, or something that the loop is to do."""


class Inbox:
    """Queue of ends of jobs, and of what the loop is to do. ``look_after`` is called each second of a wait."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self.look_after: Callable[[], None] = lambda: None

    def put(self, item: Received) -> None:
        """Have the loop take this. From any thread, in signal handlers too."""
        self._queue.put(item)

    def put_run(self, job: Job, run: StageRun) -> None:
        """Have the loop take the end of a job. From any thread."""
        self._queue.put((job, run))

    def take(self, wait_s: float = 0.0) -> Iterator[Received]:
        """Take all that is there, waiting up to ``wait_s`` for the first."""
        with suppress(queue.Empty):
            yield self._first(wait_s) if wait_s > 0 else self._queue.get_nowait()
            while True:
                yield self._queue.get_nowait()

    def _first(self, wait_s: float) -> Received:
        """Wait in pieces of a second: Python runs a signal's handler between two steps of its own, so what a handler
        would put here is not there yet for a wait that began just then."""
        ends_s = time.monotonic() + wait_s
        while (left_s := ends_s - time.monotonic()) > _PIECE_S:
            with suppress(queue.Empty):
                return self._queue.get(timeout=_PIECE_S)
            self.look_after()
        return self._queue.get(timeout=max(0.0, left_s))
