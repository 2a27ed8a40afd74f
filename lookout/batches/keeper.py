"""Keeper of an open run: it decides for the run as a whole when it is open, which of its batches are done, and its end.

The run is open while all ordinary stages are present. The keeper holds the run's batches, so that nobody else cuts
their keys anew, and ends each when nothing of it is dirty. It holds no claim and settles no slot: a keeper that dies
costs time, and its successor goes on by what the ledger says. Knows no stage by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from lookout.batches.closing import end_of, look_back
from lookout.batches.cutter import ordinary
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.pipeline import Pipeline
from lookout.ledger.batches import Batch
from lookout.ledger.open_runs import OpenRunLedger, RunLease, RunView, release_of
from lookout.log import get_logger

log = get_logger(__name__)

RELEASE_NOTE: Final = "release"
"""The note of the release that is to do the work."""
GATHER_S: Final = 0.1
"""Least time between two rounds: a burst wakes the keeper for each mark."""
ROUND_S: Final = 2.0
"""Longest time between two rounds while a batch is not done, whatever wakes."""
IDLE_S: Final = 10.0
LEASE_S: Final = 60.0
"""Of the batches that it holds."""


class Ending(Enum):
    """End of the keeping: the run was ``CLOSED``, by this keeper or before; or was ``HANDED_BACK`` with unfinished
    batches because the keeper was told to stop."""

    CLOSED = "closed"
    HANDED_BACK = "handed back"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """``linger_s`` after its last batch the run ends; after ``drain_after_s`` it takes no more; a stage that has been
    absent for ``patience_s`` is given up, and the run with it."""

    linger_s: float = 60.0
    drain_after_s: float = 2400.0
    patience_s: float = 20.0
    begin_s: float = 120.0
    """Time for all stages to be present at the beginning, and for the lease of a keeper before this one to end."""


@dataclass(kw_only=True)
class Keeper:
    """Keeper of one run, in the session ``owner``. ``monotonic`` gives seconds."""

    pipeline: Pipeline
    ledger: OpenRunLedger
    run: str
    owner: str
    pace: Pace
    monotonic: Callable[[], float] = time.monotonic
    _woken: threading.Event = field(default_factory=threading.Event, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _held: dict[str, Batch] = field(default_factory=dict, init=False)
    _extended_at_s: float = field(default=0.0, init=False)
    _busy_at_s: float = field(default=0.0, init=False)
    _opened_at_s: float = field(default=0.0, init=False)
    _absent_since_s: float | None = field(default=None, init=False)

    def wake(self) -> None:
        """Have it look again. For any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Have the run drained and handed back. For any thread, and for signal handlers."""
        self._stopping.set()
        self._woken.set()

    @property
    def stages(self) -> list[str]:
        """The stages without which the run is not open."""
        return [stage.name for stage in ordinary(self.pipeline)]

    # --- the life of a run --------------------------------------------------------------------------------------------

    def keep(self) -> Ending:
        """Keep the run to its end. Raises KeyError for an unknown run, ClaimLost when another keeper has it, and
        Unavailable when a stage does not come or does not come back."""
        lease = self._open()
        if lease is None:
            return Ending.CLOSED if self._has_ended() else Ending.HANDED_BACK
        log.info("open", run=self.run)
        self._busy_at_s = self._opened_at_s = self.monotonic()
        while True:
            view = self._view()
            lease = self._drain_if_due(lease, view)
            self._hold()
            self._end_done()
            if not self._held and not view.unfinished and self._is_due(lease) and self._close(lease):
                return Ending.CLOSED
            if self._stopping.is_set():
                self._release()
                return Ending.HANDED_BACK
            self._check_present(lease, view)
            self._wait()

    def _open(self) -> RunLease | None:
        """Wait for the stages, and become the keeper; None when the run has ended, or the keeper was told to stop."""
        ends_s = self.monotonic() + self.pace.begin_s
        while not (self._stopping.is_set() or self._has_ended()):
            missing = sorted(set(self.stages) - self._view().present)
            if not missing:
                lease = self._lease()
                if lease is not None:
                    return lease
            if self.monotonic() >= ends_s:
                why = f"{', '.join(missing)} did not come" if missing else "another keeper has it"
                raise Unavailable(f"run {self.run}", f"{why} in {self.pace.begin_s:g} s")
            self._pause(ROUND_S)
        return None

    def _lease(self) -> RunLease | None:
        """Take the run's lease; None while another has it, and when the run has just ended."""
        try:
            return self.ledger.lease_run(self.run, self.owner)
        except InputRejected:
            if not self._has_ended():
                raise
        return None

    def _view(self) -> RunView:
        view = self.ledger.find_run(self.run, self.stages)
        if view is None:
            raise KeyError(self.run)
        return view

    def _has_ended(self) -> bool:
        return self._view().record.state != "running"

    # --- batches ------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        now_s = self.monotonic()
        if self._held and now_s - self._extended_at_s >= LEASE_S / 3:
            self._extended_at_s = now_s
            held = list(self._held.values())
            for batch, still in zip(held, self.ledger.extend_batches(held, LEASE_S), strict=True):
                if not still:
                    log.warning("batch lost", batch=batch.id)
                    del self._held[batch.id]
        while (taken := self.ledger.take_batch(self.owner, LEASE_S, run=self.run)) is not None:
            if not self._held:
                self._extended_at_s = now_s
            self._held[taken.id] = taken

    def _end_done(self) -> None:
        if self._held:
            self._busy_at_s = self.monotonic()
        for batch in self.ledger.end_settled(list(self._held.values()), self.stages) if self._held else []:
            del self._held[batch.id]
            log.info("done", batch=batch.id, pictures=len(batch.keys))

    def _release(self) -> None:
        for batch in self._held.values():
            self.ledger.release_batch(batch)
        self._held.clear()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _drain_if_due(self, lease: RunLease, view: RunView) -> RunLease:
        """Drain the run when it is old, another release is to work, or the keeper was told to stop."""
        release, wanted = release_of(view.record), self.ledger.find_note(RELEASE_NOTE)
        why = ""
        if self._stopping.is_set():
            why = "stopped"
        elif wanted is not None and wanted != release:
            why = f"release {wanted} takes over"
        elif self.monotonic() - self._opened_at_s >= self.pace.drain_after_s:
            why = f"open for {self.pace.drain_after_s:g} s"
        if not why or lease.draining:
            return lease
        log.info("draining", run=self.run, why=why)
        return self.ledger.drain_run(lease, why)

    def _is_due(self, lease: RunLease) -> bool:
        return bool(lease.draining) or self.monotonic() - self._busy_at_s >= self.pace.linger_s

    def _close(self, lease: RunLease) -> bool:
        found = look_back(self.pipeline, self.ledger, self.run)
        state, summary = end_of(self.ledger, self.run, found)
        return self.ledger.close_kept_run(lease, state, summary)

    def _check_present(self, lease: RunLease, view: RunView) -> None:
        """Give up the run without which a stage would not be worked on. Raises Unavailable."""
        missing = sorted(set(self.stages) - view.present)
        now_s = self.monotonic()
        if not missing:
            self._absent_since_s = None
            return
        since_s = self._absent_since_s = now_s if self._absent_since_s is None else self._absent_since_s
        if now_s - since_s >= self.pace.patience_s:
            self.ledger.drain_run(lease, f"{', '.join(missing)} is gone")
            self._release()
            raise Unavailable(f"run {self.run}", f"{', '.join(missing)} has been gone for {now_s - since_s:.0f} s")

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for a change, or for the next time at which something may be due."""
        longest_s = ROUND_S if self._held or self._absent_since_s is not None else IDLE_S
        left_s = self._busy_at_s + self.pace.linger_s - self.monotonic()
        self._pause(min(longest_s, max(GATHER_S, left_s)))

    def _pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()
        self._stopping.wait(GATHER_S)

    def await_absence(self, within_s: float) -> None:
        """Wait until the stages have seen the end of the run and are gone, at most so long."""
        ends_s = self.monotonic() + within_s
        everybody = [stage.name for stage in self.pipeline.stages]
        while self.monotonic() < ends_s and not self._stopping.is_set():
            view = self.ledger.find_run(self.run, everybody)
            if view is None or not view.present:
                return
            self._pause(1.0)
