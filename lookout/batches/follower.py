"""Follower of a run: one process of a stage that stays, and works on what comes into the run's batches.

It claims only keys of unfinished batches of its run, a few at a time. It ends when the run has ended, or is drained and
nothing is left of it, and hands back what it has when it is told to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lookout.domain.pipeline import Stage
from lookout.engine.engine import Engine
from lookout.ledger.open_runs import OpenRunLedger
from lookout.log import get_logger

log = get_logger(__name__)

CLAIMED: Final = 8
QUIET_S: Final = 5.0
PATIENCE_S: Final = 30.0
"""Charts are drawn when nothing has come for ``QUIET_S``, and after ``PATIENCE_S`` at the latest."""
_REFERENCES_S: Final = 1.0
"""At most so often the references in force are compared with what is prepared."""


@dataclass(kw_only=True)
class RunFollower:
    """Follower for one stage of one run, in the session ``owner``. ``make_engine`` makes an engine for it."""

    ledger: OpenRunLedger
    run: str
    stage: Stage
    owner: str
    make_engine: Callable[[], Engine]
    limit: int = CLAIMED
    over: bool = field(default=False, init=False)
    """True if the run is over, so that nothing more is to be expected."""
    engine: Engine = field(init=False)
    _stopped: bool = field(default=False, init=False)
    _prepared: tuple[object, ...] | None = field(default=None, init=False)
    _compared_at_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.engine = self.make_engine()

    def stop(self) -> None:
        """End soon. For any thread, and for signal handlers."""
        self._stopped = True
        self.engine.stop()

    def wake(self) -> None:
        """Have the engine look for work. For any thread."""
        self.engine.call(self._look)

    def follow(self) -> None:
        """Work until the run is over, or ``stop``. Raises LookoutError."""
        self._prepare()()
        if not self.ledger.join_run(self.run, self.stage.name, self.owner):
            self.over = True
            return
        log.info("ready", run=self.run, stage=self.stage.name)
        candidates = None if self.stage.grouped else self
        self.engine.follow([self.stage], quiet_s=QUIET_S, patience_s=PATIENCE_S, candidates=candidates)
        if self.over and self.stage.grouped:
            self.engine = self.make_engine()
            if not self._stopped:
                self.engine.work([self.stage])

    def keys(self, stage: Stage) -> Sequence[str]:
        """Return the candidates: see ``Candidates``. Raises Unavailable when this process was frozen for longer than
        its session lives: another is to be started, which is present."""
        found = self.ledger.waiting(self.run, stage.name, self.owner)
        if found.over and not self.over:
            self.over = True
            self.engine.stop()
        return found.keys

    def _look(self) -> None:
        if self.stage.grouped:
            self.keys(self.stage)
        elif self.stage.references is not None and time.monotonic() - self._compared_at_s >= _REFERENCES_S:
            self._compared_at_s = time.monotonic()
            if self._in_force() != self._prepared:
                self._prepare()

    def _prepare(self) -> Callable[[], None]:
        self._prepared = self._in_force()
        return self.engine.prepare(self.stage)

    def _in_force(self) -> tuple[object, ...]:
        uses = self.stage.references
        return () if uses is None else self.ledger.references(uses.bucket)
