"""Recorder of objects as they are now in the ledger: ``lookout look`` for many at once.

An object is looked at after its event came, so the order of events does not matter. Looks run side by side; what they
have seen by the time the ledger is free becomes one transaction. Then the object is compared once more: between the
look and the transaction another, in this process or another one, may have entered something newer, which this has
overwritten. Whoever writes last finds that out, and looks again. Only then is the event answered.

Knows no HTTP, no stage and no store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Protocol

from event_sources.intake.metrics import Metrics
from lookout.domain.errors import LookoutError
from lookout.domain.records import Observation
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.sources.deletion_guard import DeletionGuard
from lookout.sources.ingest import SOURCE_NOTE

log = get_logger(__name__)

LOOKERS: Final = 8
"""Objects looked at side by side."""
_TOGETHER: Final = 500
"""Observations written together at most."""


class Pictures(Protocol):
    """Port for the source of pictures. Each call raises Unavailable when it does not answer; several threads call at
    once."""

    def observe(self, key: str, now_s: float) -> Observation:
        """Observe one key as it is now, there or gone."""
        ...

    def is_still(self, seen: Observation) -> bool:
        """Tell whether the key is unchanged since then; cheaper than observing it."""
        ...

    def is_blank(self) -> bool:
        """Tell whether it holds no object, nor a trace of one that was deleted."""
        ...

    def check(self) -> None:
        """Return if it answers."""
        ...


Answer = Future[None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Observation, and the callers that wait for it. Without one, only the ledger's answer is waited for."""

    observation: Observation | None
    answers: Sequence[Answer]


class Recorder:
    """Observes the objects that it is asked about, and records them. ``on_taken`` gets the keys that were recorded,
    on another thread; ``on_recorded`` an observation that the ledger has and the store still shows. ``check_ledger``
    raises a LookoutError for a ledger that nothing may be entered into. From ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        open_ledger: Callable[[], Ledger],
        pictures: Pictures,
        readers: Sequence[str],
        clock: Callable[[], float],
        on_taken: Callable[[Collection[str]], None],
        metrics: Metrics,
        check_ledger: Callable[[Ledger], None] = lambda _: None,
        on_recorded: Callable[[Observation], None] = lambda _: None,
    ) -> None:
        self._check_ledger, self._on_recorded = check_ledger, on_recorded
        self._open_ledger, self._pictures, self._readers = open_ledger, pictures, tuple(readers)
        self._clock, self._on_taken, self._metrics = clock, on_taken, metrics
        self._lock = threading.Lock()
        self._asked: dict[str, list[Answer]] = {}
        """Looks that have not begun, by key: an event that comes until then shares one."""
        self._checked = _new_answer()
        _settle([self._checked])
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._seen: SimpleQueue[_Seen | None] = SimpleQueue()
        # They may hang in a call when the process ends, and must not delay that.
        self._lookers = [threading.Thread(target=self._look_on, name="looker", daemon=True) for _ in range(LOOKERS)]
        self._writer = threading.Thread(target=self._write_on, name="writer", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._lookers, self._writer):
            thread.start()

    def stop(self, within_s: float) -> None:
        """End what has nothing to do any more; what hangs in a call is left alone after so long."""
        for _ in self._lookers:
            self._work.put(None)
        self._seen.put(None)
        end_s = time.monotonic() + within_s
        for thread in (*self._lookers, self._writer):
            thread.join(max(0.0, end_s - time.monotonic()))

    @property
    def is_alive(self) -> bool:
        """Tell whether all threads that ``start`` began are alive."""
        return all(thread.is_alive() for thread in (*self._lookers, self._writer))

    def take(self, key: str) -> Answer:
        """Enter what the object is now. The answer comes when the ledger has it; a LookoutError when it has not."""
        answer = _new_answer()
        with self._lock:
            asked = self._asked.get(key)
            if asked is not None:
                asked.append(answer)
                return answer
            self._asked[key] = [answer]
        self._work.put(lambda: self._look(key))
        return answer

    def check(self) -> Answer:
        """Return a future that is done when both store and ledger have answered. Calls at the same time share one
        check, as anybody may ask, and objects that have landed must not wait for that."""
        with self._lock:
            if not self._checked.done():
                return self._checked
            answer = self._checked = _new_answer()
        self._work.put(lambda: self._guard([answer], lambda: self._check(answer)))
        return answer

    # --- looking, on several threads ---------------------------------------------------------------------------------

    def _look_on(self) -> None:
        while (job := self._work.get()) is not None:
            job()

    def _look(self, key: str) -> None:
        with self._lock:
            answers = self._asked.pop(key)
        self._guard(answers, lambda: self._observe(key, answers))

    def _observe(self, key: str, answers: Sequence[Answer]) -> None:
        self._seen.put(_Seen(self._pictures.observe(key, self._clock()), answers))

    def _compare(self, seen: Observation, answers: Sequence[Answer]) -> None:
        if self._pictures.is_still(seen):
            self._on_recorded(seen)
            _settle(answers)
        else:
            self._observe(seen.key, answers)

    def _check(self, answer: Answer) -> None:
        self._pictures.check()
        self._seen.put(_Seen(None, [answer]))

    def _guard(self, answers: Sequence[Answer], call: Callable[[], None]) -> None:
        """An error is the answer; one that nobody has foreseen ends this thread too, which the health check sees."""
        try:
            call()
        except LookoutError as error:
            _settle(answers, error)
        except BaseException as error:
            _settle(answers, error)
            raise

    # --- writing, on one thread ---------------------------------------------------------------------------------------

    def _write_on(self) -> None:
        ledger: Ledger | None = None
        while (group := self._next_group()) is not None:
            try:
                ledger = ledger or self._open_ledger()
                self._write(ledger, group)
            except LookoutError as error:
                log.warning("not recorded", objects=len(group), error=error)
                _settle([answer for seen in group for answer in seen.answers], error)
            except BaseException as error:
                _settle([answer for seen in group for answer in seen.answers], error)
                raise
        if ledger is not None:
            ledger.close()

    def _next_group(self) -> list[_Seen] | None:
        """Return all that has been seen by now, but something; None at the end."""
        group: list[_Seen] = []
        while not group or (len(group) < _TOGETHER and not self._seen.empty()):
            seen = self._seen.get()
            if seen is None:
                self._seen.put(None)
                return group or None
            group.append(seen)
        return group

    def _write(self, ledger: Ledger, group: Sequence[_Seen]) -> None:
        self._check_ledger(ledger)  # each time: it may be lost, and another be in its place, at any time
        entered = [seen.observation for seen in group if seen.observation is not None]
        if entered:
            changed = ledger.observe(self._without_held(ledger, entered), self._readers)
            self._metrics.changed.inc(changed)
            self._metrics.together.observe(len(entered))
            self._on_taken({seen.key for seen in entered})
        else:
            ledger.find_note(SOURCE_NOTE)  # any small question
        for seen in group:
            self._write_done(seen)

    def _without_held(self, ledger: Ledger, entered: Sequence[Observation]) -> list[Observation]:
        """Leave out what is gone and held back by the guard against mass deletion, which counts the others."""
        gone = {seen.key: seen for seen in entered if seen.ref is None and seen.error is None}
        if not gone:
            return list(entered)
        bucket, origin = next((seen.bucket, seen.origin) for seen in gone.values())
        known = list(ledger.find_inputs(bucket, gone.keys()))
        held: set[str] = set()
        if known:
            guard = DeletionGuard(ledger=ledger, bucket=bucket, origin=origin, clock=self._clock, readers=self._readers)
            held = set(known).difference(guard.sift(known, blank=self._pictures.is_blank(), whole=False))
        return [seen for seen in entered if seen.key not in held or seen is not gone.get(seen.key)]

    def _write_done(self, seen: _Seen) -> None:
        observation, answers = seen.observation, seen.answers
        if observation is None:
            _settle(answers)
        else:
            self._work.put(lambda: self._guard(answers, lambda: self._compare(observation, answers)))


def _new_answer() -> Answer:
    answer: Answer = Future()
    answer.set_running_or_notify_cancel()  # whoever does not wait for it any more cannot take it back
    return answer


def _settle(answers: Sequence[Answer], error: BaseException | None = None) -> None:
    for answer in answers:
        if error is None:
            answer.set_result(None)
        elif not answer.done():
            answer.set_exception(error)
