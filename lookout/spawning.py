"""How worker processes are spawned. A module of its own, since a run that finds nothing to do need not load it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import RLock
from typing import Any, Final

from pebble import ProcessPool

LOOK_S: Final = 0.2
"""How often a pool is looked at: it tells nobody when it breaks."""


class SpawnedPool:
    """A pool of spawned processes that answers for each job, also when it breaks.

    A process that dies between two jobs can break the pool. It then ends the jobs that it knows with BrokenProcessPool,
    but not one that was on its way into it at that moment: whoever waits for that would wait for ever. So a thread
    looks after the pool, and when it broke, takes it down and ends what is left.

    Spawned, not forked: a child must not inherit the locks by which an owner is known to be alive.
    """

    def __init__(self, size: int, initializer: Callable[..., None], arguments: Iterable[object]) -> None:
        self._pool = ProcessPool(size, initializer=initializer, initargs=arguments, context=_KeptLocks())
        self._lock = threading.Lock()
        self._sent: set[Future[Any]] = set()
        self._stopped = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="pool-keeper", daemon=True)
        self._keeper.start()

    @property
    def over(self) -> bool:
        """Whether it is down, and every job has ended that would."""
        return not self._keeper.is_alive()

    def schedule(self, function: Callable[..., Any], *arguments: object, timeout_s: float | None = None) -> Future[Any]:
        """The end of this call, to come. Raises BrokenProcessPool when the pool takes no more."""
        with self._lock:
            try:
                future = self._pool.schedule(function, args=arguments, timeout=timeout_s)
            except RuntimeError as exc:
                raise BrokenProcessPool(str(exc.__cause__ or exc)) from exc
            self._sent.add(future)
        future.add_done_callback(self._forget)
        return future

    def stop(self) -> None:
        """End its processes at once. Nothing more is told of what they worked on."""
        self._stopped.set()
        self._keeper.join()

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._sent.discard(future)

    def _is_whole(self) -> bool:
        try:
            return self._pool.active
        except BrokenProcessPool:  # it could not begin
            return False

    def _keep(self) -> None:
        while not self._stopped.wait(LOOK_S) and self._is_whole():
            pass
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        with self._lock:  # it is down and refuses what comes, so these are the last
            left = [] if self._stopped.is_set() else [future for future in self._sent if not future.done()]
        for future in left:
            future.set_exception(BrokenProcessPool("the worker processes ended while it was on its way to them"))


class _KeptLocks(SpawnContext):
    """Spawns, and keeps the locks that it makes as long as it is kept itself.

    A pool lets go of its locks before it ends its processes, and the system forgets their names with that: a process
    that is just beginning would look for them in vain, and end with a traceback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._locks: list[RLock] = []

    def RLock(self) -> RLock:  # noqa: N802 - the name of the method that is extended
        lock = super().RLock()
        self._locks.append(lock)
        return lock
