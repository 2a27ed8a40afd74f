"""The servers that tests and ``make services`` run on do what they say: start, keep, crash, freeze, hide secrets."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from minio import Minio, S3Error

from devkit.servers.calls import call
from devkit.servers.etcd import encode
from devkit.servers.for_tests import Certificates, EtcdCluster, EtcdServer, MinioServer, PortTaken, Server
from devkit.servers.ports import find_listener, is_free
from lookout.domain.errors import Unavailable

LOOPBACK_4, LOOPBACK_6 = "0100007F", "00000000000000000000000001000000"
START_AND_TELL = """
import sys, threading
from pathlib import Path
from devkit.servers.for_tests import EtcdServer, MinioServer
servers = [EtcdServer(Path(sys.argv[1]) / "etcd", fsync=False), MinioServer(Path(sys.argv[1]) / "minio")]
for server in servers:
    starting = threading.Thread(target=server.start)
    starting.start()
    starting.join()
print(*(server.pid for server in servers), flush=True)
sys.stdin.read()
"""

DEAF = """
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def put(server: Server, name: str) -> None:
    """Keep a name in the server."""
    if isinstance(server, EtcdServer):
        server.ask("kv/put", {"key": encode(name.encode()), "value": encode(b"there")})
    else:
        client(server).make_bucket(name)


def has(server: Server, name: str) -> bool:
    """Tell whether the server still has the name."""
    if isinstance(server, EtcdServer):
        return server.ask("kv/range", {"key": encode(name.encode())}).get("count") == "1"
    return client(server).bucket_exists(name)


def client(server: Server, **more: Any) -> Minio:
    assert isinstance(server, MinioServer)
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    return Minio(endpoint=server.endpoint, secure=server.tls is not None, **(keys | more))


def arguments_of(pid: int) -> str:
    """Return the arguments of a process, which everybody on the machine can read."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def listening_addresses(port: int) -> set[str]:
    """The addresses, as the kernel writes them, on which somebody listens on the port."""
    text = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    local = {line.split()[1] for line in text.splitlines() if " 0A " in line}
    return {address.partition(":")[0] for address in local if address.endswith(f":{port:04X}")}


@pytest.fixture(params=["etcd", "minio"])
def server(request: pytest.FixtureRequest) -> Server:
    """One of each kind, just started, of this test alone."""
    return request.getfixturevalue(f"new_{request.param}")()


class TestOneServer:
    def test_it_is_ready_when_start_returns(self, server: Server) -> None:
        assert server.running
        put(server, "first")
        assert has(server, "first")

    def test_starting_a_running_one_changes_nothing(self, server: Server) -> None:
        pid = server.pid
        assert server.start().pid == pid

    def test_it_listens_on_the_loopback_only(self, server: Server) -> None:
        for port in server.ports:
            assert listening_addresses(port) <= {LOOPBACK_4, LOOPBACK_6}

    def test_a_stopped_one_refuses(self, server: Server) -> None:
        assert server.stop()
        assert not server.running
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        with pytest.raises(Unavailable, match="does not run"):
            _ = server.pid

    @pytest.mark.parametrize("end", [Server.stop, Server.kill])
    def test_a_later_start_has_the_same_port_and_data(self, server: Server, end: Callable[[Server], object]) -> None:
        put(server, "kept")
        port = server.port
        end(server)
        server.start()
        assert server.port == port
        assert has(server, "kept")

    def test_another_object_can_go_on_with_the_data(self, server: Server) -> None:
        put(server, "kept")
        server.stop()
        more: dict[str, Any] = {"root_password": server.secret_key} if isinstance(server, MinioServer) else {}
        with type(server)(server.folder, port=server.port, **more) as other:
            assert has(other, "kept")

    def test_a_frozen_one_takes_connections_and_says_nothing_until_it_is_thawed(self, server: Server) -> None:
        server.freeze()
        socket.create_connection(("127.0.0.1", server.port)).close()
        assert not server.is_healthy(wait_s=0.2)
        assert server.running
        server.thaw()
        assert server.is_healthy(wait_s=10)

    def test_a_frozen_one_can_be_stopped(self, server: Server) -> None:
        server.freeze()
        assert server.stop()

    def test_a_given_port_that_is_taken_is_refused_with_who_has_it(self, server: Server, tmp_path: Path) -> None:
        second = type(server)(tmp_path / "second", port=server.port)
        with pytest.raises(PortTaken, match=rf"port {server.port} is taken by {server.program}, process {server.pid}$"):
            second.start()
        assert not second.running
        assert server.is_healthy()

    def test_a_chosen_port_that_somebody_took_meanwhile_is_replaced(self, server: Server, tmp_path: Path) -> None:
        second = type(server)(tmp_path / "second")
        second.port = server.port
        with second:
            assert second.port != server.port
            assert second.is_healthy()

    def test_nothing_of_the_callers_environment_is_passed_on(
        self, monkeypatch: pytest.MonkeyPatch, server: Server
    ) -> None:
        monkeypatch.setenv("SENDGRID_API_KEY", "not-for-servers")
        server.restart()
        assert "not-for-servers" not in Path(f"/proc/{server.pid}/environ").read_text()

    def test_its_folder_is_its_owners_only(self, server: Server) -> None:
        assert server.folder.stat().st_mode & 0o077 == 0


def test_servers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """And not before: each was started by a thread that has ended."""
    parent = subprocess.Popen(
        [sys.executable, "-c", START_AND_TELL, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        handles = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(handles) == 2
        assert select.select(handles, [], [], 0)[0] == []
        parent.kill()
    for handle in handles:
        assert select.select([handle], [], [], 10)[0] == [handle]
        os.close(handle)


class TestEtcd:
    def test_one_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file where a folder must be")
        with pytest.raises(Unavailable, match=r"(?s)^etcd: ended with status 1 instead of starting; .*not a directory"):
            EtcdServer(tmp_path).start()

    def test_one_that_is_not_ready_in_time_is_ended(self, tmp_path: Path) -> None:
        alone = EtcdServer(tmp_path / "etcd", name="one")
        alone.join({"one": alone.peer_url, "two": "http://127.0.0.1:1", "three": "http://127.0.0.1:2"})
        with pytest.raises(Unavailable, match="not ready after 1 s; its log ends:\n"):
            alone.start(deadline_s=1)
        assert not alone.running

    def test_tls_is_for_who_trusts_the_authority(
        self, new_etcd: Callable[..., EtcdServer], certificates: Certificates
    ) -> None:
        server = new_etcd(tls=certificates)
        put(server, "first")
        assert server.url == f"etcds://127.0.0.1:{server.port}"
        assert server.settings()["LOOKOUT_LEDGER_CA"] == str(certificates.ca)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            call(f"https://{server.endpoint}/health")

    def test_client_certificates_can_be_demanded(
        self, new_etcd: Callable[..., EtcdServer], certificates: Certificates
    ) -> None:
        server = new_etcd(tls=certificates, client_certificates=True)
        assert server.settings()["LOOKOUT_LEDGER_CERT"] == str(certificates.client_certificate)
        assert server.settings()["LOOKOUT_LEDGER_KEY"] == str(certificates.client_key)
        nameless = ssl.create_default_context(cafile=str(certificates.ca))
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            nameless.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
        ):
            connection.recv(1)

    def test_passwords_are_demanded_and_stay_so(self, new_etcd: Callable[..., EtcdServer]) -> None:
        server = new_etcd()
        server.demand_passwords("the-root", {"lookout": "the-users"})
        server.demand_passwords("the-root", {"lookout": "the-users"})
        assert server.settings() == {
            "LOOKOUT_LEDGER": server.url,
            "LOOKOUT_LEDGER_USER": "lookout",
            "LOOKOUT_LEDGER_PASSWORD": "the-users",
        }
        server.restart()
        with pytest.raises(Unavailable, match="user name is empty"):
            put(server, "anonymous")
        token = server.ask("auth/authenticate", {"name": "lookout", "password": "the-users"})["token"]
        server.ask("kv/put", {"key": encode(b"mine"), "value": encode(b"")}, token=token)
        with pytest.raises(Unavailable, match="permission denied"):
            server.ask("auth/user/add", {"name": "another", "password": "x"}, token=token)
        assert "the-" not in arguments_of(server.pid) + server.log_file.read_text()

    def test_passwords_half_set_by_one_that_was_killed_are_set_whole(self, new_etcd: Callable[..., EtcdServer]) -> None:
        server = new_etcd()
        server.ask("auth/role/add", {"name": "root"})
        server.ask("auth/user/add", {"name": "root", "password": "of an earlier attempt"})
        server.demand_passwords("the-root", {"lookout": "the-users"})
        server.ask("auth/authenticate", {"name": "root", "password": "the-root"})

    def test_a_compaction_takes_history(self, new_etcd: Callable[..., EtcdServer]) -> None:
        server = new_etcd()
        put(server, "key")
        put(server, "key")
        revision = server.compact()
        with pytest.raises(Unavailable, match="revision has been compacted"):
            server.ask("kv/range", {"key": encode(b"key"), "revision": str(revision - 1)})
        assert has(server, "key")


class TestCluster:
    def test_it_goes_on_without_its_leader_and_takes_it_back(self, new_cluster: Callable[..., EtcdCluster]) -> None:
        cluster = new_cluster()
        first = cluster.get_leader()
        put(first, "kept")
        first.kill()
        second = cluster.get_leader()
        assert second is not first
        assert has(second, "kept")
        put(second, "later")
        first.start()
        assert has(first, "kept")
        assert has(first, "later")

    def test_its_url_names_all_members(self, new_cluster: Callable[..., EtcdCluster]) -> None:
        cluster = new_cluster()
        ports = [member.port for member in cluster.members]
        assert cluster.url == "etcd://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        assert cluster.settings() == {"LOOKOUT_LEDGER": cluster.url}

    def test_a_majority_that_is_down_leaves_no_leader(self, new_cluster: Callable[..., EtcdCluster]) -> None:
        cluster = new_cluster()
        for member in cluster.members[:2]:
            member.kill()
        assert not cluster.members[2].is_healthy()
        cluster.start()
        assert cluster.get_leader().running

    def test_members_speak_tls(self, new_cluster: Callable[..., EtcdCluster], certificates: Certificates) -> None:
        cluster = new_cluster(tls=certificates)
        assert all(member.peer_url.startswith("https://") for member in cluster.members)
        put(cluster.get_leader(), "kept")
        assert all(has(member, "kept") for member in cluster.members)

    def test_ports_taken_meanwhile_are_replaced(self, tmp_path: Path, etcd: EtcdServer) -> None:
        cluster = EtcdCluster(tmp_path / "cluster", fsync=False)
        cluster.members[1].peer_port = etcd.port
        with cluster:
            assert etcd.port not in cluster.members[1].ports
            assert cluster.get_leader().running


class TestMinio:
    def test_tls_is_for_who_trusts_the_authority(
        self, new_minio: Callable[..., MinioServer], certificates: Certificates
    ) -> None:
        server = new_minio(tls=certificates)
        assert server.settings()["LOOKOUT_STORE"] == f"s3+https://{server.endpoint}"
        trusting = urllib3.PoolManager(ca_certs=server.settings()["LOOKOUT_STORE_CA"])
        client(server, http_client=trusting).make_bucket("first")
        trusting.clear()
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            call(f"https://{server.endpoint}/minio/health/live")

    def test_its_password_is_random_and_nowhere_to_be_seen(self, minio: MinioServer, tmp_path: Path) -> None:
        assert minio.secret_key != MinioServer(tmp_path).secret_key
        assert minio.secret_key not in arguments_of(minio.pid)
        assert minio.secret_key not in minio.log_file.read_text()
        assert minio.secret_key not in repr(minio)

    def test_more_settings_are_passed(self, new_minio: Callable[..., MinioServer]) -> None:
        server = new_minio(environment={"MINIO_API_ROOT_ACCESS": "off"})
        with pytest.raises(S3Error, match="account is disabled"):
            client(server).list_buckets()


def test_who_listens_is_found(etcd: EtcdServer) -> None:
    listener = find_listener(etcd.port)
    assert listener is not None
    assert (listener.pid, listener.program) == (etcd.pid, "etcd")
    assert not is_free(etcd.port)


class Deaf(Server):
    """A server that does not hear when it is asked to end."""

    program = "python3"
    url = "deaf"
    health_path = "/"

    def command(self) -> list[str]:
        return ["-c", DEAF, str(self.port)]

    def environment(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, str]:
        return {}


def test_one_that_does_not_hear_is_killed(tmp_path: Path) -> None:
    with Deaf(tmp_path) as server:
        assert not server.stop(deadline_s=0.2)
        assert not server.running
