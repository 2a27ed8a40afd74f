"""Table of who may speak to whom, computed from the policies. That a network enforces it is not shown here."""

from __future__ import annotations

import copy

import pytest

from tests.k8s.network import Place, ways
from tests.k8s.reading import K8S, Tree, documents, of_kind, spec_of, templates

COMPONENTS = ("intake", "metrics", "ftp")
POLICIES = [
    *documents(K8S / "base" / "network.yaml"),
    *(one for name in COMPONENTS for one in documents(K8S / "components" / name / "network.yaml")),
]
PORTS = (
    22,
    80,
    443,
    465,
    587,
    2379,
    2380,
    2381,
    2746,
    4222,
    6443,
    7777,
    8021,
    8022,
    8080,
    8081,
    8222,
    8883,
    9000,
    9090,
    9466,
    12000,
    30000,
    30019,
    30020,
)


def workloads() -> list[Place]:
    """The pods of base and components."""
    made = list(of_kind("StatefulSet", "Deployment", "Job").values())
    for name in COMPONENTS:
        made += [one for one in documents(K8S / "components" / name / f"{name}.yaml") if one["kind"] == "Deployment"]
    return [
        Place(name=one["metadata"]["name"], labels=one["spec"]["template"]["metadata"]["labels"])
        for one in made
        if one["metadata"]["name"] != "sendgrid"  # of the local cluster only
    ]


def workflow_pods() -> list[Place]:
    """A pod for each template of the workflows, named workflow/template."""
    found = []
    for workflow in of_kind("WorkflowTemplate", "CronWorkflow").values():
        spec = spec_of(workflow)
        for template in templates(workflow):
            labels = {
                **spec["podMetadata"]["labels"],
                **template.get("metadata", {}).get("labels", {}),
                "workflows.argoproj.io/workflow": "one",
            }
            found.append(Place(name=f"{workflow['metadata']['name']}/{template['name']}", labels=labels))
    return found


WORKFLOW_PODS = workflow_pods()
MEMBER = Place(name="etcd-1", labels={"app.kubernetes.io/name": "etcd"})
PLACES = [
    *workloads(),
    *WORKFLOW_PODS,
    MEMBER,
    *(Place(name=name, labels={"app": name}) for name in ("workflow-controller", "controller-manager", "argo-server")),
    Place(name="eventsource", labels={"eventsource-name": "uploads"}),
    Place(name="sensor", labels={"sensor-name": "uploads"}),
    Place(name="stranger", labels={"app": "stranger"}),
    Place(name="prometheus", namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"}),
    Place(name="of-monitoring", namespace="monitoring", labels={"app": "grafana"}),
    Place(name="elsewhere", namespace="shop", labels={"app.kubernetes.io/name": "prometheus"}),
    Place(name="api-server", namespace="", address="10.96.0.1"),
    Place(name="device", namespace="", address="198.51.100.7"),
    Place(name="sendgrid", namespace="", address="203.0.113.9"),
    Place(name="cloud-metadata", namespace="", address="169.254.169.254"),
]
MAILING = {"pipeline/stages", "backfill/work", "upkeep/upkeep"}
CHANNELS = {443, 465, 587, 8883}
"""HTTPS, mail servers, and brokers of MQTT with TLS."""
MEASURED = {
    "etcd": {2381},
    "etcd-1": {2381},
    "nats": {8222},
    "eventsource": {7777},
    "sensor": {7777},
    "workflow-controller": {9090, 7777},
    "controller-manager": {9090, 7777},
    "intake": {8080},
    "metrics": {9466},
}
ETCDS = ("etcd", "etcd-1")
# Where devices upload: S3, FTP with the ports for its data, SFTP; and HTTP.
DEVICES = {"minio": {9000, 8021, 8022, 30000, 30019}, "intake": {8081}}
OUTSIDE = {**DEVICES, "argo-server": {2746}}
# Where an overlay does not name the API server's address, any private one will do, and pods elsewhere have such.
API = {key: {443, 6443} for key in ("api-server", "prometheus", "of-monitoring", "elsewhere")}
TABLE: dict[str, dict[str, set[int]]] = {
    "etcd": {"etcd-1": {2380}},
    "etcd-1": {"etcd": {2380}},
    "minio": {"eventsource": {12000}, "intake": {8080}, "nats": {4222}},
    "nats": {},
    "init": {"minio": {9000}, **{key: {2379} for key in ETCDS}},
    "intake": {"minio": {9000}, **{key: {2379} for key in ETCDS}, "eventsource": {12000}, "nats": {4222}},
    "metrics": {key: {2379} for key in ETCDS},
    "eventsource": {"nats": {4222}},
    "sensor": {"nats": {4222}, **API},
    "workflow-controller": API,
    "controller-manager": API,
    "argo-server": {**API, "minio": {9000}},
    "stranger": {},
    "prometheus": {**OUTSIDE, **MEASURED, "intake": {8080, 8081}},
    "of-monitoring": OUTSIDE,
    "elsewhere": OUTSIDE,
    "api-server": OUTSIDE,
    "device": OUTSIDE,
    "sendgrid": OUTSIDE,
    "cloud-metadata": OUTSIDE,
    **{
        pod.name: {
            "minio": {9000},
            **{key: {2379} for key in ETCDS},
            **API,
            **({"sendgrid": CHANNELS, "device": CHANNELS} if pod.name in MAILING else {}),
        }
        for pod in WORKFLOW_PODS
    },
}


def as_ways(table: dict[str, dict[str, set[int]]]) -> set[tuple[str, str, int]]:
    return {
        (source, target, port) for source, targets in table.items() for target, some in targets.items() for port in some
    }


def test_the_table_has_everybody() -> None:
    assert set(TABLE) == {place.name for place in PLACES}
    assert len(WORKFLOW_PODS) == 9


def test_nobody_speaks_to_anybody_but_by_the_table() -> None:
    assert ways(POLICIES, PLACES, PORTS) == as_ways(TABLE)


def without_rule(policies: list[Tree], name: str, direction: str) -> list[Tree]:
    changed = copy.deepcopy(policies)
    (policy,) = [one for one in changed if one["metadata"]["name"] == name]
    del policy["spec"][direction]
    return changed


@pytest.mark.parametrize(
    ("name", "direction", "lost"),
    [
        (
            "workflows-to-mail",
            "egress",
            {(pod, to, port) for pod in MAILING for to in ("sendgrid", "device") for port in CHANNELS},
        ),
        ("minio-to-intake", "egress", {("minio", "intake", 8080)}),
        ("minio-to-nats", "egress", {("minio", "nats", 4222)}),
        ("intake-to-nats", "ingress", {("minio", "nats", 4222), ("intake", "nats", 4222)}),
        ("metrics", "egress", {("metrics", name, 2379) for name in ETCDS}),
    ],
)
def test_each_way_rests_on_its_own_rule(name: str, direction: str, lost: set[tuple[str, str, int]]) -> None:
    assert as_ways(TABLE) - ways(without_rule(POLICIES, name, direction), PLACES, PORTS) == lost


def test_without_the_policy_for_all_a_stranger_speaks_to_everybody_outside() -> None:
    open_ = [one for one in POLICIES if one["metadata"]["name"] not in ("nobody", "names")]
    found = {(to, port) for source, to, port in ways(open_, PLACES, PORTS) if source == "stranger"}
    assert {("sendgrid", port) for port in PORTS} <= found
    assert ("etcd", 2379) not in found


def test_the_pods_that_send_mail_are_those_that_see_its_key() -> None:
    seeing = set()
    for workflow in of_kind("WorkflowTemplate").values():
        for template in templates(workflow):
            if "lookout-mail" in str(template):
                assert "lookout-channels" in str(template)
                seeing.add(f"{workflow['metadata']['name']}/{template['name']}")
    assert seeing == MAILING
