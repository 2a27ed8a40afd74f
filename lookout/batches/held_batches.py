"""Batches that a worker holds, and their leases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lookout.engine.engine import Engine
from lookout.ledger.batches import Batch, BatchLedger
from lookout.log import get_logger

log = get_logger(__name__)


class HeldBatches:
    """Batches of one worker. A batch that is lost stays among them until the worker lets go of it."""

    def __init__(self, ledger: BatchLedger, lease_s: float) -> None:
        self._ledger, self._lease_s = ledger, lease_s
        self._held: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        return iter(list(self._held))

    def add(self, batch: Batch) -> None:
        """Keep the lease of this batch from now on."""
        self._held.append(batch)

    def drop(self, batch: Batch) -> None:
        """Keep its lease no longer."""
        if batch in self._held:
            self._held.remove(batch)

    @contextmanager
    def kept(self, engine: Engine) -> Iterator[None]:
        """Keep all leases while the engine works: a thread reminds its loop, whose thread has the ledger."""
        if not self._held:
            yield
            return
        over = threading.Event()

        def remind() -> None:
            while not over.wait(self._lease_s / 3):
                engine.call(self._extend)

        thread = threading.Thread(target=remind, name="batch-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _extend(self) -> None:
        for batch, still in zip(self._held, self._ledger.extend_batches(self._held, self._lease_s), strict=True):
            if not still:
                log.warning("batch lost", batch=batch.id)
