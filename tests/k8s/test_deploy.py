"""Bringing it into a cluster: in which order, and what is said when something stands in the way."""

from __future__ import annotations

import pytest

from tests.k8s.conftest import Cluster
from tests.workflows.reading import resources

CRDS = "workflows.argoproj.io cronworkflows.argoproj.io eventbus.argoproj.io sensors.argoproj.io"
OVERLAY = "k8s/overlays/local"


@pytest.fixture
def with_argo(cluster: Cluster) -> Cluster:
    cluster.answer("crd", "".join(f"customresourcedefinition/{name}\n" for name in CRDS.split()))
    cluster.answer("deployments", "deployment.apps/workflow-controller\ndeployment.apps/controller-manager\n")
    cluster.answer("statefulsets,deployments", "statefulset.apps/etcd\nstatefulset.apps/minio\n")
    return cluster


def test_secrets_come_before_what_needs_them_and_then_all_is_waited_for(with_argo: Cluster) -> None:
    done = with_argo.run("k8s.deploy", OVERLAY)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [call for call in with_argo.calls if call[0] != "get"]
    kinds = [" ".join(word for word in call if not word.startswith("--timeout"))[:40] for call in steps]
    assert kinds[0].startswith("kustomize")
    assert "namespace.yaml" in steps[1][-1]
    assert {call[0] for call in steps[2:-9]} <= {"create"}
    assert [call[:3] for call in steps[-8:-6]] == [
        ["delete", "job", "init"],
        ["apply", "--server-side", "--force-conflicts"],
    ]
    assert [call[0] for call in steps[-6:]] == ["rollout", "rollout", "wait", "rollout", "rollout", "apply"]


def test_what_the_clock_starts_comes_last_and_nothing_is_left_out(with_argo: Cluster) -> None:
    assert with_argo.run("k8s.deploy", OVERLAY).returncode == 0
    first, last = [call[-1] for call in with_argo.calls if call[0] == "apply" and "--selector" in call]
    label, _, clock = last.partition(" in ")
    assert first == f"{label} notin {clock}"
    crons = [one for one in resources().values() if one["kind"] == "CronWorkflow"]
    assert {one["metadata"]["labels"][label] for one in crons} == set(clock.strip("()").split(", "))


def test_without_argo_it_says_what_to_do_and_changes_nothing(cluster: Cluster) -> None:
    done = cluster.run("k8s.deploy", OVERLAY)
    assert done.returncode == 1
    assert "install Argo Workflows" in done.stderr
    assert {call[0] for call in cluster.calls} == {"kustomize", "get"}
    cluster.answer("crd", CRDS)
    cluster.answer("crd", "\n".join(f"crd/{name}" for name in CRDS.split()))
    assert "no Deployment workflow-controller" in cluster.run("k8s.deploy", OVERLAY).stderr


def test_an_overlay_that_is_none_is_refused_first(with_argo: Cluster) -> None:
    with_argo.refuse("kustomize", "error: no kustomization there")
    done = with_argo.run("k8s.deploy", "nowhere")
    assert (done.returncode, "no kustomization there" in done.stderr) == (1, True)
    assert [call[0] for call in with_argo.calls] == ["kustomize"]


def test_what_does_not_come_up_is_shown(with_argo: Cluster) -> None:
    with_argo.refuse("rollout", "error: timed out waiting for the condition")
    with_argo.answer("pods", "NAME   READY   STATUS\netcd-0   0/1   Pending\n")
    with_argo.answer("events", "LAST SEEN\n1s   Warning   FailedScheduling\n")
    done = with_argo.run("k8s.deploy", OVERLAY, "--deadline=1")
    assert done.returncode == 1
    assert "timed out" in done.stderr
    assert "Pending" in done.stderr
    assert "FailedScheduling" in done.stderr


def test_a_pod_that_waits_in_vain_is_not_waited_for(with_argo: Cluster) -> None:
    with_argo.refuse("wait", "error: timed out waiting for the condition on jobs/init")
    with_argo.answer("pods", "PodInitializing ImagePullBackOff\n")
    done = with_argo.run("k8s.deploy", OVERLAY)
    assert done.returncode == 1
    assert "ImagePullBackOff" in done.stderr
    assert [call[0] for call in with_argo.calls].count("wait") == 1
