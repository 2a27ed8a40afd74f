"""Batches and open runs in etcd keep the contract, on a real etcd."""

import pytest

from devkit.contracts.ledger import BatchesContract, OpenRunsContract
from tests.services.etcd_kit import open_bench


class TestEtcdBatches(BatchesContract, OpenRunsContract):
    @pytest.fixture
    def bench(self, etcd, prefix):
        with open_bench(etcd, prefix) as bench:
            yield bench
