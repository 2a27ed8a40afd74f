"""Rights of those who may submit workflows: they run templates with arguments, and nothing of their own. The
API server refuses the rest, and what it lets pass, the controller. No container of theirs ever sees a Secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.kv.port import NotPermitted
from tests.workflows.reading import Tree

from .argo_kit import Argo, acted, until
from .cluster import Cluster
from .deployment import Deployment

pytestmark = pytest.mark.xdist_group("apart")

SECRET = "lookout-store-root"
REF: Tree = {"workflowTemplateRef": {"name": "dead-letter"}}
OBJECT: Tree = {"parameters": [{"name": "object", "value": "images/nobody_1763798400.jpg"}]}
OWN: Tree = {
    "entrypoint": "own",
    "templates": [
        {
            "name": "own",
            "container": {
                "image": "lookout/lookout:dev",
                "command": ["cat", "/stolen/MINIO_ROOT_PASSWORD"],
                "volumeMounts": [{"name": "stolen", "mountPath": "/stolen"}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsUser": 10001,
                },
            },
        }
    ],
    "volumes": [{"name": "stolen", "secret": {"secretName": SECRET}}],
}


def workflow(spec: Tree, **more: Any) -> Tree:
    metadata = {"generateName": "submitted-"}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec, **more}


def as_account(account: str) -> str:
    return f"--as=system:serviceaccount:lookout:{account}"


@pytest.fixture
def argo(cluster: Cluster) -> Iterator[Argo]:
    with Argo(cluster=cluster) as made:
        yield made


def created(cluster: Cluster, body: Tree, *words: str) -> tuple[int, str]:
    done = cluster.attempt("create", "--filename=-", "--output=name", *words, given=json.dumps(body))
    return done.returncode, done.stderr


# --- submissions -----------------------------------------------------------------------------------------------------

STORED = {"storedWorkflowTemplateSpec": {**OWN, "arguments": {}}, "phase": "Running"}
FORBIDDEN: dict[str, tuple[Tree, str]] = {
    "a container of its own with a Secret": (workflow(OWN), "names no WorkflowTemplate"),
    "nothing": (workflow({}), "names no WorkflowTemplate"),
    "a template of the whole cluster": (
        workflow({"workflowTemplateRef": {"name": "dead-letter", "clusterScope": True}}),
        "names no WorkflowTemplate",
    ),
    **{
        field: (workflow({**REF, "arguments": OBJECT, field: value}), f"may not set spec.{field}")
        for field, value in {
            "templates": OWN["templates"],
            "volumes": OWN["volumes"],
            "podSpecPatch": '{"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": "lookout-mail"}}]}]}',
            "serviceAccountName": "argo",
            "hooks": {"exit": {"template": "own"}},
            "onExit": "own",
            "artifactGC": {"strategy": "OnWorkflowDeletion", "podSpecPatch": "{}"},
            "artifactRepositoryRef": {"configMap": "own"},
            "securityContext": {"runAsUser": 0},
            "podMetadata": {"labels": {"lookout/mails": "true"}},
            "workflowMetadata": {"labels": {"a": "b"}},
        }.items()
    },
    "artifacts": (
        workflow({**REF, "arguments": {**OBJECT, "artifacts": [{"name": "a", "raw": {"data": "b"}}]}}),
        "may not bring artifacts",
    ),
    "what the controller would have put together": (
        workflow({**REF, "arguments": OBJECT, "suspend": False}, status=STORED),
        "may not set its own status",
    ),
    "templates as if they were stored": (
        workflow(
            {**REF, "arguments": OBJECT},
            status={"storedTemplates": {"namespaced/another/own": OWN["templates"][0]}},
        ),
        "may not set its own status",
    ),
    "nodes": (
        workflow({**REF, "arguments": OBJECT}, status={"nodes": {"a": {"id": "a"}}}),
        "may not set its own status",
    ),
}


@pytest.mark.parametrize("account", ["lookout-operator", "lookout-sensor"])
@pytest.mark.parametrize("case", FORBIDDEN)
def test_a_submission_brings_nothing_of_its_own(cluster: Cluster, case: str, account: str) -> None:
    body, message = FORBIDDEN[case]
    code, said = created(cluster, body, as_account(account), "--validate=ignore")
    assert code == 1, said
    assert "lookout-submissions" in said
    assert message in said


@pytest.mark.parametrize("account", ["lookout-operator", "lookout-sensor"])
def test_a_template_with_arguments_is_taken(cluster: Cluster, account: str) -> None:
    spec = {**REF, "arguments": OBJECT, "priority": 3, "entrypoint": "look"}
    assert created(cluster, workflow(spec), as_account(account), "--dry-run=server") == (0, "")


def test_argos_own_command_line_is_refused_a_file_and_given_a_template(cluster: Cluster, argo: Argo) -> None:
    done = cluster.attempt(
        as_account("lookout-operator"), "submit", "-", program="argo", given=json.dumps(workflow(OWN))
    )
    assert done.returncode != 0
    assert "names no WorkflowTemplate" in done.stderr + done.stdout
    words = ("submit", "--from=workflowtemplate/dead-letter", "-p", "object=images/nobody_1763798400.jpg", "-oname")
    taken = cluster.argo(*words)
    assert taken.returncode == 0, taken.stderr
    argo.made.append(taken.stdout.strip())
    assert argo.finished(argo.made[-1])["status"]["phase"] == "Succeeded"
    patched = cluster.argo(*words, "--serviceaccount=argo")
    assert "may not set spec.serviceAccountName" in patched.stderr + patched.stdout


def test_the_controller_runs_nothing_that_is_no_template_even_of_an_administrator(cluster: Cluster, argo: Argo) -> None:
    said = cluster.kubectl("create", "--filename=-", "--output=json", given=json.dumps(workflow(OWN)))
    argo.made.append(json.loads(said)["metadata"]["name"])
    ended = argo.finished(argo.made[-1])
    assert ended["status"]["phase"] == "Error"
    assert "workflows must use workflowTemplateRef" in ended["status"]["message"]
    assert argo.pods(argo.made[-1]) == ""


def test_what_the_clock_starts_cannot_be_bent_to_a_container_of_somebodys_own(cluster: Cluster) -> None:
    """An operator may change CronWorkflows, to suspend them; the controller makes a Workflow of it all the same, and
    refuses to run it."""
    name = "bent"
    cron = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": name},
        "spec": {"schedules": ["* * * * *"], "workflowSpec": {**REF, "arguments": OBJECT}},
    }
    cluster.kubectl("create", "--filename=-", given=json.dumps(cron))
    try:
        bent = json.dumps({"spec": {"workflowSpec": {**OWN, "workflowTemplateRef": None, "arguments": None}}})
        cluster.kubectl("patch", "cronworkflow", name, "--type=merge", "-p", bent, as_account("lookout-operator"))
        words = ("workflows", f"--selector=workflows.argoproj.io/cron-workflow={name}")
        (made,) = until(
            lambda: [one for one in cluster.get(*words)["items"] if one.get("status", {}).get("phase")], 120
        )
        assert made["status"]["phase"] == "Error"
        pods = ("pods", f"--selector=workflows.argoproj.io/workflow={made['metadata']['name']}")
        assert cluster.get(*pods)["items"] == []
    finally:
        cluster.kubectl("delete", "cronworkflow", name)
        cluster.kubectl("delete", "workflows", f"--selector=workflows.argoproj.io/cron-workflow={name}")


# --- workflows that are there ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_work(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A workflow whose second container takes its time, and its pod."""
    with Argo(cluster=cluster) as argo:
        name = argo.create(acted("pipeline", {"2-object-detect": {"takes_s": 600}}))
        pod = argo.pod(name, "stages")
        until(lambda: "acts" in cluster.kubectl("logs", pod, "-c", "2-object-detect"))
        yield name, pod


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"podSpecPatch": "{}"}}, "may not set spec.podSpecPatch"),
        ({"spec": {"workflowTemplateRef": {"name": "upkeep"}}}, "another WorkflowTemplate"),
        ({"spec": OWN}, "may not set spec."),
        ({"status": {"storedTemplates": {"namespaced/own/own": OWN["templates"][0]}}}, "are the controller's"),
        ({"status": {"artifactRepositoryRef": {"key": "own"}}}, "are the controller's"),
        ({"status": {"compressedNodes": "H4sIAAAAAAAA"}}, "are the controller's"),
        (
            {"status": {"nodes": {"own": {"id": "own", "outputs": {"artifacts": [{"name": "a"}]}}}}},
            "artifacts of a node",
        ),
        ({"status": {"storedWorkflowTemplateSpec": {"podSpecPatch": "{}"}}}, "storedWorkflowTemplateSpec is"),
        ({"status": {"storedWorkflowTemplateSpec": {"templates": OWN["templates"]}}}, "storedWorkflowTemplateSpec is"),
        ({"status": {"storedWorkflowTemplateSpec": None}}, "storedWorkflowTemplateSpec is"),
    ],
)
def test_a_workflow_that_runs_is_made_nothing_else_of(
    cluster: Cluster, at_work: tuple[str, str], change: Tree, message: str
) -> None:
    words = ("patch", "workflow", at_work[0], "--type=merge", "-p", json.dumps(change))
    refused = cluster.attempt(*words, as_account("lookout-operator"))
    assert refused.returncode == 1, refused.stdout
    assert message in refused.stderr


def test_an_operator_suspends_resumes_and_stops(cluster: Cluster, argo: Argo) -> None:
    name = argo.create(acted("pipeline", {"2-object-detect": {"takes_s": 600}}))
    argo.pod(name, "stages")
    for words in (("suspend", name), ("resume", name), ("stop", name)):
        done = cluster.argo(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert argo.finished(name)["status"]["phase"] == "Failed"


def test_an_operator_retries_and_terminates(cluster: Cluster, argo: Argo) -> None:
    name = argo.create(acted("backfill", {"plan": {"code": 2, "takes_s": 5, "times": 100}}))
    assert argo.finished(name)["status"]["phase"] == "Failed"
    retried = cluster.argo("retry", name)
    assert retried.returncode == 0, retried.stderr
    until(lambda: not _is_over(cluster, name))
    done = cluster.argo("terminate", name)
    assert done.returncode == 0, done.stderr
    assert argo.finished(name)["status"]["phase"] == "Failed"


def _is_over(cluster: Cluster, name: str) -> bool:
    return cluster.get("workflow", name)["status"]["phase"] in ("Failed", "Error", "Succeeded")


# --- what a stage has -------------------------------------------------------------------------------------------------


def test_a_stages_container_has_no_token_and_the_executor_beside_it_has(
    cluster: Cluster, at_work: tuple[str, str]
) -> None:
    _, pod = at_work
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    found = cluster.attempt("exec", pod, "-c", "2-object-detect", "--", "ls", token)
    assert found.returncode != 0
    assert "No such file" in found.stderr
    mounts = {
        one["name"]: {mount["mountPath"] for mount in one["volumeMounts"]}
        for one in cluster.get("pod", pod)["spec"]["containers"]
    }
    holders = {name for name, places in mounts.items() if any("serviceaccount" in place for place in places)}
    assert holders == {"wait"}


def test_what_runs_without_asking_the_api_server_has_no_token(cluster: Cluster) -> None:
    asking = {"lookout-sensor", "argo", "argo-server", "argo-events-sa"}
    for pod in cluster.get("pods", "--selector=!workflows.argoproj.io/workflow")["items"]:
        has = any("serviceAccountToken" in str(volume) for volume in pod["spec"]["volumes"])
        assert has == (pod["spec"]["serviceAccountName"] in asking), pod["metadata"]["name"]


def test_the_deployed_user_of_a_stage_is_refused_what_is_another_ones(cluster: Cluster) -> None:
    deployment = Deployment(cluster=cluster)
    user = deployment.secret("lookout-ledger-validate")
    ledger = EtcdLedger(
        Address(
            endpoints=(deployment.environment["LOOKOUT_LEDGER"].removeprefix("etcd://"),),
            user=user["LOOKOUT_LEDGER_USER"],
            password=user["LOOKOUT_LEDGER_PASSWORD"],
        )
    )
    try:
        assert ledger.count_slots() is not None
        with pytest.raises(NotPermitted):
            ledger.enforce("rules", ())
        with pytest.raises(NotPermitted):
            ledger.put_note("collected", "1")
        with pytest.raises(NotPermitted):
            ledger.rebase("threat-detect", "forged")
    finally:
        ledger.close()
