"""Dispatcher of new objects: it cuts them into batches and has a workflow started for each; again, if none took it.

What was posted is nowhere written down. A batch that nobody has ever taken is posted when it is cut, and again at times
that follow from its age alone; the number of the time is a part of the workflow's name. So after a restart, or from
two intakes at once, the same post means the same workflow, and a batch whose post was lost has another soon.

A batch is live from its cut until it is done. While none is, what lands is cut at once, as nothing else is to be done.
While some are, it waits for others for a moment; while enough are, until one is done, and the next batch is the larger
for it. Only batches outside runs count and are posted: those of a backfill, and of
``reconcile``, have workers of their own.

The dispatcher never moves the basis on which the ledger plans, as ``lookout.batches.cutter.Cutter`` does: an intake of
an older version, beside newer workers, would have everything done again. It reads what it cuts, not all that waits.

Knows no HTTP, no stage and no object.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final, Protocol

from event_sources.intake.key_queue import Line
from event_sources.intake.metrics import Metrics
from event_sources.intake.open_runs import OpenRuns, RunPace
from lookout.batches.cutter import KEEP_S
from lookout.domain.errors import InputRejected, LookoutError
from lookout.ledger.batches import LIVE, MAX_KEYS, UNFINISHED, Batch, BatchLedger, BatchState
from lookout.ledger.open_runs import OpenRunLedger
from lookout.log import get_logger

log = get_logger(__name__)

SWEEP_S: Final = 60.0
"""How often the ledger is asked for what waits there and is in no batch."""
HELD_S: Final = 5.0
"""After this time a key is tried again that a batch has already."""
HELD_SHARE: Final = 0.25
"""Or after this share of the time that it has waited, if that is longer: a backfill may have very many for hours."""
LOOK_S: Final = 1.0
"""How often it is looked whether a live batch is done, while something waits for that."""
WATCH_S: Final = 5.0
"""The same, while nothing does."""
TROUBLE_S: Final = 1.0
"""The pause after an error."""
LEFT_ALONE: Final = 10
"""A batch that a workflow has had in hand is posted again after this many times ``again_s``: Argo tries a pod again for
ten minutes, with pauses in which nobody holds the batch."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """``size`` keys in a batch at most; fewer leave when one has waited ``age_s``, or at once while no batch is live;
    ``most`` batches live at a time; a batch that nobody took is posted again after ``again_s``, then after twice that,
    and so on. With ``runs`` batches are assigned to open runs; without, each has a run of its own, which ends with
    it."""

    size: int = 200
    age_s: float = 0.5
    most: int = 4
    again_s: float = 60.0
    runs: RunPace | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_KEYS:
            raise ValueError(f"expected a size of 1 to {MAX_KEYS}, got {self.size}")
        if self.most < 1 or self.age_s < 0 or self.again_s <= 0:
            raise ValueError(f"expected most >= 1, age_s >= 0 and again_s > 0, got {self}")

    def attempt(self, age_s: float) -> int:
        """Return how many times a batch of this age should have been posted if no workflow took it: the second time
        after ``again_s``, the third after three times that, then seven times."""
        return 1 + int(math.log2(1 + max(0.0, age_s) / self.again_s))

    def next_s(self, attempt: int) -> float:
        """Return the age at which the post after this one is due."""
        return self.again_s * (math.ldexp(1.0, attempt) - 1)


class Poster(Protocol):
    """Port for what starts processes. Each call raises Unavailable when it does not answer."""

    def post_batch(self, batch: Batch, attempt: int) -> None:
        """Have a workflow started for the batch; of one attempt, however often it is posted, one at most."""
        ...

    def post_run(self, run: str, linger_s: float) -> None:
        """Have the processes of an open run started; of one run, however often it is posted, once at most."""
        ...


class Dispatcher:
    """Dispatcher that cuts and posts, on a thread of its own between ``start`` and ``stop``; or with each call of
    ``step``.

    ``readers`` are the stages that read what lands, ``stages`` all. ``nonce`` is a short text that no other intake
    has, in small letters and digits. With ``pace.runs`` batches are assigned to open runs, which are posted; without,
    each batch is posted. Raises nothing: what fails is tried again.
    """

    def __init__(
        self,
        *,
        open_ledger: Callable[[], BatchLedger],
        poster: Poster,
        readers: Sequence[str],
        stages: Sequence[str],
        pace: Pace,
        clock: Callable[[], float],
        nonce: str,
        metrics: Metrics,
    ) -> None:
        self._open_ledger, self._poster = open_ledger, poster
        self._readers, self._stages = tuple(readers), tuple(stages)
        self._pace, self._clock, self._nonce, self._metrics = pace, clock, nonce, metrics
        self.line = Line(size=pace.size if pace.runs is None else min(pace.size, pace.runs.cap), age_s=pace.age_s)
        self._runs = None
        if pace.runs is not None:
            self._runs = OpenRuns(
                pace.runs,
                post=poster.post_run,
                attempt=pace.attempt,
                new_id=self._new_run,
                nonce=nonce,
                metrics=metrics,
            )
        self._ledger: BatchLedger | None = None
        self._number = 0
        self._posted: dict[str, int] = {}
        """By live batch, the last attempt that is known to have been posted."""
        self._sweep_at_s = self._looked_at_s = -math.inf
        self._free: set[str] | None = None
        """What the last sweep found to be in no batch."""
        self._first = True
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        metrics.ask(lambda: len(self.line), self._oldest_s)

    def start(self) -> None:
        """Start the thread, with the batches that the process before has left."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End after the round under way; what hangs in a call is left alone after so long."""
        self._stopping = True
        self.line.wake()
        self._thread.join(within_s)

    @property
    def is_alive(self) -> bool:
        """Tell whether the thread is alive."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            try:
                rest_s = self.step()
            except LookoutError as error:
                self._metrics.troubles.inc()
                log.warning("round failed", error=error, then="retry")
                rest_s = TROUBLE_S
            self.line.wait(rest_s)
        if self._ledger is not None:
            self._ledger.close()

    def step(self) -> float:
        """Do what is due; says after how many seconds something may be due again, if nothing lands until then. Raises
        LookoutError, and then the next step does what this has not."""
        ledger = self._ledger = self._ledger or self._open_ledger()
        now_s = self._clock()
        if now_s < self._looked_at_s:
            log.warning("clock set back", seconds=round(self._looked_at_s - now_s, 3))
            self.line.set_back(now_s)
            self._sweep_at_s = now_s
        self._looked_at_s = now_s
        if now_s >= self._sweep_at_s:
            self._sweep(ledger, now_s)
            self._sweep_at_s = now_s + SWEEP_S
        live = [batch for batch in ledger.batches(run="", states=UNFINISHED) if batch.kind == LIVE]
        known = {batch.id for batch in live}
        self._posted = {id_: attempt for id_, attempt in self._posted.items() if id_ in known}
        for batch in live:
            self._post_if_due(batch, now_s)
        self._first = False
        if self._runs is not None:
            self._assign(ledger, self._runs, now_s)
            return self._rest_s(live, now_s)
        while len(live) < self._pace.most and (taken := self.line.take(now_s, at_once=not live)):
            cut = self._cut(ledger, taken, now_s, lambda batch: next(iter(ledger.add_batches([batch])), None))
            if cut is not None:
                live.append(cut)
                self._post_if_due(cut, now_s)
                self._metrics.left.observe(self._clock() - min(taken.values()))
        return self._rest_s(live, now_s)

    # --- cutting ------------------------------------------------------------------------------------------------------

    def _cut(
        self,
        ledger: BatchLedger,
        taken: Mapping[str, float],
        now_s: float,
        keep: Callable[[Batch], Batch | None],
    ) -> Batch | None:
        """Return a batch of those of the keys that wait in the ledger, kept in it by ``keep``; None when none is left,
        or others have all of them."""
        try:
            found = [ledger.find_slots(stage, list(taken)) for stage in self._readers]
            waiting = sorted({key for slots in found for key, slot in slots.items() if slot.dirty})
            kept: Batch | None = None
            if waiting:
                self._number += 1
                batch = Batch(
                    id=f"{_stamp(now_s)}-{self._nonce}-{self._number:05}",
                    kind=LIVE,
                    keys=tuple(waiting),
                    basis={stage: basis for stage in self._stages if (basis := ledger.basis(stage)) is not None},
                    created_at_s=now_s,
                )
                kept = keep(batch)
        except LookoutError:
            self.line.put_back(taken)
            raise
        held = {key: taken[key] for key in set(waiting).difference(kept.keys if kept is not None else ())}
        waited_s = now_s - max(held.values(), default=now_s)
        self.line.put_back(held, now_s + max(HELD_S, HELD_SHARE * waited_s))
        if kept is not None:
            self._metrics.batches.labels("cut").inc()
            self._metrics.cut_objects.observe(len(kept.keys))
            log.info("cut", batch=kept.id, objects=len(kept.keys), run=kept.run)
        return kept

    # --- open runs ----------------------------------------------------------------------------------------------------

    def _assign(self, ledger: BatchLedger, runs: OpenRuns, now_s: float) -> None:
        """Assign what waits to open runs, at once, as long as one has room."""
        if not isinstance(ledger, OpenRunLedger):
            raise InputRejected("needs a ledger on a server", "LOOKOUT_INTAKE_LINGER_S", "set LOOKOUT_LEDGER, or 0")
        runs.look(ledger, now_s)
        while taken := self.line.take(now_s, at_once=True):
            try:
                chosen = runs.choose(ledger, now_s, now_s - min(taken.values()))
            except LookoutError:
                self.line.put_back(taken)
                raise
            if chosen is None:
                self.line.put_back(taken)
                return
            run, room = chosen
            self.line.put_back(dict(islice(taken.items(), room, None)))
            first = dict(islice(taken.items(), room))
            keep = partial(self._keep_in, ledger, run, runs.pace.opening_s)
            try:
                if self._cut(ledger, first, now_s, keep) is not None:
                    self._metrics.left.observe(self._clock() - min(first.values()))
            except InputRejected as error:  # it has just stopped taking batches: the next step sees which does
                log.info("not assigned", run=run, why=error)
                return
            runs.assigned(ledger, run)
            runs.post(run)

    def _keep_in(self, ledger: OpenRunLedger, run: str, opening_s: float, batch: Batch) -> Batch | None:
        return ledger.assign_batch(replace(batch, run=run), opening_s)

    def _new_run(self, now_s: float) -> str:
        self._number += 1
        return f"pipeline-{_stamp(now_s)}-{self._nonce}-{self._number:05}"

    def _sweep(self, ledger: BatchLedger, now_s: float) -> None:
        """Find what waits in the ledger and neither here nor in a batch: entered by an intake that is gone. What is
        found for the first time is left alone once, as somebody may be about to cut it; but not after the start."""
        held = {key for batch in ledger.batches(states=UNFINISHED) for key in batch.keys}
        free = {key for stage in self._readers for key in ledger.dirty(stage) if key not in held}
        self.line.add(sorted(free if self._free is None else free & self._free), now_s)
        self._free = free
        ledger.expire_batches(now_s - KEEP_S)

    # --- posting ------------------------------------------------------------------------------------------------------

    def _post_if_due(self, batch: Batch, now_s: float) -> None:
        # A batch from the future was cut before the clock was set back: it is at least so old.
        attempt = self._pace.attempt(abs(now_s - batch.created_at_s))
        last = self._posted.get(batch.id)
        if last is None and not self._first and self._nonce not in batch.id:
            last = self._posted[batch.id] = attempt  # another intake has just cut it, and posts it
        if batch.state is not BatchState.OPEN or (last is not None and last >= attempt):
            return
        if batch.token and 0 <= now_s - batch.updated_at_s < LEFT_ALONE * self._pace.again_s:
            return
        self._poster.post_batch(batch, attempt)
        self._posted[batch.id] = attempt
        self._metrics.batches.labels("posted" if attempt == 1 else "reposted").inc()
        log.info("posted", batch=batch.id, attempt=attempt)

    def _rest_s(self, live: Sequence[Batch], now_s: float) -> float:
        is_full = len(live) >= self._pace.most
        due_s = self.line.due_at_s()
        self._metrics.live.set(len(live))
        self._metrics.held_back.set(is_full and due_s is not None)
        times = [self._sweep_at_s]
        untaken = [batch for batch in live if batch.state is BatchState.OPEN and not batch.token]
        times += [batch.created_at_s + self._pace.next_s(self._posted[batch.id]) for batch in untaken]
        if live:
            times.append(now_s + WATCH_S)
        if self._runs is not None and not self._runs.is_idle:
            times.append(now_s + LOOK_S)
        if due_s is not None:
            times.append(max(due_s, now_s + LOOK_S) if is_full or self._runs is not None else due_s)
        return max(0.0, min(times) - now_s)

    def _oldest_s(self) -> float:
        since_s = self.line.oldest_s()
        return 0.0 if since_s is None else max(0.0, self._clock() - since_s)


def _stamp(now_s: float) -> str:
    """Return a time to the millisecond that sorts as the ids of other cuts do, and may be a part of a workflow's
    name."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y%m%dt%H%M%S}{int(now_s * 1000) % 1000:03}"
