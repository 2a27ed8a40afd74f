"""What all tests share: failures of the suites that any backend must pass are told in detail."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("lookout.testing")
