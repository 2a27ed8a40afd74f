"""One login of a process on a real etcd: how often it checks a password, and what a token that is no use costs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from devkit.servers.calls import call
from devkit.servers.etcd import encode
from devkit.servers.for_tests import EtcdCluster, EtcdServer
from lookout.domain.errors import InputRejected
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.etcd.client import Etcd
from lookout.ledger.kv.port import Put, Range

THREADS: Final = 8
_CHECKED: Final = re.compile(r'^grpc_server_handled_total\{.*grpc_method="Authenticate".*\} (\d+)$', re.MULTILINE)

NewEtcd = Callable[..., EtcdServer]


def checks(*members: EtcdServer) -> int:
    """Return how many times these have been asked to check a password."""
    texts = [call(f"{member.http_url}/metrics").decode() for member in members]
    return sum(int(number) for text in texts for number in _CHECKED.findall(text))


def closed(etcd: EtcdServer, password: str = "lookout-pass") -> EtcdServer:
    etcd.demand_passwords("root-pass", {"lookout": password})
    return etcd


def address(*members: EtcdServer, password: str = "lookout-pass") -> Address:
    return Address(endpoints=tuple(member.endpoint for member in members), user="lookout", password=password)


@pytest.fixture
def opened() -> Iterator[Callable[[Address], Etcd]]:
    with ExitStack() as stack:

        def open_one(where: Address) -> Etcd:
            client = Etcd(where, b"/lookout")
            stack.callback(client.close)
            return client

        yield open_one


def test_all_connections_of_a_process_share_one_check(new_etcd: NewEtcd) -> None:
    """Those of two ledgers, as of work and outbox, and of their sessions."""
    etcd = closed(new_etcd())
    before = checks(etcd)
    with ExitStack() as stack:
        for _ in range(2):
            ledger = EtcdLedger(address(etcd))
            stack.callback(ledger.close)
            stack.enter_context(ledger.session())
            ledger.put_note("a", "1")
        assert checks(etcd) - before == 1


def test_a_token_that_has_ended_is_renewed_once_though_all_find_out_together(
    new_etcd: NewEtcd, opened: Callable[[Address], Etcd]
) -> None:
    etcd = closed(new_etcd())
    clients = [opened(address(etcd)) for _ in range(THREADS)]
    for client in clients:
        client.used_bytes()
    etcd.restart()  # simple tokens do not survive it
    before = checks(etcd)
    together = threading.Barrier(THREADS)

    def write(n: int) -> bool:
        together.wait(10)
        return clients[n].write((), (Put(b"/lookout%d" % n, b"1"),)).succeeded

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(write, range(THREADS))) == [True] * THREADS
    assert checks(etcd) - before == 1


def test_the_token_of_one_member_is_good_at_all(
    new_cluster: Callable[..., EtcdCluster], opened: Callable[[Address], Etcd]
) -> None:
    first, *others = new_cluster().members
    closed(first)
    client = opened(address(first, *others))
    assert client.write((), (Put(b"/lookout", b"1"),)).succeeded
    first.kill()
    before = checks(*others)
    assert client.write((), (Put(b"/lookout", b"2"),)).succeeded
    assert checks(*others) - before == 0


def test_a_wrong_password_is_told_beside_the_right_one(new_etcd: NewEtcd, opened: Callable[[Address], Etcd]) -> None:
    etcd = closed(new_etcd())
    opened(address(etcd)).used_bytes()
    for _ in range(2):
        with pytest.raises(InputRejected, match="user or password is wrong"):
            opened(address(etcd, password="wrong")).used_bytes()
    opened(address(etcd)).used_bytes()


def test_a_password_that_was_changed_is_asked_for(new_etcd: NewEtcd, opened: Callable[[Address], Etcd]) -> None:
    etcd = closed(new_etcd())
    client = opened(address(etcd))
    client.used_bytes()
    root = str(etcd.ask("auth/authenticate", {"name": "root", "password": "root-pass"})["token"])
    etcd.ask("auth/user/changepw", {"name": "lookout", "password": "another"}, token=root)
    with pytest.raises(InputRejected, match="user or password is wrong"):
        client.read(())
    assert opened(address(etcd, password="another")).write((), (Put(b"/lookout", b"1"),)).succeeded


def test_an_etcd_that_is_behind_the_token_is_logged_in_at_anew(
    new_etcd: NewEtcd, opened: Callable[[Address], Etcd]
) -> None:
    """As one that was restored from a backup: it answers nothing to a token that it is yet to give out."""
    first = closed(new_etcd("first"))
    root = str(first.ask("auth/authenticate", {"name": "root", "password": "root-pass"})["token"])
    for n in range(50):
        first.ask("kv/put", {"key": encode(b"/%d" % n)}, token=root)
    opened(address(first)).used_bytes()
    first.stop()
    second = closed(new_etcd("second", port=first.port))
    before = checks(second)
    with closing(Etcd(address(second), b"/lookout", timeout_s=0.5, patience_s=4.0)) as client:
        assert not client.read((Range(b"/lookout"),)).get(0).kvs
    assert checks(second) - before == 1


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_hash_keeps_its_cost_until_the_password_changes(servers_folder: Path, prefix: str, is_changed: bool) -> None:
    """As docs/kubernetes.md says of an update."""
    folder = servers_folder / prefix
    with EtcdServer(folder, arguments=["--bcrypt-cost=5"]) as before:
        closed(before)
    with EtcdServer(folder, arguments=["--bcrypt-cost=4"]) as after:
        if is_changed:
            root = str(after.ask("auth/authenticate", {"name": "root", "password": "root-pass"})["token"])
            after.ask("auth/user/changepw", {"name": "lookout", "password": "another"}, token=root)
        after.ask("auth/authenticate", {"name": "lookout", "password": "another" if is_changed else "lookout-pass"})
    kept = (folder / "data" / "member" / "snap" / "db").read_bytes()
    assert b"$2a$05$" in kept
    assert (b"$2a$04$" in kept) == is_changed
