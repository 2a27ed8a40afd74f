"""The manifests on a real API server: accepted, admitted, applied, up, and with no more rights than they need."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from .cluster import Cluster

ROOT = Path(__file__).parents[2]
LOCAL = "k8s/overlays/local"
PRODUCTION = "k8s/overlays/production"
SERVERS_AND_ARGO = "--selector=!job-name,!workflows.argoproj.io/workflow"


def built(cluster: Cluster, folder: str | Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(cluster.kubectl("kustomize", str(ROOT / folder))) if one]


def run(cluster: Cluster, module: str, *arguments: str) -> str:
    """``python -m module`` on this cluster; it must end well."""
    environment = {
        **os.environ,
        "KUBECTL": str(cluster.site.program("kubectl")),
        "KUBECONFIG": str(cluster.site.kubeconfig),
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- what is built ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", [LOCAL, PRODUCTION])
def test_every_image_that_runs_can_be_set_in_one_place(cluster: Cluster, overlay: str) -> None:
    text = cluster.kubectl("kustomize", str(ROOT / overlay))
    images = set(re.findall(r"^\s*-? ?image: (\S+)$", text, flags=re.MULTILINE))
    ours = {image for image in images if re.search(r"(^|/)(lookout|minio)/?", image)}
    assert len(ours) == 6
    if overlay == PRODUCTION:
        assert all(image.startswith("registry.example.org/") and image.endswith(":set-me") for image in ours)
    else:
        assert all(image.endswith(":dev") for image in ours)


@pytest.fixture
def elsewhere(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """An overlay as it would be in a namespace of its own, which is there and as strict."""
    name = "lookout-manifests"

    def build(overlay: str) -> Path:
        kustomization = {"namespace": name, "resources": [os.path.relpath(ROOT / overlay, tmp_path)]}
        (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
        (namespace,) = [one for one in built(cluster, tmp_path) if one["kind"] == "Namespace"]
        assert namespace["metadata"]["name"] == name
        cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(namespace))
        return tmp_path

    yield build
    cluster.kubectl("delete", "namespace", name)


@pytest.mark.parametrize("overlay", [LOCAL, PRODUCTION])
def test_the_api_server_takes_all_of_it_without_a_warning(
    cluster: Cluster, elsewhere: Callable[[str], Path], overlay: str
) -> None:
    folder = elsewhere(overlay)
    # Not in the namespace of the other tests, which kubectl would hold against it.
    done = cluster.attempt(
        "--namespace=", "apply", "--server-side", "--dry-run=server", "--validate=strict", f"--kustomize={folder}"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("(server dry run)") == len(built(cluster, folder))


def test_a_pod_that_is_not_restricted_is_refused(cluster: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "a", "image": "lookout/lookout:dev"}]},
    }
    refused = cluster.attempt("create", "--dry-run=server", "--filename=-", given=json.dumps(pod))
    assert refused.returncode == 1
    assert 'violates PodSecurity "restricted' in refused.stderr


# --- rights ----------------------------------------------------------------------------------------------------------

MAY = [
    ("lookout-stage", "create", "workflowtaskresults.argoproj.io"),
    ("lookout-stage", "patch", "workflowtaskresults.argoproj.io"),
    ("lookout-sensor", "create", "workflows.argoproj.io"),
    ("lookout-operator", "create", "workflows.argoproj.io"),
    ("lookout-operator", "patch", "workflows.argoproj.io"),
    ("lookout-operator", "get", "workflowtemplates.argoproj.io"),
    ("lookout-operator", "get", "pods/log"),
    ("lookout-operator", "get", "configmaps/lookout-limits"),
]
MAY_NOT = [
    *(
        (account, verb, kind)
        for account in ("lookout-stage", "lookout-sensor", "lookout-operator", "default")
        for verb, kind in (
            ("get", "secrets"),
            ("list", "secrets"),
            ("create", "pods"),
            ("create", "pods/exec"),
            ("update", "workflowtemplates.argoproj.io"),
            ("patch", "sensors.argoproj.io"),
            ("create", "serviceaccounts/token"),
            ("create", "rolebindings.rbac.authorization.k8s.io"),
        )
    ),
    ("lookout-stage", "get", "workflowtaskresults.argoproj.io"),
    ("lookout-stage", "create", "workflows.argoproj.io"),
    ("lookout-stage", "get", "pods"),
    ("lookout-sensor", "get", "workflows.argoproj.io"),
    ("lookout-sensor", "delete", "workflows.argoproj.io"),
    ("lookout-operator", "get", "configmaps/workflow-controller-configmap"),
    ("lookout-operator", "create", "cronworkflows.argoproj.io"),
    ("lookout-operator", "create", "workflowtemplates.argoproj.io"),
    ("lookout-operator", "update", "configmaps/lookout-settings"),
    ("lookout-operator", "patch", "workflowtaskresults.argoproj.io"),
    ("lookout-operator", "patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
    ("default", "get", "pods"),
]


def can(cluster: Cluster, account: str, verb: str, kind: str, namespace: str = "lookout") -> bool:
    """Tell whether the account may; ``kind`` is ``kind``, ``kind/name``, or ``kind/subresource``."""
    resource, _, more = kind.partition("/")
    asked = [verb, resource, f"--subresource={more}"] if more in ("log", "exec", "token") else [verb, kind]
    said = cluster.attempt(
        "auth", "can-i", *asked, f"--as=system:serviceaccount:lookout:{account}", f"--namespace={namespace}"
    )
    answer = said.stdout.split()
    assert answer, said.stderr
    assert (answer[0], said.returncode) in (("yes", 0), ("no", 1))
    return answer[0] == "yes"


@pytest.mark.parametrize(("account", "verb", "kind"), MAY)
def test_an_account_may(cluster: Cluster, account: str, verb: str, kind: str) -> None:
    assert can(cluster, account, verb, kind)
    assert not can(cluster, account, verb, kind, namespace="kube-system")


@pytest.mark.parametrize(("account", "verb", "kind"), MAY_NOT)
def test_an_account_may_not(cluster: Cluster, account: str, verb: str, kind: str) -> None:
    assert not can(cluster, account, verb, kind)


def test_an_operator_submits_watches_and_clears_away_and_changes_no_template(cluster: Cluster) -> None:
    submitted = cluster.argo(
        "submit", "--from=workflowtemplate/dead-letter", "-p", "object=images/nobody_1763798400.jpg", "-oname"
    )
    assert submitted.returncode == 0, submitted.stderr
    name = submitted.stdout.strip()
    for words in (("wait", name), ("get", name), ("logs", name), ("delete", name)):
        done = cluster.argo(*words)
        assert done.returncode == 0, (words, done.stderr)
    refused = cluster.argo("template", "delete", "pipeline")
    assert refused.returncode != 0
    assert "forbidden" in refused.stderr


# --- what runs -------------------------------------------------------------------------------------------------------


def test_everything_is_up(cluster: Cluster) -> None:
    for kind in ("deployments", "statefulsets"):
        for one in cluster.get(kind)["items"]:
            assert one["status"].get("readyReplicas", 0) == one["spec"]["replicas"], one["metadata"]["name"]
    for kind in ("eventbus", "eventsources.argoproj.io", "sensors.argoproj.io"):
        (one,) = cluster.get(kind)["items"]
        conditions = {condition["type"]: condition["status"] for condition in one["status"]["conditions"]}
        assert set(conditions.values()) == {"True"}, (kind, conditions)


def test_every_pod_that_runs_is_restricted_and_says_what_it_needs(cluster: Cluster) -> None:
    # By the standard of a named version: a change, upon which the API server looks at every pod that is there.
    label = "pod-security.kubernetes.io/enforce-version=v1.37"
    asked = cluster.attempt("label", "--dry-run=server", "--overwrite", "namespace", "lookout", label)
    assert (asked.returncode, asked.stderr) == (0, "")
    for pod in cluster.get("pods", SERVERS_AND_ARGO)["items"]:
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod["metadata"]["name"]
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), pod["metadata"]["name"]


def versions(cluster: Cluster, *what: str) -> dict[str, str]:
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in cluster.get(*what)["items"]}


def test_deploying_again_changes_nothing_and_init_finds_all_right(cluster: Cluster) -> None:
    secrets, pods = versions(cluster, "secrets"), set(versions(cluster, "pods", SERVERS_AND_ARGO))
    run(cluster, "k8s.deploy", LOCAL)
    assert versions(cluster, "secrets") == secrets
    assert set(versions(cluster, "pods", SERVERS_AND_ARGO)) == pods
    rows = [line.split() for line in cluster.kubectl("logs", "job/init").splitlines()]
    assert [row[2:] for row in rows if row and row[0] in ("bucket", "user")] == [["right"]] * (9 + 10)


def test_nats_and_etcd_let_nobody_in_without_a_password(cluster: Cluster) -> None:
    etcd, nats = (cluster.get("service", name)["spec"]["clusterIP"] for name in ("etcd", "nats"))
    with closing(http.client.HTTPConnection(etcd, 2379, timeout=10)) as connection:
        connection.request("POST", "/v3/kv/range", json.dumps({"key": "AA=="}))
        assert "user name is empty" in json.loads(connection.getresponse().read())["message"]
    with socket.create_connection((nats, 4222), 10) as stream:
        told = json.loads(stream.recv(65536).split(b" ", 1)[1])
    assert (told["auth_required"], told["tls_required"]) == (True, True)
