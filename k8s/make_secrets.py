"""``python -m k8s.make_secrets``: makes the Secrets that Lookout's manifests name, where they are missing.

Passwords are random, certificates are self-signed, and both are shown to nobody: they go to kubectl by its input, and
what is there is looked at by name only. A Secret that is there stays as it is, so this may be run again and again, and
a site may make any of them itself before. Standard library and ``openssl`` only. Knows the manifests, and of Lookout
the form of one token.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from k8s.kubectl import NAMESPACE, Failed, Kubectl
from lookout.object_store.minio.metrics_token import metrics_token

_DAYS: Final = 3650
_NATS_USER: Final = "lookout"
_LEDGER_USER: Final = "lookout"
_ROOT_USER: Final = "lookout-root"
_MEMBERS: Final = tuple(f"etcd-{number}.etcd-members" for number in range(3))
STORE_USERS: Final = {
    "validate": "validate",
    "object-detect": "object-detect",
    "threat-detect": "threat-detect",
    "plot": "plot",
    "operator": "engine",
    "uploader": "uploader",
    "camera": "camera",
    "intake": "intake",
    "logs": "logs",
    "metrics": "metrics",
}
"""The store's user in each Secret ``lookout-store-<name>``; ``lookout init`` gives it its rights."""
HINTS_USERS: Final = ("minio", "intake")
"""The users of NATS for hints: one publishes, one subscribes. The Secret of each is ``lookout-hints-<user>``."""
LEDGER_ROLES: Final = ("validate", "object-detect", "threat-detect", "plot", "intake", "reader")
"""The roles of the ledger's users beside its operator; the Secret of each is ``lookout-ledger-<role>``."""
_SENDGRID: Final = "SENDGRID_API_KEY"
_SMTP: Final = "LOOKOUT_SMTP_URL"
_CHANNELS: Final = "LOOKOUT_CHANNEL_"
_HOST_KEY: Final = ("genpkey", "-algorithm", "ed25519")
_NAMES_AND_KEYS: Final = '{{range .items}}{{.metadata.name}}{{range $key, $_ := .data}} {{$key}}{{end}}{{"\\n"}}{{end}}'


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A Secret: its entries' names, and how they are made. One that is there may have the entries ``instead``."""

    keys: tuple[str, ...]
    make: Callable[[], Mapping[str, str]]
    kind: str = "Opaque"
    instead: tuple[str, ...] = ()


def make_missing(kubectl: Kubectl, environment: Mapping[str, str], *, prefix: str = "", tls: bool = False) -> list[str]:
    """Make what is missing, and give the names of what was made. ``prefix`` begins the names of the store's users, as
    it does in LOOKOUT_STORE; ``tls`` adds certificates for MinIO and etcd. Raises Failed when kubectl does, or when a
    Secret that is there lacks an entry."""
    there = {}
    for line in kubectl("get", "secrets", f"--output=go-template={_NAMES_AND_KEYS}").splitlines():
        name, *keys = line.split()
        there[name] = set(keys)
    made = []
    for name, wanted in all_wanted(kubectl, environment, prefix, tls=tls).items():
        if name not in there:
            kubectl("create", "--filename=-", given=json.dumps(_manifest(name, wanted)))
            made.append(name)
        elif (lacking := set(wanted.keys) - there[name]) and not (wanted.instead and there[name] >= {*wanted.instead}):
            raise Failed(f"Secret {name} has no {', '.join(sorted(lacking))}: add it, or delete the Secret")
    return made


def all_wanted(
    kubectl: Kubectl, environment: Mapping[str, str], prefix: str, *, tls: bool = False
) -> dict[str, Wanted]:
    """Return every Secret by its name, in the order in which they can be made."""
    found = {f"lookout-store-{name}": _store(prefix + user) for name, user in STORE_USERS.items()}
    found["lookout-store-metrics"] = _measuring(prefix + STORE_USERS["metrics"])
    found["lookout-store-root"] = _of(MINIO_ROOT_USER=lambda: _ROOT_USER, MINIO_ROOT_PASSWORD=_password)
    found["lookout-ledger"] = _ledger(_LEDGER_USER)
    found |= {f"lookout-ledger-{role}": _ledger(f"{_LEDGER_USER}-{role}") for role in LEDGER_ROLES}
    found["lookout-ledger-root"] = _of(LOOKOUT_LEDGER_ROOT_PASSWORD=_password)
    found["lookout-mail"] = _mail(environment)
    if channels := {name: value for name, value in environment.items() if name.startswith(_CHANNELS) and value}:
        found["lookout-channels"] = Wanted(keys=tuple(sorted(channels)), make=lambda: channels)
    found["lookout-webhook"] = _of(token=_password)
    found["lookout-device-tokens"] = Wanted(keys=("tokens.json",), make=lambda: {"tokens.json": "{}\n"})
    found["lookout-sftp"] = Wanted(keys=("host.key",), make=lambda: {"host.key": _openssl(*_HOST_KEY)})
    certified: dict[str, tuple[str, ...]] = {"lookout-nats-tls": ("nats",), "lookout-ftp-tls": ("ftp",)}
    if tls:
        certified |= {"lookout-store-tls": ("minio",), "lookout-ledger-tls": ("etcd", *_MEMBERS)}
    for name, services in certified.items():
        found[name] = _tls(services, kubectl)
    found["lookout-nats"] = Wanted(
        keys=("NATS_USER", "NATS_PASSWORD", "auth", "ca.crt"), make=lambda: _nats(_authority(kubectl))
    )
    for user in HINTS_USERS:
        found[f"lookout-hints-{user}"] = _hints(f"hints-{user}")
    return found


def _mail(environment: Mapping[str, str]) -> Wanted:
    """Return the key of SendGrid, a random one if there is none; or the mail server that is named instead."""
    smtp = {name: value for name, value in environment.items() if name in (_SMTP, "LOOKOUT_SMTP_PASSWORD") and value}
    key = environment.get(_SENDGRID)
    if key and _SMTP in smtp:
        raise Failed(f"{_SENDGRID} and {_SMTP} are set: unset one of them")
    if _SMTP in smtp:
        return Wanted(keys=tuple(sorted(smtp)), make=lambda: smtp)
    return Wanted(keys=(_SENDGRID,), make=lambda: {_SENDGRID: key or f"SG.{_password()}"}, instead=(_SMTP,))


def _of(**entries: Callable[[], str]) -> Wanted:
    return Wanted(keys=tuple(entries), make=lambda: {key: make() for key, make in entries.items()})


def _store(user: str) -> Wanted:
    return _of(LOOKOUT_STORE_ACCESS_KEY=lambda: user, LOOKOUT_STORE_SECRET_KEY=_password)


def _measuring(user: str) -> Wanted:
    """Return the store's user for its metrics, and the token that Prometheus shows."""

    def make() -> Mapping[str, str]:
        made = dict(_store(user).make())
        return {**made, "token": metrics_token(user, made["LOOKOUT_STORE_SECRET_KEY"])}

    return Wanted(keys=(*_store(user).keys, "token"), make=make)


def _ledger(user: str) -> Wanted:
    return _of(LOOKOUT_LEDGER_USER=lambda: user, LOOKOUT_LEDGER_PASSWORD=_password)


def _hints(user: str) -> Wanted:
    return _of(HINTS_USER=lambda: user, HINTS_PASSWORD=_password)


def _tls(services: Sequence[str], kubectl: Kubectl) -> Wanted:
    return Wanted(
        keys=("tls.crt", "tls.key", "ca.crt"),
        make=lambda: _certificate(services, kubectl.namespace),
        kind="kubernetes.io/tls",
    )


def _password() -> str:
    """Return 192 random bits as text that no configuration language takes for a number or a sign of its own."""
    return f"k{secrets.token_hex(24)}"


def _nats(authority: str) -> Mapping[str, str]:
    """Return the secrets of NATS, which reads two variables, and of Argo Events, which reads one YAML file."""
    password = _password()
    return {
        "NATS_USER": _NATS_USER,
        "NATS_PASSWORD": password,
        "auth": f"username: {_NATS_USER}\npassword: {password}\n",
        "ca.crt": authority,
    }


def _authority(kubectl: Kubectl) -> str:
    """Return the authority that signed NATS's certificate: no secret itself."""
    return b64decode(kubectl("get", "secret", "lookout-nats-tls", r"--output=jsonpath={.data.ca\.crt}")).decode("ascii")


def _certificate(services: Sequence[str], namespace: str) -> Mapping[str, str]:
    """Return a self-signed certificate for all names that these have in the cluster. Members of an etcd
    show it to each other, so it is a client's too; MinIO's FTP server reaches MinIO by the loopback."""
    zones = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    names = ",".join(f"DNS:{service}{zone}" for service in services for zone in zones)
    made = _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"),
        *("-days", str(_DAYS), "-subj", f"/CN={services[0]}", "-keyout", "-", "-out", "-"),
        *("-addext", f"subjectAltName={names},IP:127.0.0.1", "-addext", "extendedKeyUsage=serverAuth,clientAuth"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
    )
    blocks = dict(re.findall(r"(?s)(-----BEGIN ([A-Z ]+)-----.*?-----END \2-----\n)", made))
    found = {kind: block for block, kind in blocks.items()}
    if set(found) != {"PRIVATE KEY", "CERTIFICATE"}:
        raise Failed(f"openssl made no certificate but {', '.join(sorted(found)) or 'nothing'}")
    return {"tls.crt": found["CERTIFICATE"], "tls.key": found["PRIVATE KEY"], "ca.crt": found["CERTIFICATE"]}


def _openssl(*arguments: str) -> str:
    try:
        done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError as error:
        raise Failed(
            "there is no openssl: install it, or make the Secrets with certificates and keys yourself"
        ) from error
    if done.returncode:
        raise Failed(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _manifest(name: str, wanted: Wanted) -> Mapping[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "lookout"}},
        "type": wanted.kind,
        "stringData": wanted.make(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m k8s.make_secrets", description="Makes the Secrets that are missing."
    )
    parser.add_argument("--namespace", default=NAMESPACE, help=f"by default {NAMESPACE}")
    parser.add_argument("--prefix", default="", help="what the names of buckets begin with, as in LOOKOUT_STORE")
    parser.add_argument("--tls", action="store_true", help="certificates for MinIO and etcd too")
    given = parser.parse_args()
    try:
        made = make_missing(Kubectl(namespace=given.namespace), os.environ, prefix=given.prefix, tls=given.tls)
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name in made:
        sys.stdout.write(f"secret/{name} made\n")
    if "lookout-mail" in made and not os.environ.get(_SENDGRID) and not os.environ.get(_SMTP):
        sys.stderr.write("lookout-mail has a random key, with which SendGrid sends nothing: see docs/kubernetes.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
