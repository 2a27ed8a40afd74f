"""Fixtures of all tests: the suites for any backend tell their failures in detail, and no test leaves traces."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("devkit.contracts")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background deaf to Ctrl-C, and so would be every command under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """An entry point that ran in this process has set up the log: the next test finds it as it was."""
    logger = logging.getLogger("lookout")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)
