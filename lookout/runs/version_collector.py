"""Collector of old versions in the store, once a day at most: a listing of them is not free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lookout.domain.errors import LookoutError
from lookout.ledger.notes import read_note, time_s
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore

log = get_logger(__name__)

KEEP_VERSIONS_S: Final = 30 * 24 * 3600.0
"""Replaced and removed versions stay readable this long: for A -> B -> A, for alerts under way, and for proof."""
COLLECT_EVERY_S: Final = 24 * 3600.0
_NOTE: Final = "collected"


@dataclass(kw_only=True)
class VersionCollector:
    """Collector for one ledger and its store. The ledger is asked when a collection is due, as another process may have
    made it."""

    ledger: Ledger
    store: ObjectStore
    clock: Callable[[], float]
    _collected_at_s: float | None = field(default=None, init=False)

    def collect(self) -> None:
        """Free old versions, if that is due. An error of the store is logged, and nothing is tried again for a day."""
        now_s = self.clock()
        if self._is_recent(now_s):
            return
        self._collected_at_s = read_note(self.ledger, _NOTE, "a time in seconds", time_s, None)
        if self._is_recent(now_s):
            return
        self.ledger.put_note(_NOTE, repr(now_s))
        self._collected_at_s = now_s
        try:
            self.store.collect(now_s - KEEP_VERSIONS_S)
        except LookoutError as exc:
            log.warning("old versions not freed", error=exc, then="tried again in a day")

    def _is_recent(self, now_s: float) -> bool:
        """Tell whether old versions were freed within a day: what a clock that was ahead has noted holds nothing up."""
        return self._collected_at_s is not None and 0.0 <= now_s - self._collected_at_s < COLLECT_EVERY_S
