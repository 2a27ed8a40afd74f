"""NetworkPolicies in effect, by real connections between pods: what they allow is let through, and nothing else."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from k8s.local.commands import run
from k8s.local.node import Node
from k8s.local.site import API_SERVICE_IP, HOST_IP, LINK, NODE_IP
from tests.k8s.network import HOME, Place, ways
from tests.k8s.test_network import PLACES, POLICIES, PORTS
from tests.workflows.reading import Tree

from .argo_kit import IMAGE, until
from .cluster import Cluster

LISTEN = """
import asyncio, json, sys
async def main():
    for port in json.loads(sys.argv[2]):
        await asyncio.start_server(lambda reader, writer: writer.close(), sys.argv[1], port)
    await asyncio.Event().wait()
asyncio.run(main())
"""
CONNECT = """
import asyncio, json, sys
async def reach(name, host, port):
    try:
        own = (sys.argv[1], 0) if sys.argv[1:] else None
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, local_addr=own), 3)
    except OSError:
        return None
    writer.close()
    return name, port
async def main():
    print(json.dumps(await asyncio.gather(*(reach(*way) for way in json.load(sys.stdin)))))
asyncio.run(main())
"""
"""Tries each [name, host, port] of stdin at once, and tells which could be reached. A network need not say of each that
it is refused: the kernel limits how often it does."""
API = "api-server"
DEVICE = "device"
DEVICE_ADDRESS = next(place.address for place in PLACES if place.name == DEVICE)
"""Of a range for documentation: the machine has it during these tests, and it is all that a route leads to outside."""
PEERS = [
    place
    for place in PLACES
    # Of the pods of workflows one that sends mail, and one that does not: the policies tell no others apart.
    if place.namespace and ("/" not in place.name or place.name in ("pipeline/stages", "backfill/plan"))
]
SETTLED_S = 120.0
"""From a change of a pod or a policy until the node has heard of it, on a machine with other work."""

Way = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A place as others reach it."""

    name: str
    host: str
    ports: Sequence[int]


@dataclass(kw_only=True)
class Pods:
    """Pods with the labels of others, which listen on ports, and from which connections are tried."""

    cluster: Cluster
    tag: str = field(default_factory=lambda: f"net{secrets.token_hex(3)}")
    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Namespace and pod of each place."""

    def start(self, places: Sequence[Place], namespaces: Mapping[str, str], ports: Sequence[int] = ()) -> None:
        """Start a pod for each place, in the namespace that stands for its own; return when all are ready."""
        pods: dict[str, list[Tree]] = {}
        for number, place in enumerate(places):
            namespace, name = namespaces[place.namespace], f"{self.tag}-{number}"
            self.found[place.name] = namespace, name
            pods.setdefault(namespace, []).append(_pod(name, {**place.labels, "tests/of": self.tag}, ports))
        for namespace, some in pods.items():
            self.apply(namespace, some)
        for namespace in pods:
            words = ("wait", "pod", f"--selector=tests/of={self.tag}", "--for=condition=Ready", "--timeout=110s")
            self.cluster.kubectl(f"--namespace={namespace}", *words)

    def apply(self, namespace: str, manifests: Sequence[Tree]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.cluster.kubectl(f"--namespace={namespace}", "apply", "-f", "-", given=json.dumps(listed))

    def targets(self, ports: Sequence[int]) -> list[Target]:
        """Every pod, by its address."""
        words = ("pods", "--all-namespaces", f"--selector=tests/of={self.tag}")
        hosts = {one["metadata"]["name"]: one["status"]["podIP"] for one in self.cluster.get(*words)["items"]}
        return [Target(name=name, host=hosts[pod], ports=ports) for name, (_, pod) in self.found.items()]

    def reach(self, targets: Sequence[Target]) -> set[Way]:
        """The ways from each pod to these targets on which a connection came about."""
        with ThreadPoolExecutor(max_workers=4) as threads:
            return set().union(*threads.map(lambda name: self._reach(name, targets), self.found))

    def _reach(self, name: str, targets: Sequence[Target]) -> set[Way]:
        namespace, pod = self.found[name]
        command = (f"--namespace={namespace}", "exec", "--stdin", pod, "--", "python", "-c", CONNECT)
        return _ways(name, self.cluster.kubectl(*command, given=_asked(targets)))

    def remove(self) -> None:
        for namespace in {namespace for namespace, _ in self.found.values()}:
            words = ("delete", "pod", f"--selector=tests/of={self.tag}", "--wait=false")
            self.cluster.attempt(f"--namespace={namespace}", *words)


def _pod(name: str, labels: Mapping[str, str], ports: Sequence[int]) -> Tree:
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", LISTEN, "0.0.0.0", json.dumps(ports)],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": security,
            "containers": [container],
        },
    }


def _asked(targets: Sequence[Target]) -> str:
    return json.dumps([[target.name, target.host, port] for target in targets for port in target.ports])


def _ways(name: str, said: str) -> set[Way]:
    return {(name, to, port) for to, port in filter(None, json.loads(said))}


def reach_from_outside(targets: Sequence[Target]) -> set[Way]:
    """The ways from the device."""
    return _ways(DEVICE, run(sys.executable, "-c", CONNECT, DEVICE_ADDRESS, given=_asked(targets)))


@pytest.fixture(scope="module")
def device(cluster: Cluster) -> Iterator[Target]:
    """A machine outside of all networks of the cluster, which listens too."""
    node = Node(cluster.site)
    run("ip", "addr", "replace", f"{DEVICE_ADDRESS}/32", "dev", LINK)
    run(*node.enter("ip", "route", "replace", DEVICE_ADDRESS, "via", str(HOST_IP)))
    listener = subprocess.Popen([sys.executable, "-c", LISTEN, DEVICE_ADDRESS, json.dumps(PORTS)])
    try:
        yield Target(name=DEVICE, host=DEVICE_ADDRESS, ports=PORTS)
    finally:
        listener.kill()
        listener.wait()
        run(*node.enter("ip", "route", "del", DEVICE_ADDRESS))
        run("ip", "addr", "del", f"{DEVICE_ADDRESS}/32", "dev", LINK)


@pytest.fixture(scope="module")
def pods(cluster: Cluster) -> Iterator[Pods]:
    """A pod for each place of the table, in namespaces of their own that have no policy."""
    pods = Pods(cluster=cluster)
    namespaces = {place.namespace: f"{pods.tag}-{place.namespace}" for place in PEERS}
    try:
        for one in namespaces.values():
            cluster.kubectl("create", "namespace", one)
        pods.start(PEERS, namespaces, PORTS)
        yield pods
    finally:
        cluster.attempt("delete", "namespace", "--wait=false", "--ignore-not-found", *namespaces.values())


def test_the_network_lets_through_what_the_policies_say_and_nothing_else(pods: Pods, device: Target) -> None:
    api = Target(name=API, host=str(NODE_IP), ports=(6443,))
    places = [*PEERS, *(place for place in PLACES if place.name in (API, DEVICE))]
    inside = {place.name for place in places if place.namespace == HOME}

    def measured() -> set[Way]:
        found = pods.reach([*pods.targets(PORTS), device, api]) | reach_from_outside(pods.targets(PORTS))
        return {way for way in found if way[0] != way[1] and inside & {way[0], way[1]}}

    def agreed(expected: set[Way]) -> bool:
        found = measured()
        assert found == expected, f"refused: {sorted(expected - found)}, let through: {sorted(found - expected)}"
        return True

    def open_to(policies: Sequence[Tree]) -> set[Way]:
        # The API server answers at one port and calls nobody here.
        return {
            way for way in ways(policies, places, PORTS) if way[0] != API and (way[1] != API or way[2] in api.ports)
        }

    until(lambda: agreed(open_to([])), SETTLED_S)
    namespaces = {place.namespace: pods.found[place.name][0] for place in PEERS}
    text = json.dumps(POLICIES)
    for namespace, own in namespaces.items():
        text = text.replace(f'"kubernetes.io/metadata.name": "{namespace}"', f'"kubernetes.io/metadata.name": "{own}"')
    policies = [{**one, "metadata": {**one["metadata"], "namespace": namespaces[HOME]}} for one in json.loads(text)]
    pods.apply(namespaces[HOME], policies)
    until(lambda: agreed(open_to(POLICIES)), SETTLED_S)


SERVERS = (
    Target(name="minio", host="minio.lookout.svc.cluster.local", ports=(9000,)),
    Target(name="etcd", host="etcd.lookout.svc.cluster.local", ports=(2379,)),
    Target(name="nats", host="nats.lookout.svc.cluster.local", ports=(4222,)),
    Target(name="eventsource", host="uploads-eventsource-svc.lookout.svc.cluster.local", ports=(12000,)),
    Target(name="argo-server", host="argo-server.lookout.svc.cluster.local", ports=(2746,)),
    Target(name="mail", host="sendgrid.lookout.svc.cluster.local", ports=(8080,)),
    Target(name=API, host=str(API_SERVICE_IP), ports=(443,)),
    Target(name="kubelet", host=str(NODE_IP), ports=(10250,)),
)
WORKFLOW = {"workflows.argoproj.io/workflow": "none"}
STAGE = {("minio", 9000), ("etcd", 2379), (API, 443)}
REACHED = {
    "stage": STAGE,
    "mailing stage": STAGE | {("mail", 8080)},
    "eventsource": {("nats", 4222)},
    "sensor": {("nats", 4222), (API, 443)},
    "stranger": set(),
    "elsewhere": {("minio", 9000), ("argo-server", 2746), (API, 443), ("kubelet", 10250), (DEVICE, 443), (DEVICE, 80)},
}
"""Services of the deployment itself that pods with the labels of others reach, by the names of these services. Of
others whom no service selects by these labels: a service would send to the pod what is meant for them."""


@pytest.fixture
def callers(cluster: Cluster) -> Iterator[Pods]:
    pods = Pods(cluster=cluster)
    try:
        pods.start(
            [
                Place(name="stage", labels=WORKFLOW),
                Place(name="mailing stage", labels={**WORKFLOW, "lookout/mails": "true"}),
                Place(name="eventsource", labels={"eventsource-name": "uploads"}),
                Place(name="sensor", labels={"sensor-name": "uploads"}),
                Place(name="stranger"),
                Place(name="elsewhere", namespace="default"),
            ],
            {HOME: HOME, "default": "default"},
        )
        yield pods
    finally:
        pods.remove()


def test_who_reaches_the_servers_of_the_deployment(callers: Pods, device: Target) -> None:
    targets = [*SERVERS, Target(name=DEVICE, host=device.host, ports=(80, 443))]
    expected = {(name, *way) for name, found in REACHED.items() for way in found}

    def agreed() -> bool:
        found = callers.reach(targets)
        assert found == expected, f"refused: {sorted(expected - found)}, let through: {sorted(found - expected)}"
        return True

    until(agreed, SETTLED_S)
