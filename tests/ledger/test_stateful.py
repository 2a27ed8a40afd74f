"""Random histories leave each ledger where a plain model says, through one client and through two in turn."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devkit.contracts.stateful_ledger import LedgerMachine
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from lookout.ledger.sqlite import SqliteLedger


def form(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
    )


class KvMachine(LedgerMachine):
    def make(self, clock):
        return memory_ledger(clock)


class TwoClientsMachine(LedgerMachine):
    """Each call goes to the other one of two clients of one store."""

    _clients: tuple = ()

    def make(self, clock):
        store = MemoryStore()
        return (memory_ledger(clock, store), memory_ledger(clock, store))

    @property
    def ledger(self):
        if not self._clients:
            raise AttributeError
        self._clients = self._clients[::-1]
        return self._clients[0]

    @ledger.setter
    def ledger(self, clients):
        self._clients = clients

    def teardown(self):
        super().teardown()
        for client in self._clients:
            client.close()


class SqliteMachine(LedgerMachine):
    def make(self, clock):
        self.folder = tempfile.TemporaryDirectory()
        return SqliteLedger(Path(self.folder.name) / "ledger.sqlite", clock)

    def teardown(self):
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


class LongKvMachine(KvMachine):
    pass


class LongTwoClientsMachine(TwoClientsMachine):
    pass


class LongSqliteMachine(SqliteMachine):
    pass


TestKv = KvMachine.TestCase
TestKv.settings = form(20, 30)
TestTwoClients = TwoClientsMachine.TestCase
TestTwoClients.settings = form(20, 30)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = form(20, 30)
TestKvLong = pytest.mark.slow(LongKvMachine.TestCase)
TestKvLong.settings = form(600, 60)
TestTwoClientsLong = pytest.mark.slow(LongTwoClientsMachine.TestCase)
TestTwoClientsLong.settings = form(600, 60)
TestSqliteLong = pytest.mark.slow(LongSqliteMachine.TestCase)
TestSqliteLong.settings = form(600, 60)
