"""Parts of an exchange over a connection whose end is to be known as exactly as it can be, whatever the protocol."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

PIECE_BYTES: Final = 64 * 1024
"""Bytes of a body that are handed to the kernel at once."""


class NotSent(Exception):
    """The request did not leave as a whole: the other side cannot have acted on it."""


class TooLate(NotSent):
    """The request was not to leave any more."""


class Unanswered(Exception):
    """The request left, and no answer came: the other side may have acted on it."""


def pieces(body: bytes, is_late: Callable[[], bool]) -> Iterator[bytes]:
    """Cut a body into pieces; each is taken when the kernel has all those before it."""
    for start in range(0, len(body), PIECE_BYTES):
        if is_late():
            raise TooLate("the request was not to leave any more")
        yield body[start : start + PIECE_BYTES]


def why(exc: Exception) -> str:
    """Return the system's words for an error, without any of a file's or a host's name."""
    return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__


class Deadline:
    """Limit in time that ends the connection under a reader that would wait too long: a timeout of a socket bounds only
    each wait. ``socket_of`` gives the socket that is in use when the limit is over."""

    def __init__(self, socket_of: Callable[[], socket.socket | None], timeout_s: float) -> None:
        self._socket_of = socket_of
        self.passed = self.aborted = False
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        try:
            self._timer.start()
        except RuntimeError as exc:
            raise NotSent(f"no thread can be started to keep the time limit: {exc}") from exc

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def cut(self) -> None:
        """End the exchange now."""
        self.aborted = True
        self._end()

    def _end(self) -> None:
        self.passed = True
        with suppress(OSError):  # closed meanwhile: the exchange is over
            # Not SSLSocket.shutdown: it takes the encryption off first, and a writer in another thread would go on.
            if (used := self._socket_of()) is not None:
                socket.socket.shutdown(used, socket.SHUT_RDWR)
