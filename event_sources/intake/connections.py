"""HTTP connections that nobody can keep without using them: uvicorn's protocol with a time limit and a limit of number.

uvicorn waits without end for the rest of a request, and at its own limit of connections answers 503 to everybody, also
to health checks. Here silent and slow clients give way instead: each request has ``REQUEST_S`` seconds from the end of
the one before it to the end of its answer, and a connection beyond ``MOST`` takes the place of the one that has kept
the intake waiting longest for a whole request. An honest client sends its request at once, so it is not that one. Knows
no path and no token.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S: Final = 15.0
"""The longest that a request may take in all; the intake itself answers within ``ANSWER_S``, which is less."""
MOST: Final = 512
"""Connections at once."""


class BoundedProtocol(H11Protocol):
    """One connection. All are used by the event loop's thread only."""

    most = MOST
    request_s = REQUEST_S
    _waits_since_s = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_waiting()
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End at the end of the server; at once where the client still owes a request, as no answer is lost then."""
        waiting = self._is_waiting
        super().shutdown()
        if waiting:
            self.transport.abort()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()  # answered before its body was there, and nobody wants the rest
        self._begin_waiting()
        super().on_response_complete()

    def _begin_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_since_s = self.loop.time()
        self._deadline = self.loop.call_later(self.request_s, self.transport.abort)

    def _make_room(self) -> None:
        """End the connection that has waited longest; the newest if all others have sent a whole request."""
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one._is_waiting]
        min(others, key=lambda one: one._waits_since_s, default=self).transport.abort()

    @property
    def _is_waiting(self) -> bool:
        return not self.transport.is_closing() and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
