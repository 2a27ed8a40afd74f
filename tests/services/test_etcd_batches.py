"""Batches in etcd keep the contract, on a real etcd."""

from contextlib import ExitStack
from itertools import count

import pytest

from lookout.ledger.etcd import Address, EtcdLedger
from lookout.testing.ledger import BatchesContract, Bench, ManualClock

_numbers = count()


class TestEtcdBatches(BatchesContract):
    @pytest.fixture
    def bench(self, etcd):
        clock = ManualClock()
        prefix = f"/batches-{next(_numbers)}"
        with ExitStack() as handles:

            def another():
                ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, clock)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)
