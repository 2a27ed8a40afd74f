"""A simulated cluster keeps what no real one can break: work adds up, nothing is done twice, cores are finite."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from bench.simulation import Cluster, Costs, StageCosts, simulate
from bench.simulation_clock import Clock, Station

FIRST = StageCosts(
    name="first",
    start_engine_s=0.5,
    start_worker_s=0.7,
    worker_s=0.02,
    engine_s=0.004,
    store_s=0.003,
    ledger_s=0.002,
)
COSTS = Costs(
    stages=(FIRST, replace(FIRST, name="second", worker_s=0.05), replace(FIRST, name="third", worker_s=0.01)),
    plan_s=4.0,
    pod_s=2.0,
    handover_s=0.8,
    end_s=6.0,
    disk_s=0.0,
)
FREE = replace(COSTS, plan_s=0.0, pod_s=0.0, handover_s=0.0, end_s=0.0)
ONE = Cluster(nodes=1, cores=1, workers=1, places=8, processes=1)


def ends(cores: float, arrivals: list[tuple[float, float]]) -> list[float]:
    """Return the end of each task, of (arrival, work)."""
    clock, found = Clock(), {}
    station = Station(clock, cores)

    def task(number: int, begins_s: float, work_s: float):
        yield clock.after(begins_s)
        yield station.use(work_s)
        found[number] = clock.now_s

    for number, (begins_s, work_s) in enumerate(arrivals):
        clock.begin(task(number, begins_s, work_s))
    clock.run()
    assert station.given_s == pytest.approx(sum(work_s for _, work_s in arrivals))
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize(
    ("cores", "arrivals", "expected"),
    [
        (1, [], []),
        (1, [(0, 1)], [1]),
        (4, [(0, 1)], [1]),  # none uses more than one core
        (1, [(0, 1), (0, 1)], [2, 2]),
        (2, [(0, 1), (0, 1), (0, 1)], [1.5, 1.5, 1.5]),
        (1, [(0, 2), (1, 0.5)], [2.5, 2]),  # the later one has half a core from 1 to 2
        (1, [(0, 0), (0, 1)], [0, 1]),
        (0.5, [(0, 1)], [2]),
    ],
)
def test_tasks_share_cores_evenly(cores, arrivals, expected):
    assert ends(cores, arrivals) == pytest.approx(expected)


def test_one_worker_on_one_core_takes_the_sum_of_all_costs():
    pictures = 40
    starts = sum(stage.start_engine_s + stage.start_worker_s for stage in COSTS.stages)
    each = sum(stage.worker_s + stage.engine_s + stage.store_s + stage.ledger_s for stage in COSTS.stages)
    outcome = simulate(COSTS, ONE, pictures=pictures, batch=10)
    assert outcome.working_s == pytest.approx(2.0 + 2 * 0.8 + starts + pictures * each)
    assert outcome.elapsed_s == pytest.approx(4.0 + outcome.working_s + 6.0)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize(("nodes", "server_cores"), [(1, 0), (3, 2)])
@pytest.mark.parametrize(("pictures", "batch"), [(1, 1), (50, 50), (101, 10), (7, 100)])
def test_every_picture_goes_through_every_stage_once(workers, nodes, server_cores, pictures, batch):
    cluster = Cluster(nodes=nodes, cores=2, workers=workers, places=2, server_cores=server_cores)
    outcome = simulate(COSTS, cluster, pictures=pictures, batch=batch)
    assert outcome.done == {stage.name: [1] * pictures for stage in COSTS.stages}
    assert 0 < outcome.nodes_busy <= 1.000001
    assert 0 < outcome.servers_busy <= 1.000001


def test_the_same_input_gives_the_same_times():
    cluster = Cluster(nodes=3, cores=2, workers=5, places=2, server_cores=1)
    assert simulate(COSTS, cluster, pictures=200, batch=9) == simulate(COSTS, cluster, pictures=200, batch=9)


def test_more_nodes_are_never_slower_and_twice_as_many_hardly_twice_as_quick():
    def rate(nodes: int) -> float:
        cluster = Cluster(nodes=nodes, cores=2, workers=nodes, places=1, server_cores=64)
        return simulate(FREE, cluster, pictures=3200, batch=50).pictures_per_s

    rates = [rate(nodes) for nodes in (1, 2, 4, 8, 16)]
    assert rates == sorted(rates)
    assert all(1.7 < more / fewer <= 2.001 for fewer, more in pairwise(rates))


@pytest.mark.parametrize(("store_s", "disk_s"), [(0.02, 0.0), (0.0, 0.01)])
def test_a_shared_server_is_the_limit_however_many_nodes_there_are(store_s, disk_s):
    stages = tuple(replace(stage, store_s=store_s, ledger_s=0.0) for stage in FREE.stages)
    costs = replace(FREE, stages=stages, disk_s=disk_s)
    at_most = 1 / (len(stages) * max(store_s / 2, disk_s))

    def rate(nodes: int) -> float:
        cluster = Cluster(nodes=nodes, cores=4, workers=2 * nodes, places=2, server_cores=2)
        return simulate(costs, cluster, pictures=2000, batch=20).pictures_per_s

    assert rate(1) < 0.8 * at_most
    assert 0.85 * at_most < rate(16) <= at_most * 1.000001
    assert rate(32) <= at_most * 1.000001


def test_pods_without_room_wait_and_find_nothing_to_do():
    one = simulate(COSTS, replace(ONE, cores=2), pictures=60, batch=10)
    two = simulate(COSTS, replace(ONE, cores=2, places=1, workers=2), pictures=60, batch=10)
    loading_s = 3 * max(FIRST.start_engine_s, FIRST.start_worker_s)
    assert two.working_s == pytest.approx(one.working_s + 2.0 + 2 * 0.8 + loading_s)


def test_there_are_no_more_workers_than_batches():
    cluster = Cluster(nodes=4, cores=2, workers=9, places=3)
    assert simulate(COSTS, cluster, pictures=20, batch=10).workers == 2


def test_other_work_on_the_node_slows_it_down():
    idle, busy = (
        simulate(FREE, replace(ONE, busy_cores=cores), pictures=50, batch=10).working_s for cores in (0.0, 0.5)
    )
    assert busy == pytest.approx(2 * idle)


@pytest.mark.parametrize(("pictures", "batch"), [(0, 1), (1, 0)])
def test_nothing_cannot_be_simulated(pictures, batch):
    with pytest.raises(ValueError, match="at least one"):
        simulate(COSTS, ONE, pictures=pictures, batch=batch)


def test_a_cluster_has_nodes():
    with pytest.raises(ValueError, match="at least one node"):
        replace(ONE, nodes=0)
