"""Faults of whatever runs in the cluster: killed without a warning, or frozen for a while, by the processes of its
containers on this machine, so that what its pod keeps stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .argo_kit import until
from .cluster import Cluster

WAY: Final[Mapping[str, str]] = {
    "EventSource": "eventsource-name=uploads",
    "Sensor": "sensor-name=uploads",
    "NATS": "app.kubernetes.io/name=nats",
    "intake": "app.kubernetes.io/name=intake",
    "MinIO": "app.kubernetes.io/name=minio",
    "etcd": "app.kubernetes.io/name=etcd",
    "workflow controller": "app=workflow-controller",
}
"""The labels of what an upload passes on its way, but for the stages."""
PARTS: Final[Mapping[str, str]] = {**WAY, "metrics": "app.kubernetes.io/name=metrics"}


def processes_of(cluster: Cluster, part: str) -> list[int]:
    """The processes of the containers that run now, as this machine numbers them."""
    pods = cluster.get("pods", f"--selector={PARTS[part]}")["items"]
    running = [one["containerID"].rpartition("/")[2] for pod in pods for one in pod["status"]["containerStatuses"]]
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if any(container in (path / "cgroup").read_text() for container in running):
                found.append(int(path.name))
    return found


def kill(cluster: Cluster, part: str) -> None:
    """SIGKILL to all its processes; returns when others are there in their place."""
    before = until(lambda: processes_of(cluster, part))
    for process in before:
        os.kill(process, signal.SIGKILL)
    until(lambda: set(processes_of(cluster, part)) - set(before))


@contextmanager
def frozen(cluster: Cluster, part: str, for_s: float) -> Iterator[None]:
    """Not scheduled for so long, unless its probes have it killed before; what is in the block goes on meanwhile."""
    began_s = time.monotonic()
    stopped = until(lambda: processes_of(cluster, part))
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
        time.sleep(max(0.0, began_s + for_s - time.monotonic()))
    finally:
        for process in set(stopped).intersection(processes_of(cluster, part)):
            os.kill(process, signal.SIGCONT)
