"""A watch at work on a thread of its own, and a watcher that tells of nothing, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lookout.execution.executor import Workers
from lookout.runs.runner import Ran, Runner

from .world import World

DEADLINE_S = 30.0


class Mute:
    """A watch on a file system that tells of nothing: walks are due each ``every_s``."""

    restarts = missed = unwatched = 0

    def __init__(self, every_s: float = 0.05) -> None:
        self._every_s, self._at_s = every_s, 0.0
        self.walks: list[int] = []
        self.walked_once = threading.Event()
        self.waits_for: set[str] = set()

    def __enter__(self) -> Mute:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self) -> bool:
        return time.monotonic() >= self._at_s

    def walked(self, missed: int, took_s: float) -> None:
        self.walks.append(missed)
        self.missed += missed
        self._at_s = time.monotonic() + self._every_s
        self.walked_once.set()

    def is_waited_for(self, key: str) -> bool:
        return key in self.waits_for


class Watching:
    """A watch at work on a thread, until it is stopped."""

    def __init__(self, world: World, watcher: Callable, workers: Workers | None, **order: object) -> None:
        self._world, self._watcher, self._workers, self._order = world, watcher, workers, order
        self._ready = threading.Event()
        self._runner: Runner | None = None
        self._thread = threading.Thread(target=self._work)
        self.ran: Ran | None = None
        self.error: BaseException | None = None

    def begin(self) -> None:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S), self.error

    def end(self) -> Ran:
        self._runner.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.ran is not None
        return self.ran

    def _work(self) -> None:
        try:
            with self._world.runner(self._workers) as runner:
                self._runner = runner
                order = self._world.order(**self._order)
                self.ran = runner.watch(order, self._watcher, lambda _: self._ready.set())
        except BaseException as error:  # noqa: BLE001 it is looked at in the test's thread
            self.error = error


@contextmanager
def watching(world: World, watcher: Callable, workers: Workers | None = None, **order: object) -> Iterator[Watching]:
    it = Watching(world, watcher, workers, **order)
    it.begin()
    try:
        yield it
    finally:
        it.end()


def until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    beat = threading.Event()
    while not is_so():
        assert time.monotonic() < end_s, "not in time"
        beat.wait(0.02)
