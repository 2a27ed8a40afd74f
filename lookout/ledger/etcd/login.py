"""Login of a process as one user of an etcd: one token for all its connections.

etcd checks a password by bcrypt, which may take it tens of milliseconds of processor time; a process has three or four
connections. Knows no gRPC and no ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Final

from lookout.ledger.etcd.address import Address


class Login:
    """The token of one user, asked for when it is needed first and after it was dropped. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Future[str] | None = None

    def token(self, ask: Callable[[], str]) -> str:
        """Return the token that is there, or ask for one.

        Threads that want one meanwhile wait for the answer and share it. An error is shared too, and not kept: each
        raises it, and the next call asks again.
        """
        while True:
            with self._lock:
                asked, is_first = self._asked, self._asked is None
                if asked is None:
                    asked = self._asked = Future()
            if is_first:
                return self._ask(asked, ask)
            try:
                return asked.result()
            except CancelledError:  # the thread that asked was interrupted
                continue

    def drop(self, token: str) -> None:
        """Give up this token. One that another thread has asked for since then stays."""
        with self._lock:
            if self._asked is not None and self._asked.done() and self._asked.result() == token:
                self._asked = None

    def _ask(self, asked: Future[str], ask: Callable[[], str]) -> str:
        try:
            token = ask()
        except BaseException as exc:
            with self._lock:
                self._asked = None
            if isinstance(exc, Exception):
                asked.set_exception(exc)
            else:
                asked.cancel()
            raise
        asked.set_result(token)
        return token


_LOGINS: Final[dict[Address, Login]] = {}


def login_of(address: Address) -> Login:
    """Return this process's login at this address as its user."""
    return _LOGINS.setdefault(address, Login())
