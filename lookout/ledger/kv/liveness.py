"""Liveness of sessions: each holds a key by a lease that a thread keeps alive for as long as its process runs.

A process that is killed or frozen stops keeping it, and after ``ttl_s`` the key is gone, for everybody at one revision:
what compares the key can not be written by the dead. The thread has a connection of its own. Knows no slot.
"""

from __future__ import annotations

import threading
import time

from lookout.domain.errors import LookoutError
from lookout.ledger.kv.port import KeyValues
from lookout.log import get_logger

log = get_logger(__name__)


class Life:
    """A lease that is kept until ``end``. ``lease`` is its id."""

    def __init__(self, kv: KeyValues, ttl_s: int) -> None:
        self._kv = kv.another()
        self._ttl_s = ttl_s
        self._over = threading.Event()
        self.lost = False
        """True if it was found gone: what lived by it is dead."""
        try:
            self.lease = self._kv.grant(ttl_s)
        except BaseException:
            self._kv.close()
            raise
        self._thread = threading.Thread(target=self._keep, name="lookout-lease", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        kept_at_s = time.monotonic()
        while not self._over.wait(self._ttl_s / 4):
            try:
                self.lost = self._kv.keep_alive(self.lease) <= 0
                kept_at_s = time.monotonic()
            except LookoutError as exc:
                log.warning("lease not kept", seconds=round(time.monotonic() - kept_at_s, 1), why=str(exc))
            if self.lost:
                return

    def end(self) -> None:
        """Let go; twice is allowed. What lives by the lease is gone at once, or, if the store is away, by itself."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        try:
            if not self.lost:
                self._kv.revoke(self.lease)
        except LookoutError as exc:
            log.warning("lease not revoked", why=str(exc))
        finally:
            self._kv.close()
