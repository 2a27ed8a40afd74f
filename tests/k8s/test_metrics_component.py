"""The manifests of what Prometheus asks fit the command, the settings and the network of all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from lookout.cli.metrics import metrics
from lookout.config.settings import Settings
from tests.k8s.reading import K8S, documents, named, restricted_faults

COMPONENT = K8S / "components" / "metrics"
MADE = {f"{one['kind']}/{one['metadata']['name']}": one for one in documents(COMPONENT / "metrics.yaml")}
POD = MADE["Deployment/metrics"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def kustomization(name: str) -> dict[str, Any]:
    (found,) = documents(K8S / "components" / name / "kustomization.yaml")
    assert found["kind"] == "Component"
    return found


def policies(path: Path) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in documents(path)}


def test_the_pod_is_restricted_and_has_no_rights() -> None:
    assert restricted_faults(POD["spec"]) == []
    assert (POD["spec"]["automountServiceAccountToken"], POD["spec"]["enableServiceLinks"]) == (False, False)
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory"} <= set(CONTAINER["resources"]["requests"])
    assert "memory" in CONTAINER["resources"]["limits"]


def test_it_is_given_the_ledger_and_nothing_else(tmp_path: Path) -> None:
    data = named("ConfigMap", "lookout-settings")["data"]
    env = {}
    for one in CONTAINER["env"]:
        chosen = one.get("valueFrom", {}).get("configMapKeyRef")
        assert chosen is None or chosen["key"] == one["name"]
        assert chosen is None or chosen["key"] in data or chosen["optional"]
        env[one["name"]] = one["value"] if chosen is None else data.get(chosen["key"], "")
    assert [one["secretRef"]["name"] for one in CONTAINER["envFrom"]] == ["lookout-ledger-reader"]
    given = {name: value for name, value in env.items() if value}
    read = Settings.from_environment({**given, "LOOKOUT_LEDGER_USER": "a", "LOOKOUT_LEDGER_PASSWORD": "b"})
    assert read.ledger is not None
    assert (read.store, read.sendgrid_api_key) == (None, None)
    writable = [mount["mountPath"] for mount in CONTAINER["volumeMounts"]]
    assert any(read.state.is_relative_to(place) for place in writable)


def test_its_arguments_are_those_of_the_command_and_lead_to_its_port() -> None:
    assert CONTAINER["command"] == ["lookout", "metrics"]
    with metrics.make_context("metrics", list(CONTAINER["args"])) as context:
        assert context.params["host"] == "0.0.0.0"
        port = context.params["port"]
    assert CliRunner().invoke(metrics, [*CONTAINER["args"], "--help"]).exit_code == 0
    (opened,) = CONTAINER["ports"]
    assert opened["containerPort"] == port
    spec = MADE["Service/metrics"]["spec"]
    assert (spec["ports"][0]["port"], spec["ports"][0]["targetPort"]) == (port, opened["name"])
    assert spec["selector"].items() <= POD["metadata"]["labels"].items()
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    for probe in ("startupProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/metrics", "port": opened["name"]}


def test_each_way_that_the_network_is_to_allow_is_allowed_on_both_sides() -> None:
    ours, base = policies(COMPONENT / "network.yaml"), policies(K8S / "base" / "network.yaml")
    (way,) = ours["metrics"]["egress"]
    let_in = ours["metrics-to-etcd"]
    assert way["to"] == [{"podSelector": let_in["podSelector"]}]
    assert way["ports"] == let_in["ingress"][0]["ports"]
    assert let_in["podSelector"] == base["etcd"]["podSelector"]
    assert let_in["ingress"][0]["from"] == [{"podSelector": ours["metrics"]["podSelector"]}]
    assert ours["metrics"]["ingress"][0]["ports"][0]["port"] == CONTAINER["ports"][0]["containerPort"]


def test_with_tls_it_sees_the_authority_that_the_settings_of_production_name() -> None:
    (patch,) = (yaml.safe_load(one["patch"]) for one in kustomization("metrics-authorities")["patches"])
    pod = patch["spec"]["template"]["spec"]
    ((item,),) = (source["secret"]["items"] for source in pod["volumes"][0]["projected"]["sources"])
    (settings,) = documents(K8S / "overlays" / "production" / "settings.yaml")
    mounted = f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/{item['path']}"
    assert mounted == settings["data"]["LOOKOUT_LEDGER_CA"]


def test_prometheus_scrapes_services_that_are_there_by_their_ports() -> None:
    (config,) = documents(K8S / "monitoring" / "prometheus.yaml")
    intake = {one["kind"]: one for one in documents(K8S / "components" / "intake" / "intake.yaml")}["Service"]
    services = [one for one in MADE.values() if one["kind"] == "Service"]
    services += [intake, named("Service", "etcd-members"), named("Service", "minio")]
    ports = {one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]} for one in services}
    asked = {}
    for job in config["scrape_configs"]:
        for target in [target for one in job.get("static_configs", []) for target in one["targets"]]:
            asked[target.partition(".")[0]] = int(target.rpartition(":")[2])
        for one in job.get("dns_sd_configs", []):
            asked[one["names"][0].partition(".")[0]] = one["port"]
    assert asked.keys() == ports.keys()
    assert all(port in ports[name] for name, port in asked.items())
