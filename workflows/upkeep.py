"""What daily work cannot notice, by the clock: letters that wait, results nobody names, versions that expired."""

from __future__ import annotations

from hera.workflows import CronWorkflow

from workflows.parts import HOUR_S, Part, chain, life, operator


def upkeep() -> CronWorkflow:
    """Every five minutes: alerts whose mail could not be sent, when no picture comes whose work would send them."""
    return _by_clock(
        "upkeep",
        "*/5 * * * *",
        "Alerts that wait are sent again",
        [operator("mail", "alerts", "send", secrets=["lookout-mail"])],
    )


def upkeep_full() -> CronWorkflow:
    """Each night: store and ledger compared, what stands on nothing retracted, what nobody names removed."""
    return _by_clock(
        "upkeep-full",
        "53 3 * * *",
        "Store and ledger compared and cleaned up, each night",
        [
            operator("repair", "upkeep", "repair"),
            operator("retract", "upkeep", "retract"),
            operator("gc", "gc"),
        ],
    )


def _by_clock(name: str, schedule: str, description: str, parts: list[Part]) -> CronWorkflow:
    with CronWorkflow(
        schedules=[schedule],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=240,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        entrypoint="upkeep",
        **life(name, description, deadline_s=4 * HOUR_S),
    ) as made:
        chain("upkeep", parts)
    return made
