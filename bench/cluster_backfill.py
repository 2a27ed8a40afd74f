"""Backfills in the cluster: pictures per second beside the bare loop, and with more and fewer workers.

Of each backfill is kept what it took and where: the simulation of larger clusters is made from that.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.cluster import Deployed, deployed, machine_busy_s
from bench.measure import FIGURES, Row, Setup, keep, load, run_process
from bench.pictures import write_varied
from stages.pipeline import PIPELINE

WORKERS: Final = (1, 2, 4, 8)
FIT: Final = 100
"""Pictures of the small backfill: what does not grow with the pictures is told from what does by two of them."""
BATCH: Final = 25
KEPT: Final = FIGURES / "scaling.json"
STAGES: Final = tuple(stage.name for stage in PIPELINE.stages if not stage.grouped)
_ENDED: Final = re.compile(
    r"^(?P<at>[0-9-]+ [0-9:]+,[0-9]+) \S+ \S+ ended stage=(?P<stage>\S+) took_s=(?P<took>\S+) cpu_s=(?P<cpu>\S+)"
    r" workers_cpu_s=(?P<workers>\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One stage's container in one pod: seconds since the workflow was made, and of a core."""

    pod: str
    stage: str
    began_s: float
    ended_s: float
    cpu_s: float
    workers_cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One backfill. Times since the workflow was made; Kubernetes knows them to the second, the containers better."""

    pictures: int
    workers: int
    batch: int
    forced: bool
    elapsed_s: float
    working_at_s: float
    """When the pods that work were made."""
    worked_at_s: float
    containers: tuple[Container, ...]
    minio_cpu_s: float
    etcd_cpu_s: float
    disk_s: float
    machine_busy_s: float
    """Of the whole machine meanwhile, in core seconds."""
    load: str

    @property
    def stages_cpu_s(self) -> float:
        return sum(one.cpu_s + one.workers_cpu_s for one in self.containers)

    @property
    def elsewhere_cores(self) -> float:
        """Return the number of cores that were busy with anything but stages, MinIO and etcd, if that was as much while
        the workers worked as before and after: Kubernetes, Argo, plan and charts, and other machines on the same
        hardware."""
        ours_s = self.stages_cpu_s + self.minio_cpu_s + self.etcd_cpu_s
        return max(0.0, (self.machine_busy_s - ours_s) / self.elapsed_s)

    @property
    def rate(self) -> float:
        """Pictures per second, from the making of the workflow to its end."""
        return self.pictures / self.elapsed_s


def measure(setup: Setup) -> list[Row]:
    """Run a backfill of new pictures, and the bare loop on the same pictures, in turn."""
    total, pairs = setup.pick(500, 100), setup.pick(3, 1)
    source = setup.folder / "source"
    setup.say(f"making {total} pictures")
    write_varied(source, total)
    runs: list[Run] = []
    bare_s: list[float] = []
    for pair in range(pairs):
        setup.say(f"pair {pair + 1} of {pairs}, load average {load()}")
        with deployed() as there:
            runs.append(backfill(there, source, workers=2, batch=total // 4))
        out = setup.folder / "bare"
        bare = run_process([sys.executable, "-m", "bench.bare", source, out, "--workers", "2"])
        if int(bare.stdout) != total:
            raise RuntimeError(f"the bare loop did {bare.stdout.strip()} of {total} pictures")
        shutil.rmtree(out)
        bare_s.append(bare.wall_s)
        setup.say(f"backfill {runs[-1].elapsed_s:.1f} s, bare loop {bare.wall_s:.1f} s")
    ratios = [bare / run.elapsed_s for bare, run in zip(bare_s, runs, strict=True)]
    working = [bare / (run.worked_at_s - run.working_at_s) for bare, run in zip(bare_s, runs, strict=True)]
    return [
        Row(
            what=f"cluster: backfill of {total}, ratio to the bare loop", values=ratios, unit="", bar=0.5, at_least=True
        ),
        Row(what="cluster: the same while its workers work", values=working, unit=""),
        Row(what="cluster: backfill", values=[run.rate for run in runs], unit="pictures/s"),
        Row(what="cluster: bare loop", values=[total / each for each in bare_s], unit="pictures/s"),
        Row(what="cluster: until workers are made", values=[run.working_at_s for run in runs], unit="s"),
        Row(what="cluster: after the workers", values=[run.elapsed_s - run.worked_at_s for run in runs], unit="s"),
        *_costs(runs),
    ]


def measure_sizes(setup: Setup) -> list[Row]:
    """Run backfills of the same pictures, done again each time, with 1, 2, 4 and 8 workers; kept for the simulation."""
    total, small = setup.pick(500, 60), setup.pick(FIT, 20)
    source = setup.folder / "source"
    setup.say(f"making {total} pictures")
    write_varied(source, total)
    runs: list[Run] = []
    with deployed() as there:
        first = setup.folder / "first"
        first.mkdir()
        for path in sorted(source.iterdir())[:small]:
            path.rename(first / path.name)
        runs.append(backfill(there, first, workers=1, batch=BATCH))
        runs.append(backfill(there, source, workers=1, batch=BATCH))
        for workers in WORKERS:
            runs.append(backfill(there, None, workers=workers, batch=BATCH, pictures=total))
            setup.say(f"{workers} workers: {runs[-1].elapsed_s:.1f} s, load average {load()}")
    if not setup.quick:
        keep(KEPT, {"runs": [asdict(run) for run in runs]})
    rows = []
    for run in runs[2:]:
        rows.append(Row(what=f"sizes: {run.workers} workers, whole", values=[run.rate], unit="pictures/s"))
        rate = run.pictures / (run.worked_at_s - run.working_at_s)
        rows.append(Row(what=f"sizes: {run.workers} workers, while they work", values=[rate], unit="pictures/s"))
    return rows


def backfill(there: Deployed, source: Path | None, *, workers: int, batch: int, pictures: int = 0) -> Run:
    """Run one backfill: of the new pictures of a folder, or, without one, again of those that are there.

    Raises RuntimeError unless it did all of them.
    """
    with there.quiet(), there.workers_at_once(workers):
        keys = there.bring(source) if source is not None else []
        parameters = {"workers": str(workers), "size": str(batch), "force": "false" if keys else "true"}
        before, busy_s = there.spent(), machine_busy_s()
        workflow = there.backfill(parameters)
        machine_s = machine_busy_s() - busy_s
        spent = {name: after - before[name] for name, after in there.spent().items()}
        expected = len(keys) or pictures
        done = outputs_of(workflow).get("count")
        if done != str(expected):
            raise RuntimeError(f"expected {expected} pictures in the verdict, got {done}")
        made_at_s = at_s(workflow["metadata"]["creationTimestamp"])
        work = [one for one in pods_of(workflow) if one["templateName"] == "work"]
        told = containers_of(there.logs(workflow["metadata"]["name"]), made_at_s)
        containers = tuple(one for one in told if one.stage in STAGES)
        if len(containers) != len(STAGES) * len(work):
            raise RuntimeError(f"expected the logs of {len(work)} pods, got {containers}")
    return Run(
        pictures=expected,
        workers=workers,
        batch=batch,
        forced=not keys,
        elapsed_s=at_s(workflow["status"]["finishedAt"]) - made_at_s,
        working_at_s=min(at_s(one["startedAt"]) for one in work) - made_at_s,
        worked_at_s=max(at_s(one["finishedAt"]) for one in work) - made_at_s,
        containers=containers,
        machine_busy_s=machine_s,
        load=load(),
        **spent,
    )


def containers_of(logs: Mapping[tuple[str, str], str], made_at_s: float) -> tuple[Container, ...]:
    """Return the stages' containers among these logs, in the order of their beginning."""
    found = []
    for (pod, _), text in logs.items():
        for match in _ENDED.finditer(text):
            ended_s = log_at_s(match["at"]) - made_at_s
            found.append(
                Container(
                    pod=pod,
                    stage=match["stage"],
                    began_s=round(ended_s - float(match["took"]), 3),
                    ended_s=round(ended_s, 3),
                    cpu_s=float(match["cpu"]),
                    workers_cpu_s=float(match["workers"]),
                )
            )
    return tuple(sorted(found, key=lambda one: (one.began_s, one.pod)))


def pods_of(workflow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return its nodes that are pods."""
    return [one for one in workflow["status"]["nodes"].values() if one["type"] == "Pod"]


def outputs_of(workflow: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of its verdict."""
    return {
        one["name"]: one.get("value", "")
        for node in pods_of(workflow)
        if node["templateName"] == "end"
        for one in node.get("outputs", {}).get("parameters", [])
    }


def at_s(stamp: str) -> float:
    """Unix seconds of Kubernetes' ``2025-11-22T08:00:00Z``."""
    return datetime.fromisoformat(stamp).timestamp()


def log_at_s(stamp: str) -> float:
    """Unix seconds of a container's ``2025-11-22 08:00:00,123``; its clock is set to UTC."""
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp()


def _costs(runs: Sequence[Run]) -> list[Row]:
    parts = {
        "stages": [run.stages_cpu_s for run in runs],
        "MinIO": [run.minio_cpu_s for run in runs],
        "etcd": [run.etcd_cpu_s for run in runs],
        "all else on the machine": [
            run.machine_busy_s - run.stages_cpu_s - run.minio_cpu_s - run.etcd_cpu_s for run in runs
        ],
    }
    return [
        Row(
            what=f"cluster: CPU time a picture: {name}",
            values=[1000 * spent_s / run.pictures for spent_s, run in zip(values, runs, strict=True)],
            unit="ms",
        )
        for name, values in parts.items()
    ]
