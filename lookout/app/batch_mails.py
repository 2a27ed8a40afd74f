"""Mails of a batch, which a worker sends before it takes the next: nobody else may come for minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lookout.ledger.port import Ledger
from lookout.outbox.factory import OutboxFactory

PATIENCE_S: Final = 15.0
"""Time that a process waits for mails in all: for what could not be sent, and can be tried again so soon."""


@dataclass(kw_only=True)
class BatchMails:
    """Sender of what is due when a batch is worked through. Each batch has an outbox of its own, and so its own number
    of alerts that leave singly."""

    outboxes: OutboxFactory
    ledger: Ledger
    owner: str
    patience_s: float = PATIENCE_S

    def send(self, is_stopped: Callable[[], bool]) -> None:
        """Try what is due, and again what can be tried again soon, until ``is_stopped``."""
        outbox = self.outboxes.open(self.ledger, self.owner)
        while not is_stopped():
            due_at_s = outbox.dispatch(is_stopped)
            if due_at_s is None or due_at_s > time.time() + self.patience_s:
                return
            self._wait(due_at_s, is_stopped)

    def _wait(self, due_at_s: float, is_stopped: Callable[[], bool]) -> None:
        """Wait in pieces, as a signal only leaves a mark."""
        ends_s = max(due_at_s, time.time() + 1.0)
        while not is_stopped() and time.time() < ends_s:
            time.sleep(0.5)
            self.patience_s -= 0.5
