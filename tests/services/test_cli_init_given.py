"""``lookout init`` as a cluster uses it: secrets that are given, the ledger's user, notifications, logs, patience."""

from __future__ import annotations

import io
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from minio.notificationconfig import NotificationConfig, QueueConfig

from devkit.servers.for_tests import Certificates, EtcdCluster, EtcdServer, MinioServer
from lookout.domain.errors import Denied, InputRejected, Unavailable
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.etcd.users import demand_passwords
from lookout.object_store.minio import MinioStore
from tests.services.cli_kit import BUCKETS, Site

ARN = "arn:minio:sqs::LOOKOUT:webhook"
ROOT_PASSWORD = "root-of-the-test"


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    return Site(root=tmp_path, environment=store_settings | ledger_settings)


def give(site: Site, prefix: str, secrets: dict[str, str]) -> None:
    """Secrets as a cluster shows them, in ``secrets/``."""
    for role, secret in secrets.items():
        folder = site.root / "secrets" / role
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "LOOKOUT_STORE_ACCESS_KEY").write_text(f"{prefix}{role}")
        (folder / "LOOKOUT_STORE_SECRET_KEY").write_text(secret)


def give_root(site: Site, password: str = ROOT_PASSWORD) -> None:
    folder = site.root / "secrets" / "ledger-root"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "LOOKOUT_LEDGER_ROOT_PASSWORD").write_text(password)


def as_user(site: Site, access_key: str, secret_key: str) -> MinioStore:
    own = site.store
    return MinioStore(replace(own.access, access_key=access_key, secret_key=secret_key), prefix=own.prefix)


# --- users -----------------------------------------------------------------------------------------------------------


def test_users_get_the_secrets_that_are_given_and_no_others(site: Site, prefix: str) -> None:
    give(site, prefix, {"validate": "secret-of-validate", "plot": "secret-of-plot"})
    first = site.lookout("init", "--secrets", "secrets", "--json", env={"LOOKOUT_LOG": "debug"})
    assert {user["role"]: tuple(user["done"]) for user in first.json["users"]} == {
        "validate": ("policy set", "made"),
        "plot": ("policy set", "made"),
    }
    assert "secret-of" not in first.out + first.err
    assert as_user(site, f"{prefix}validate", "secret-of-validate").exists("images")
    with pytest.raises(Denied):
        as_user(site, f"{prefix}plot", "secret-of-plot").put("validate", "a", b"1", "text/plain")


def test_a_secret_that_is_another_one_now_takes_the_old_ones_place(site: Site, prefix: str) -> None:
    give(site, prefix, {"validate": "secret-of-validate"})
    site.lookout("init", "--secrets", "secrets")
    give(site, prefix, {"validate": "another-secret"})
    users = site.lookout("init", "--secrets", "secrets", "--json").json["users"]
    assert [user["done"] for user in users] == [["secret renewed"]]
    assert as_user(site, f"{prefix}validate", "another-secret").exists("images")
    with pytest.raises(Unavailable, match="LOOKOUT_STORE_SECRET_KEY"):
        as_user(site, f"{prefix}validate", "secret-of-validate").exists("images")
    again = site.lookout("init", "--secrets", "secrets", "--json").json["users"]
    assert [user["done"] for user in again] == [[]]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("LOOKOUT_STORE_ACCESS_KEY", "somebody", "expected"),
        ("LOOKOUT_STORE_ACCESS_KEY", "", "is empty"),
        ("LOOKOUT_STORE_SECRET_KEY", " \n", "is empty"),
        ("LOOKOUT_STORE_SECRET_KEY", "short", "at least 8"),
    ],
)
def test_a_secret_of_no_use_is_refused_by_its_file(site: Site, prefix: str, file: str, content: str, said: str) -> None:
    give(site, prefix, {"plot": "secret-of-plot"})
    (site.root / "secrets" / "plot" / file).write_text(content)
    assert said in site.refused("init", "--secrets", "secrets")


def test_options_that_contradict_each_other_are_refused(site: Site) -> None:
    assert "--users" in site.refused("init", "--secrets", "secrets", "--users", "users")
    assert "is not a folder" in site.refused("init", "--secrets", "nowhere")


# --- logs ------------------------------------------------------------------------------------------------------------


def test_logs_have_a_bucket_that_empties_itself_and_a_user_who_only_adds(site: Site, prefix: str) -> None:
    give(site, prefix, {"logs": "secret-of-logs"})
    made = site.lookout("init", "--secrets", "secrets", "--logs", "--keep-days", "14", "--json").json["buckets"]
    assert made[-1] == {
        "bucket": "lookout-logs",
        "full_name": f"{prefix}lookout-logs",
        "done": ["made", "objects go after 14 days"],
    }
    client = site.store.connection.client
    (rule,) = client.get_bucket_lifecycle(f"{prefix}lookout-logs").rules
    assert rule.expiration.days == 14
    theirs = as_user(site, f"{prefix}logs", "secret-of-logs")
    written = theirs.connection.client.put_object(f"{prefix}lookout-logs", "run/main.log", io.BytesIO(b"said"), 4)
    assert written.version_id is None
    assert theirs.connection.read(f"{prefix}lookout-logs", "run/main.log") == b"said"
    with pytest.raises(Denied):
        theirs.connection.delete(f"{prefix}lookout-logs", "run/main.log")
    with pytest.raises(Denied):
        theirs.put("images", "a", b"1", "image/jpeg")
    again = site.lookout("init", "--logs", "--keep-days", "14", "--json").json["buckets"]
    assert [bucket["done"] for bucket in again] == [[]] * (len(BUCKETS) + 1)


# --- notifications ---------------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: queue.Queue[tuple[str, Any]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.put((self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def telling(tmp_path: Path, receiver: Receiver, new_minio: Callable[..., MinioServer]) -> Site:
    """A site whose MinIO has a target as the cluster's has."""
    target = {
        "MINIO_NOTIFY_WEBHOOK_ENABLE_LOOKOUT": "on",
        "MINIO_NOTIFY_WEBHOOK_ENDPOINT_LOOKOUT": f"http://127.0.0.1:{receiver.server_address[1]}/uploads",
        "MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_LOOKOUT": "the-token",
        "MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_LOOKOUT": str(tmp_path / "queue"),
        "MINIO_API_SYNC_EVENTS": "on",
    }
    return Site(root=tmp_path, environment=new_minio(environment=target).settings())


def test_what_lands_and_what_goes_is_told_with_the_token(telling: Site, receiver: Receiver) -> None:
    made = telling.lookout("init", "--notify", ARN, "--json").json["buckets"]
    told = {bucket["bucket"] for bucket in made if f"tells {ARN}" in bucket["done"]}
    assert told == {"images", "devices", "model", "rules"}
    store = telling.store
    store.put("validate", "own.jpg", b"1", "image/jpeg")
    for bucket in ("rules", "images"):
        store.put(bucket, "da ch/a_1763798400.jpg", b"1", "image/jpeg")
    store.connection.delete("images", "da ch/a_1763798400.jpg")
    told = [receiver.posted.get(timeout=20) for _ in range(3)]
    assert {token for token, _ in told} == {"Bearer the-token"}
    assert sorted((body["EventName"], body["Key"]) for _, body in told) == [
        ("s3:ObjectCreated:Put", "images/da ch/a_1763798400.jpg"),
        ("s3:ObjectCreated:Put", "rules/da ch/a_1763798400.jpg"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "images/da ch/a_1763798400.jpg"),
    ]
    assert receiver.posted.empty()
    again = telling.lookout("init", "--notify", ARN, "--json").json["buckets"]
    assert [bucket["done"] for bucket in again] == [[]] * len(BUCKETS)


def test_what_others_are_told_stays_and_ours_is_set_right(telling: Site) -> None:
    telling.lookout("init")
    client = telling.store.connection.client
    theirs = QueueConfig(queue=ARN, events=["s3:ObjectAccessed:Get"], config_id="theirs")
    stale = QueueConfig(queue=ARN, events=["s3:ObjectCreated:Put"], config_id="lookout")
    client.set_bucket_notification("images", NotificationConfig(queue_config_list=[theirs, stale]))
    made = telling.lookout("init", "--notify", ARN, "--json").json["buckets"]
    assert made[0]["done"] == [f"tells {ARN}"]
    found = client.get_bucket_notification("images").queue_config_list
    assert {queue.config_id: len(queue.events) for queue in found} == {"theirs": 1, "lookout": 5}


def test_hints_are_set_up_beside_the_events_for_new_pictures_only_and_end_without_the_option(
    tmp_path: Path, new_minio: Callable[..., MinioServer]
) -> None:
    hints = "arn:minio:sqs::HINTS:nats"
    targets = {
        "MINIO_NOTIFY_WEBHOOK_ENABLE_LOOKOUT": "on",
        "MINIO_NOTIFY_WEBHOOK_ENDPOINT_LOOKOUT": "http://127.0.0.1:1/uploads",
        "MINIO_NOTIFY_NATS_ENABLE_HINTS": "on",
        "MINIO_NOTIFY_NATS_ADDRESS_HINTS": "127.0.0.1:1",
        "MINIO_NOTIFY_NATS_SUBJECT_HINTS": "lookout.hints",
    }
    site = Site(root=tmp_path, environment=new_minio(environment=targets).settings())

    def told(bucket: str) -> dict[str, int]:
        queues = site.store.connection.client.get_bucket_notification(bucket).queue_config_list
        return {str(queue.queue): len(queue.events) for queue in queues}

    assert "needs --notify too" in site.refused("init", "--hints", hints)
    with_hints = ("init", "--notify", ARN, "--hints", hints, "--json")
    made = site.lookout(*with_hints).json["buckets"]
    assert [bucket["bucket"] for bucket in made if f"hints to {hints}" in bucket["done"]] == ["images"]
    assert (told("images"), told("rules")) == ({ARN: 5, hints: 4}, {ARN: 5})
    assert [bucket["done"] for bucket in site.lookout(*with_hints).json["buckets"]] == [[]] * len(BUCKETS)
    site.lookout("init", "--notify", ARN)
    assert told("images") == {ARN: 5}


def test_a_target_that_the_server_has_not_is_refused(site: Site) -> None:
    line = site.refused("init", "--notify", ARN)
    assert "lacks one of the targets" in line
    assert "MINIO_NOTIFY_WEBHOOK" in line


# --- the ledger's user -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_etcd(new_etcd: Callable[..., EtcdServer]) -> EtcdServer:
    """An etcd that lets everybody in, until ``init``."""
    return new_etcd()


@pytest.fixture
def closed(tmp_path: Path, store_settings: dict[str, str], own_etcd: EtcdServer) -> Site:
    """A site with this etcd, root's password and a user for the ledger."""
    user = {"LOOKOUT_LEDGER_USER": "lookout", "LOOKOUT_LEDGER_PASSWORD": "password-of-lookout"}
    site = Site(root=tmp_path, environment=store_settings | own_etcd.settings() | user)
    give_root(site)
    return site


def address(site: Site, **change: Any) -> Address:
    host = site.environment["LOOKOUT_LEDGER"].removeprefix("etcd://")
    return Address(**{"endpoints": (host,), "user": "lookout", "password": "password-of-lookout"} | change)


def test_the_ledger_is_closed_to_all_but_its_user(closed: Site) -> None:
    first = closed.lookout("init", "--secrets", "secrets", "--json")
    assert first.json["ledger_done"] == ["user lookout made", "passwords demanded"]
    assert "password-of" not in first.out + first.err
    assert ROOT_PASSWORD not in first.out + first.err
    assert closed.lookout("init", "--secrets", "secrets", "--json").json["ledger_done"] == []
    with pytest.raises(InputRejected, match="wants a user"):
        EtcdLedger(address(closed, user=None, password=None))
    with pytest.raises(InputRejected, match="may not do this"):
        EtcdLedger(address(closed), prefix="/lookouts")
    EtcdLedger(address(closed)).close()


def test_a_password_that_is_another_one_now_takes_the_old_ones_place(closed: Site) -> None:
    closed.lookout("init", "--secrets", "secrets")
    new = {"LOOKOUT_LEDGER_PASSWORD": "another-password"}
    done = closed.lookout("init", "--secrets", "secrets", "--json", env=new).json["ledger_done"]
    assert done == ["password of lookout set"]
    EtcdLedger(address(closed, password="another-password")).close()
    with pytest.raises(InputRejected, match="password is wrong"):
        EtcdLedger(address(closed))


def test_a_wrong_password_of_root_is_refused_and_not_shown(closed: Site) -> None:
    closed.lookout("init", "--secrets", "secrets")
    give_root(closed, "of-somebody-else")
    line = closed.refused("init", "--secrets", "secrets")
    assert "root is not let in" in line
    assert "of-somebody-else" not in line


def test_what_an_attempt_that_was_cut_short_left_is_made_whole(closed: Site, own_etcd: EtcdServer) -> None:
    etcd = address(closed)
    for name in ("root", "lookout"):
        own_etcd.ask("auth/role/add", {"name": name})
        own_etcd.ask("auth/user/add", {"name": name, "password": "of-the-first-attempt"})
    assert demand_passwords(etcd, "/lookout", ROOT_PASSWORD) == ("passwords demanded",)
    assert demand_passwords(etcd, "/lookout", ROOT_PASSWORD) == ()
    EtcdLedger(etcd).close()


def test_a_ledger_without_a_user_of_its_own_is_not_closed(closed: Site) -> None:
    for user in ({"user": None, "password": None}, {"user": "root"}):
        with pytest.raises(InputRejected, match="expected a user"):
            demand_passwords(address(closed, **user), "/lookout", ROOT_PASSWORD)


def test_the_ledger_is_closed_over_tls_too(new_etcd: Callable[..., EtcdServer], certificates: Certificates) -> None:
    etcd = new_etcd(tls=certificates)
    user = {"user": "lookout", "password": "password-of-lookout"}
    trusting = Address(endpoints=(etcd.endpoint,), tls=True, ca=certificates.ca, **user)
    assert demand_passwords(trusting, "/lookout", ROOT_PASSWORD) == ("user lookout made", "passwords demanded")
    EtcdLedger(trusting).close()
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        demand_passwords(Address(endpoints=(etcd.endpoint,), tls=True, **user), "/lookout", ROOT_PASSWORD)


def test_a_member_that_is_down_is_passed_over(new_cluster: Callable[..., EtcdCluster]) -> None:
    cluster = new_cluster()
    members = cluster.members
    members[0].kill()
    cluster.get_leader()
    endpoints = tuple(member.endpoint for member in members)
    address = Address(endpoints=endpoints, user="lookout", password="password-of-lookout")
    assert demand_passwords(address, "/lookout", ROOT_PASSWORD) == ("user lookout made", "passwords demanded")
    for member in members[1:]:
        member.kill()
    with pytest.raises(Unavailable, match="refused"):
        demand_passwords(address, "/lookout", ROOT_PASSWORD)


# --- patience --------------------------------------------------------------------------------------------------------


def test_servers_that_come_later_are_waited_for(tmp_path: Path, closing: Any) -> None:
    minio, etcd = MinioServer(tmp_path / "minio"), EtcdServer(tmp_path / "etcd", fsync=False)
    site = Site(root=tmp_path, environment=minio.settings() | etcd.settings())
    assert "cannot be reached" in site.refused("init", env={"LOOKOUT_LEDGER": ""}, code=75)
    late = threading.Timer(1.0, lambda: [closing.enter_context(server) for server in (minio, etcd)])
    late.start()
    made = site.lookout("init", "--wait", "60", "--json").json["buckets"]
    late.join()
    assert [bucket["bucket"] for bucket in made] == list(BUCKETS)
