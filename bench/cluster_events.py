"""A burst of uploads through the intake, beside a backfill of the same pictures: how many workflows it takes, how long,
and what waits where meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.cluster import TOGETHER, Deployed, counter_in, deployed
from bench.cluster_backfill import STAGES, at_s, backfill
from bench.measure import FIGURES, Row, Setup, keep, load
from bench.pictures import write_varied

KEPT: Final = FIGURES / "burst.json"
WATCHED: Final[Mapping[str, str]] = {
    "waiting": "lookout_intake_waiting_objects",
    "live": "lookout_intake_live_batches",
    "memory_bytes": "process_resident_memory_bytes",
}
_EVERY_S: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """Seconds since the first upload. ``series`` has one value of each of WATCHED a second, by the intake's metrics."""

    pictures: int
    uploaded_s: float
    done_s: float
    workflows: tuple[str, ...]
    series: Mapping[str, Sequence[float]]


def measure(setup: Setup) -> list[Row]:
    """Measure 500 pictures in 20 s, then a backfill of the same with two workers."""
    total, within_s = setup.pick(500, 60), setup.pick(20.0, 5.0)
    source = setup.folder / "source"
    setup.say(f"making {total} pictures")
    write_varied(source, total)
    with deployed() as there:
        burst = upload_at_once(there, source, within_s)
    setup.say(f"burst: {burst.done_s:.1f} s, {len(burst.workflows)} workflows, load average {load()}")
    with deployed() as there:
        compared = backfill(there, source, workers=2, batch=total // 4)
    setup.say(f"backfill: {compared.elapsed_s:.1f} s, load average {load()}")
    if not setup.quick:
        keep(KEPT, {"done_s": burst.done_s, "backfill_s": compared.elapsed_s, "series": burst.series})
    memory = [each / 1e6 for each in burst.series["memory_bytes"]]
    return [
        Row(what=f"burst of {total}: workflows", values=[len(burst.workflows)], unit="", bar=20),
        Row(
            what="burst: until all is done, ratio to a backfill",
            values=[burst.done_s / compared.elapsed_s],
            unit="",
            bar=2.0,
        ),
        Row(what="burst: until all is uploaded", values=[burst.uploaded_s], unit="s"),
        Row(what="burst: until all is done", values=[burst.done_s], unit="s"),
        Row(what="burst: backfill of the same pictures", values=[compared.elapsed_s], unit="s"),
        Row(what="burst: most pictures waiting in the ledger", values=[max(burst.series["waiting"])], unit=""),
        Row(what="burst: most batches live", values=[max(burst.series["live"])], unit=""),
        Row(what="burst: intake's memory before and at most", values=[memory[0], max(memory)], unit="MB"),
    ]


def upload_at_once(there: Deployed, source: Path, within_s: float) -> Burst:
    """Upload a folder's pictures evenly over this time, and wait until all workflows that have worked on them have
    ended. Raises RuntimeError when they do not, or one has failed."""
    paths = sorted(source.iterdir(), key=lambda path: path.name.partition("_")[2])
    with sampled(there) as series, ThreadPoolExecutor(TOGETHER) as pool:
        began_s = time.time()
        uploads = []
        for number, path in enumerate(paths):
            time.sleep(max(0.0, began_s + number * within_s / len(paths) - time.time()))
            uploads.append(pool.submit(there.upload, path.name, path.read_bytes()))
        keys = [upload.result() for upload in uploads]
        uploaded_s = time.time() - began_s
        runs = sorted(there.runs_of(keys, STAGES))
        ended_s = [at_s(there.finished(run)["status"]["finishedAt"]) for run in runs]
    return Burst(
        pictures=len(keys),
        uploaded_s=uploaded_s,
        done_s=max(ended_s) - began_s,
        workflows=tuple(runs),
        series=series.values,
    )


@dataclass
class Series:
    """Values of WATCHED, one a second."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in WATCHED})


@contextmanager
def sampled(there: Deployed) -> Iterator[Series]:
    """Sample the intake's metrics while the block runs."""
    series, over = Series(), threading.Event()

    def sample() -> None:
        while True:
            page = there.intake_metrics()
            for name, metric in WATCHED.items():
                series.values[name].append(counter_in(page, metric))
            if over.wait(_EVERY_S):
                return

    with ThreadPoolExecutor(1) as pool:
        sampling = pool.submit(sample)
        try:
            yield series
        finally:
            over.set()
            sampling.result()
