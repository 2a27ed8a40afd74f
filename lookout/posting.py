"""Letters sent on a thread of their own, with a ledger connection of their own: a slow channel delays nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

from lookout.errors import LookoutError
from lookout.ledger.base import Ledger
from lookout.log import get_logger
from lookout.outbox import Outbox

log = get_logger(__name__)

OUTBOX_AGAIN_S: Final = 5.0


class Dispatch:
    """One round of the outbox beside other work: begun by ``start``, over at the end of the ``with`` block.

    The block's end raises the LookoutError that the round met, unless it raises already.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], make_outbox: Callable[[Ledger], Outbox]) -> None:
        self._open_ledger, self._make_outbox = open_ledger, make_outbox
        self._thread: threading.Thread | None = None
        self._error: LookoutError | None = None
        self.digests = 0
        self.due_at_s: float | None = None

    def __enter__(self) -> Dispatch:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def start(self) -> None:
        self._thread = threading.Thread(target=self._round, name="dispatch")
        self._thread.start()

    def _round(self) -> None:
        try:
            with closing(self._open_ledger()) as ledger:
                outbox = self._make_outbox(ledger)
                self.due_at_s = outbox.dispatch()
                self.digests = outbox.digests
        except LookoutError as exc:
            self._error = exc


class Postman:
    """Sends letters on a thread and a ledger connection of its own, so that a slow channel delays no picture."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], make_outbox: Callable[[Ledger], Outbox], clock: Callable[[], float]
    ) -> None:
        self._open_ledger, self._make_outbox, self._clock = open_ledger, make_outbox, clock
        self._wakened = threading.Condition()
        self._due = self._ending = False
        self._thread = threading.Thread(target=self._serve, name="postman")
        self.digests = 0

    def __enter__(self) -> Postman:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after the letter that is on its way; the others wait in the outbox for the next run."""
        with self._wakened:
            self._ending = True
            self._wakened.notify()
        self._thread.join()

    def wake(self) -> None:
        with self._wakened:
            self._due = True
            self._wakened.notify()

    def _serve(self) -> None:
        with closing(self._open_ledger()) as ledger:
            outbox = self._make_outbox(ledger)
            wait_s: float | None = None
            while self._wait(wait_s):
                try:
                    due_at_s = outbox.dispatch(lambda: self._ending)
                except LookoutError as exc:
                    log.warning("outbox", error=exc)
                    wait_s = OUTBOX_AGAIN_S
                else:
                    wait_s = None if due_at_s is None else max(0.1, due_at_s - self._clock())
                self.digests = outbox.digests

    def _wait(self, wait_s: float | None) -> bool:
        with self._wakened:
            self._wakened.wait_for(lambda: self._due or self._ending, wait_s)
            self._due = False
            return not self._ending
