"""The ledger in memory keeps the contract."""

import pytest

from devkit.contracts.ledger import BatchesContract, Bench, LedgerContract, ManualClock
from devkit.memory_ledger import MemoryLedger


class TestMemoryLedger(LedgerContract, BatchesContract):
    @pytest.fixture
    def bench(self):
        clock = ManualClock()
        ledger = MemoryLedger(clock)
        return Bench(open=lambda: ledger, clock=clock)
