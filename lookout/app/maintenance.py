"""Maintenance of an opened deployment: the sweep over all of its buckets."""

from __future__ import annotations

import time

from lookout.app.deployment import Deployment
from lookout.maintenance.sweep import GRACE_S, Sweep, Swept


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
        ledger=opened.ledger,
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
