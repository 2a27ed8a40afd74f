"""Metrics of a deployment for Prometheus, read from the ledger, as workers are short-lived.

A container of a stage lives for seconds, so it cannot be scraped; what all of them did is in the ledger. One process
reads the ledger at intervals and answers scrapes from its last reading, so that a scrape costs the ledger nothing.
The ledger does not say how long a picture took; the process measures it, as it sees a picture wait and then no more.

The one module that knows prometheus_client. Knows no stage by name and no port.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lookout import __version__
from lookout.batches.cutter import ordinary
from lookout.domain.device_health.records import Kind
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import AlertState
from lookout.domain.rule_fit.records import FitNote, count_without_effect
from lookout.domain.rule_fit.records import Kind as FitKind
from lookout.ledger.port import Ledger
from lookout.reports.device_health import DeviceHealth
from lookout.reports.status import Status
from lookout.runs.change_feed import TROUBLES

LATENCY_BUCKETS_S: Final = (1, 2, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600, 1800, 3600)
WAITING: Final = "waiting"
_PIECE: Final = 500


class Measures(Collector):
    """The metrics. ``take`` and ``fail`` are for the thread that looks; scrapes may come from any other."""

    def __init__(self, pipeline: Pipeline, *, follows: bool) -> None:
        self._pipeline = pipeline
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._standing: Status | None = None
        self._up = False
        self._before: Mapping[str, float] = {}
        self._latency = (
            Histogram(
                "lookout_latency_seconds",
                "From the first sight of a picture until its last stage was done; of pictures that were seen to wait.",
                buckets=LATENCY_BUCKETS_S,
                registry=self.registry,
            )
            if follows
            else None
        )

    def take(self, status: Status, ledger: Ledger) -> None:
        """Show this from now on, and time what waited at the last look and does not any more."""
        if self._latency is not None:
            through = [key for key in self._before if key not in status.backlog.landed]
            for latency_s in self._times(ledger, through):
                self._latency.observe(latency_s)
        self._before = status.backlog.landed
        self._standing, self._up = status, True

    def fail(self) -> None:
        """The ledger does not answer: say so, and nothing of how it was."""
        self._up = False

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()

    def collect(self) -> Iterator[Metric]:
        status = self._standing if self._up else None
        yield _gauge("lookout_info", "Which version of Lookout looks.", {(("version", __version__),): 1})
        yield _gauge("lookout_ledger_up", "Whether the ledger answered at the last look.", {(): float(self._up)})
        if status is not None:
            yield from _metrics(status)

    def _times(self, ledger: Ledger, keys: list[str]) -> Iterator[float]:
        """Yield the time that each of these pictures took, without those that are gone."""
        stages = [stage.name for stage in ordinary(self._pipeline)]
        for start in range(0, len(keys), _PIECE):
            piece = keys[start : start + _PIECE]
            found = [ledger.find_slots(stage, piece) for stage in stages]
            for key in piece:
                records = [slots[key].record for slots in found if key in slots]
                done_s = max((record.finished_at_s for record in records if record is not None), default=-math.inf)
                if done_s >= self._before[key]:
                    yield done_s - self._before[key]


def _metrics(status: Status) -> Iterator[Metric]:
    backlog = status.backlog
    yield _gauge(
        "lookout_looked_at_seconds", "Time of the last reading of the ledger, in Unix seconds.", {(): status.at_s}
    )
    yield _gauge("lookout_pictures", "Pictures that are known, valid or not.", {(): status.pictures})
    yield _gauge(
        "lookout_datums",
        "Datums by stage and by their last outcome.",
        {
            (("stage", stage), ("state", state)): number
            for stage, row in status.stages.items()
            for state, number in row.items()
            if state != WAITING
        },
    )
    yield _gauge(
        "lookout_waiting_datums",
        "Datums to be done or being done, by stage.",
        {(("stage", stage),): row[WAITING] for stage, row in status.stages.items()},
    )
    yield _gauge(
        "lookout_waiting_pictures", "Pictures of which a datum waits; at most 10,000 a stage.", {(): backlog.pictures}
    )
    since_s = backlog.oldest.since_s if backlog.oldest is not None else math.inf
    age_s = 0.0 if math.isinf(since_s) else max(0.0, status.at_s - since_s)
    yield _gauge("lookout_oldest_waiting_seconds", "Waiting time of the oldest of these; 0 if none.", {(): age_s})
    yield _gauge(
        "lookout_alerts",
        "Alerts by state.",
        {(("state", state.value),): status.alerts.get(state.value, 0) for state in AlertState},
    )
    unsent = status.unsent
    yield _gauge(
        "lookout_oldest_unsent_alert_seconds",
        "Waiting time of the oldest unsent alert; 0 if none.",
        {(): 0.0 if unsent.oldest_at_s is None else max(0.0, status.at_s - unsent.oldest_at_s)},
    )
    yield _gauge("lookout_failing_alerts", "Unsent alerts of which an attempt has failed.", {(): unsent.failed})
    held = status.held.pictures if status.held is not None else 0
    yield _gauge("lookout_held_back_pictures", "Pictures that are gone and wait for --allow-deletions.", {(): held})
    yield _gauge(
        "lookout_watch_troubles",
        "Faults of the watch at work, by kind.",
        {(("kind", kind),): status.watch.get(kind, 0) for kind in TROUBLES},
    )
    yield _gauge(
        "lookout_batches",
        "Batches by state.",
        {(("state", state),): number for state, number in status.batches.items()},
    )
    yield from _rules(status.rule_notes)
    if status.health is not None:
        yield from _health(status.health)


def _rules(notes: Sequence[FitNote]) -> Iterator[Metric]:
    kinds = Counter(one.kind for one in notes)
    yield _gauge(
        "lookout_rules_without_effect",
        "Rules in force that can match nothing with this model and these devices.",
        {(): count_without_effect(notes)},
    )
    yield _gauge(
        "lookout_rule_notes",
        "Notes on rules in force that do not fit the model, the threshold or the devices, by kind.",
        {(("kind", kind.value),): kinds[kind] for kind in FitKind if kind is not FitKind.CHANNEL},
    )


def _health(health: DeviceHealth) -> Iterator[Metric]:
    kinds = Counter(one.finding.kind for one in health.lasting)
    yield _gauge("lookout_devices", "Devices that are known.", {(): health.devices})
    yield _gauge(
        "lookout_troubled_devices",
        "Devices with trouble that lasts, by kind.",
        {(("kind", kind.value),): kinds[kind] for kind in Kind},
    )


def _gauge(name: str, text: str, values: Mapping[tuple[tuple[str, str], ...], float]) -> Metric:
    """One value for each set of labels."""
    labels = next(iter(values), ())
    family = GaugeMetricFamily(name, text, labels=[label for label, _ in labels])
    for found, value in values.items():
        family.add_metric([text for _, text in found], value)
    return family
