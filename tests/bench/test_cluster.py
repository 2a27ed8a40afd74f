"""Reading by the cluster's benchmarks: logs, watches, workflows. No cluster is needed."""

from __future__ import annotations

import re

import pytest

from bench.cluster import counter_in
from bench.cluster_backfill import Container, containers_of, log_at_s, outputs_of, pods_of
from bench.cluster_mail import STAGES, published_s, rows_of, stage_moments, stamp_s
from bench.cluster_watch import Watched
from lookout.domain.records import Record

LOG = """\
2025-11-22 08:00:01,500 INFO lookout.batches.cutter rebased stage=validate marked=0
validate: 25 success, batches open: 1, in 2.0 s
2025-11-22 08:00:04,250 INFO lookout.stages.command ended stage=validate took_s=3.250 cpu_s=1.000 workers_cpu_s=4.500
"""
METRICS = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
# TYPE minio_node_process_cpu_total_seconds counter
minio_node_process_cpu_total_seconds{server="127.0.0.1:9000"} 3.5e+01
minio_node_process_cpu_total_seconds{server="127.0.0.1:9001"} 1
"""


def test_a_container_tells_when_it_ran_and_what_it_cost():
    made_at_s = log_at_s("2025-11-22 08:00:00,000")
    logs = {
        ("pod-2", "2-object-detect"): LOG.replace("stage=validate took", "stage=object-detect took").replace(
            ":04", ":09"
        ),
        ("pod-1", "1-validate"): LOG,
        ("pod-3", "1-plot"): LOG.replace("stage=validate took", "stage=plot took"),
        ("pod-3", "main"): "25 pictures: nothing\n",
    }
    assert containers_of(logs, made_at_s) == (
        Container(pod="pod-1", stage="validate", began_s=1.0, ended_s=4.25, cpu_s=1.0, workers_cpu_s=4.5),
        Container(pod="pod-3", stage="plot", began_s=1.0, ended_s=4.25, cpu_s=1.0, workers_cpu_s=4.5),
        Container(pod="pod-2", stage="object-detect", began_s=6.0, ended_s=9.25, cpu_s=1.0, workers_cpu_s=4.5),
    )


def test_of_a_workflow_the_pods_and_the_verdict_are_read():
    verdict = {"parameters": [{"name": "count", "value": "25"}, {"name": "failed"}]}
    nodes = {
        "a": {"type": "DAG", "templateName": "backfill"},
        "b": {"type": "Pod", "templateName": "work"},
        "c": {"type": "Pod", "templateName": "end", "outputs": verdict},
        "d": {"type": "Container", "templateName": ""},
    }
    workflow = {"status": {"nodes": nodes}}
    assert [one["templateName"] for one in pods_of(workflow)] == ["work", "end"]
    assert outputs_of(workflow) == {"count": "25", "failed": ""}


def test_the_first_word_that_fits_counts():
    watched = Watched(kind="pods")
    for at_s, name in ((1.0, "other"), (2.0, "it"), (3.0, "it")):
        watched.take(at_s, {"name": name})
    assert watched.first(lambda thing: thing["name"] == "it", "it") == (2.0, {"name": "it"})


def test_an_event_is_found_in_the_log_by_its_moment():
    words = '{"level":"info","msg":"Succeeded to publish an event"}'
    log = "\n".join(
        [f"2025-11-22T08:00:0{second}.123456789Z {words}" for second in (1, 3, 5)]
        + ['2025-11-22T08:00:06Z {"msg":"something else"}']
    )
    assert published_s(log, stamp_s("2025-11-22T08:00:03.5Z")) == pytest.approx(
        stamp_s("2025-11-22T08:00:03.123456789Z")
    )
    with pytest.raises(RuntimeError, match="names no event"):
        published_s(log, stamp_s("2025-11-22T08:00:05.7Z"))


def test_the_steps_of_a_way_add_up_to_the_whole():
    containers = {
        stage: Container(
            pod="p", stage=stage, began_s=10.0 * number, ended_s=10.0 * number + 8, cpu_s=1, workers_cpu_s=0
        )
        for number, stage in enumerate(STAGES, 1)
    }
    records = {
        stage: Record(
            hash="1",
            stage=stage,
            key="k",
            group="",
            recipe="",
            started_at_s=each.began_s + 2,
            finished_at_s=each.began_s + 5,
        )
        for stage, each in containers.items()
    }
    first = {"event": 1.0, "workflow": 2.0, "pod": 3.0, "scheduled": 4.0}
    taken = {**first, **stage_moments(containers, records), "mail": 36.0, "end": 40.0}
    whole, p95, *steps = rows_of([taken, taken])
    assert (whole.middle, p95.middle) == (36.0, 36.0)
    assert sum(step.middle for step in steps[:-1]) == pytest.approx(36.0)
    assert steps[-1].middle == 4.0
    assert all(re.search(r" -> ", step.what) for step in steps)


@pytest.mark.parametrize(
    ("name", "value"), [("process_cpu_seconds_total", 12.5), ("minio_node_process_cpu_total_seconds", 36.0)]
)
def test_a_counter_is_the_sum_of_its_lines(name, value):
    assert counter_in(METRICS, name) == value


def test_a_counter_that_is_not_there_is_an_error():
    with pytest.raises(RuntimeError, match="no absent among 2 counters"):
        counter_in(METRICS, "absent")
