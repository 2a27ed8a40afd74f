"""What a watch adds to a run: changes brought from the watcher's threads, and letters sent on a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from lookout.engine import Engine
from lookout.errors import LookoutError, Unavailable
from lookout.intake import Intake, Taken
from lookout.ledger.base import Ledger
from lookout.log import get_logger
from lookout.outbox import Outbox

log = get_logger(__name__)

OUTBOX_AGAIN_S: Final = 5.0


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


class Postman:
    """Sends letters on a thread and a ledger connection of its own, so that a slow channel delays no picture."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], make_outbox: Callable[[Ledger], Outbox], clock: Callable[[], float]
    ) -> None:
        self._open_ledger, self._make_outbox, self._clock = open_ledger, make_outbox, clock
        self._wakened = threading.Condition()
        self._due = self._ending = False
        self._thread = threading.Thread(target=self._serve, name="postman")
        self.digests = 0

    def __enter__(self) -> Postman:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after the letter that is on its way; the others wait in the outbox for the next run."""
        with self._wakened:
            self._ending = True
            self._wakened.notify()
        self._thread.join()

    def wake(self) -> None:
        with self._wakened:
            self._due = True
            self._wakened.notify()

    def _serve(self) -> None:
        with closing(self._open_ledger()) as ledger:
            outbox = self._make_outbox(ledger)
            wait_s: float | None = None
            while self._wait(wait_s):
                try:
                    due_at_s = outbox.dispatch(lambda: self._ending)
                except LookoutError as exc:
                    log.warning("outbox", error=exc)
                    wait_s = OUTBOX_AGAIN_S
                else:
                    wait_s = None if due_at_s is None else max(0.1, due_at_s - self._clock())
                self.digests = outbox.digests

    def _wait(self, wait_s: float | None) -> bool:
        with self._wakened:
            self._wakened.wait_for(lambda: self._due or self._ending, wait_s)
            self._due = False
            return not self._ending
