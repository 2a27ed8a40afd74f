"""The Secrets: made once, random, shown to nobody, and all that the manifests name."""

from __future__ import annotations

import json
import shutil
import ssl
from pathlib import Path

import pytest
import yaml

from k8s.make_secrets import HINTS_USERS, LEDGER_ROLES, STORE_USERS, all_wanted
from lookout.app.provisioning import bucket_roles, ledger_roles
from lookout.object_store.minio.metrics_token import metrics_token
from lookout.object_store.minio.policies import LOGS
from stages.installation import INSTALLATION
from tests.k8s.conftest import Cluster, new_cluster
from tests.k8s.reading import (
    K8S,
    components,
    containers,
    documents,
    named,
    operations,
    patches,
    pods,
    resources,
    wanted_secrets,
)

PRODUCTION = "k8s/overlays/production"


def keys(*, tls: bool) -> dict[str, set[str]]:
    return {name: set(wanted.keys) for name, wanted in all_wanted(None, {}, "", tls=tls).items()}  # type: ignore[arg-type]


KEYS = keys(tls=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster with all Secrets, also those for TLS; only to be looked at."""
    cluster = new_cluster(tmp_path_factory.mktemp("made"))
    cluster.run("k8s.make_secrets", "--tls").check_returncode()
    return cluster


@pytest.mark.parametrize("tls", [False, True])
def test_whatever_a_manifest_names_is_made(tls: bool) -> None:
    (settings,) = documents(K8S / "argo" / "workflow-controller-configmap.yaml")
    trees = [*resources().values(), *components(), *(yaml.safe_load(text) for text in settings["data"].values())]
    if tls:
        trees += [*patches(PRODUCTION).values(), *operations(PRODUCTION).values()]
    named_somewhere = {pair for tree in trees for pair in wanted_secrets(tree)}
    made = keys(tls=tls)
    named_somewhere.remove(("lookout-channels", None))  # optional, and made of what the environment has
    assert {name for name, _ in named_somewhere} == set(made)
    assert [pair for pair in named_somewhere if pair[1] is not None and pair[1] not in made[pair[0]]] == []


def test_no_secret_is_among_the_arguments_of_a_container() -> None:
    """Everybody on a node sees those."""
    seen = 0
    for name, pod in pods().items():
        for container in containers(pod):
            secret = {one["name"] for one in container.get("env", []) if "secretKeyRef" in one.get("valueFrom", {})}
            seen += len(secret)
            words = [*container.get("command", []), *container.get("args", [])]
            assert [word for word in words if any(f"$({one})" in word for one in secret)] == [], name
    assert seen > 0


def test_the_token_for_prometheus_is_of_the_stores_user_for_metrics() -> None:
    wanted = all_wanted(None, {}, "site1-")["lookout-store-metrics"]  # type: ignore[arg-type]
    made = wanted.make()
    assert made["LOOKOUT_STORE_ACCESS_KEY"] == "site1-metrics"
    assert made["token"] == metrics_token("site1-metrics", made["LOOKOUT_STORE_SECRET_KEY"])


def test_etcd_hashes_passwords_at_the_lowest_cost_as_they_are_random() -> None:
    (etcd,) = named("StatefulSet", "etcd")["spec"]["template"]["spec"]["containers"]
    assert {"name": "ETCD_BCRYPT_COST", "value": "4"} in etcd["env"]
    wanted = all_wanted(None, {}, "")  # type: ignore[arg-type]
    made = [entries for name in wanted if name.startswith("lookout-ledger") for entries in [wanted[name].make()]]
    passwords = [value for entries in made for key, value in entries.items() if key.endswith("PASSWORD")]
    assert len(set(passwords)) == len(passwords) == len(LEDGER_ROLES) + 2
    assert all(len(password) >= 32 for password in passwords)


def test_minio_shows_its_metrics_to_nobody_without_a_token() -> None:
    (minio,) = named("StatefulSet", "minio")["spec"]["template"]["spec"]["containers"]
    assert {"name": "MINIO_PROMETHEUS_AUTH_TYPE", "value": "jwt"} in minio["env"]


def test_each_user_of_the_store_is_one_that_init_makes() -> None:
    made = {role.name for role in bucket_roles(INSTALLATION.pipeline)} | {LOGS}
    assert set(STORE_USERS.values()) == made


def test_each_role_of_the_ledger_is_one_that_init_knows() -> None:
    assert list(LEDGER_ROLES) == [role.name for role in ledger_roles(INSTALLATION.pipeline)]


def test_init_sees_each_user_in_a_folder_of_its_name() -> None:
    (volume,) = [one for one in named("Job", "init")["spec"]["template"]["spec"]["volumes"] if one["name"] == "secrets"]
    shown = {
        (source["secret"]["name"], item["path"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    assert shown == {
        ("lookout-ledger-root", "ledger-root/LOOKOUT_LEDGER_ROOT_PASSWORD"),
        *(
            (f"lookout-ledger-{role}", f"ledger-{role}/{key}")
            for role in LEDGER_ROLES
            for key in ("LOOKOUT_LEDGER_USER", "LOOKOUT_LEDGER_PASSWORD")
        ),
        *(
            (f"lookout-store-{name}", f"{user}/{key}")
            for name, user in STORE_USERS.items()
            for key in ("LOOKOUT_STORE_ACCESS_KEY", "LOOKOUT_STORE_SECRET_KEY")
        ),
    }


def test_they_are_made_once_and_shown_to_nobody(cluster: Cluster) -> None:
    first = cluster.run("k8s.make_secrets")
    assert (first.returncode, set(first.stdout.split("\n")) - {""}) == (0, {f"secret/{name} made" for name in KEYS})
    made = cluster.secrets
    assert {name: set(secret["stringData"]) for name, secret in made.items()} == KEYS
    again = cluster.run("k8s.make_secrets")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert cluster.secrets == made
    said = first.stdout + first.stderr + json.dumps(cluster.calls)
    values = [value for secret in made.values() for value in secret["stringData"].values()]
    for value in values:
        ledgers = {f"lookout-{role}" for role in LEDGER_ROLES}
        assert value not in said or value in {
            *STORE_USERS.values(),
            *ledgers,
            *(f"hints-{user}" for user in HINTS_USERS),
            "lookout",
            "lookout-root",
        }


def test_no_two_are_the_same_and_each_is_long(made: Cluster) -> None:
    entries = [
        (key, value)
        for secret in made.secrets.values()
        for key, value in secret["stringData"].items()
        if key.endswith(("PASSWORD", "SECRET_KEY", "API_KEY", "token"))
    ]
    assert len(entries) == len(STORE_USERS) + len(LEDGER_ROLES) + len(HINTS_USERS) + 7
    assert len({value for _, value in entries}) == len(entries)
    assert all(len(value) > 48 for _, value in entries)


def test_one_that_is_there_stays_even_beside_missing_ones(cluster: Cluster) -> None:
    cluster.run("k8s.make_secrets")
    before = cluster.secrets
    for name in ("lookout-nats", "lookout-webhook"):
        (cluster.folder / "secrets" / name).unlink()
    assert cluster.run("k8s.make_secrets").stdout == "secret/lookout-webhook made\nsecret/lookout-nats made\n"
    after = cluster.secrets
    assert {name for name in before if before[name] != after[name]} == {"lookout-nats", "lookout-webhook"}
    assert after["lookout-nats"]["stringData"]["ca.crt"] == after["lookout-nats-tls"]["stringData"]["ca.crt"]


def test_one_that_lacks_an_entry_is_named_and_not_touched(cluster: Cluster) -> None:
    cluster.run("k8s.make_secrets")
    file = cluster.folder / "secrets" / "lookout-mail"
    file.write_text(json.dumps({"stringData": {"KEY": "of somebody"}}))
    done = cluster.run("k8s.make_secrets")
    assert done.returncode == 1
    assert "Secret lookout-mail has no SENDGRID_API_KEY" in done.stderr
    assert "of somebody" in file.read_text()


def test_the_key_for_mail_is_taken_from_the_environment_and_else_said_to_be_of_no_use(cluster: Cluster) -> None:
    assert "random key" in cluster.run("k8s.make_secrets").stderr
    shutil.rmtree(cluster.folder / "secrets")
    done = cluster.run("k8s.make_secrets", SENDGRID_API_KEY="SG.mine")
    assert "SG.mine" not in done.stdout + done.stderr + json.dumps(cluster.calls)
    assert cluster.secrets["lookout-mail"]["stringData"] == {"SENDGRID_API_KEY": "SG.mine"}


def test_a_mail_server_of_the_environment_stands_instead_of_the_key(cluster: Cluster) -> None:
    server = {"LOOKOUT_SMTP_URL": "smtp://me@mail.example.com", "LOOKOUT_SMTP_PASSWORD": "of mail"}
    done = cluster.run("k8s.make_secrets", **server)
    assert "random key" not in done.stderr
    assert "of mail" not in done.stdout + done.stderr + json.dumps(cluster.calls)
    assert cluster.secrets["lookout-mail"]["stringData"] == server
    assert cluster.run("k8s.make_secrets").returncode == 0, "one that is there has the server instead of the key"
    both = cluster.run("k8s.make_secrets", **server, SENDGRID_API_KEY="SG.mine")
    assert (both.returncode, both.stderr) == (1, "SENDGRID_API_KEY and LOOKOUT_SMTP_URL are set: unset one of them\n")


def test_channels_of_the_environment_are_a_secret_of_their_own_and_none_without(cluster: Cluster) -> None:
    cluster.run("k8s.make_secrets")
    assert "lookout-channels" not in cluster.secrets
    channels = {"LOOKOUT_CHANNEL_HOME_URL": "https://example.com/x", "LOOKOUT_CHANNEL_HOME_SECRET": "of the hook"}
    done = cluster.run("k8s.make_secrets", **channels)
    assert done.stdout == "secret/lookout-channels made\n"
    assert "of the hook" not in done.stdout + done.stderr + json.dumps(cluster.calls)
    assert cluster.secrets["lookout-channels"]["stringData"] == channels


def test_the_stores_users_have_the_prefix_of_their_buckets(cluster: Cluster) -> None:
    cluster.run("k8s.make_secrets", "--prefix", "site1-")
    users = {
        name: secret["stringData"]["LOOKOUT_STORE_ACCESS_KEY"]
        for name, secret in cluster.secrets.items()
        if "LOOKOUT_STORE_ACCESS_KEY" in secret["stringData"]
    }
    assert users == {f"lookout-store-{name}": f"site1-{user}" for name, user in STORE_USERS.items()}


def test_argo_events_and_nats_have_the_same_password_and_certificate(made: Cluster) -> None:
    nats = made.secrets["lookout-nats"]["stringData"]
    assert yaml.safe_load(nats["auth"]) == {"username": nats["NATS_USER"], "password": nats["NATS_PASSWORD"]}


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("lookout-nats-tls", {"nats", "nats.lookout.svc"}),
        ("lookout-store-tls", {"minio", "minio.lookout.svc.cluster.local"}),
        ("lookout-ledger-tls", {"etcd", "etcd-0.etcd-members", "etcd-2.etcd-members.lookout.svc"}),
    ],
)
def test_a_certificate_is_for_its_services_and_its_key_fits(
    made: Cluster, tmp_path: Path, name: str, names: set[str]
) -> None:
    tls = made.secrets[name]
    assert tls["type"] == "kubernetes.io/tls"
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).write_text(tls["stringData"][file])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    (certificate,) = ssl.create_default_context(cadata=tls["stringData"]["ca.crt"]).get_ca_certs()
    assert names <= {entry for _, entry in certificate["subjectAltName"]}  # type: ignore[misc]


@pytest.mark.parametrize(("path", "said"), [("/nowhere", "there is no kubectl"), (None, "no openssl")])
def test_a_missing_program_is_named(cluster: Cluster, tmp_path: Path, path: str | None, said: str) -> None:
    more = {"PATH": "/nowhere"} | ({"KUBECTL": ""} if path else {})
    done = cluster.run("k8s.make_secrets", **more)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_kubectl_refuses_is_passed_on(cluster: Cluster) -> None:
    cluster.refuse("create", "Error from server (Forbidden): secrets is forbidden")
    done = cluster.run("k8s.make_secrets")
    assert done.returncode == 1
    assert "Forbidden" in done.stderr
