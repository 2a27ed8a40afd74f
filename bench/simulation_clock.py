"""A clock that jumps from event to event, and what can be waited for by it: time, a share of some cores, a message.

A process is a generator that yields what it waits for. Nothing is random, and what is due at the same moment happens in
the order in which it was asked for: the same input gives the same times. Knows no cluster.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TypeAlias

Wait: TypeAlias = Callable[[Callable[[], None]], None]
"""Takes what is to be called once, when the waiting is over."""
Process: TypeAlias = Generator[Wait, None, None]


class Clock:
    """Simulated seconds, from 0."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Call this then. Raises ValueError for a time that has passed."""
        if time_s < self.now_s:
            raise ValueError(f"expected a time from {self.now_s} s on, got {time_s}")
        self._number += 1
        heapq.heappush(self._due, (time_s, self._number, action))

    def after(self, seconds: float) -> Wait:
        return lambda resume: self.at(self.now_s + seconds, resume)

    def together(self, processes: Sequence[Process]) -> Wait:
        """Begin all of these; over when each of them has ended."""

        def wait(resume: Callable[[], None]) -> None:
            left = [len(processes)]

            def end() -> None:
                left[0] -= 1
                if not left[0]:
                    resume()

            if not processes:
                self.at(self.now_s, resume)
            for process in processes:
                self.begin(process, end)

        return wait

    def begin(self, process: Process, then: Callable[[], None] = lambda: None) -> None:
        """Run the process to its first waiting now, and on whenever that is over; call ``then`` at its end."""
        try:
            wait = next(process)
        except StopIteration:
            then()
        else:
            wait(partial(self.begin, process, then))

    def run(self) -> None:
        """Until nothing is due any more."""
        while self._due:
            self.now_s, _, action = heapq.heappop(self._due)
            action()


class Station:
    """Some cores that all tasks on them share evenly, none of them using more than one (processor sharing).

    Kept in virtual time, the seconds of work that each present task has been given: so an arrival changes one number
    and not one for each task. (Kleinrock, Queueing Systems II, 1976, has the discipline.)
    """

    def __init__(self, clock: Clock, cores: float) -> None:
        if cores <= 0:
            raise ValueError(f"expected more than no core, got {cores}")
        self._clock, self.cores = clock, cores
        self.given_s = 0.0
        """Core seconds of work done so far."""
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._given_each_s = self._seen_s = 0.0
        self._number = self._planned = 0

    def use(self, work_s: float) -> Wait:
        """Wait until this much work, in seconds of one core, is done."""
        return partial(self._add, work_s)

    def _add(self, work_s: float, resume: Callable[[], None]) -> None:
        self._go_on()
        self._number += 1
        heapq.heappush(self._tasks, (self._given_each_s + work_s, self._number, resume))
        self._plan()

    @property
    def _speed(self) -> float:
        return min(1.0, self.cores / len(self._tasks))

    def _go_on(self) -> None:
        """Credit the time since the last look."""
        passed_s, self._seen_s = self._clock.now_s - self._seen_s, self._clock.now_s
        if self._tasks:
            self._given_each_s += passed_s * self._speed
            self.given_s += passed_s * self._speed * len(self._tasks)

    def _plan(self) -> None:
        """Look again when the task with the least left is through; a look that was planned before is void."""
        self._planned += 1
        if self._tasks:
            left_s = max(0.0, self._tasks[0][0] - self._given_each_s) / self._speed
            self._clock.at(self._clock.now_s + left_s, partial(self._look, self._planned))

    def _look(self, planned: int) -> None:
        if planned != self._planned:
            return
        self._go_on()
        through, _, resume = heapq.heappop(self._tasks)
        self._given_each_s = max(self._given_each_s, through)  # rounding must not leave it waiting
        self._plan()
        resume()


class Mailbox:
    """Mailbox: one process takes all that others have put, at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: list[int] = []
        self._resume: Callable[[], None] | None = None

    def put(self, item: int) -> None:
        self._items.append(item)
        resume, self._resume = self._resume, None
        if resume is not None:
            self._clock.at(self._clock.now_s, resume)

    def filled(self) -> Wait:
        """Wait until there is something."""

        def wait(resume: Callable[[], None]) -> None:
            if self._items:
                self._clock.at(self._clock.now_s, resume)
            else:
                self._resume = resume

        return wait

    def take(self) -> list[int]:
        taken, self._items = self._items, []
        return taken


class Room:
    """Places that are taken and left: whoever comes first is let in first."""

    def __init__(self, clock: Clock, places: int) -> None:
        self._clock, self.free = clock, places
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self) -> Wait:
        """Wait for a place, and take it."""

        def wait(resume: Callable[[], None]) -> None:
            if self.free:
                self.free -= 1
                self._clock.at(self._clock.now_s, resume)
            else:
                self._waiting.append(resume)

        return wait

    def leave(self) -> None:
        """Leave a place to whoever waits longest."""
        if self._waiting:
            self._clock.at(self._clock.now_s, self._waiting.popleft())
        else:
            self.free += 1
