"""Scheduled maintenance: alerts that wait, orphaned results, expired versions.

Each is a WorkflowTemplate and a CronWorkflow of the same name that refers to it: the controller runs nothing else.
"""

from __future__ import annotations

from hera.workflows import CronWorkflow, WorkflowTemplate

from workflows.parts import CHANNELS_SECRET, HOUR_S, MAIL_SECRET, Part, by_clock, chain, life, operator

_SOON_S = 240


def upkeep() -> WorkflowTemplate:
    """Return the workflow that sends alerts whose mail failed, when no new picture starts work that would send them."""
    return _template(
        "upkeep",
        "Sending of waiting alerts",
        [operator("mail", "alerts", "send", "--page-status", secrets=[MAIL_SECRET, CHANNELS_SECRET])],
    )


def upkeep_full() -> WorkflowTemplate:
    """Return the workflow that compares store and ledger: orphaned datums are retracted, orphaned results removed."""
    return _template(
        "upkeep-full",
        "Comparison and clean-up of store and ledger, each night",
        [
            operator("repair", "upkeep", "repair"),
            operator("retract", "upkeep", "retract"),
            operator("gc", "gc"),
        ],
    )


def upkeep_by_clock() -> tuple[CronWorkflow, CronWorkflow]:
    """Return the schedules: every four minutes, and each night. The page calls a status of more than five minutes
    stale, and a ``reconcile`` with much work keeps the next one, which would renew it, from starting."""
    return (
        by_clock("upkeep", "*/4 * * * *", "Sending of waiting alerts", "upkeep", start_within_s=_SOON_S),
        by_clock("upkeep-full", "53 3 * * *", "Clean-up, each night", "upkeep-full", start_within_s=_SOON_S),
    )


def _template(name: str, description: str, parts: list[Part]) -> WorkflowTemplate:
    with WorkflowTemplate(entrypoint="upkeep", **life(name, description, deadline_s=4 * HOUR_S)) as made:
        chain("upkeep", parts)
    return made
