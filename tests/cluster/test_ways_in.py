"""Cameras that upload from a pod outside of the namespace, by FTP with TLS and by HTTP: results and letters as those of
the embedded run."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .argo_kit import IMAGE, until
from .cluster import Cluster
from .deployment import Deployment, assert_equal
from .embedded import PERSON, TIME, Embedded

CAMERA = """
import base64, contextlib, ftplib, http.client, json, ssl, sys
given = json.load(sys.stdin)
picture = base64.b64decode(given["picture"])
if given["by"] == "http":
    connection = http.client.HTTPConnection(given["host"], 8081, timeout=60)
    headers = {"Authorization": "Bearer " + given["secret"]}
    connection.request("PUT", "/pictures/" + given["key"], picture, headers)
    print(connection.getresponse().status)
else:
    trust = ssl.create_default_context(cadata=given["authority"])
    ftp = ftplib.FTP_TLS(context=trust, timeout=60)
    ftp.connect(given["host"], 21)
    ftp.host = "ftp"  # the name in the certificate; data comes by the address of this connection
    ftp.login(given["user"], given["secret"])
    ftp.prot_p()
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("STOR images/" + given["key"])
    data.sendall(picture)
    data.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):
        data.unwrap()  # tells the end; MinIO does not tell its own
    data.close()
    print(ftp.voidresp().split()[0])
"""
"""A camera's program: uploads what stdin says, and prints the status."""


@dataclass(frozen=True)
class Pod:
    """A pod in a namespace of its own, as far from the deployment's as a camera is."""

    cluster: Cluster
    namespace: str

    def send(self, **given: Any) -> str:
        given["picture"] = b64encode(PERSON.read_bytes()).decode()
        command = (f"--namespace={self.namespace}", "exec", "--stdin", "camera", "--", "python", "-c", CAMERA)
        return self.cluster.kubectl(*command, given=json.dumps(given)).strip()


@pytest.fixture
def camera(cluster: Cluster) -> Iterator[Pod]:
    namespace = f"camera-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        container = {
            "name": "camera",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", "import signal; signal.pause()"],
        }
        metadata = {"name": "camera", "namespace": namespace}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        cluster.kubectl(f"--namespace={namespace}", "apply", "-f", "-", given=json.dumps(manifest))
        cluster.kubectl(f"--namespace={namespace}", "wait", "pod/camera", "--for=condition=Ready", "--timeout=110s")
        yield Pod(cluster, namespace)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_picture_by_ftp_with_tls_ends_in_results_and_letters(
    deployment: Deployment, embedded: Embedded, camera: Pod
) -> None:
    user = deployment.secret("lookout-store-camera")
    key = f"{deployment.tag}-ftp{TIME}"
    answered = camera.send(
        by="ftp",
        host=deployment.addresses["ftp"],
        authority=deployment.secret("lookout-ftp-tls")["ca.crt"],
        user=user["LOOKOUT_STORE_ACCESS_KEY"],
        secret=user["LOOKOUT_STORE_SECRET_KEY"],
        key=key,
    )
    assert answered == "226"
    assert deployment.runs_of(key)
    assert_equal(deployment, embedded, "ftp")


def test_a_picture_by_http_ends_in_results_and_letters(deployment: Deployment, embedded: Embedded, camera: Pod) -> None:
    device, token, cluster = f"{deployment.tag}-http", secrets.token_hex(24), deployment.cluster
    devices = {device: {"tokens": [hashlib.sha256(token.encode()).hexdigest()]}}
    before = deployment.secret("lookout-device-tokens")["tokens.json"]
    given = {"by": "http", "host": deployment.addresses["intake"], "key": f"{device}{TIME}"}
    try:
        _set_devices(cluster, json.dumps(devices))
        # The service's rules follow the new intake a moment later: until then the old one answers, which knows no such
        # token, or a connection is refused.
        assert until(lambda: camera.send(secret=token, **given) == "201")
        assert until(lambda: camera.send(secret=token, **given)) == "200"
        assert until(lambda: camera.send(secret="another", **given)) == "401"
    finally:
        _set_devices(cluster, before)
    assert deployment.runs_of(f"{device}{TIME}")
    assert_equal(deployment, embedded, "http")


def _set_devices(cluster: Cluster, text: str) -> None:
    """As an operator does: the Secret, and intakes that have read it."""
    patch = {"stringData": {"tokens.json": text}}
    cluster.kubectl("patch", "secret", "lookout-device-tokens", "--patch", json.dumps(patch))
    cluster.kubectl("rollout", "restart", "deployment/intake")
    cluster.kubectl("rollout", "status", "deployment/intake", "--timeout=110s")
