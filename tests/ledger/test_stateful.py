"""Random histories leave both ledgers where a plain model says."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devkit.contracts.stateful_ledger import LedgerMachine
from devkit.memory_ledger import MemoryLedger
from lookout.ledger.sqlite import SqliteLedger


def form(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
    )


class MemoryMachine(LedgerMachine):
    def make(self, clock):
        return MemoryLedger(clock)


class SqliteMachine(LedgerMachine):
    def make(self, clock):
        self.folder = tempfile.TemporaryDirectory()
        return SqliteLedger(Path(self.folder.name) / "ledger.sqlite", clock)

    def teardown(self):
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


class LongMemoryMachine(MemoryMachine):
    pass


class LongSqliteMachine(SqliteMachine):
    pass


TestMemory = MemoryMachine.TestCase
TestMemory.settings = form(25, 30)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = form(20, 30)
TestMemoryLong = pytest.mark.slow(LongMemoryMachine.TestCase)
TestMemoryLong.settings = form(1500, 60)
TestSqliteLong = pytest.mark.slow(LongSqliteMachine.TestCase)
TestSqliteLong.settings = form(600, 60)
