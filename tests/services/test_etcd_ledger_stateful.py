"""Random histories leave the ledger in etcd where a plain model says."""

from itertools import count
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from devkit.contracts.stateful_ledger import LedgerMachine
from lookout.ledger.etcd import Address, EtcdLedger

_numbers = count()


class EtcdMachine(LedgerMachine):
    endpoint: ClassVar[str] = ""

    def make(self, clock):
        return EtcdLedger(Address(endpoints=(self.endpoint,)), f"/machine-{next(_numbers)}", clock)


class LongEtcdMachine(EtcdMachine):
    pass


@pytest.fixture(scope="module", autouse=True)
def _endpoint(etcd):
    EtcdMachine.endpoint = etcd.endpoint


def form(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
    )


TestEtcd = EtcdMachine.TestCase
TestEtcd.settings = form(12, 30)
TestEtcdLong = pytest.mark.slow(LongEtcdMachine.TestCase)
TestEtcdLong.settings = form(200, 60)
