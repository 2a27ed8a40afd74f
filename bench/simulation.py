"""A backfill on clusters of any size, simulated from what its parts cost on a small one.

What is simulated: pods that wait for room on nodes, containers one after the other, batches that workers take by turns
stage by stage as ``BatchWorker.pull`` does, worker processes and the engine beside them on the cores of their node, and
MinIO and etcd as servers that all share. What is not: memory, the network, and that costs grow with what is known
already. Reads no measurement by itself and draws nothing; docs/scaling.md tells what it is good for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from bench.simulation_clock import Clock, Mailbox, Process, Room, Station, Wait


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCosts:
    """One stage: seconds of a core, for a container's start and for a picture."""

    name: str
    start_engine_s: float
    """Of the container's first process."""
    start_worker_s: float
    """Of each worker process, which loads at the same time."""
    worker_s: float
    engine_s: float
    """Claiming, planning, committing, publishing: in the first process, beside the workers."""
    store_s: float
    ledger_s: float
    """Of MinIO and of etcd."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Measured costs. Times that no work of ours fills are seconds on the clock."""

    stages: tuple[StageCosts, ...]
    plan_s: float
    """From the workflow's making to that of the pods that work."""
    pod_s: float
    """From a pod's making to its first container's first line."""
    handover_s: float
    """From a container's end to the next one's first line."""
    end_s: float
    """From the end of the last worker to the workflow's."""
    disk_s: float
    """Of etcd's disk, for a picture and stage; one write at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Nodes that are alike. ``server_cores`` are those of a node for MinIO and etcd; 0 means that they share the first
    node with the workers. ``busy_cores`` of each node do something else."""

    nodes: int
    cores: float
    workers: int
    """Pods of workers at most, by the backfill's parameter and the limit ``workers``."""
    places: int
    """Pods of workers that have room on a node, by what they request."""
    processes: int = 2
    server_cores: float = 0.0
    busy_cores: float = 0.0

    def __post_init__(self) -> None:
        if min(self.nodes, self.workers, self.places, self.processes) < 1:
            raise ValueError(f"expected at least one node, worker, place and process, got {self}")


@dataclass(kw_only=True)
class Outcome:
    """Outcome of a simulated backfill. ``done`` has the number of times each picture went through each stage."""

    done: Mapping[str, list[int]]
    elapsed_s: float
    working_s: float
    """From the making of the pods that work to the end of the last of them."""
    workers: int
    nodes_busy: float
    """The share of the workers' nodes' time that was used, by what is simulated, while they worked."""
    servers_busy: float
    disk_busy: float

    @property
    def pictures_per_s(self) -> float:
        """While workers worked: what a long backfill comes to."""
        return len(next(iter(self.done.values()))) / self.working_s


def simulate(costs: Costs, cluster: Cluster, *, pictures: int, batch: int) -> Outcome:
    """Take so many pictures in batches of this size through the stages. Raises ValueError for none."""
    if pictures < 1 or batch < 1:
        raise ValueError(f"expected pictures and batches of at least one, got {pictures} and {batch}")
    return _Backfill(costs, cluster, pictures, batch).run()


@dataclass(kw_only=True)
class _Batch:
    pictures: range
    stage: int = 0
    taken: bool = False


class Nodes:
    """Nodes that are alike, each with cores that its pods share and places for them."""

    def __init__(self, clock: Clock, number: int, cores: float, places: int) -> None:
        self.cpus = [Station(clock, cores) for _ in range(number)]
        self._free = [places] * number
        self._room = Room(clock, places * number)

    def enter(self) -> Generator[Wait, None, int]:
        """Wait for a place, and take one on the node that has most; gives its number."""
        yield self._room.enter()
        node = max(range(len(self._free)), key=self._free.__getitem__)
        self._free[node] -= 1
        return node

    def leave(self, node: int) -> None:
        self._free[node] += 1
        self._room.leave()


class _Backfill:
    """One simulated run."""

    def __init__(self, costs: Costs, cluster: Cluster, pictures: int, batch: int) -> None:
        self._costs, self._cluster = costs, cluster
        self._clock = Clock()
        self._nodes = Nodes(self._clock, cluster.nodes, cluster.cores - cluster.busy_cores, cluster.places)
        server = Station(self._clock, cluster.server_cores) if cluster.server_cores else self._nodes.cpus[0]
        self._store = self._ledger = server
        self._disk = Station(self._clock, 1)
        starts = range(0, pictures, batch)
        self._batches = [_Batch(pictures=range(start, min(start + batch, pictures))) for start in starts]
        self._workers = min(cluster.workers, len(self._batches))
        self._done = {stage.name: [0] * pictures for stage in costs.stages}
        self._worked_s = 0.0

    def run(self) -> Outcome:
        self._clock.begin(self._workflow())
        self._clock.run()
        working_s = self._worked_s - self._costs.plan_s
        all_cores = sum(cpu.cores for cpu in self._nodes.cpus)
        return Outcome(
            done=self._done,
            elapsed_s=self._clock.now_s,
            working_s=working_s,
            workers=self._workers,
            nodes_busy=sum(cpu.given_s for cpu in self._nodes.cpus) / (all_cores * working_s),
            servers_busy=self._store.given_s / (self._store.cores * working_s),
            disk_busy=self._disk.given_s / working_s,
        )

    def _workflow(self) -> Process:
        yield self._clock.after(self._costs.plan_s)
        yield self._clock.together([self._pod() for _ in range(self._workers)])
        self._worked_s = self._clock.now_s
        yield self._clock.after(self._costs.end_s)

    # --- a worker ---------------------------------------------------------------------------------------------------

    def _pod(self) -> Process:
        """Wait for room, then work through the stages."""
        node = yield from self._nodes.enter()
        yield self._clock.after(self._costs.pod_s)
        for number, stage in enumerate(self._costs.stages):
            if number:
                yield self._clock.after(self._costs.handover_s)
            yield from self._container(self._nodes.cpus[node], number, stage)
        self._nodes.leave(node)

    def _container(self, cpu: Station, number: int, stage: StageCosts) -> Process:
        """Starts, then takes one batch after the other that waits for this stage and is in nobody's hands."""
        loads = [stage.start_engine_s] + [stage.start_worker_s] * self._cluster.processes
        yield self._clock.together([_once(cpu.use(load_s)) for load_s in loads])
        while batch := next((one for one in self._batches if one.stage == number and not one.taken), None):
            batch.taken = True
            yield from self._work(cpu, stage, batch)
            batch.stage, batch.taken = number + 1, False

    def _work(self, cpu: Station, stage: StageCosts, batch: _Batch) -> Process:
        left = deque(batch.pictures)
        made = Mailbox(self._clock)
        lanes = [self._lane(cpu, stage, left, made) for _ in range(self._cluster.processes)]
        yield self._clock.together([*lanes, self._engine(cpu, stage, len(batch.pictures), made)])

    def _lane(self, cpu: Station, stage: StageCosts, left: deque[int], made: Mailbox) -> Process:
        """Simulate a worker process: read, work, write."""
        while left:
            picture = left.popleft()
            yield self._store.use(stage.store_s)
            yield cpu.use(stage.worker_s)
            made.put(picture)

    def _engine(self, cpu: Station, stage: StageCosts, expected: int, made: Mailbox) -> Process:
        """Commit what is made, in bulk: all that has come while it was busy."""
        while expected:
            yield made.filled()
            pictures = made.take()
            yield cpu.use(len(pictures) * stage.engine_s)
            yield self._ledger.use(len(pictures) * stage.ledger_s)
            yield self._disk.use(len(pictures) * self._costs.disk_s)
            expected -= len(pictures)
            for picture in pictures:
                self._done[stage.name][picture] += 1


def _once(wait: Wait) -> Process:
    yield wait
