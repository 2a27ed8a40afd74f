"""Pool of spawned worker processes. A module of its own, since a run that finds nothing to do need not load it.

Nothing of a pool outlives its process, however that ends: its locks have no names in the file system, and the kernel
ends a worker whose parent is gone.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import select
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, assert_spawning, get_spawning_popen
from typing import Any, Final

from pebble import ProcessPool

LOOK_S: Final = 0.2
"""Pause between two looks at a pool: it tells nobody when it breaks."""


class SpawnedPool:
    """Pool of spawned processes that answers for each job, also when it breaks.

    A process that dies between two jobs can break the pool. It then ends the jobs that it knows with BrokenProcessPool,
    but not one that was on its way into it at that moment: whoever waits for that would wait for ever. So a thread
    looks after the pool, and when it broke, takes it down and ends what is left.

    Spawned, not forked: a child must not inherit the locks by which an owner is known to be alive.
    """

    def __init__(self, size: int, initializer: Callable[..., None], arguments: Iterable[object]) -> None:
        self._pool = ProcessPool(size, initializer=initializer, initargs=arguments, context=_UnnamedLocks())
        self._lock = threading.Lock()
        self._sent: set[Future[Any]] = set()
        self._stopped = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="pool-keeper", daemon=True)
        self._keeper.start()

    @property
    def over(self) -> bool:
        """True when it is down, and every job has ended that would."""
        return not self._keeper.is_alive()

    def schedule(self, function: Callable[..., Any], *arguments: object, timeout_s: float | None = None) -> Future[Any]:
        """Begin a call, and give its future. Raises BrokenProcessPool when the pool takes no more, from what keeps it
        from starting: an OSError, a MemoryError, or the RuntimeError of a thread that cannot be started."""
        with self._lock:
            try:
                future = self._pool.schedule(function, args=arguments, timeout=timeout_s)
            except (RuntimeError, OSError, MemoryError) as exc:
                cause = exc.__cause__ or exc
                raise BrokenProcessPool(str(cause)) from cause
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
        except (RuntimeError, OSError, MemoryError):  # it could not begin, which `schedule` says
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


class _UnnamedLocks(SpawnContext):
    """Context that spawns processes which share locks without names."""

    def RLock(self) -> Any:  # noqa: N802 - the name of the method that is replaced
        return UnnamedLock()


class UnnamedLock:
    """Re-entrant lock between a process and those that it spawns: a counter of the kernel that they inherit.

    The locks of multiprocessing are files in /dev/shm as long as a process may be spawned, and stay there when all are
    killed; a process that begins while its parent ends looks for them in vain. This one has no name, needs no room,
    and is gone with the last process that has it.
    """

    def __init__(self) -> None:
        self._open(os.eventfd(1, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def _open(self, number: int) -> None:
        self._free = number
        self._owner: int | None = None
        self._depth = 0
        weakref.finalize(self, os.close, number)

    def __getstate__(self) -> int:
        assert_spawning(self)
        inherited: int = get_spawning_popen().duplicate_for_child(self._free)  # type: ignore[union-attr]
        return inherited

    def __setstate__(self, number: int) -> None:
        self._open(number)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, once more if this thread has it. False when it was not free in ``timeout`` seconds."""
        if self._owner != threading.get_ident() and not self._take(timeout if block else 0.0):
            return False
        self._owner = threading.get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        """Give the lock back, as often as it was taken. Raises RuntimeError when this thread has it not."""
        if self._owner != threading.get_ident():
            raise RuntimeError("the lock is not held by this thread")
        self._depth -= 1
        if not self._depth:
            self._owner = None
            os.eventfd_write(self._free, 1)

    def _take(self, timeout_s: float | None) -> bool:
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._free, select.POLLIN)
        while True:
            try:
                os.eventfd_read(self._free)
            except BlockingIOError:
                left_s = None if end_s is None else end_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return False
                poll.poll(None if left_s is None else left_s * 1000)
            else:
                return True


def end_with_parent() -> None:
    """Have the kernel end this worker process at once when its parent is gone, also one that hangs in native code."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only a spawned process ends with its parent")
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if not parent.is_alive():  # it went before the kernel was told
        os._exit(1)
