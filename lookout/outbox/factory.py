"""Factory of outboxes: what the outboxes of one deployment have in common, put together once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectReader
from lookout.outbox.channel import Channel
from lookout.outbox.departure import uptime_s
from lookout.outbox.outbox import Outbox


@dataclass(frozen=True, kw_only=True)
class OutboxFactory:
    """Factory of outboxes over one store and the channels, with limits: see ``Outbox``, which has the same fields."""

    store: ObjectReader
    channel: Callable[[str], Channel]
    clock: Callable[[], float]
    uptime: Callable[[], float] = uptime_s
    max_letters: int = 20
    window_s: float = float("inf")
    digest_every_s: float = 0.0

    def open(self, ledger: Ledger, owner: str) -> Outbox:
        """Make an outbox whose letters ``owner`` holds, a session of the ledger; its window begins now."""
        return Outbox(
            ledger=ledger,
            store=self.store,
            channel=self.channel,
            owner=owner,
            clock=self.clock,
            uptime=self.uptime,
            max_letters=self.max_letters,
            window_s=self.window_s,
            digest_every_s=self.digest_every_s,
        )
