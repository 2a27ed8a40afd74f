"""The runbook (docs/operations.md) tried: each fault is seen by the expression of its alert rule, the command that the
runbook names says what is wrong, and what it says to do mends it.

A real Prometheus asks the metrics of the cluster. How long a fault must last before the rule tells somebody is tested
by promtool; here a fault counts as soon as it is seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest
import yaml

from lookout.domain.records import AlertState
from tests.services.prometheus_kit import MONITORING, Prometheus, prometheus

from . import faults
from .argo_kit import until
from .cluster import Cluster
from .deployment import SETTLED_S, Deployment, by_intake
from .embedded import CALM, PERSON, ROOT, TIME, attempt

SOONER: Final[Mapping[str, tuple[str, str]]] = {
    "LookoutBacklogStalled": ("> 600", "> 10"),
    "LookoutAlertUnsent": ("> 900", "> 0"),
    "LookoutSlow": ("> 60", "> 0"),
}
"""What takes minutes to be bad, by the rule: the threshold, and the one that it is tried with."""
RECIPIENTS = 2
"""Of each threat of a picture with a person."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def through(cluster: Cluster) -> Iterator[Deployment]:
    with by_intake(cluster, "refused", "broken", "late") as made:
        yield made


@pytest.fixture(scope="module")
def watching(through: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, and the pod that it asks, which an overlay has by a component."""
    folder = tmp_path_factory.mktemp("metrics")
    overlay = {
        name: [os.path.relpath(ROOT / "k8s" / path, folder)]
        for name, path in (("resources", "overlays/local"), ("components", "components/metrics"))
    }
    (folder / "kustomization.yaml").write_text(json.dumps(overlay), encoding="utf-8")
    selector = "--selector=app.kubernetes.io/name=metrics"
    through.cluster.kubectl("apply", "--kustomize", str(folder), selector)
    try:
        through.cluster.kubectl("rollout", "status", "deployment/metrics", "--timeout=110s")
        address = through.cluster.get("service", "metrics")["spec"]["clusterIP"]
        with prometheus(folder, f"{address}:9466") as asked:
            until(lambda: asked.value("lookout_ledger_up") == 1)
            yield asked
    finally:
        through.cluster.kubectl("delete", "deployment,service", selector)


def seen(watching: Prometheus, rule: str) -> float | None:
    """The greatest value that the rule would tell of; None while all is well."""
    (group,) = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    (expression,) = [one["expr"] for one in group["rules"] if one["alert"] == rule]
    slow, soon = SOONER.get(rule, ("", ""))
    assert slow in expression
    return watching.value(f"max({expression.replace(slow, soon)})")


def tried(through: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the operator's command; return how it ended, well or not."""
    return attempt(*words, env=through.variables("operator"))


def said(through: Deployment, *words: str) -> list[Any]:
    """Return the command's list of JSON, one a line."""
    done = tried(through, *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def awaited(through: Deployment, key: str) -> str:
    """Wait for a picture's end and return it."""
    done = tried(through, "wait", f"images/{key}", f"--timeout={SETTLED_S:.0f}", "--json")
    assert done.returncode in (0, 1), done.stderr
    return str(json.loads(done.stdout)["is"])


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_nobody_looks_at_the_ledger(through: Deployment, watching: Prometheus) -> None:
    until(lambda: seen(watching, "LookoutMetricsStale") is None)
    with faults.frozen(through.cluster, "metrics", for_s=0.0):
        until(lambda: seen(watching, "LookoutMetricsStale"))
        assert "/metrics" in through.cluster.kubectl("logs", "deployment/metrics")
    until(lambda: seen(watching, "LookoutMetricsStale") is None)


def test_the_ledger_is_away(through: Deployment, watching: Prometheus) -> None:
    with faults.frozen(through.cluster, "etcd", for_s=0.0):
        until(lambda: seen(watching, "LookoutLedgerUnreachable") is not None)
        told = tried(through, "doctor")
        assert told.returncode != 0
        assert "etcd" in told.stdout + told.stderr
    until(lambda: seen(watching, "LookoutLedgerUnreachable") is None)
    assert watching.value("lookout_ledger_up") == 1


# --- work ------------------------------------------------------------------------------------------------------------


@contextmanager
def without(cluster: Cluster, deployment: str) -> Iterator[None]:
    """No pod of this deployment until the end."""
    cluster.kubectl("scale", deployment, "--replicas=0")
    try:
        yield
    finally:
        cluster.kubectl("scale", deployment, "--replicas=1")
        cluster.kubectl("rollout", "status", deployment, "--timeout=110s")


def test_work_stands_still(through: Deployment, watching: Prometheus) -> None:
    key = f"{through.tag}-still{TIME}"
    with without(through.cluster, "deployment/workflow-controller"):
        through.put("images", key, CALM.read_bytes())
        until(lambda: seen(watching, "LookoutBacklogStalled"))
        status = through.lookout("status")
        assert status["backlog"]["oldest"]["key"] == key
        assert status["backlog"]["devices"].keys() == {f"{through.tag}-still"}
        (batch,) = said(through, "batches", "list", "--in", "open")
        assert through.lookout("batches", "show", batch["id"])["pictures"] == [key]
    assert awaited(through, key) == "success"
    until(lambda: seen(watching, "LookoutBacklogStalled") is None)


@pytest.fixture
def twins(through: Deployment) -> Iterator[tuple[str, str]]:
    """Two names of pictures whose results have one name; at the end, neither picture is there."""
    keys = f"{through.tag}-twin{TIME}", f"{through.tag}-twin{TIME.replace('.jpg', '.JPEG')}"
    yield keys
    for key in keys:
        through.store.remove_object("images", key)


def test_datums_have_failed(through: Deployment, watching: Prometheus, twins: tuple[str, str]) -> None:
    """The second picture is refused until somebody removes the first."""
    until(lambda: seen(watching, "LookoutDatumsFailed") is None)
    first, second = twins
    for key in twins:
        through.put("images", key, CALM.read_bytes())
        awaited(through, key)
    until(lambda: seen(watching, "LookoutDatumsFailed"))
    failed = said(through, "datums", "list", "--in", "failed")
    assert {one["key"] for one in failed} == {second}
    assert all(first in one["error"] for one in failed)
    through.store.remove_object("images", first)
    assert awaited(through, first) == "gone"
    assert through.lookout("datums", "retry")["marked"] == len(failed)
    until(lambda: seen(watching, "LookoutDatumsFailed") is None, SETTLED_S)
    assert awaited(through, second) == "success"


def test_a_run_tells_when_each_stage_was_through(through: Deployment, watching: Prometheus) -> None:
    key = f"{through.tag}-slow{TIME}"
    through.put("images", key, CALM.read_bytes())
    (run,) = through.runs_of(key)
    through.finished(run)
    until(lambda: seen(watching, "LookoutSlow"))
    told = said(through, "logs", run)
    at_s = [one["at_s"] for one in told]
    assert at_s == sorted(at_s)
    stages = [one["stage"] for one in told if one["event"] == "stage"]
    assert stages[:3] == ["validate", "object-detect", "threat-detect"]


# --- mail ------------------------------------------------------------------------------------------------------------


def script(through: Deployment, *answers: Mapping[str, object]) -> None:
    """Has the API answer in these ways first."""
    address = f"http://{through.addresses['sendgrid']}:8080/script"
    with urllib.request.urlopen(address, data=json.dumps(answers).encode()):
        pass


@pytest.fixture(autouse=True)
def well(through: Deployment) -> Iterator[None]:
    """At the end of a test the API is as it should be."""
    yield
    script(through)


def alerts(through: Deployment, device: str, state: AlertState) -> list[Any]:
    key = f"{through.tag}-{device}{TIME}"
    found = [one for one in said(through, "alerts", "list", "--in", state) if one["draft"]["picture_key"] == key]
    return found if len(found) == RECIPIENTS else []


def sent(through: Deployment, device: str) -> bool:
    return bool(alerts(through, device, AlertState.SENT)) and len(through.letters(device)) >= RECIPIENTS


def test_somebody_was_not_told(through: Deployment, watching: Prometheus) -> None:
    until(lambda: seen(watching, "LookoutAlertRefused") is None)
    script(through, *[{"status": 400}] * RECIPIENTS)
    through.put("images", f"{through.tag}-refused{TIME}", PERSON.read_bytes())
    until(lambda: seen(watching, "LookoutAlertRefused") == RECIPIENTS, SETTLED_S)
    dead = alerts(through, "refused", AlertState.DEAD)
    assert all("400" in one["error"] for one in dead)
    assert through.lookout("alerts", "resend", *(one["id"] for one in dead))["resent"] == RECIPIENTS
    until(lambda: sent(through, "refused"), SETTLED_S)
    until(lambda: seen(watching, "LookoutAlertRefused") is None)


def test_nobody_knows_whether_somebody_was_told(through: Deployment, watching: Prometheus) -> None:
    until(lambda: seen(watching, "LookoutAlertDoubtful") is None)
    script(through, *[{"manner": "drop"}] * 2 * RECIPIENTS)
    through.put("images", f"{through.tag}-broken{TIME}", PERSON.read_bytes())
    until(lambda: seen(watching, "LookoutAlertDoubtful") == RECIPIENTS, SETTLED_S)
    unknown = [one["id"] for one in alerts(through, "broken", AlertState.UNKNOWN)]
    resent = 0

    def all_resent() -> bool:
        """One is refused until its second try."""
        nonlocal resent
        resent += through.lookout("alerts", "resend", *unknown)["resent"]
        return resent == RECIPIENTS

    until(all_resent, 2 * SETTLED_S)
    until(lambda: sent(through, "broken"), SETTLED_S)
    until(lambda: seen(watching, "LookoutAlertDoubtful") is None)


def test_alerts_wait(through: Deployment, watching: Prometheus) -> None:
    until(lambda: seen(watching, "LookoutAlertUnsent") is None)
    script(through, *[{"status": 429}] * RECIPIENTS)
    through.put("images", f"{through.tag}-late{TIME}", PERSON.read_bytes())
    until(lambda: seen(watching, "LookoutAlertUnsent"), SETTLED_S)
    assert all("429" in one["error"] for one in alerts(through, "late", AlertState.PENDING))
    until(lambda: sent(through, "late"), SETTLED_S)
    until(lambda: seen(watching, "LookoutAlertUnsent") is None)
