"""The ledger in memory keeps the contract."""

import pytest

from lookout.ledger.memory import MemoryLedger
from lookout.testing.ledger import Bench, LedgerContract, ManualClock


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def bench(self):
        clock = ManualClock()
        ledger = MemoryLedger(clock)
        return Bench(open=lambda: ledger, clock=clock)
