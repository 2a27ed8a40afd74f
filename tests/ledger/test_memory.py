"""The ledger in memory keeps the contract."""

import pytest

from lookout.ledger.memory import MemoryLedger
from lookout.testing.ledger import BatchesContract, Bench, LedgerContract, ManualClock


class TestMemoryLedger(LedgerContract, BatchesContract):
    @pytest.fixture
    def bench(self):
        clock = ManualClock()
        ledger = MemoryLedger(clock)
        return Bench(open=lambda: ledger, clock=clock)
