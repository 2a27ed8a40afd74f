"""What a watch adds to a run: changes, brought from the watcher's threads to the engine's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from lookout.engine import Engine
from lookout.errors import LookoutError, Unavailable
from lookout.intake import Intake, Taken
from lookout.log import get_logger

log = get_logger(__name__)


class Watcher(Protocol):
    """Tells of keys below a folder that have changed or gone (one that ends in ``/`` means all below it), and of
    trouble: after Unavailable some changes may have been missed, after any other error no more will come."""

    def __call__(
        self, root: Path, on_change: Callable[[str], None], on_lost: Callable[[LookoutError], None], /
    ) -> AbstractContextManager[object]: ...


class Changes:
    """What a watcher tells, from its threads, brought to the engine's thread."""

    def __init__(self, engine: Engine, intake: Intake, root: Path, *, allow_deletions: bool) -> None:
        self._engine, self._intake, self._root = engine, intake, root
        self._allow_deletions = allow_deletions
        self._lock = threading.Lock()
        self._keys: dict[str, None] = {}
        self.error: LookoutError | None = None

    def add(self, key: str) -> None:
        with self._lock:
            first = not self._keys
            self._keys[key] = None
        if first:
            self._engine.call(partial(self._guard, self._take))

    def lost(self, error: LookoutError) -> None:
        if isinstance(error, Unavailable):
            log.warning("watch", error=error, then="scanning the folder")
            self._engine.call(partial(self._guard, self.scan))
        else:
            self._end(error)

    def scan(self) -> Taken:
        """Take in the whole folder as it is now."""
        return self._intake.take_folder(self._root, allow_deletions=self._allow_deletions)

    def _take(self) -> None:
        with self._lock:
            keys, self._keys = list(self._keys), {}
        single = [key for key in keys if not key.endswith("/")]
        for prefix in (key for key in keys if key.endswith("/")):
            single += self._intake.known_below(prefix)
        self._intake.take_changes(self._root, single, allow_deletions=self._allow_deletions)

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except LookoutError as exc:
            self._end(exc)

    def _end(self, error: LookoutError) -> None:
        self.error = error
        self._engine.stop()
