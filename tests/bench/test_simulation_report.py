"""Costs are recovered from runs of which they are known, and what was not measured is not made up."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from bench.cluster_backfill import STAGES, Container, Run
from bench.simulation_report import again, comparison, costs_of, on_nodes, peak, prediction, runs_of

START_S, EACH_S = {"cpu_s": 0.8, "workers_cpu_s": 1.2}, {"cpu_s": 0.003, "workers_cpu_s": 0.05}

OTHERS = 0.2
"""Cores that are busy with something else all the time."""


def run(pictures: int, *, forced: bool = False, workers: int = 1) -> Run:
    """As on a machine where stages take 20 s each and nothing else is at work."""
    containers = [
        Container(
            pod=f"work-{worker}",
            stage=stage,
            began_s=8.0 + 21.0 * number,
            ended_s=28.0 + 21.0 * number,
            **{name: START_S[name] + pictures * EACH_S[name] / workers for name in START_S},
        )
        for worker in range(workers)
        for number, stage in enumerate(STAGES)
    ]
    made = Run(
        pictures=pictures,
        workers=workers,
        batch=25,
        forced=forced,
        elapsed_s=80.0,
        working_at_s=5.0,
        worked_at_s=72.0,
        containers=tuple(containers),
        minio_cpu_s=1.0 + pictures * 0.012,
        etcd_cpu_s=0.5 + pictures * 0.006,
        disk_s=0.1 + pictures * 0.003,
        machine_busy_s=0.0,
        load="",
    )
    ours_s = made.stages_cpu_s + made.minio_cpu_s + made.etcd_cpu_s
    return replace(made, machine_busy_s=ours_s + made.elapsed_s * OTHERS)


RUNS = [run(400), run(100), *(run(500, forced=True, workers=workers) for workers in (1, 2))]


def test_a_picture_and_a_start_are_told_apart():
    costs = costs_of(RUNS)
    assert [stage.name for stage in costs.stages] == list(STAGES)
    for stage in costs.stages:
        assert stage.start_engine_s == pytest.approx(START_S["cpu_s"])
        assert stage.start_worker_s == pytest.approx(START_S["workers_cpu_s"] / 2)
        assert stage.engine_s == pytest.approx(EACH_S["cpu_s"])
        assert stage.worker_s == pytest.approx(EACH_S["workers_cpu_s"])
        assert (stage.store_s, stage.ledger_s) == (pytest.approx(0.004), pytest.approx(0.002))
    assert (costs.plan_s, costs.pod_s, costs.handover_s, costs.end_s) == pytest.approx((5.0, 3.0, 1.0, 8.0))
    assert costs.disk_s == pytest.approx(0.001)


def test_what_else_was_at_work_is_what_is_left_of_the_machine():
    assert run(100).elsewhere_cores == pytest.approx(OTHERS)


def test_pods_at_once_are_counted():
    first, second = run(10).containers, run(10).containers
    later = tuple(replace(one, pod="late", began_s=one.began_s + 500, ended_s=one.ended_s + 500) for one in second)
    assert peak(first) == 1
    assert peak((*first, *later)) == 1
    assert peak(run(10, workers=3).containers) == 3


def test_runs_are_read_as_they_were_kept():
    assert runs_of({"runs": [asdict(one) for one in RUNS]}) == RUNS


def test_the_tables_have_a_line_for_each_size():
    costs = costs_of(RUNS)
    compared = comparison([(one, again(costs, one)) for one in RUNS if one.forced])
    assert compared.count("\n") == 3
    assert "%" in compared
    outcome = on_nodes(costs, RUNS, 1, 2)
    predicted = prediction({2: [outcome] * 6})
    assert predicted.count(f"{outcome.pictures_per_s:.1f}") >= 6
