"""The connection to etcd keeps the contract of the key-value port, on a real etcd."""

from contextlib import ExitStack

import pytest

from devkit.contracts.key_values import KeyValuesContract, KvBench
from devkit.servers.for_tests import EtcdServer
from lookout.ledger.etcd import Address
from lookout.ledger.etcd.client import Etcd


@pytest.fixture(scope="module")
def own_etcd(servers_folder):
    """An etcd that may be compacted."""
    with EtcdServer(servers_folder / "kv-contract", fsync=False) as server:
        yield server


class TestEtcdKv(KeyValuesContract):
    @pytest.fixture
    def bench(self, own_etcd, prefix):
        with ExitStack() as clients:

            def another():
                client = Etcd(Address(endpoints=(own_etcd.endpoint,)), prefix.encode())
                clients.callback(client.close)
                return client

            yield KvBench(open=another, compact=own_etcd.compact, pass_s=lambda _: None, root=prefix.encode() + b"k/")
