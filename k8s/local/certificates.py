"""The cluster's private authority, what it signs for each part, and the kubeconfigs that carry it, by ``openssl``.

Kubernetes reads who a client is from its certificate: the common name is the user, the organization the group.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8s.local.commands import run
from k8s.local.site import API_SERVICE_IP, API_URL, NODE, NODE_IP, Site

# The cluster is for a machine of one's own, and its keys lie on it: nothing is won by certificates that run out.
_DAYS: Final = "3650"
_API_NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Holder of a certificate: ``file`` without ending; with ``names`` or ``addresses`` it is a server's."""

    file: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"

    @property
    def extensions(self) -> str:
        also = [f"DNS:{name}" for name in self.names] + [f"IP:{address}" for address in self.addresses]
        usage = "serverAuth" if also else "clientAuth"
        names = f"subjectAltName={','.join(also)}\n" if also else ""
        return (
            f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n{names}"
        )


CLIENTS: Final = (
    Part(file="admin", user="admin", group="system:masters"),
    Part(file="kube-controller-manager", user="system:kube-controller-manager"),
    Part(file="kube-scheduler", user="system:kube-scheduler"),
    Part(file="kube-proxy", user="system:kube-proxy"),
    Part(file="kubelet", user=f"system:node:{NODE}", group="system:nodes"),
    # It reads pods, namespaces and policies. Kubernetes has no role of its own for that.
    Part(file="kube-router", user="kube-router", group="system:masters"),
)
_PARTS: Final = (
    Part(
        file="apiserver",
        user="kube-apiserver",
        names=_API_NAMES,
        addresses=(str(API_SERVICE_IP), str(NODE_IP), "127.0.0.1"),
    ),
    Part(file="apiserver-to-kubelet", user="kube-apiserver-to-kubelet", group="system:masters"),
    Part(file="kubelet-server", user=f"system:node:{NODE}", names=(NODE,), addresses=(str(NODE_IP),)),
    *CLIENTS,
)


def make_certificates(site: Site) -> None:
    """Make the keys and certificates (P-256) and kubeconfigs that are missing. The authority comes with those of all
    parts, or not at all; a part that a later version added gets its own."""
    if not site.pki.exists():
        making = site.pki.with_name("pki.part")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        _make_key(making / "ca.key")
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        run(
            "openssl", "req", "-x509", "-new", "-key", making / "ca.key", "-days", _DAYS,
            "-subj", "/CN=lookout-cluster", "-addext", usage, "-out", making / "ca.crt",
        )  # fmt: skip
        _make_key(making / "service-accounts.key")
        run("openssl", "ec", "-in", making / "service-accounts.key", "-pubout", "-out", making / "service-accounts.pub")
        for part in _PARTS:
            _sign(making, part)
        making.rename(site.pki)
    for part in _PARTS:
        if not (site.pki / f"{part.file}.crt").exists():
            _sign(site.pki, part)
    site.config.mkdir(exist_ok=True)
    for client in CLIENTS:
        file = site.kubeconfig if client.file == "admin" else site.config / f"{client.file}.kubeconfig"
        if not file.exists():
            writing = file.with_name(f"{file.name}.part")
            writing.touch(mode=0o600)
            writing.write_text(_kubeconfig(site.pki, client), encoding="ascii")
            writing.rename(file)


def _make_key(file: Path) -> None:
    file.touch(mode=0o600)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)


def _sign(folder: Path, part: Part) -> None:
    key, certificate = folder / f"{part.file}.key", folder / f"{part.file}.crt"
    request, extensions = folder / "request", folder / "extensions"
    _make_key(key)
    extensions.write_text(part.extensions, encoding="ascii")
    run("openssl", "req", "-new", "-key", key, "-subj", part.subject, "-out", request)
    run(
        "openssl", "x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
        "-CAcreateserial", "-days", _DAYS, "-extfile", extensions, "-out", certificate,
    )  # fmt: skip
    request.unlink()
    extensions.unlink()


def _kubeconfig(pki: Path, client: Part) -> str:
    """Return it as JSON, which is YAML."""

    def inline(name: str) -> str:
        return b64encode((pki / name).read_bytes()).decode()

    user = {
        "client-certificate-data": inline(f"{client.file}.crt"),
        "client-key-data": inline(f"{client.file}.key"),
    }
    cluster = {"server": API_URL, "certificate-authority-data": inline("ca.crt")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NODE, "cluster": cluster}],
            "users": [{"name": client.file, "user": user}],
            "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": client.file}}],
            "current-context": NODE,
        },
        indent=1,
    )
