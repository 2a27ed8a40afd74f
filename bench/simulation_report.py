"""Report on backfills: measured on one node, simulated for the same, and simulated for larger clusters.

``python -m bench.simulation_report`` reads docs/figures/scaling.json, which ``python -m bench cluster-sizes`` keeps,
prints two tables in Markdown and draws docs/images/scaling-*.png. The same file gives the same words and pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Final

from bench.cluster_backfill import KEPT, STAGES, Container, Run
from bench.measure import ROOT, cells_table
from bench.simulation import Cluster, Costs, Outcome, StageCosts, simulate

IMAGES: Final = ROOT / "docs" / "images"
CORES: Final = 2
PROCESSES: Final = 2
"""Of the measured node, and of a stage on it; those that are simulated are alike."""
NODES: Final = (1, 2, 4, 8, 16, 32)
SERVER_CORES: Final = (2, 8)
COLOURS: Final = ("#31688e", "#d1495b")
PICTURES_A_NODE: Final = 1000
BATCH: Final = 50


def main() -> None:
    tree = json.loads(KEPT.read_text(encoding="utf-8"))
    runs = runs_of(tree)
    costs = costs_of(runs)
    pairs = [(run, again(costs, run)) for run in runs if run.forced]
    larger = {cores: [on_nodes(costs, runs, nodes, cores) for nodes in NODES] for cores in SERVER_CORES}
    print(f"{tree['taken_at']}; {tree['machine']}\n")
    print(f"{comparison(pairs)}\n")
    print(prediction(larger))
    _draw(pairs, larger)


def runs_of(tree: Mapping[str, Any]) -> list[Run]:
    """Return the runs of the file."""
    return [Run(**{**run, "containers": tuple(Container(**one) for one in run["containers"])}) for run in tree["runs"]]


def costs_of(runs: Sequence[Run]) -> Costs:
    """Return the costs by two backfills of new pictures with one worker, of few and of many: what differs between them
    is a picture's, the rest is a container's start. MinIO's and etcd's are divided evenly among the stages."""
    few, many = sorted((run for run in runs if run.workers == 1 and not run.forced), key=lambda run: run.pictures)
    more = many.pictures - few.pictures

    def line(of_few: float, of_many: float) -> tuple[float, float]:
        each = max(0.0, (of_many - of_few) / more)
        return max(0.0, of_few - each * few.pictures), each

    def server(name: str) -> float:
        return line(getattr(few, name), getattr(many, name))[1] / len(STAGES)

    stages = []
    for name in STAGES:
        small, large = (next(one for one in run.containers if one.stage == name) for run in (few, many))
        start_engine_s, engine_s = line(small.cpu_s, large.cpu_s)
        start_workers_s, worker_s = line(small.workers_cpu_s, large.workers_cpu_s)
        stages.append(
            StageCosts(
                name=name,
                start_engine_s=start_engine_s,
                start_worker_s=start_workers_s / PROCESSES,
                worker_s=worker_s,
                engine_s=engine_s,
                store_s=server("minio_cpu_s"),
                ledger_s=server("etcd_cpu_s"),
            )
        )
    alone = [run for run in runs if run.workers == 1]
    chains = [run.containers for run in alone]
    return Costs(
        stages=tuple(stages),
        plan_s=median(run.working_at_s for run in alone),
        pod_s=median(run.containers[0].began_s - run.working_at_s for run in alone),
        handover_s=median(after.began_s - before.ended_s for chain in chains for before, after in pairwise(chain)),
        end_s=median(run.elapsed_s - run.worked_at_s for run in alone),
        disk_s=server("disk_s"),
    )


def again(costs: Costs, run: Run) -> Outcome:
    """Simulate a measured run: on one node, with as much other work as there was, and as many places as there
    were pods at once at most."""
    cluster = Cluster(
        nodes=1,
        cores=CORES,
        workers=run.workers,
        places=peak(run.containers),
        processes=PROCESSES,
        busy_cores=min(run.elsewhere_cores, 0.9 * CORES),
    )
    return simulate(costs, cluster, pictures=run.pictures, batch=run.batch)


def on_nodes(costs: Costs, runs: Sequence[Run], nodes: int, server_cores: float) -> Outcome:
    """Return the simulation of nodes with one worker each, beside a node with so many cores for MinIO and etcd."""
    cluster = Cluster(
        nodes=nodes,
        cores=CORES,
        workers=nodes,
        places=1,
        processes=PROCESSES,
        server_cores=server_cores,
        busy_cores=min(run.elsewhere_cores for run in runs),
    )
    return simulate(costs, cluster, pictures=PICTURES_A_NODE * nodes, batch=BATCH)


def peak(containers: Sequence[Container]) -> int:
    """Return the greatest number of pods that worked at once."""
    pods = {one.pod for one in containers}
    spans = [
        (
            min(one.began_s for one in containers if one.pod == pod),
            max(one.ended_s for one in containers if one.pod == pod),
        )
        for pod in pods
    ]
    return max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)


def comparison(pairs: Sequence[tuple[Run, Outcome]]) -> str:
    """Measured beside simulated."""
    header = ("workers", "at once", "other work, cores", "measured, s", "simulated, s", "error", "pictures/s")
    rows = []
    for run, simulated in pairs:
        working_s = run.worked_at_s - run.working_at_s
        rows.append(
            (
                str(run.workers),
                str(peak(run.containers)),
                f"{run.elsewhere_cores:.2f}",
                f"{working_s:.0f}",
                f"{simulated.working_s:.0f}",
                f"{simulated.working_s / working_s - 1:+.0%}",
                f"{run.pictures / working_s:.1f}",
            )
        )
    return cells_table([header, *rows])


def prediction(larger: Mapping[int, Sequence[Outcome]]) -> str:
    """Return the prediction for larger clusters."""
    header = ["nodes"]
    for cores in larger:
        header += [f"pictures/s, {cores} server cores", "nodes busy", "servers busy", "etcd's disk busy"]
    rows = []
    for number, nodes in enumerate(NODES):
        row = [str(nodes)]
        for outcomes in larger.values():
            one = outcomes[number]
            row += [f"{one.pictures_per_s:.1f}", *(f"{busy:.0%}" for busy in _busy(one))]
        rows.append(row)
    return cells_table([header, *rows])


def _busy(one: Outcome) -> tuple[float, float, float]:
    return one.nodes_busy, one.servers_busy, one.disk_busy


def _draw(pairs: Sequence[tuple[Run, Outcome]], larger: Mapping[int, Sequence[Outcome]]) -> None:
    figure, axes = chart("workers on one node of two cores", "pictures/s while they work")
    places = range(len(pairs))
    measured = [run.pictures / (run.worked_at_s - run.working_at_s) for run, _ in pairs]
    axes.bar([place - 0.2 for place in places], measured, 0.38, label="measured", color=COLOURS[0])
    simulated = [one.pictures_per_s for _, one in pairs]
    axes.bar([place + 0.2 for place in places], simulated, 0.38, label="simulated", color="#b8c9d9")
    axes.set_xticks(list(places), [str(run.workers) for run, _ in pairs])
    save(figure, axes, "measured")

    figure, axes = chart("nodes of two cores, one worker each", "pictures/s while they work (simulated)")
    first = next(iter(larger.values()))[0].pictures_per_s
    axes.plot(NODES, [first * nodes for nodes in NODES], "--", color="0.6", label="one node, times nodes")
    for (cores, outcomes), colour in zip(larger.items(), COLOURS, strict=True):
        rates = [one.pictures_per_s for one in outcomes]
        axes.plot(NODES, rates, "o-", color=colour, label=f"servers on {cores} cores")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(NODES, [str(nodes) for nodes in NODES])
    axes.yaxis.set_major_formatter("{x:.0f}")
    save(figure, axes, "nodes")


def chart(x: str, y: str) -> tuple[Any, Any]:
    """Return a figure and its axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), dpi=110, layout="constrained")
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Any, axes: Any, name: str) -> None:
    """Say what is what, above the chart, where nothing is drawn; and keep it, without a date."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
    figure.savefig(IMAGES / f"scaling-{name}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
