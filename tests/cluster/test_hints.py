"""Hints on the cluster: MinIO publishes, the intake hears, by TLS and the users of the Secrets; NATS may die."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.event_sources.intake_kit import call_host

from . import faults
from .argo_kit import until
from .deployment import Deployment
from .embedded import PERSON, TIME


def metric(deployment: Deployment, name: str, **labels: str) -> float:
    """Return a sample of the intake's metrics, summed over what else tells them apart."""
    host = deployment.cluster.get("service", "intake")["spec"]["clusterIP"]
    return sum(
        sample.value
        for family in text_string_to_metric_families(call_host(host, 8080, "GET", "/metrics").said)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def heard(deployment: Deployment) -> float:
    return metric(deployment, "lookout_intake_hints_total", outcome="recorded")


def upload(deployment: Deployment, name: str) -> None:
    key = f"{deployment.tag}-{name}{TIME}"
    deployment.put("images", key, PERSON.read_bytes())
    (workflow,) = deployment.finished(*deployment.runs_of(key))
    assert workflow["status"]["phase"] == "Succeeded"


def test_a_picture_is_recorded_by_its_hint_also_after_nats_was_killed(deployment: Deployment) -> None:
    until(lambda: metric(deployment, "lookout_intake_hints_connected") == 1)
    before = heard(deployment)
    upload(deployment, "hinted")
    assert heard(deployment) > before
    faults.kill(deployment.cluster, "NATS")
    until(lambda: metric(deployment, "lookout_intake_hint_losses_total") >= 1)
    until(lambda: metric(deployment, "lookout_intake_hints_connected") == 1)
    again = iter(range(20))

    def is_heard() -> bool:
        before = heard(deployment)
        upload(deployment, f"again-{next(again)}")
        return heard(deployment) > before

    until(is_heard, 300)  # MinIO's client connects again within seconds
