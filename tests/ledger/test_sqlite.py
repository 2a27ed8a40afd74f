"""The ledger in SQLite keeps the contract, through one handle and through several."""

from contextlib import ExitStack

import pytest

from devkit.contracts.ledger import BatchesContract, Bench, LedgerContract, ManualClock
from lookout.ledger.sqlite import SqliteLedger


class TestSqliteLedger(LedgerContract, BatchesContract):
    @pytest.fixture
    def bench(self, tmp_path):
        clock = ManualClock()
        with ExitStack() as handles:

            def another():
                ledger = SqliteLedger(tmp_path / "ledger.sqlite", clock)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)
