"""The component with MinIO's FTP and SFTP servers: its arguments, ports and keys fit each other. Needs no cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from devkit.servers.transfers import FTP_PORT, SFTP_PORT, Transfers
from k8s.make_secrets import all_wanted
from tests.k8s.reading import K8S, documents, kustomization, named

COMPONENT = K8S / "components" / "ftp"
(OWN,) = documents(COMPONENT / "kustomization.yaml")
(SERVICE,) = documents(COMPONENT / "ftp.yaml")
(POLICY,) = documents(COMPONENT / "network.yaml")
(PATCH,) = documents(COMPONENT / "minio.yaml")
POD = PATCH["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
FIRST, LAST = 30000, 30020


def added() -> list[str]:
    """The arguments that the component puts after ``server``."""
    operations = yaml.safe_load(OWN["patches"][1]["patch"])
    (container,) = named("StatefulSet", "minio")["spec"]["template"]["spec"]["containers"]
    assert operations[0]["value"] == container["args"][0] == "server"
    assert [one["path"].rpartition("/")[2] for one in operations[1:]] == [str(n) for n in range(1, len(operations))]
    return [one["value"] for one in operations[1:]]


def test_the_arguments_are_those_that_the_tests_run_minio_with() -> None:
    class Keys:
        server_key, server_certificate = "/ftp/tls.key", "/ftp/tls.crt"

    transfers = Transfers(
        host_key=Path("/ftp/host.key"),
        tls=Keys(),  # type: ignore[arg-type]
        ftp=FTP_PORT,
        sftp=SFTP_PORT,
        passive=(FIRST, LAST),
        address="",
    )
    assert added() == transfers.arguments()


def test_service_and_policy_have_the_ports_that_minio_uses() -> None:
    named_ports = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
    assert named_ports == {"ftp": FTP_PORT, "sftp": SFTP_PORT}
    first, second, *passive = SERVICE["spec"]["ports"]
    assert [(one["port"], one["targetPort"]) for one in (first, second)] == [(21, "ftp"), (22, "sftp")]
    assert [(one["port"], one["targetPort"]) for one in passive] == [(n, n) for n in range(FIRST, LAST)]
    (rule,) = POLICY["spec"]["ingress"]
    assert [one["port"] for one in rule["ports"]] == [FTP_PORT, SFTP_PORT, FIRST]
    assert rule["ports"][2]["endPort"] == LAST - 1
    labels = named("StatefulSet", "minio")["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    assert POLICY["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_each_file_is_where_the_arguments_name_it() -> None:
    (mount,) = CONTAINER["volumeMounts"]
    (volume,) = POD["volumes"]
    assert mount["name"] == volume["name"]
    items = [item for one in volume["projected"]["sources"] for item in one["secret"]["items"]]
    paths = {f"{mount['mountPath']}/{item['path']}" for item in items}
    assert paths == {word.partition("=/")[2] and "/" + word.partition("=/")[2] for word in added() if "=/" in word}


def test_it_is_on_in_both_overlays_and_each_file_is_listed() -> None:
    for overlay in ("local", "production"):
        assert "../../components/ftp" in kustomization(f"k8s/overlays/{overlay}")["components"]
    listed = {*OWN["resources"], *(one["path"] for one in OWN["patches"] if "path" in one), "kustomization.yaml"}
    assert {path.name for path in COMPONENT.iterdir()} == listed


def test_the_host_key_is_one_that_openssl_reads_and_another_each_time(tmp_path: Path) -> None:
    wanted = all_wanted(None, {}, "")["lookout-sftp"]  # type: ignore[arg-type]
    keys = [wanted.make()["host.key"] for _ in range(2)]
    assert keys[0] != keys[1]
    for key in keys:
        done = subprocess.run(["openssl", "pkey", "-noout", "-text"], input=key, capture_output=True, text=True)
        assert "ED25519 Private-Key" in done.stdout
