"""Pool of threads for calls that may hang when the process ends, and must not delay that.

``concurrent.futures`` waits for its threads at the end of the process; these are daemons. Knows no store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class DaemonPool(Generic[Answer]):
    """So many threads, which begin with the object and end with the process."""

    def __init__(self, threads: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Answer], Callable[[], Answer]]] = SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], Answer]) -> Future[Answer]:
        """Return the future of a call, which one that nobody waits for any more may cancel before it begins."""
        future: Future[Answer] = Future()
        self._jobs.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 (it is the answer)
                future.set_exception(error)
            else:
                future.set_result(answer)
