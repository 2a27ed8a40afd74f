"""The key-value store in memory keeps the contract of the port."""

import pytest

from devkit.contracts.key_values import KeyValuesContract, KvBench
from devkit.contracts.ledger import ManualClock
from devkit.fakes.memory_kv import MemoryKv, MemoryStore


class TestMemoryKv(KeyValuesContract):
    @pytest.fixture
    def bench(self):
        clock = ManualClock()
        store = MemoryStore(clock)

        def pass_s(seconds):
            clock.now_s += seconds

        return KvBench(open=lambda: MemoryKv(store), compact=store.compact, pass_s=pass_s, root=b"k/")
