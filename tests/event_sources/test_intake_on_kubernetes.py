"""Requests of an intake: Argo Events makes workflows of them, and its manifests fit it and each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from event_sources.argo import event_source, sensor
from event_sources.intake.http_api import PATH
from event_sources.intake.settings import IntakeSettings
from event_sources.intake.workflow_trigger import EventSource
from k8s.make_secrets import HINTS_USERS
from lookout.ledger.batches import LIVE, Batch
from tests.engine.world import World
from tests.event_sources.intake_kit import POST_TOKEN, Play, serving_bus
from tests.k8s.reading import K8S, documents, named, restricted_faults
from tests.workflows.reading import resources

COMPONENT = K8S / "components" / "intake"
MADE = {one["kind"]: one for one in documents(COMPONENT / "intake.yaml")}
POD = MADE["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
TRIGGER = {one["template"]["name"]: one for one in sensor()["spec"]["triggers"]}["batch"]


def posted(tmp_path: Path) -> dict[str, str]:
    """Return the post of an intake about a batch that it has cut."""
    play = Play(World(tmp_path))
    dispatcher = play.dispatcher("0123abcd")
    play.land("a/1", at=[dispatcher])
    play.later(1)
    dispatcher.step()
    (batch,) = play.batches()
    with serving_bus() as bus:
        EventSource(url=bus.url, token=POST_TOKEN).post_batch(batch, 12)
        (one,) = bus.posted
    assert one.path == event_source()["spec"]["webhook"]["batches"]["endpoint"]
    found: dict[str, str] = one.body
    return found


def rendered(template: str, body: dict[str, str]) -> str:
    return re.sub(r"{{ \.Input\.body\.(\w+) }}", lambda found: body[found[1]], template)


def test_a_batch_becomes_a_workflow_named_by_batch_and_attempt(tmp_path: Path) -> None:
    body = posted(tmp_path)
    values = {one["dest"]: one["src"] for one in TRIGGER["template"]["k8s"]["parameters"]}
    name = rendered(values["metadata.name"]["dataTemplate"], body)
    assert name == f"pipeline-{body['batch']}-12"
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 56
    assert values["spec.arguments.parameters.0.value"]["dataKey"] == "body.batch"
    (told,) = (src["dataTemplate"] for dest, src in values.items() if "description" in dest)
    assert rendered(told, body) == "1 landed, attempt 12"
    made = TRIGGER["template"]["k8s"]["source"]["resource"]["spec"]
    assert made["workflowTemplateRef"] == {"name": "pipeline"}
    assert [one["name"] for one in made["arguments"]["parameters"]] == ["batch"]
    template = resources()["WorkflowTemplate/pipeline"]["spec"]["arguments"]["parameters"]
    assert "batch" in [one["name"] for one in template]


def test_only_what_may_be_a_name_passes(tmp_path: Path) -> None:
    (dependency,) = (one for one in sensor()["spec"]["dependencies"] if one["name"] == "batch")
    assert (dependency["eventSourceName"], dependency["eventName"]) == ("uploads", "batches")
    filters = {one["path"].removeprefix("body."): one["value"] for one in dependency["filters"]["data"]}
    body = posted(tmp_path)
    assert set(filters) == {"batch", "attempt"}
    for field, (pattern,) in filters.items():
        pattern = pattern.replace("$", r"\Z")
        assert re.search(pattern, body[field])
        for other in ("", "{{workflow.name}}", "A", "a b", "a/b", "a\n", "x" * 41):
            assert not re.search(pattern, other)


def test_a_repeat_needs_no_dead_letter() -> None:
    """It is refused, as the workflow is there; what was not made is asked for again."""
    assert "dlqTrigger" not in TRIGGER
    assert TRIGGER["atLeastOnce"] is True


def test_the_ids_of_batches_are_told_apart_by_intake_and_number(tmp_path: Path) -> None:
    Batch(id=posted(tmp_path)["batch"], kind=LIVE, keys=("a",), created_at_s=0.0)
    assert re.fullmatch(r"\d{8}t\d{9}-0123abcd-00001", posted(tmp_path / "again")["batch"])


# --- manifests -------------------------------------------------------------------------------------------------------


def kustomization(name: str) -> dict[str, Any]:
    (found,) = documents(K8S / "components" / name / "kustomization.yaml")
    assert found["kind"] == "Component"
    return found


def test_each_file_of_the_component_is_listed() -> None:
    assert {path.name for path in COMPONENT.iterdir()} == {*kustomization("intake")["resources"], "kustomization.yaml"}


def test_the_pod_is_restricted_and_has_no_rights() -> None:
    assert restricted_faults(POD["spec"]) == []
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory"} <= set(CONTAINER["resources"]["requests"])
    assert "memory" in CONTAINER["resources"]["limits"]


def test_the_settings_are_what_an_intake_reads() -> None:
    env = {one["name"]: one.get("value", "1") for one in CONTAINER["env"]}
    read = IntakeSettings.from_environment(env)
    ports = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
    assert ports == {"http": read.port, "pictures": read.pictures[1]}
    (devices,) = (one["secret"] for one in POD["spec"]["volumes"] if one["name"] == "device-tokens")
    (mount,) = (one for one in CONTAINER["volumeMounts"] if one["name"] == "device-tokens")
    assert str(read.senders) == f"{mount['mountPath']}/{devices['items'][0]['path']}"
    assert read.post_to == "http://uploads-eventsource-svc:12000"
    for one in CONTAINER["env"]:
        if one["name"].startswith("LOOKOUT_INTAKE_HINTS_") and "valueFrom" in one:
            assert one["valueFrom"]["secretKeyRef"]["name"] == "lookout-hints-intake"
        if one["name"].endswith("TOKEN"):
            assert one["valueFrom"]["secretKeyRef"] == {"name": "lookout-webhook", "key": "token"}


def test_no_more_batches_are_live_than_pipelines_may_run() -> None:
    (most,) = (one for one in CONTAINER["env"] if one["name"] == "LOOKOUT_INTAKE_MOST")
    chosen = most["valueFrom"]["configMapKeyRef"]
    assert chosen["key"] in named("ConfigMap", chosen["name"])["data"]
    lock = resources()["WorkflowTemplate/pipeline"]["spec"]["synchronization"]["semaphores"]
    assert [one["configMapKeyRef"] for one in lock] == [chosen]


def test_the_service_leads_to_the_pod_and_minio_to_the_service_and_the_buckets_to_this_target() -> None:
    spec = MADE["Service"]["spec"]
    assert spec["selector"].items() <= POD["metadata"]["labels"].items()
    assert [one["targetPort"] for one in spec["ports"]] == [one["name"] for one in CONTAINER["ports"]]
    patches = {one["target"]["kind"]: yaml.safe_load(one["patch"]) for one in kustomization("intake")["patches"]}
    (minio,) = patches["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in minio["env"]}
    assert told["MINIO_NOTIFY_WEBHOOK_ENDPOINT_INTAKE"] == f"http://intake:{spec['ports'][0]['port']}{PATH}"
    # As that of the EventSource in all else, with a queue of its own.
    base = {one["name"]: one.get("value") for one in container_of("StatefulSet", "minio")["env"]}
    webhook = {name for name in told if "_WEBHOOK_" in name}
    assert webhook == {name.replace("_LOOKOUT", "_INTAKE") for name in base if name.endswith("_LOOKOUT")}
    assert told["MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_INTAKE"] != base["MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_LOOKOUT"]
    before, after, hints = patches["Job"]
    place = int(before["path"].rpartition("/")[2])
    assert container_of("Job", "init")["args"][place] == before["value"] == "--notify=arn:minio:sqs::LOOKOUT:webhook"
    assert (after["op"], after["path"]) == ("replace", before["path"])
    assert after["value"] == "--notify=arn:minio:sqs::INTAKE:webhook"
    assert (hints["op"], hints["value"]) == ("add", "--hints=arn:minio:sqs::HINTS:nats")


def test_hints_go_by_tls_from_minio_to_the_intake_without_a_queue_by_users_of_their_own() -> None:
    patches = {one["target"]["kind"]: yaml.safe_load(one["patch"]) for one in kustomization("intake")["patches"]}
    (minio,) = patches["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one for one in minio["env"] if "_NATS_" in one["name"]}
    said = {name.removeprefix("MINIO_NOTIFY_NATS_").removesuffix("_HINTS"): one for name, one in told.items()}
    # With a queue they would wait for its clock; JetStream would have MinIO wait for an answer.
    assert set(said) == {"ENABLE", "ADDRESS", "SUBJECT", "USERNAME", "PASSWORD", "TLS", "CERT_AUTHORITY"}
    env = {one["name"]: one.get("value", "1") for one in CONTAINER["env"]}
    read = IntakeSettings.from_environment(env).hints
    assert read is not None
    assert read.server == f"tls://{said['ADDRESS']['value']}"
    assert (said["TLS"]["value"], said["SUBJECT"]["value"]) == ("on", read.subject)
    assert {said[name]["valueFrom"]["secretKeyRef"]["name"] for name in ("USERNAME", "PASSWORD")} == {
        "lookout-hints-minio"
    }
    assert said["CERT_AUTHORITY"]["value"] == read.ca == f"{minio['volumeMounts'][0]['mountPath']}/ca.crt"
    nats = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container_of("StatefulSet", "nats")["env"][1:]}
    for user in HINTS_USERS:
        for key in ("USER", "PASSWORD"):
            there = nats[f"HINTS_{user.upper()}_{key}"]
            assert there == {"name": f"lookout-hints-{user}", "key": f"HINTS_{key}"}


def container_of(kind: str, name: str) -> dict[str, Any]:
    (container,) = named(kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def test_probes_and_metrics_ask_where_they_are_answered() -> None:
    paths = {CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"/healthz", "/readyz"}
    annotations = POD["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(CONTAINER["ports"][0]["containerPort"])
    assert annotations["prometheus.io/path"] == "/metrics"
    assert POD["spec"]["terminationGracePeriodSeconds"] > 10


def test_each_way_that_the_network_is_to_allow_is_allowed_on_both_sides() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in documents(COMPONENT / "network.yaml")}
    egress = {
        (str(way["to"][0]["podSelector"]["matchLabels"]), way["ports"][0]["port"])
        for way in policies["intake"]["egress"]
    }
    base = {one["metadata"]["name"]: one["spec"] for one in documents(K8S / "base" / "network.yaml")}
    open_to_all = {(str(base["minio"]["podSelector"]["matchLabels"]), base["minio"]["ingress"][0]["ports"][0]["port"])}
    let_in = {
        (str(spec["podSelector"]["matchLabels"]), spec["ingress"][0]["ports"][0]["port"])
        for name, spec in policies.items()
        if name.startswith("intake-to-")
    }
    assert egress == let_in | open_to_all
    assert policies["minio-to-intake"]["egress"][0]["ports"] == policies["intake"]["ingress"][0]["ports"]


def test_with_tls_it_sees_the_authorities_that_the_settings_of_production_name() -> None:
    (patch,) = (yaml.safe_load(one["patch"]) for one in kustomization("intake-authorities")["patches"])
    pod = patch["spec"]["template"]["spec"]
    paths = {item["path"] for one in pod["volumes"][0]["projected"]["sources"] for item in one["secret"]["items"]}
    (settings,) = documents(K8S / "overlays" / "production" / "settings.yaml")
    wanted = {value for name, value in settings["data"].items() if name.endswith("_CA")}
    assert {f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/{path}" for path in paths} == wanted
