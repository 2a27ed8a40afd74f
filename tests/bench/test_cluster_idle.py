"""Idle state of a cluster: nothing of Lookout runs but its servers and the way of an event."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from bench.cluster import Deployed, connect

SERVERS = {"minio", "etcd", "nats"}
ARGO = {"workflow-controller", "argo-server", "controller-manager"}
WAY_OF_AN_EVENT = {"intake", "uploads-eventsource", "uploads-sensor"}
DOUBLES = {"sendgrid"}
"""Of the local overlay."""
QUIET_S = 180.0
"""Each minute the clock looks for pictures that no event told of, for some seconds."""


@pytest.mark.cluster
def test_with_nothing_to_do_no_worker_stands() -> None:
    there = connect()
    alive = until_quiet(there)
    names = {str(pod["metadata"]["name"]) for pod in alive}
    standing = SERVERS | ARGO | WAY_OF_AN_EVENT
    for wanted in standing:
        assert any(name.startswith(f"{wanted}-") for name in names), f"{wanted} is missing among {names}"
    others = {name for name in names if not name.startswith(tuple(f"{one}-" for one in standing | DOUBLES))}
    assert others == set()
    images = {container["image"] for pod in alive for container in pod["spec"]["containers"]}
    assert not {image for image in images if "lookout/" in image} - {"lookout/lookout:dev"}
    kept = there.get("deployments,statefulsets,daemonsets,horizontalpodautoscalers")["items"]
    assert {one["metadata"]["name"] for one in kept if "lookout/" in str(one["spec"])} <= DOUBLES | WAY_OF_AN_EVENT


def until_quiet(there: Deployed) -> Sequence[Any]:
    """The pods that are alive, at a moment at which no workflow has any."""
    ends_s = time.monotonic() + QUIET_S
    while time.monotonic() < ends_s:
        pods = there.get("pods")["items"]
        alive = [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        busy = [pod for pod in alive if "workflows.argoproj.io/workflow" in pod["metadata"].get("labels", {})]
        if not busy:
            return alive
        time.sleep(1.0)
    raise AssertionError(f"workflows were at work for {QUIET_S:.0f} s: {[pod['metadata']['name'] for pod in busy]}")
