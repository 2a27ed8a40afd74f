"""Service manager that started this process: it is told when the watch is ready, that its loop turns, and of its end.

The protocol is systemd's ``sd_notify``: a datagram to the socket that the environment names. Knows no engine.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from lookout.log import get_logger

log = get_logger(__name__)

_TURNS_A_LIMIT: Final = 4
_LONGEST_WAIT_S: Final = 1.0


class ServiceManager:
    """Sender of notifications, for a ``with`` block whose end is told as well; without a socket it sends nothing.

    ``turned`` is for each turn of the loop, in the loop's own thread, and for nothing else: a loop that hangs must fall
    silent. It sends four times within ``watchdog_s`` at most, and nothing where the manager set no limit.
    """

    def __init__(
        self, address: str | None, watchdog_s: float | None, *, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._address, self._steady = address, steady
        self._pause_s = None if watchdog_s is None else watchdog_s / _TURNS_A_LIMIT
        self._send_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send("STOPPING=1")

    def ready(self) -> None:
        """Tell that the watch is at work."""
        self._send("READY=1")

    def turned(self) -> None:
        """Tell that the loop has turned, when that is due."""
        if self._pause_s is not None and (now_s := self._steady()) >= self._send_at_s:
            self._send_at_s = now_s + self._pause_s
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_LONGEST_WAIT_S)
                sender.sendto(state.encode(), name)
        except OSError as exc:
            log.warning("service manager not notified", state=state, error=exc)
