"""Leases of claims at work, extended in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from lookout.domain.isolation import apart, reason
from lookout.domain.records import Claim
from lookout.ledger.port import Ledger
from lookout.log import get_logger

log = get_logger(__name__)


class LeaseKeeper:
    """Keeper of leases: each is extended when a third of its time has passed."""

    def __init__(self, ledger: Ledger, lease_s: float) -> None:
        self._ledger, self._lease_s = ledger, lease_s
        self._extended_at_s = 0.0

    def extend(self, claims: Sequence[Claim]) -> list[Claim]:
        """Extend the leases of these claims, if that is due; gives the claims that are lost."""
        now_s = time.monotonic()
        if not claims or now_s - self._extended_at_s < self._lease_s / 3:
            return []
        self._extended_at_s = now_s
        lost: list[Claim] = []
        held = apart(claims, partial(self._ledger.extend, lease_s=self._lease_s))
        for claim, still in zip(claims, held, strict=True):
            if isinstance(still, Exception):
                # Its lease has a time to run yet; the commit asks whether that was enough.
                log.warning("lease not extended", stage=claim.stage, key=claim.key, error=reason(still))
            elif not still:
                log.warning("claim lost", stage=claim.stage, key=claim.key)
                lost.append(claim)
        return lost
