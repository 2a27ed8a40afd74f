"""Upkeep in etcd keeps the contract, on a real etcd; each backend is filled from it, and it from each."""

import pytest

from devkit.contracts.ledger_upkeep import UpkeepContract
from devkit.fakes.memory_kv import memory_ledger
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.sqlite import SqliteLedger
from tests.services.etcd_kit import open_bench


class TestEtcdUpkeep(UpkeepContract):
    @pytest.fixture
    def bench(self, etcd, prefix):
        with open_bench(etcd, prefix) as bench:
            yield bench

    @pytest.fixture
    def blank(self, bench, etcd, prefix):
        ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), f"{prefix}blank", bench.clock)
        yield ledger
        ledger.close()


class TestSqliteFilledFromEtcd(TestEtcdUpkeep):
    @pytest.fixture
    def blank(self, bench, tmp_path):
        ledger = SqliteLedger(tmp_path / "blank.sqlite", bench.clock)
        yield ledger
        ledger.close()


class TestKvFilledFromEtcd(TestEtcdUpkeep):
    @pytest.fixture
    def blank(self, bench):
        return memory_ledger(bench.clock)
