"""``lookout doctor`` on real servers: all right, not right, and not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from devkit.servers.ports import free_port
from lookout.object_store.minio.buckets import make_buckets
from tests.cli.shell import RULES, THREAT
from tests.services.cli_kit import BUCKETS, Site


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    return Site(root=tmp_path, environment=store_settings | ledger_settings)


def ask(site: Site, code: int = 0, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """The checks by name. The code says whether one is bad."""
    said = site.lookout("doctor", "--json", code=code, **options).json
    assert said["ok"] == (code == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for check in said["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def bad(checks: dict[str, list[dict[str, Any]]]) -> list[str]:
    return sorted(name for name, items in checks.items() if not all(item["ok"] for item in items))


def test_a_deployment_that_is_right(site: Site, etcd) -> None:
    site.begin()
    site.put(THREAT)
    shutil.copytree(RULES, site.root / "rules")
    site.lookout("upload", "photos")
    site.work("--rules", "rules")
    checks = ask(site)
    assert {"store", "clock", "credentials", "buckets", "versioning", "lifecycle", "ledger", "source"} <= set(checks)
    version, room = checks[f"etcd {etcd.endpoint}"]
    assert "leads, 1 member in all" in version["found"]
    assert "MiB" in room["found"]
    assert checks["results"][0]["found"].endswith("0 lost or changed")
    text = site.lookout("doctor", "--objects")
    assert "BAD" not in text.out
    for name in ("LOOKOUT_STORE_SECRET_KEY", "LOOKOUT_LEDGER_PASSWORD"):
        assert site.environment.get(name, "-" * 99) not in text.out + text.err
    engine = ask(site, env=site.be("engine"))
    assert "administrators only" in engine["store"][0]["found"]
    plot = ask(site, env=site.be("plot"))
    assert "may not look at images" in plot["credentials"][0]["found"]
    store = site.store
    store.connection.delete(store.full("plot"), "index.html")
    assert ask(site)["results"][0]["ok"], "hidden, but the version that the ledger names is there"
    for entry in list(store.versions_of("plot", "index.html")):
        store.connection.delete(store.full("plot"), "index.html", entry.version)
    lost = ask(site, code=1)
    assert bad(lost) == ["results"]
    assert "1 lost or changed" in lost["results"][0]["found"]


def test_buckets_that_are_missing_or_keep_no_versions(site: Site) -> None:
    missing = ask(site, code=1)
    assert bad(missing) == ["buckets"]
    assert missing["buckets"][0]["hint"] == "lookout init"
    store = site.store
    make_buckets(store, [bucket for bucket in BUCKETS if bucket != "plot"])
    store.connection.client.make_bucket(store.full("plot"))
    loose = ask(site, code=1)
    assert bad(loose) == ["versioning"]
    assert store.full("plot") in loose["versioning"][0]["found"]
    assert (loose["lifecycle"][0]["ok"], loose["lifecycle"][0]["warning"]) == (True, True)
    site.lookout("init")
    assert bad(ask(site)) == []


def test_servers_that_are_not_there_are_bad_and_no_crash(site: Site) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    checks = ask(site, code=1, env={"LOOKOUT_STORE": f"s3+http://{nowhere}", "LOOKOUT_LEDGER": f"etcd://{nowhere}"})
    assert bad(checks) == [f"etcd {nowhere}", "ledger", "store"]
    assert "state" not in checks


def test_what_answers_is_another_program(site: Site, etcd, minio) -> None:
    swapped = {"LOOKOUT_STORE": f"s3+http://{etcd.endpoint}", "LOOKOUT_LEDGER": f"etcd://{minio.endpoint}"}
    assert {"store", "ledger"} <= set(bad(ask(site, code=1, env=swapped)))


def test_credentials_that_are_refused(site: Site) -> None:
    checks = ask(site, code=1, env={"LOOKOUT_STORE_SECRET_KEY": "not-the-secret"})
    (check,) = [item for item in checks["store"] if not item["ok"]]
    assert "LOOKOUT_STORE_SECRET_KEY" in check["found"]
    assert "not-the-secret" not in check["found"]


def test_a_ledger_of_another_deployment(site: Site, prefix: str) -> None:
    site.begin()
    site.work()
    other = site.environment["LOOKOUT_STORE"] + "other-"
    site.lookout("init", env={"LOOKOUT_STORE": other})
    assert bad(ask(site, code=1, env={"LOOKOUT_STORE": other})) == ["model", "source"]


def test_a_full_etcd(site: Site, new_etcd) -> None:
    server = new_etcd()
    site.environment |= server.settings()
    site.lookout("init")
    member = server.ask("maintenance/status")["header"]["member_id"]
    server.ask("maintenance/alarm", {"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"})
    checks = ask(site, code=1)
    assert "alarm NOSPACE" in [check["found"] for check in checks[f"etcd {server.endpoint}"]]


def test_one_dead_member_of_three_is_named_and_the_rest_is_looked_at(site: Site, new_cluster) -> None:
    cluster = new_cluster()
    site.environment |= cluster.settings()
    site.lookout("init")
    assert bad(ask(site)) == []
    first = cluster.members[0]
    one = ask(site, env={"LOOKOUT_LEDGER": first.url})
    assert one["members"][0]["found"] == "3 in the cluster, 1 in LOOKOUT_LEDGER"
    first.kill()
    checks = ask(site, code=1)
    assert bad(checks) == [f"etcd {first.endpoint}"]
    assert checks["datums"][0]["ok"]
    cluster.members[1].kill()
    assert {"ledger", f"etcd {cluster.members[2].endpoint}"} <= set(bad(ask(site, code=1)))


def test_servers_with_tls_and_passwords(tmp_path: Path, new_minio, new_etcd, certificates) -> None:
    etcd = new_etcd(tls=certificates, client_certificates=True)
    etcd.demand_passwords("password-of-root", {"lookout": "password-of-lookout"})
    site = Site(root=tmp_path, environment=new_minio(tls=certificates).settings() | etcd.settings())
    site.begin()
    assert bad(ask(site)) == []
    wrong = ask(site, code=1, env={"LOOKOUT_LEDGER_PASSWORD": "password-of-nobody"})
    assert "password-of-nobody" not in str(wrong)
    assert "ledger" in bad(wrong)
    untrusted = ask(site, code=1, env={"LOOKOUT_LEDGER_CA": "", "LOOKOUT_STORE_CA": ""})
    assert {"ledger", "store"} <= set(bad(untrusted))
    assert "TLS" in str(untrusted)
