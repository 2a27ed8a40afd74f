"""Maintenance of an opened deployment: the sweep over all of its buckets."""

from __future__ import annotations

import time

from lookout.app.deployment import Deployment
from lookout.domain.errors import InputRejected
from lookout.ledger.maintenance import UpkeepLedger
from lookout.maintenance.sweep import GRACE_S, Sweep, Swept


def upkeep_ledger(opened: Deployment) -> UpkeepLedger:
    """The ledger, as one that can be saved and compared. Raises InputRejected for a backend that cannot yet."""
    if not isinstance(opened.ledger, UpkeepLedger):
        raise InputRejected("this ledger cannot be saved, filled or compared with a store", "LOOKOUT_LEDGER")
    return opened.ledger


def sweep_all(
    opened: Deployment,
    *,
    remove: bool = True,
    repair: bool = True,
    thorough: bool = False,
    grace_s: float = GRACE_S,
    dry_run: bool,
) -> Swept:
    """Compare the buckets of all stages with the ledger. See ``Sweep``."""
    sweep = Sweep(
        ledger=upkeep_ledger(opened),
        store=opened.store,
        clock=time.time,
        remove=remove,
        repair=repair,
        thorough=thorough,
        grace_s=grace_s,
        dry_run=dry_run,
    )
    total = Swept()
    for stage in opened.pipeline.stages:
        total.add(sweep.bucket(stage.name))
    return total
