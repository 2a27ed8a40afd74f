"""The ledger in etcd keeps the contract that memory and SQLite keep, on a real etcd."""

import pytest

from devkit.contracts.ledger import LedgerContract
from tests.services.etcd_kit import open_bench


class TestEtcdLedger(LedgerContract):
    @pytest.fixture
    def bench(self, etcd, prefix):
        with open_bench(etcd, prefix) as bench:
            yield bench
