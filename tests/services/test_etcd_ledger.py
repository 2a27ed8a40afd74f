"""The ledger in etcd keeps the contract that memory and SQLite keep, on a real etcd."""

from contextlib import ExitStack
from itertools import count

import pytest

from lookout.ledger.etcd import Address, EtcdLedger
from lookout.testing.ledger import Bench, LedgerContract, ManualClock

_numbers = count()


class TestEtcdLedger(LedgerContract):
    @pytest.fixture
    def bench(self, etcd):
        clock = ManualClock()
        prefix = f"/test-{next(_numbers)}"
        with ExitStack() as handles:

            def another():
                ledger = EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, clock)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)
