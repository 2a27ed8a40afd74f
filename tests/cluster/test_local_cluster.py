"""The local cluster is a Kubernetes: names, logs, commands in pods, controllers; one to a machine; mended if broken."""

from __future__ import annotations

import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from k8s.local.node import Node
from k8s.local.site import API_URL, ROOT

from .cluster import Cluster

IMAGE = "lookout/lookout:dev"
FREE = "--namespace=default"
"""Namespace in which no policy limits the connections of a pod."""
READY_S = 60.0
NAMES = """
import socket, time
print(socket.gethostbyname("kubernetes.default.svc.cluster.local"))
socket.create_connection(("kubernetes.default", 443), 5).close()
began_s = time.monotonic()
try:
    socket.gethostbyname("example.com")
except socket.gaierror:
    print(time.monotonic() - began_s < 5)
"""


def local(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m k8s.local`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "k8s.local", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def await_so(is_so: Callable[[], bool], deadline_s: float = READY_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < end_s, f"not so after {deadline_s:g} s"
        time.sleep(0.2)


@pytest.fixture
def pod(cluster: Cluster) -> Iterator[str]:
    """The name of a pod with Python in it, which has said one line and waits."""
    name = f"probe-{secrets.token_hex(4)}"
    container = {
        "name": name,
        "image": IMAGE,
        "command": ["python", "-c", "import signal; print('began', flush=True); signal.pause()"],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.kubectl(FREE, "create", "--filename=-", given=json.dumps(manifest))
    try:
        cluster.kubectl(FREE, "wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={READY_S:.0f}s")
        yield name
    finally:
        cluster.kubectl(FREE, "delete", "pod", name)


def test_the_node_is_ready_and_of_the_version_that_is_pinned(cluster: Cluster) -> None:
    (node,) = cluster.get("nodes")["items"]
    said = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
    assert said["Ready"] == "True"
    listed = subprocess.run(
        [sys.executable, "scripts/servers.py", "--list", "kubelet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert node["status"]["nodeInfo"]["kubeletVersion"] == listed.split()[2]


def test_a_pod_finds_services_by_name_and_nothing_outside(cluster: Cluster, pod: str) -> None:
    assert cluster.kubectl(FREE, "exec", pod, "--", "python", "-c", NAMES).split() == ["10.96.0.1", "True"]


def test_a_pod_s_words_are_read(cluster: Cluster, pod: str) -> None:
    await_so(lambda: cluster.kubectl(FREE, "logs", pod) == "began\n")


@pytest.mark.parametrize("name", ["workflow-controller", "controller-manager", "argo-server"])
def test_argo_s_programs_answer(cluster: Cluster, name: str) -> None:
    cluster.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={READY_S:.0f}s")
    assert cluster.get("deployment", name)["status"]["readyReplicas"] == 1


def test_nobody_unknown_is_answered(cluster: Cluster) -> None:
    authority = ssl.create_default_context(cafile=cluster.site.pki / "ca.crt")
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{API_URL}/version", context=authority)
    with refused.value:
        assert refused.value.code == 401


def test_a_second_one_on_the_machine_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    done = local("up", LOOKOUT_CLUSTER=str(tmp_path / "second"))
    assert done.returncode == 1
    assert f"This machine has a cluster already, that of {cluster.site.cluster}, and can have one." in done.stderr
    assert f"LOOKOUT_CLUSTER={cluster.site.cluster} make cluster-down" in done.stderr
    assert Node(cluster.site).find_first_process() is not None
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"


def test_up_once_more_changes_nothing(cluster: Cluster) -> None:
    node = Node(cluster.site)
    first = node.find_first_process()
    assert local("images").returncode == 0  # of code that has been changed since it came up
    done = local("up")
    assert done.returncode == 0, done.stderr
    assert str(cluster.site.kubeconfig) in done.stdout
    assert node.find_first_process() == first
    assert "building" not in done.stderr
    assert "handing" not in done.stderr


@pytest.mark.parametrize("program", ["kubelet", "kube-controller-manager"])
def test_a_program_that_dies_is_started_again(cluster: Cluster, program: str) -> None:
    node = Node(cluster.site)
    before = node.find_program(program)
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    await_so(lambda: node.find_program(program) not in (None, before))
    cluster.kubectl("wait", "node/lookout", "--for=condition=Ready", f"--timeout={READY_S:.0f}s")
