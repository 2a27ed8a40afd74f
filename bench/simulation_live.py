"""Pictures that land one by one, each as a pipeline of its own, on clusters of any size: how long until the mail.

From the same clock, nodes and limits as the simulated backfill. Everything is even, arrivals too: what is found here is
where a cluster comes to its end, not how lucky a picture is before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measure import percentile
from bench.simulation import Nodes
from bench.simulation_clock import Clock, Process, Room


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveCosts:
    """Measured costs of one picture. ``cpu_s`` has seconds of a core by container, in their order; the mail is sent at
    the end of ``mails``."""

    event_s: float
    """From the upload to the workflow."""
    pod_s: float
    """From the workflow to the first container's first line."""
    handover_s: float
    cpu_s: Mapping[str, float]
    mails: str
    end_s: float
    """From the last container's end to the workflow's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveCluster:
    """Nodes that are alike; ``places`` pipelines have room on each, and ``limit`` workflows may run at once."""

    nodes: int
    cores: float
    places: int
    limit: int


def until_mail(costs: LiveCosts, cluster: LiveCluster, *, rate: float, pictures: int) -> list[float]:
    """Return the seconds from upload to mail of each of so many pictures, of which ``rate`` arrive each second."""
    clock = Clock()
    nodes = Nodes(clock, cluster.nodes, cluster.cores, cluster.places)
    limit = Room(clock, cluster.limit)
    taken_s: list[float] = []

    def picture(landed_s: float) -> Process:
        yield clock.after(landed_s + costs.event_s)
        yield limit.enter()
        node = yield from nodes.enter()
        yield clock.after(costs.pod_s)
        for number, (name, cpu_s) in enumerate(costs.cpu_s.items()):
            if number:
                yield clock.after(costs.handover_s)
            yield nodes.cpus[node].use(cpu_s)
            if name == costs.mails:
                taken_s.append(clock.now_s - landed_s)
        nodes.leave(node)
        yield clock.after(costs.end_s)
        limit.leave()

    for number in range(pictures):
        clock.begin(picture(number / rate))
    clock.run()
    return taken_s


def most_per_s(costs: LiveCosts, cluster: LiveCluster, *, within_s: float, pictures: int = 400) -> float:
    """Return how many pictures may arrive each second, to a hundredth, so that 95 of 100 mails are sent in time; 0 if a
    single picture takes longer. By bisection: more pictures never make a mail quicker."""
    low, high = 0, 6400
    while low < high:
        middle = (low + high + 1) // 2
        taken_s = until_mail(costs, cluster, rate=middle / 100, pictures=pictures)
        low, high = (middle, high) if percentile(taken_s, 0.95) <= within_s else (low, middle - 1)
    return low / 100
