"""Cost of the engine itself for a file: the toy pipeline of four trivial stages, run by real worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from bench.measure import Row, Setup
from devkit.toy_pipeline import toy_pipeline
from lookout.execution.executor import Done, Workers
from lookout.execution.jobs import Job, StageRun
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.port import Ledger
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import ObjectStore
from lookout.object_store.routing import Routes
from lookout.outbox.channel import Channel
from lookout.outbox.factory import OutboxFactory
from lookout.runs.runner import Order, Ran, Runner
from lookout.sources.folder import FolderSource

SHOWN_MS: Final = 0.01
"""A part that costs a file less is not shown."""
PLANNING: Final = ("find_inputs", "find_slots", "find_records", "tallies", "members")


def measure(setup: Setup) -> list[Row]:
    """Measure the whole run in this process, start of the workers included, and the parts of the engine's thread in
    it."""
    total, repeats = setup.pick(1000, 200), setup.pick(5, 2)
    source = setup.folder / "source"
    source.mkdir()
    for number in range(total):
        folder = source / f"device{number % 10}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"text number {number}")
    walls: list[float] = []
    spent: list[dict[str, float]] = []
    for number in range(repeats):
        meter = Meter()
        start = time.perf_counter()
        ran = _run(setup.folder / f"state-{number}", source, meter)
        walls.append(1000 * (time.perf_counter() - start) / total)
        if ran.engine.report.success["first"] != total or ran.engine.report.failed:
            raise RuntimeError(f"expected {total} successes and no failure, got {ran.engine.report}")
        spent.append(meter.spent_s)
        setup.say(f"{walls[-1]:.2f} ms a file")
    parts = [
        Row(what=f"engine: of it {name}", values=[1000 * meter.get(name, 0.0) / total for meter in spent], unit="ms")
        for name in dict.fromkeys(name for meter in spent for name in meter)
    ]
    shown = sorted((part for part in parts if part.middle >= SHOWN_MS), key=lambda part: -part.middle)
    return [Row(what="engine: a file through four trivial stages", values=walls, unit="ms", bar=3.0), *shown]


@dataclass(slots=True)
class Meter:
    """Seconds by name; nested calls count for the outer one."""

    spent_s: dict[str, float] = field(default_factory=dict)
    _busy: bool = False

    def add(self, name: str, seconds: float) -> None:
        self.spent_s[name] = self.spent_s.get(name, 0.0) + seconds

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        if self._busy:
            yield
            return
        self._busy = True
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)
            self._busy = False


class Metered:
    """Passes every call on and notes its time; a call that gives a context manager or an iterator counts as a call."""

    def __init__(self, target: object, meter: Meter, prefix: str) -> None:
        self._target, self._meter, self._prefix = target, meter, prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found
        label = "planning (ledger reads)" if name in PLANNING else f"{self._prefix}.{name}"

        def call(*args: object, **kwargs: object) -> object:
            with self._meter.time(label):
                return found(*args, **kwargs)

        return call


class MeteredWorkers(Workers):
    """Worker processes, and the time that jobs spend in a worker and on the way there and back."""

    def __init__(self, workers: Workers, meter: Meter) -> None:
        self._workers, self._meter = workers, meter
        self.size = workers.size

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        def told(job: Job, run: StageRun) -> None:
            if run.error is None:
                spent_s = run.finished_at_s - run.started_at_s
                self._meter.add(f"in the workers, over {self.size} of them", spent_s / self.size)
            done(job, run)

        with self._meter.time("submitting to the workers"):
            self._workers.submit(jobs, timeout_s, told)

    def call(self, function: str, *arguments: object) -> Callable[[], object]:
        return self._workers.call(function, *arguments)

    def stop(self) -> None:
        self._workers.stop()


def _run(state: Path, source: Path, meter: Meter) -> Ran:
    pipeline = toy_pipeline()

    def open_ledger() -> Ledger:
        return SqliteLedger(state / "ledger.sqlite")

    def no_channel(name: str) -> Channel:
        raise RuntimeError(f"nothing here gives an alarm by {name}")

    ledger = open_ledger()
    store = Routes({pipeline.inputs: FolderSource()}, FolderStore(state / "objects"))
    workers = ProcessWorkers(store=store, size=os.cpu_count() or 1)
    try:
        runner = Runner(
            pipeline=pipeline,
            ledger=cast(Ledger, Metered(ledger, meter, "ledger")),
            open_ledger=open_ledger,
            store=cast(ObjectStore, Metered(store, meter, "store")),
            workers=MeteredWorkers(workers, meter),
            outboxes=OutboxFactory(store=store, channel=no_channel, clock=time.time),
            code="bench",
        )
        return runner.run(Order(sources=(source,)))
    finally:
        workers.stop()
        ledger.close()
