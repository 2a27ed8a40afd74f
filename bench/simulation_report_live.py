"""Report on the simulation of pictures that arrive one by one, from the measured times of single pictures.

``python -m bench.simulation_report_live`` reads docs/figures/mail.json, which ``python -m bench cluster-mail`` keeps,
prints a table in Markdown and draws docs/images/scaling-mail.png.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Final

from bench.cluster_mail import KEPT, STAGES
from bench.measure import cells_table, percentile
from bench.simulation_live import LiveCluster, LiveCosts, most_per_s, until_mail
from bench.simulation_report import CORES, NODES, chart, save

PLACES: Final = 4
"""Pipelines that have room on a node of two cores, by what they request; the limit is raised to let them all run."""
PATIENCE: Final = 2.0
"""A mail is in time if it takes no more than so many times what it takes for a picture alone."""
DRAWN: Final = (1, 2, 4, 8)
STEPS: Final = 24
LANDING: Final = 200
"""Pictures of a simulated stream, for each node: enough that a queue that grows is seen."""


def main() -> None:
    tree = json.loads(KEPT.read_text(encoding="utf-8"))
    costs = live_costs(tree)
    (alone_s,) = until_mail(costs, cluster(1), rate=1.0, pictures=1)
    measured = [way["mail"] for way in tree["moments_s"]]
    print(f"{tree['taken_at']}; {tree['machine']}")
    print(f"upload to mail of a picture alone: measured {median(measured):.1f} s, simulated {alone_s:.1f} s\n")
    most = {
        nodes: most_per_s(costs, cluster(nodes), within_s=PATIENCE * alone_s, pictures=LANDING * nodes)
        for nodes in NODES
    }
    print(table_of(most, PATIENCE * alone_s))
    _draw(costs, most)


def cluster(nodes: int) -> LiveCluster:
    return LiveCluster(nodes=nodes, cores=CORES, places=PLACES, limit=PLACES * nodes)


def live_costs(tree: Mapping[str, Any]) -> LiveCosts:
    """Return the medians of what was measured of single pictures."""
    ways: Sequence[Mapping[str, float]] = tree["moments_s"]
    spent: Sequence[Mapping[str, float]] = tree["cpu_s"]
    return LiveCosts(
        event_s=median(way["workflow"] for way in ways),
        pod_s=median(way[f"{STAGES[0]} begins"] - way["workflow"] for way in ways),
        handover_s=median(
            way[f"{after} begins"] - way[f"{before} ends"] for way in ways for before, after in pairwise(STAGES)
        ),
        cpu_s={stage: median(each[stage] for each in spent) for stage in (*STAGES, "plot")},
        mails=STAGES[-1],
        end_s=median(way["end"] - way["plot ends"] for way in ways),
    )


def table_of(most: Mapping[int, float], within_s: float) -> str:
    """Return the table of how many pictures may arrive, by nodes."""
    header = ("nodes", f"pictures/s, 95 % of mails within {within_s:.0f} s", "pictures an hour")
    return cells_table([header, *((str(nodes), f"{rate:.2f}", f"{rate * 3600:,.0f}") for nodes, rate in most.items())])


def _draw(costs: LiveCosts, most: Mapping[int, float]) -> None:
    figure, axes = chart("pictures landing each second", "upload to mail, s: 95 % are quicker (simulated)")
    for nodes in DRAWN:
        rates = [most[nodes] * 1.2 * (step + 1) / STEPS for step in range(STEPS)]
        waits_s = [
            percentile(until_mail(costs, cluster(nodes), rate=rate, pictures=LANDING * nodes), 0.95) for rate in rates
        ]
        axes.plot(rates, waits_s, label=f"{nodes} node{'s' if nodes > 1 else ''}")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.2g}")
    axes.set_ylim(0, None)
    save(figure, axes, "mail")


if __name__ == "__main__":
    main()
