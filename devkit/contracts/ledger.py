"""Contract of all ledgers: subclass ``LedgerContract`` in a test module and give it a fixture ``bench``.

    class TestMyLedger(LedgerContract):
        @pytest.fixture
        def bench(self):
            clock = ManualClock()
            ...
            yield Bench(open=lambda: MyLedger(somewhere, clock), clock=clock)

A ledger that keeps batches subclasses ``BatchesContract`` too, one that keeps open runs ``OpenRunsContract``.
Knows no backend. A bug found in one becomes a test here first.
"""

from __future__ import annotations

from devkit.contracts.ledger_batches import BatchesContract
from devkit.contracts.ledger_claims import ClaimsContract
from devkit.contracts.ledger_commits import CommitsContract
from devkit.contracts.ledger_kit import Bench, ManualClock
from devkit.contracts.ledger_open_runs import OpenRunsContract
from devkit.contracts.ledger_outbox import OutboxContract
from devkit.contracts.ledger_policy import PolicyContract
from devkit.contracts.ledger_views import ViewsContract


class LedgerContract(ClaimsContract, CommitsContract, ViewsContract, OutboxContract, PolicyContract):
    """All of the contract."""


__all__ = ["BatchesContract", "Bench", "LedgerContract", "ManualClock", "OpenRunsContract"]
