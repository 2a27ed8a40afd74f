"""Metrics of an intake for Prometheus. One registry an intake, none of the process."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_ANSWERS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DELAYS_S = (0.25, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_EVENT_DELAYS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_OBJECTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The counters, by what they count; docs/intake.md lists them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._registry = kept = CollectorRegistry()
        ProcessCollector(registry=kept)
        self.events = Counter(
            "lookout_intake_events", "Events taken, by bucket and what happened", ["bucket", "kind"], registry=kept
        )
        self.ignored = Counter(
            "lookout_intake_ignored", "Events answered without a look, by reason", ["reason"], registry=kept
        )
        self.refused = Counter(
            "lookout_intake_refused", "Posts that were not taken, by reason", ["reason"], registry=kept
        )
        self.changed = Counter(
            "lookout_intake_changed", "Objects that differed from what the ledger knew", registry=kept
        )
        self.batches = Counter(
            "lookout_intake_batches", "Batches, by what was done: cut, posted, reposted", ["what"], registry=kept
        )
        self.troubles = Counter(
            "lookout_intake_troubles", "Rounds of cutting and posting that ended in an error", registry=kept
        )
        self.answered = Histogram(
            "lookout_intake_answer_seconds", "From a post to its answer", buckets=_ANSWERS_S, registry=kept
        )
        self.together = Histogram(
            "lookout_intake_together_objects", "Objects entered by one write", buckets=_OBJECTS, registry=kept
        )
        self.cut_objects = Histogram(
            "lookout_intake_batch_objects", "Objects in a batch", buckets=_OBJECTS, registry=kept
        )
        self.left = Histogram(
            "lookout_intake_wait_seconds",
            "From the entry of a batch's first object into the ledger to the batch's first post",
            buckets=_DELAYS_S,
            registry=kept,
        )
        self.pictures = Counter(
            "lookout_intake_pictures",
            "Pictures that devices sent by HTTP, by the status answered",
            ["status"],
            registry=kept,
        )
        self.stored = Histogram(
            "lookout_intake_store_seconds",
            "From a picture's request to the answer that it is stored",
            buckets=_ANSWERS_S,
            registry=kept,
        )
        self._add_ways(kept)
        self.live = Gauge("lookout_intake_live_batches", "Batches that are cut and not done", registry=kept)
        self.held_back = Gauge(
            "lookout_intake_held_back", "1 while objects wait because enough batches are live", registry=kept
        )
        self._waiting = Gauge("lookout_intake_waiting_objects", "Objects that wait for a batch", registry=kept)
        self._oldest = Gauge(
            "lookout_intake_oldest_waiting_seconds", "Waiting time of the first of them; 0 if none", registry=kept
        )

    def _add_ways(self, kept: CollectorRegistry) -> None:
        self.hints = Counter("lookout_intake_hints", "Hints, by what came of them", ["outcome"], registry=kept)
        self.hints_connected = Gauge(
            "lookout_intake_hints_connected", "1 while it is subscribed to hints on NATS", registry=kept
        )
        self.hint_losses = Counter(
            "lookout_intake_hint_losses", "Connections to NATS that were lost or could not be made", registry=kept
        )
        self._delays = Histogram(
            "lookout_intake_event_delay_seconds",
            "From the store's event, by its clock, until the ledger has the object, by the way that the event took",
            ["way"],
            buckets=_EVENT_DELAYS_S,
            registry=kept,
        )

    def ask(self, waiting: Callable[[], int], oldest_s: Callable[[], float]) -> None:
        """Set the functions that give the waiting objects at each scrape."""
        self._waiting.set_function(waiting)
        self._oldest.set_function(oldest_s)

    def note_delay(self, way: str, at_s: float | None) -> None:
        """Count the delay of an event by its way, hint or durable. Clocks of two machines may differ a little, so less
        than nothing is nothing."""
        if at_s is not None:
            self._delays.labels(way).observe(max(0.0, self._clock() - at_s))

    def as_text(self) -> bytes:
        """Return the metrics in the form that Prometheus reads."""
        return generate_latest(self._registry)
