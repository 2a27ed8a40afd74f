"""Assertions of the shared suites are shown with their values too."""

import pytest

for _part in ("batches", "claims", "commits", "views", "outbox"):
    pytest.register_assert_rewrite(f"lookout.testing.ledger_{_part}")
pytest.register_assert_rewrite("lookout.testing.stateful_ledger")
