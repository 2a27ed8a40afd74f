"""The thread that sends alerts outlives every error of a round, whatever its kind, and sends with the next one."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import cast

import pytest

from lookout.domain.errors import Unavailable
from lookout.ledger.port import Ledger
from lookout.outbox.outbox import Outbox
from lookout.outbox.sender import OutboxSender

ERRORS = (
    MemoryError(),
    RuntimeError("can't start new thread"),
    RecursionError(),
    OSError(errno.ENOSPC, "no space"),
    OSError(errno.EMFILE, "too many open files"),
    KeyError("a defect"),
    Unavailable("ledger", "away"),
)


class Rounds:
    """An outbox, and the ledger that it is given, of which a part fails once."""

    digests = 0
    ledger: object = None

    def __init__(self, failing: str, error: Exception) -> None:
        self._failing, self._error = failing, error
        self.failed, self.sent = threading.Event(), threading.Event()

    def _fail_once(self, place: str) -> None:
        if place == self._failing and not self.failed.is_set():
            self.failed.set()
            raise self._error

    def open(self) -> Ledger:
        self._fail_once("open")
        return cast(Ledger, self)

    def make(self, _: Ledger) -> Outbox:
        self._fail_once("make")
        return cast(Outbox, self)

    def dispatch(self, _: Callable[[], bool]) -> float | None:
        self._fail_once("dispatch")
        self.sent.set()
        return None

    def close(self) -> None:
        self._fail_once("close")

    def abort(self) -> None: ...


@pytest.mark.parametrize("place", ["open", "make", "dispatch"])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_round_that_fails_is_counted_and_the_next_one_sends(place: str, error: Exception) -> None:
    rounds = Rounds(place, error)
    sender = OutboxSender(rounds.open, rounds.make, lambda: 0.0, lambda: False)
    with sender:
        sender.start()
        assert rounds.failed.wait(30.0)
        sender.wake()
        assert rounds.sent.wait(30.0)
        assert sender.failed_rounds == 1
