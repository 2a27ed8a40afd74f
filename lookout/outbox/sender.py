"""Sender thread of the outbox, with a ledger connection of its own, so that a slow channel delays no picture.

No error ends the thread: the outbox keeps every alert, so whatever went wrong is logged, counted, and tried again.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from typing import Final, Self

from lookout.domain.errors import LookoutError, Unavailable, find_lack
from lookout.domain.isolation import reason
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.outbox.outbox import Outbox

log = get_logger(__name__)

RETRY_S: Final = 5.0
"""Pause after a round that failed as a whole."""
POLL_S: Final = 60.0
"""Longest pause between two rounds: clocks are set, and other processes leave alerts behind."""
GRACE_S: Final = 3.0
"""Time that a letter under way is given when the sender is stopped."""
_PIECE_S: Final = 0.2


class OutboxSender:
    """Thread that sends what is due. With ``once`` it makes one round and ends; otherwise it goes on until the end of
    the ``with`` block, and is told by ``wake`` that there are new alerts.

    The end of the block waits for the round of ``once``, unless ``stopping`` says that the process is to end. A letter
    under way is then given ``GRACE_S``, and aborted. What was not sent waits in the ledger.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        make_outbox: Callable[[Ledger], Outbox],
        clock: Callable[[], float],
        stopping: Callable[[], bool],
        *,
        once: bool = False,
    ) -> None:
        self._open_ledger, self._make_outbox, self._clock = open_ledger, make_outbox, clock
        self._stopping, self._once = stopping, once
        self._wakened = threading.Condition()
        self._due = self._ending = False
        # A daemon: what still connects when the process is to end has sent nothing, and need not be waited for.
        self._thread = threading.Thread(target=self._serve, name="outbox-sender", daemon=True)
        self._outbox: Outbox | None = None
        self.error: LookoutError | None = None
        self.failed_rounds = 0
        self.digests = 0
        self.due_at_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Raise the LookoutError that the round of ``once`` met, unless the block raises already."""
        if self._thread.ident is None:
            return  # never started
        while self._once and kind is None and self._thread.is_alive() and not self._stopping():
            self._thread.join(_PIECE_S)
        self._end()
        if self.error is not None and self._once and kind is None:
            raise self.error

    def _end(self) -> None:
        with self._wakened:
            self._ending = True
            self._wakened.notify()
        self._thread.join(GRACE_S)
        if self._thread.is_alive() and self._outbox is not None:
            self._outbox.abort()
            self._thread.join(GRACE_S)
        if self._thread.is_alive():
            log.warning("outbox sender did not stop", then="its letter has not left, and waits in the outbox")

    def start(self) -> None:
        """Start the thread. Raises Unavailable when none can be started."""
        try:
            self._thread.start()
        except RuntimeError as exc:
            raise find_lack(exc) or Unavailable("the sender of alerts", f"no thread can be started: {exc}") from exc

    def wake(self) -> None:
        """Have what is due now sent soon."""
        with self._wakened:
            self._due = True
            self._wakened.notify()

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._ending:
            try:
                with closing(self._open_ledger()) as ledger:
                    if self._outbox is None:
                        self._outbox = self._make_outbox(ledger)
                    self._outbox.ledger = ledger  # it may hold what an earlier connection could not keep
                    self._rounds(self._outbox)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the alerts are in the ledger
                self._note(exc)
                if self._once:
                    return
                self._wait(RETRY_S)
            else:
                return

    def _rounds(self, outbox: Outbox) -> None:
        """Run one round, or one after the other until the end."""
        wait_s = 0.0
        while self._once or self._wait(wait_s):
            rounds = outbox.drain if self._once else outbox.dispatch
            self.due_at_s = rounds(lambda: self._ending)
            self.digests = outbox.digests
            self.error = None
            if self._once:
                return
            wait_s = POLL_S if self.due_at_s is None else min(POLL_S, max(0.1, self.due_at_s - self._clock()))

    def _note(self, exc: Exception) -> None:
        self.failed_rounds += 1
        known = isinstance(exc, LookoutError)
        log.warning("outbox round failed", error=exc if known else traceback.format_exception(exc))
        self.error = exc if isinstance(exc, LookoutError) else Unavailable("the outbox", reason(exc))

    def _wait(self, wait_s: float) -> bool:
        with self._wakened:
            self._wakened.wait_for(lambda: self._due or self._ending, wait_s)
            self._due = False
            return not self._ending
