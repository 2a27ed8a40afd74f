"""Upkeep in etcd keeps the contract, on a real etcd; each backend is filled from it, and it from each."""

from contextlib import ExitStack
from itertools import count

import pytest

from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.memory import MemoryLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.testing.ledger import Bench, ManualClock
from lookout.testing.ledger_upkeep import UpkeepContract

_numbers = count()


def open_new(etcd, clock):
    return EtcdLedger(Address(endpoints=(etcd.endpoint,)), f"/upkeep-{next(_numbers)}", clock)


class TestEtcdUpkeep(UpkeepContract):
    @pytest.fixture
    def bench(self, etcd):
        clock = ManualClock()
        prefix = f"/upkeep-{next(_numbers)}"
        with ExitStack() as handles:

            def another():
                ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, clock)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)

    @pytest.fixture
    def blank(self, bench, etcd):
        ledger = open_new(etcd, bench.clock)
        yield ledger
        ledger.close()


class TestSqliteFilledFromEtcd(TestEtcdUpkeep):
    @pytest.fixture
    def blank(self, bench, tmp_path):
        ledger = SqliteLedger(tmp_path / "blank.sqlite", bench.clock)
        yield ledger
        ledger.close()


class TestMemoryFilledFromEtcd(TestEtcdUpkeep):
    @pytest.fixture
    def blank(self, bench):
        return MemoryLedger(bench.clock)
