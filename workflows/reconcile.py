"""What no event told of is found by looking: backfills of live work, by the clock."""

from __future__ import annotations

from hera.workflows import CronWorkflow, Parameter
from hera.workflows.models import WorkflowTemplateRef


def reconcile() -> CronWorkflow:
    """Each minute, what lies behind the last key of each device: what an event that was lost would have told."""
    return _by_clock("reconcile", "* * * * *", "recent", "Pictures that no event told of, each minute")


def reconcile_full() -> CronWorkflow:
    """Each night, everything: deletions too, and keys before the last one of their device."""
    return _by_clock("reconcile-full", "23 3 * * *", "full", "The whole bucket compared with the ledger, each night")


def _by_clock(name: str, schedule: str, how: str, description: str) -> CronWorkflow:
    """One at a time. When the controller was away, the last one that was missed is made up for, unless it is old."""
    labels = {"app.kubernetes.io/part-of": "lookout", "app.kubernetes.io/component": name}
    return CronWorkflow(
        name=name,
        labels=labels,
        annotations={"workflows.argoproj.io/description": description},
        schedules=[schedule],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=50,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        workflow_template_ref=WorkflowTemplateRef(name="backfill"),
        priority=5,
        arguments=[Parameter(name="kind", value="live"), Parameter(name="reconcile", value=how)],
    )
