"""The manifests as they are written: restricted pods, least rights, and names that fit each other. Needs no cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.local.recipes import PROJECT
from k8s.local.site import HOST_IP
from lookout.config.settings import Settings
from tests.k8s.reading import (
    FOLDERS,
    K8S,
    ROOT,
    apply,
    containers,
    documents,
    kustomization,
    named,
    of_kind,
    operations,
    patches,
    pods,
    resources,
    restricted_faults,
    spec_of,
    templates,
    walk,
)

PRODUCTION = "k8s/overlays/production"
SERVERS = ("etcd", "minio", "nats")
PODS = pods()
CONTAINERS = {f"{name}/{one['name']}": one for name, pod in PODS.items() for one in containers(pod)}


@pytest.fixture(params=sorted(PODS))
def pod(request: pytest.FixtureRequest) -> dict[str, Any]:
    return PODS[request.param]


@pytest.fixture(params=sorted(CONTAINERS))
def container(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CONTAINERS[request.param]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_is_listed_and_each_one_listed_is_there(folder: str) -> None:
    own = kustomization(folder)
    listed = [*own["resources"], *own.get("configurations", [])]
    listed += [patch["path"] for patch in own.get("patches", []) if "path" in patch]
    listed += [file for one in own.get("configMapGenerator", []) for file in one["files"]]
    assert all((ROOT / folder / name).exists() for name in listed)
    files = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
    assert files == {name for name in listed if "/" not in name} | {"kustomization.yaml"}


def test_every_resource_says_that_it_is_a_part_of_lookout() -> None:
    without = [
        name
        for name, one in resources().items()
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "lookout"
    ]
    assert without == []


# --- pods ------------------------------------------------------------------------------------------------------------


def test_a_pod_is_restricted(pod: dict[str, Any]) -> None:
    assert restricted_faults(pod) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hostNetwork": True}, "hostNetwork is set"),
        ({"volumes": [{"name": "data", "hostPath": {"path": "/"}}]}, "volume of kind hostPath"),
        ({"securityContext": {"runAsNonRoot": True}}, "etcd has no seccomp profile"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "etcd may be root"),
    ],
)
def test_the_test_above_can_fail(change: dict[str, Any], fault: str) -> None:
    assert fault in restricted_faults({**named("StatefulSet", "etcd")["spec"]["template"]["spec"], **change})


def test_the_namespace_refuses_any_other() -> None:
    labels = named("Namespace", "lookout")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}


def test_a_pod_carries_no_token_and_no_variables_of_services(pod: dict[str, Any]) -> None:
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)


def test_a_container_writes_to_volumes_only_and_says_what_it_needs(container: dict[str, Any]) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_an_image_has_a_version_and_is_not_pulled_when_it_is_there(container: dict[str, Any]) -> None:
    assert container["imagePullPolicy"] == "IfNotPresent"
    _, _, tag = container["image"].rpartition(":")
    assert tag
    assert tag != "latest"


def test_a_volume_that_is_mounted_is_there(pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    mounted = {mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", [])}
    assert mounted <= volumes | {"data"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_watched_and_keeps_its_data(name: str) -> None:
    server = named("StatefulSet", name)["spec"]
    (container,) = server["template"]["spec"]["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert [claim["metadata"]["name"] for claim in server["volumeClaimTemplates"]] == ["data"]
    assert "data" in [mount["name"] for mount in container["volumeMounts"]]


# --- names that fit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "port"), [("minio", 9000), ("etcd", 2379), ("nats", 4222), ("sendgrid", 8080)])
def test_a_service_leads_to_a_port_of_its_pod(name: str, port: int) -> None:
    spec = named("Service", name)["spec"]
    assert [one["port"] for one in spec["ports"]] == [port]
    workload = named("Deployment" if name == "sendgrid" else "StatefulSet", name)["spec"]
    assert spec["selector"].items() <= workload["template"]["metadata"]["labels"].items()
    ports = {one["name"]: one["containerPort"] for one in workload["template"]["spec"]["containers"][0]["ports"]}
    assert ports[spec["ports"][0]["targetPort"]] == port


@pytest.mark.parametrize(
    ("overlay", "store", "ledger"),
    [
        ("k8s/overlays/local", "s3+http://minio:9000", ["etcd:2379"]),
        (PRODUCTION, "s3+https://minio:9000", [f"etcd-{number}.etcd-members:2379" for number in range(3)]),
    ],
)
def test_the_settings_are_what_lookout_reads(overlay: str, store: str, ledger: list[str], tmp_path: Path) -> None:
    data = dict(named("ConfigMap", "lookout-settings")["data"])
    data |= patches(overlay).get("settings.yaml", {"data": {}})["data"]
    for name in ("LOOKOUT_STORE_CA", "LOOKOUT_LEDGER_CA"):
        if name in data:
            (tmp_path / name).write_text("a certificate")
            data[name] = str(tmp_path / name)
    secrets = ("STORE_ACCESS_KEY", "STORE_SECRET_KEY", "LEDGER_USER", "LEDGER_PASSWORD")
    read = Settings.from_environment(data | {f"LOOKOUT_{name}": "given" for name in secrets})
    assert read.store is not None
    assert read.ledger is not None
    assert (read.store.url, list(read.ledger.endpoints)) == (store, ledger)
    assert (read.store.secure, read.ledger.secure) == (overlay == PRODUCTION,) * 2


def test_minio_tells_the_event_source_where_it_listens_and_init_names_this_target() -> None:
    (container,) = named("StatefulSet", "minio")["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    source = named("EventSource", "uploads")["spec"]
    assert env["MINIO_NOTIFY_WEBHOOK_ENDPOINT_LOOKOUT"] == (
        f"http://uploads-eventsource-svc:{source['service']['ports'][0]['port']}{source['webhook']['uploads']['endpoint']}"
    )
    (init,) = named("Job", "init")["spec"]["template"]["spec"]["containers"]
    assert "--notify=arn:minio:sqs::LOOKOUT:webhook" in init["args"]


def test_the_bus_is_the_nats_that_is_there() -> None:
    assert named("EventBus", "default")["spec"]["jetstreamExotic"]["url"].endswith("://nats:4222")


def test_argo_keeps_logs_where_init_makes_room_for_them() -> None:
    (settings,) = documents(K8S / "argo" / "workflow-controller-configmap.yaml")
    repository = yaml.safe_load(settings["data"]["artifactRepository"])
    assert repository["archiveLogs"] is True
    assert (repository["s3"]["endpoint"], repository["s3"]["bucket"]) == ("minio:9000", "lookout-logs")
    assert "--logs" in named("Job", "init")["spec"]["template"]["spec"]["containers"][0]["args"]


def test_argos_own_containers_are_restricted() -> None:
    (settings,) = documents(K8S / "argo" / "workflow-controller-configmap.yaml")
    executor = yaml.safe_load(settings["data"]["executor"])
    defaults = yaml.safe_load(settings["data"]["workflowDefaults"])["spec"]
    pod = {"securityContext": defaults["securityContext"], "containers": [{"name": "executor", **executor}]}
    assert restricted_faults(pod) == []


def test_production_has_as_many_members_as_it_names() -> None:
    patch = patches(PRODUCTION)["etcd.yaml"]["spec"]
    env = {one["name"]: one.get("value") for one in patch["template"]["spec"]["containers"][0]["env"]}
    members = [f"etcd-{number}=https://etcd-{number}.etcd-members:2380" for number in range(patch["replicas"])]
    assert env["ETCD_INITIAL_CLUSTER"] == ",".join(members)
    assert len(members) == 3


def test_a_variable_is_made_of_those_before_it() -> None:
    parts = [
        *pods().values(),
        *(one["spec"]["template"]["spec"] for one in patches(PRODUCTION).values() if "spec" in one),
    ]
    seen = 0
    for pod in parts:
        for container in pod["containers"]:
            before: set[str] = set()
            for one in container.get("env", []):
                needed = set(re.findall(r"\$\((\w+)\)", one.get("value", "")))
                seen += len(needed)
                assert needed <= before, one["name"]
                before.add(one["name"])
    assert seen >= 4


AUTHORITIES = operations(PRODUCTION)
RUN = {name: one for name, one in of_kind("WorkflowTemplate", "CronWorkflow").items() if list(templates(one))}


@pytest.mark.parametrize("workflow", sorted(RUN))
def test_each_container_of_production_sees_the_authorities_that_the_settings_name(workflow: str) -> None:
    name = workflow.rpartition("/")[2]
    (additions,) = [found for target, found in AUTHORITIES.items() if re.fullmatch(target, name)]
    changed = apply(RUN[workflow], additions)
    (volume,) = [one for one in spec_of(changed)["volumes"] if one["name"] == "authorities"]
    paths = {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
    wanted = patches(PRODUCTION)["settings.yaml"]["data"]
    for template in templates(changed):
        shared = template.get("containerSet", {}).get("volumeMounts", [])
        for container in (
            template["containerSet"]["containers"] if "containerSet" in template else [template["container"]]
        ):
            at = {one["name"]: one["mountPath"] for one in [*shared, *container.get("volumeMounts", [])]}
            shown = {f"{at['authorities']}/{path}" for path in paths}
            assert shown == {wanted["LOOKOUT_STORE_CA"], wanted["LOOKOUT_LEDGER_CA"]}


# --- rights ----------------------------------------------------------------------------------------------------------


def rules(name: str) -> set[tuple[str, str]]:
    """Resource and verb, of one ServiceAccount."""
    binding = named("RoleBinding", name)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "lookout"}]
    assert binding["roleRef"]["name"] == name
    return {
        (kind, verb) for rule in named("Role", name)["rules"] for kind in rule["resources"] for verb in rule["verbs"]
    }


def test_a_stage_reports_its_results_and_nothing_else() -> None:
    assert rules("lookout-stage") == {("workflowtaskresults", "create"), ("workflowtaskresults", "patch")}


def test_the_sensor_makes_workflows_and_nothing_else() -> None:
    assert rules("lookout-sensor") == {("workflows", "create")}


def test_an_operator_sees_no_secret_and_changes_no_template() -> None:
    found = rules("lookout-operator")
    assert not {kind for kind, _ in found} & {"secrets", "*", "roles", "rolebindings", "pods/exec"}
    changes = {kind for kind, verb in found if verb not in ("get", "list", "watch")}
    assert changes == {"workflows", "cronworkflows", "pods"}
    assert "*" not in {verb for _, verb in found}


def test_the_controller_runs_nothing_but_templates() -> None:
    (settings,) = documents(K8S / "argo" / "workflow-controller-configmap.yaml")
    assert yaml.safe_load(settings["data"]["workflowRestrictions"]) == {"templateReferencing": "Secure"}
    for name, one in of_kind("CronWorkflow").items():
        assert set(one["spec"]["workflowSpec"]) <= {"workflowTemplateRef", "arguments", "priority"}, name
        assert "workflowTemplateRef" in one["spec"]["workflowSpec"], name


def test_a_submission_is_judged_wherever_lookout_is_and_nobody_but_argo_is_left_alone() -> None:
    policy = named("ValidatingAdmissionPolicy", "lookout-submissions")["spec"]
    binding = named("ValidatingAdmissionPolicyBinding", "lookout-submissions")["spec"]
    assert (policy["failurePolicy"], binding["validationActions"]) == ("Fail", ["Deny"])
    labels = named("Namespace", "lookout")["metadata"]["labels"]
    assert binding["matchResources"]["namespaceSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["workflows"], ["CREATE", "UPDATE"])


def test_the_executor_alone_has_a_token_and_whoever_names_no_account_has_none() -> None:
    for name in ("lookout-stage", "default"):
        assert named("ServiceAccount", name)["automountServiceAccountToken"] is False
    token = named("Secret", "lookout-stage.service-account-token")
    assert token["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "lookout-stage"}
    assert (token["type"], "data" in token) == ("kubernetes.io/service-account-token", False)


def test_nobody_has_rights_beyond_the_namespace() -> None:
    assert of_kind("ClusterRole", "ClusterRoleBinding") == {}


# --- network ---------------------------------------------------------------------------------------------------------


def test_nobody_talks_to_anybody_but_by_a_policy_of_its_own() -> None:
    nobody = named("NetworkPolicy", "nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_module_that_a_container_runs_is_in_its_image() -> None:
    copied = {image.name: image.copied for image in PROJECT}
    run = [(one["image"], one["command"][2]) for one in CONTAINERS.values() if one.get("command", [])[1:2] == ["-m"]]
    assert run
    assert [one for one in run if one[1].partition(".")[0] not in copied[one[0]]] == []


def test_no_policy_opens_everything_but_to_the_machine_of_the_local_cluster() -> None:
    for name, policy in of_kind("NetworkPolicy").items():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("ports") or rule == {"from": [{"ipBlock": {"cidr": f"{HOST_IP}/32"}}]}, name


@pytest.mark.parametrize(
    ("of", "client", "port"),
    [
        ("etcd", {"app.kubernetes.io/name": "init"}, 2379),
        ("etcd", {"app.kubernetes.io/name": "etcd"}, 2380),
        ("nats", {"eventsource-name": "uploads"}, 4222),
        ("nats", {"sensor-name": "uploads"}, 4222),
        ("eventsource", {"app.kubernetes.io/name": "minio"}, 12000),
    ],
)
def test_a_server_hears_whom_it_serves(of: str, client: dict[str, str], port: int) -> None:
    heard = [
        peer["podSelector"].get("matchLabels")
        for rule in named("NetworkPolicy", of)["spec"]["ingress"]
        if port in [one["port"] for one in rule["ports"]]
        for peer in rule["from"]
    ]
    assert client in heard


def test_the_selectors_of_policies_are_labels_that_pods_have() -> None:
    labels = {
        (key, value)
        for one in of_kind("StatefulSet", "Deployment", "Job").values()
        for key, value in one["spec"]["template"]["metadata"]["labels"].items()
    }
    made_by_argo = {
        ("eventsource-name", "uploads"),
        ("sensor-name", "uploads"),
        ("app", "argo-server"),
        *(
            pair
            for workflow in of_kind("WorkflowTemplate").values()
            for template in templates(workflow)
            for pair in template.get("metadata", {}).get("labels", {}).items()
        ),
    }
    in_others = {
        ("kubernetes.io/metadata.name", "kube-system"),
        ("kubernetes.io/metadata.name", "monitoring"),
        ("app.kubernetes.io/name", "prometheus"),
    }
    for policy in of_kind("NetworkPolicy").values():
        for one in walk(policy["spec"]):
            chosen = set(one.get("matchLabels", {}).items())
            assert chosen <= labels | made_by_argo | in_others, policy["metadata"]["name"]
