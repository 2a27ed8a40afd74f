"""Ledgers that can be compared with a store, saved and filled keep that contract; each is filled from the other."""

from contextlib import ExitStack

import pytest

from devkit.contracts.ledger import Bench, ManualClock
from devkit.contracts.ledger_upkeep import UpkeepContract
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from lookout.ledger.sqlite import SqliteLedger


class TestKvUpkeep(UpkeepContract):
    @pytest.fixture
    def bench(self):
        clock, store = ManualClock(), MemoryStore()
        with ExitStack() as handles:

            def another():
                ledger = memory_ledger(clock, store)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)

    @pytest.fixture
    def blank(self, bench, tmp_path):
        ledger = SqliteLedger(tmp_path / "blank.sqlite", bench.clock)
        yield ledger
        ledger.close()


class TestKvFilledFromKv(TestKvUpkeep):
    @pytest.fixture
    def blank(self, bench):
        return memory_ledger(bench.clock)


class TestSqliteUpkeep(UpkeepContract):
    @pytest.fixture
    def bench(self, tmp_path):
        clock = ManualClock()
        with ExitStack() as handles:

            def another():
                ledger = SqliteLedger(tmp_path / "ledger.sqlite", clock)
                handles.callback(ledger.close)
                return ledger

            yield Bench(open=another, clock=clock)

    @pytest.fixture
    def blank(self, bench):
        return memory_ledger(bench.clock)


class TestSqliteFilledFromSqlite(TestSqliteUpkeep):
    @pytest.fixture
    def blank(self, bench, tmp_path):
        ledger = SqliteLedger(tmp_path / "blank.sqlite", bench.clock)
        yield ledger
        ledger.close()
