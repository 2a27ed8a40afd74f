"""Memory of the versions of objects that were recorded a short time ago, so that the durable event of one that a hint
announced needs no second look.

It holds what this process has seen in the store and written to the ledger, never what an event claims: a forged event
adds nothing to it. Knows no event, no store and no ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from lookout.domain.records import Observation

KEPT_S: Final = 60.0
"""MinIO sends a durable event within seconds; later ones are looked at, which costs time only."""
MOST: Final = 10_000
_UNVERSIONED: Final = ("", "null")
"""Versions that name no fixed bytes: those of a bucket without versioning."""


class RecentVersions:
    """Keys and versions of the last minute, ``MOST`` at most; the oldest goes first. Several threads call at once."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until_s: dict[tuple[str, str], float] = {}

    def add(self, seen: Observation) -> None:
        """Remember an observation that the ledger has; one of an object that is gone or unreadable is left out."""
        version = None if seen.ref is None else seen.ref.version
        if version is None or version in _UNVERSIONED:
            return
        now_s = self._monotonic()
        with self._lock:
            self._until_s.pop((seen.key, version), None)
            self._until_s[seen.key, version] = now_s + KEPT_S
            while len(self._until_s) > MOST or next(iter(self._until_s.values())) <= now_s:
                del self._until_s[next(iter(self._until_s))]

    def has(self, key: str, version: str) -> bool:
        """Tell whether this version was recorded within the last minute."""
        with self._lock:
            return self._until_s.get((key, version), 0.0) > self._monotonic()
