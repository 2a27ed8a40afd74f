"""How worker processes are spawned. A module of its own, since a run that finds nothing to do need not load it."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import RLock


class KeptLocks(SpawnContext):
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
