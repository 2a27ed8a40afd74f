"""The rules of incremental processing on real MinIO and etcd: the very tests of tests/engine, and what buckets add."""

from __future__ import annotations

from tests.engine import test_outbox, test_semantics, test_trace
from tests.engine.world import shared_tests

for _module in (test_semantics, test_outbox, test_trace):
    globals().update(shared_tests(_module))
