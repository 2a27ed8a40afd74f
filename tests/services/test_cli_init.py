"""``lookout init`` on real servers: made, changed, found right; users that can do their own work and no other."""

from __future__ import annotations

import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from lookout.domain.errors import Denied
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.buckets import find_buckets
from lookout.object_store.minio.metrics_token import metrics_token
from tests.cli.shell import RULES, THREAT
from tests.services.cli_kit import BUCKETS, STAGES, Site

ROLES = (*STAGES, "engine", "uploader", "camera", "intake", "metrics")


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    return Site(root=tmp_path, environment=store_settings | ledger_settings)


def done(said: list[dict[str, object]]) -> set[tuple[str, ...]]:
    return {tuple(item["done"]) for item in said}  # type: ignore[arg-type]


# --- buckets and the ledger ------------------------------------------------------------------------------------------


def test_buckets_are_made_and_found_right_the_second_time(site: Site) -> None:
    first = site.lookout("init", "--keep-days", "45", "--json").json
    assert [item["bucket"] for item in first["buckets"]] == list(BUCKETS)
    assert done(first["buckets"]) == {("made", "replaced and removed versions go after 45 days")}
    assert (first["users"], first["ledger"]) == ([], site.environment["LOOKOUT_LEDGER"])
    assert done(site.lookout("init", "--keep-days", "45", "--json").json["buckets"]) == {()}
    changed = site.lookout("init", "--json").json
    assert done(changed["buckets"]) == {("replaced and removed versions go after 30 days",)}
    facts = find_buckets(site.store, BUCKETS)
    assert {(fact.exists, fact.versioned, fact.keeps_days) for fact in facts} == {(True, True, 30)}


def test_a_person_reads_what_was_done(site: Site) -> None:
    assert site.lookout("init").out.count("made; ") == len(BUCKETS)
    again = site.lookout("init", "--users", "users")
    assert again.out.count("right\n") == len(BUCKETS)
    assert "Credentials are in users/<user>.env" in again.out


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"LOOKOUT_STORE_SECRET_KEY": "not-the-secret"}, 75, "LOOKOUT_STORE_SECRET_KEY"),
        ({"LOOKOUT_STORE": "s3+http://127.0.0.1:1/x-"}, 75, "cannot be reached"),
        ({"LOOKOUT_STORE": "s3+http://127.0.0.1:1/No_Bucket-"}, 2, "lower-case letters"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(site: Site, change: dict[str, str], code: int, said: str) -> None:
    line = site.refused("init", env=change, code=code)
    assert said in line
    assert "not-the-secret" not in line


def test_a_ledger_that_is_none_is_refused_before_a_bucket_is_made(site: Site, etcd, prefix: str) -> None:
    name = b"/" + prefix.encode() + b"\x00"
    site.begin()
    keys = etcd.ask("kv/range", {"key": _base64(name), "range_end": _base64(name + b"\xff")})
    assert int(keys["count"]) == 1
    etcd.ask("kv/put", {"key": keys["kvs"][0]["key"], "value": _base64(b"99")})
    other = site.environment["LOOKOUT_STORE"] + "other-"
    assert "written by a newer Lookout" in site.refused("init", env={"LOOKOUT_STORE": other})
    assert not site.store.connection.has_bucket(f"{prefix}other-images")


# --- users -----------------------------------------------------------------------------------------------------------


def test_credentials_are_in_files_that_only_their_owner_reads_and_nowhere_else(site: Site) -> None:
    ended = site.lookout("init", "--users", "users", env={"LOOKOUT_LOG": "debug"})
    assert sorted(file.name for file in site.users.iterdir()) == sorted(
        ["metrics.token", *(f"{role}.env" for role in ROLES)]
    )
    assert stat.S_IMODE(site.users.stat().st_mode) == 0o700
    for role in ROLES:
        assert stat.S_IMODE((site.users / f"{role}.env").stat().st_mode) == 0o600
        found = site.be(role)
        assert found["LOOKOUT_STORE"] == site.environment["LOOKOUT_STORE"]
        assert found["LOOKOUT_STORE_ACCESS_KEY"].endswith(role)
        assert found["LOOKOUT_STORE_SECRET_KEY"] not in ended.out + ended.err
    assert len({site.be(role)["LOOKOUT_STORE_SECRET_KEY"] for role in ROLES}) == len(ROLES)


def test_users_are_made_once_and_renewed_when_asked(site: Site) -> None:
    assert done(site.begin()["users"]) == {("policy set", "made")}
    first = {role: site.be(role) for role in ROLES}
    assert done(site.begin()["users"]) == {()}
    assert {role: site.be(role) for role in ROLES} == first
    renewed = site.lookout("init", "--users", "users", "--renew", "--json").json
    assert done(renewed["users"]) == {("secret renewed",)}
    for role in ROLES:
        assert site.be(role)["LOOKOUT_STORE_SECRET_KEY"] != first[role]["LOOKOUT_STORE_SECRET_KEY"]
    assert "LOOKOUT_STORE_SECRET_KEY" in site.refused("ls", "images", env=first["engine"], code=75)
    site.lookout("ls", "images", env=site.be("engine"))


def test_a_secret_that_is_in_no_file_is_named_and_not_guessed(site: Site) -> None:
    site.begin()
    (site.users / "plot.env").unlink()
    mine = (site.users / "engine.env").read_text()
    (site.users / "engine.env").write_text(re.sub("SECRET_KEY=.*", "SECRET_KEY=of-yesterday", mine))
    said = site.lookout("init", "--users", "users", "--json", code=1).json["users"]
    problems = {user["role"]: user["problem"] for user in said if user["problem"]}
    assert sorted(problems) == ["engine", "plot"]
    assert "in no file" in problems["plot"]
    assert "is not the user's" in problems["engine"]
    site.lookout("init", "--users", "users", "--renew")
    assert done(site.begin()["users"]) == {()}


def test_a_kill_between_the_server_and_the_file_loses_no_secret(site: Site) -> None:
    """The new secret waits in a file before the server hears of it; here the server had it and the name did not."""
    site.begin()
    file, waiting = site.users / "plot.env", site.users / "plot.env.new"
    right = file.read_text()
    file.rename(waiting)
    file.write_text(re.sub("SECRET_KEY=.*", "SECRET_KEY=of-yesterday", right))
    assert done(site.begin()["users"]) == {()}
    assert (file.read_text(), waiting.exists()) == (right, False)
    waiting.write_text(re.sub("SECRET_KEY=.*", "SECRET_KEY=never-arrived", right))
    assert done(site.begin()["users"]) == {()}
    assert (file.read_text(), waiting.exists()) == (right, False)


def test_a_folder_of_another_deployment_is_refused_and_nothing_is_made(site: Site) -> None:
    site.begin()
    other = site.environment["LOOKOUT_STORE"] + "other-"
    line = site.refused("init", "--users", "users", env={"LOOKOUT_STORE": other})
    assert "has the credentials of" in line
    assert site.be("plot")["LOOKOUT_STORE_SECRET_KEY"] not in line
    (site.root / "file").write_text("")
    assert "cannot be a folder" in site.refused("init", "--users", "file")


def test_only_the_servers_own_user_makes_users(site: Site) -> None:
    site.begin()
    assert "refuses" in site.refused("init", "--users", "others", env=site.be("engine"), code=75)


# --- what users may do -----------------------------------------------------------------------------------------------

DENIED = [
    ("validate", "read", "rules"),
    ("validate", "write", "images"),
    ("validate", "write", "plot"),
    ("object-detect", "read", "images"),
    ("object-detect", "write", "model"),
    ("threat-detect", "read", "model"),
    ("threat-detect", "write", "rules"),
    ("plot", "write", "images"),
    ("plot", "read", "validate"),
    ("plot", "read", "rules"),
    ("engine", "remove", "images"),
    ("uploader", "read", "images"),
    ("uploader", "list", "images"),
    ("uploader", "remove", "images"),
    ("uploader", "write", "rules"),
    ("camera", "read", "images"),
    ("camera", "remove", "images"),
    ("camera", "write", "rules"),
    ("camera", "list", "validate"),
    ("intake", "remove", "images"),
    ("intake", "read", "object-detect"),
    ("intake", "write", "validate"),
    ("metrics", "list", "images"),
    ("metrics", "read", "validate"),
    ("metrics", "write", "images"),
]
ALLOWED = [
    ("validate", "read", "images"),
    ("validate", "write", "validate"),
    ("object-detect", "read", "model"),
    ("threat-detect", "read", "rules"),
    ("threat-detect", "read", "object-detect"),
    ("plot", "read", "threat-detect"),
    ("plot", "remove", "plot"),
    ("engine", "write", "rules"),
    ("uploader", "write", "images"),
    ("camera", "write", "images"),
    ("camera", "list", "images"),
    ("intake", "write", "images"),
    ("intake", "read", "images"),
]


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory, minio) -> Site:
    """A site with users, made once for the tables below."""
    environment = minio.settings() | {"LOOKOUT_STORE": f"{minio.url}/rights-"}
    site = Site(root=tmp_path_factory.mktemp("users"), environment=environment)
    site.begin()
    for bucket in BUCKETS:
        site.store.put(bucket, "there.jpg", b"1", "text/plain")
    return site


def attempt(site: Site, role: str, act: str, bucket: str) -> None:
    env = site.be(role)
    own = site.store
    theirs = {"access_key": env["LOOKOUT_STORE_ACCESS_KEY"], "secret_key": env["LOOKOUT_STORE_SECRET_KEY"]}
    store = MinioStore(replace(own.access, **theirs), prefix=own.prefix)
    full = store.full(bucket)
    {
        "read": lambda: store.connection.read(full, "there.jpg"),
        "list": lambda: list(store.list(bucket)),
        "write": lambda: store.put(bucket, "tried.jpg", b"2", "text/plain"),
        "remove": lambda: store.connection.delete(full, "tried"),
    }[act]()


@pytest.mark.parametrize(("role", "act", "bucket"), DENIED)
def test_a_user_may_not(users: Site, role: str, act: str, bucket: str) -> None:
    with pytest.raises(Denied):
        attempt(users, role, act, bucket)


@pytest.mark.parametrize(("role", "act", "bucket"), ALLOWED)
def test_a_user_may(users: Site, role: str, act: str, bucket: str) -> None:
    attempt(users, role, act, bucket)


def metrics(site: Site, token: str | None) -> int:
    """Return MinIO's answer to a request for its metrics."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"{site.store.access.url}/minio/v2/metrics/cluster"
    return urllib3.request("GET", url, headers=headers, retries=False).status


def test_only_the_token_for_prometheus_opens_the_metrics_of_minio(site: Site) -> None:
    site.begin()
    file = site.users / "metrics.token"
    token = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert metrics(site, token) == 200
    others = [
        metrics_token(env["LOOKOUT_STORE_ACCESS_KEY"], env["LOOKOUT_STORE_SECRET_KEY"])
        for env in (site.be("uploader"), site.be("engine"), site.be("plot"))
    ]
    forged = metrics_token(site.be("metrics")["LOOKOUT_STORE_ACCESS_KEY"], "a-guessed-secret")
    assert {metrics(site, wrong) for wrong in (None, "", f"{token}x", forged, *others)} == {403}
    for path in ("/minio/prometheus/metrics", "/minio/v2/metrics/node", "/minio/metrics/v3"):
        assert urllib3.request("GET", f"{site.store.access.url}{path}", retries=False).status == 403


def test_a_renewal_ends_the_token_for_prometheus_and_gives_another(site: Site) -> None:
    site.begin()
    file = site.users / "metrics.token"
    old = file.read_text()
    site.begin()
    assert file.read_text() == old
    file.unlink()
    site.begin()
    assert file.read_text() == old
    site.lookout("init", "--users", "users", "--renew")
    assert (metrics(site, old), metrics(site, file.read_text())) == (403, 200)


def test_the_whole_pipeline_runs_as_the_engine_user_on_what_the_uploader_brought(site: Site) -> None:
    site.begin()
    site.put(THREAT)
    shutil.copytree(RULES, site.root / "rules")
    site.lookout("upload", "photos", env=site.be("uploader"))
    said = site.work("--rules", "rules", env=site.be("engine"))
    assert (said["pictures"], said["failures"], said["pending"]) == (1, [], 0)
    assert said["threats"] == {"porch": 1}
    site.lookout("upload", "photos", "--prefix", "more/", env=site.be("engine"))
    assert site.work("--verify", env=site.be("engine"))["pictures"] == 2


def _base64(value: bytes) -> str:
    from devkit.servers.etcd import encode

    return encode(value)
