"""Scheduled comparison with the source, for changes without an event: backfills of live work."""

from __future__ import annotations

from hera.workflows import CronWorkflow, Parameter

from workflows.parts import by_clock

_SOON_S = 50


def reconcile() -> CronWorkflow:
    """Return the workflow of each minute: keys after the last one of each device, whose events may have been lost."""
    return _reconcile("reconcile", "* * * * *", "recent", "Pictures without an event, each minute")


def reconcile_full() -> CronWorkflow:
    """Return the workflow of each night: everything, also deletions, and keys before the last one of their device."""
    return _reconcile("reconcile-full", "23 3 * * *", "full", "The whole bucket compared with the ledger, each night")


def _reconcile(name: str, schedule: str, how: str, description: str) -> CronWorkflow:
    return by_clock(
        name,
        schedule,
        description,
        "backfill",
        start_within_s=_SOON_S,
        priority=5,
        arguments=[Parameter(name="kind", value="live"), Parameter(name="reconcile", value=how)],
    )
