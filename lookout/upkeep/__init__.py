"""Upkeep: what nobody notices in daily work is found by comparing, and put right.

``sweep`` compares a store with the ledger, ``retract`` slots with what they stand on, ``reconcile`` a source with the
inputs. All stream, keep where they are in the ledger, and decide nothing by a listing alone: whatever would be removed
or retracted is asked for once more, by name. Must not know any stage or backend.
"""

from __future__ import annotations

from lookout.upkeep.reconcile import Reconciled, reconcile, reconcile_recent
from lookout.upkeep.retract import Retracted, retract
from lookout.upkeep.sources import Source
from lookout.upkeep.sweep import Sweep, Swept

__all__ = ["Reconciled", "Retracted", "Source", "Sweep", "Swept", "reconcile", "reconcile_recent", "retract"]
