"""From a picture's upload to the mail about it, through events and workflow in the cluster, by its steps.

One picture at a time. Moments come from Kubernetes' watch, from logs, and from the ledger; all clocks are those of one
machine, or the steps of the local cluster could not be told so finely.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from bench.cluster import Deployed, deployed
from bench.cluster_backfill import Container, containers_of
from bench.cluster_watch import Thing, Watched, watching
from bench.measure import FIGURES, Row, Setup, keep, load, percentile
from bench.pictures import FIRST_DAY_S, persons
from lookout.domain.records import Record

STAGES: Final = ("validate", "object-detect", "threat-detect")
KEPT: Final = FIGURES / "mail.json"
PUBLISHED: Final = "Succeeded to publish an event"
_STAMP: Final = re.compile(r"^(\S+Z) ")


def measure(setup: Setup) -> list[Row]:
    """Measure p50 and p95 of the whole way, and the median of each step."""
    number, every_s = setup.pick(20, 3), setup.pick(30.0, 0.0)
    taken: list[dict[str, float]] = []
    cpu_s: list[dict[str, float]] = []
    with (
        deployed() as there,
        watching("workflows") as workflows,
        watching("pods", "--selector=workflows.argoproj.io/workflow") as pods,
    ):
        began_s = time.monotonic()
        for turn, (name, data) in enumerate(persons(number, FIRST_DAY_S)):
            time.sleep(max(0.0, began_s + turn * every_s - time.monotonic()))
            moments, spent_s = follow(there, name, data, workflows, pods)
            taken.append(moments)
            cpu_s.append(spent_s)
            setup.say(f"{name}: {moments['mail']:.1f} s, load average {load()}")
    if not setup.quick:
        keep(KEPT, {"moments_s": taken, "cpu_s": cpu_s})
    spent = [sum(each.values()) for each in cpu_s]
    return [*rows_of(taken), Row(what="upload to mail: CPU time of the four stages", values=spent, unit="s")]


def follow(
    there: Deployed, name: str, data: bytes, workflows: Watched, pods: Watched
) -> tuple[dict[str, float], dict[str, float]]:
    """Upload one picture; the moments of its way by name, in seconds since the upload was done, and the CPU time of
    its stages."""
    key = there.upload(name, data)
    uploaded_s = time.time()
    (run,) = there.runs_of([key], STAGES[:1])
    made_at_s, _ = workflows.first(lambda thing: thing["metadata"]["name"] == run, f"workflow {run}")
    there.finished(run)
    ended_at_s, _ = workflows.first(lambda thing: _is_over(thing, run), f"end of {run}")
    pod_s, _ = pods.first(lambda thing: _workflow_of(thing) == run, f"pod of {run}")
    scheduled_s, _ = pods.first(lambda thing: _is_scheduled(thing, run), f"scheduled pod of {run}")
    with there.open() as opened:
        found = {stage: opened.ledger.find_slots(stage, [key])[key].record for stage in STAGES}
        mailed_s = [alert.settled_at_s or 0.0 for alert in opened.ledger.alerts(run=run)]
    records = {stage: record for stage, record in found.items() if record is not None}
    if not mailed_s or not all(mailed_s) or len(records) != len(STAGES):
        raise RuntimeError(f"{run}: expected mails and results of {len(STAGES)} stages, got {records}, {mailed_s}")
    containers = {one.stage: one for one in containers_of(there.logs(run), 0.0)}
    moments = {
        "event": published_s(there.kubectl(*_event_logs(uploaded_s)), uploaded_s),
        "workflow": made_at_s,
        "pod": pod_s,
        "scheduled": scheduled_s,
        **stage_moments(containers, records),
        "mail": max(mailed_s),
        "plot ends": containers["plot"].ended_s,
        "end": ended_at_s,
    }
    spent_s = {one.stage: one.cpu_s + one.workers_cpu_s for one in containers.values()}
    return {moment: round(at_s - uploaded_s, 3) for moment, at_s in moments.items()}, spent_s


def stage_moments(containers: Mapping[str, Container], records: Mapping[str, Record]) -> dict[str, float]:
    """Return the times at which each stage's program began, its work on the picture began and ended, and the program
    ended."""
    moments: dict[str, float] = {}
    for stage in STAGES:
        record = records[stage]
        moments[f"{stage} begins"] = containers[stage].began_s
        moments[f"{stage} works"] = record.started_at_s
        moments[f"{stage} has worked"] = record.finished_at_s
        moments[f"{stage} ends"] = containers[stage].ended_s
    return moments


def rows_of(taken: Sequence[Mapping[str, float]]) -> list[Row]:
    """Return the rows of the table: the whole, and each step by itself."""
    total = [moments["mail"] for moments in taken]
    rows = [
        Row(what=f"upload to mail: p50 of {len(total)}", values=total, unit="s"),
        Row(what="upload to mail: p95", values=[percentile(total, 0.95)], unit="s"),
    ]
    steps = [("upload done", "event"), ("event", "workflow"), ("workflow", "pod"), ("pod", "scheduled")]
    before = "scheduled"
    for stage in STAGES:
        names = [f"{stage} begins", f"{stage} works", f"{stage} has worked", f"{stage} ends"]
        steps += list(zip([before, *names[:-1]], names, strict=True))
        before = names[-1]
    steps[-1] = (steps[-1][0], "mail")
    steps.append(("mail", "end"))
    for start, end in steps:
        values = [moments[end] - moments.get(start, 0.0) for moments in taken]
        rows.append(Row(what=f"upload to mail: {start} -> {end}", values=values, unit="s"))
    return rows


def published_s(log: str, after_s: float) -> float:
    """Return the time of the EventSource's first event on the bus after that, by its log with kubectl's stamps. MinIO
    may send it before its answer to the upload has come. Raises RuntimeError when there is none."""
    for line in log.splitlines():
        stamp = _STAMP.match(line)
        if stamp and PUBLISHED in line and (at_s := stamp_s(stamp[1])) > after_s - 0.5:
            return at_s
    raise RuntimeError("the EventSource's log names no event")


def stamp_s(stamp: str) -> float:
    """Unix seconds of ``2025-11-22T08:00:00.123456789Z``."""
    whole, _, part = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{part or 0}")


def _event_logs(since_s: float) -> tuple[str, ...]:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_s - 2))
    return ("logs", "--selector=eventsource-name=uploads", "--timestamps", "--tail=-1", f"--since-time={since}")


def _is_over(workflow: Thing, run: str) -> bool:
    return workflow["metadata"]["name"] == run and bool(workflow.get("status", {}).get("finishedAt"))


def _workflow_of(pod: Thing) -> str:
    return str(pod["metadata"]["labels"]["workflows.argoproj.io/workflow"])


def _is_scheduled(pod: Thing, run: str) -> bool:
    return _workflow_of(pod) == run and bool(pod["spec"].get("nodeName"))
