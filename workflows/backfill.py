"""Workflow for many pictures by several workers: a range of pictures, or the backlog, is cut and pulled in batches."""

from __future__ import annotations

from typing import Final

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from workflows.limits import WORKERS
from workflows.parts import (
    DAY_S,
    RUN,
    chain,
    closing,
    life,
    limit,
    operator,
    output,
    single,
    stage,
    verdict,
    verdict_outputs,
)

_WORKERS_TO: Final = "/tmp/workers"  # noqa: S108 - the container's own volume
_WORKERS: Final = "{{tasks.plan.outputs.parameters.workers}}"
_PULL: Final = "--pull={{workflow.name}}"

ARGUMENTS: Final = (
    Parameter(name="prefix", value="", description="only pictures whose key begins with this"),
    Parameter(name="since", value="", description="only pictures taken then or later, e.g. 2025-11-22"),
    Parameter(name="until", value="", description="only pictures taken before then"),
    Parameter(
        name="stage",
        value="",
        enum=["", "validate", "object-detect", "threat-detect", "plot"],
        description="with force: from this stage on",
    ),
    Parameter(name="force", value="false", enum=["false", "true"], description="do finished datums again"),
    Parameter(name="size", value="200", description="pictures in a batch, 1000 at most"),
    Parameter(name="workers", value="2", description="workers at most; how many run at once is a limit of its own"),
    Parameter(name="kind", value="backfill", enum=["backfill", "live"], description="live batches are taken first"),
    Parameter(
        name="reconcile",
        value="none",
        enum=["none", "recent", "full"],
        description="compare with listings first: keys after the last one of each device, or all",
    ),
)


def backfill() -> WorkflowTemplate:
    """Return the workflow: plan, then as many workers as there is work for, then charts and verdict. With nothing to
    do, plan only."""
    with WorkflowTemplate(
        entrypoint="backfill",
        arguments=list(ARGUMENTS),
        priority=0,
        on_exit="at-exit",
        **life("backfill", "Many pictures by several workers, in batches", deadline_s=DAY_S),
    ) as made:
        plan = single(
            "plan",
            operator(
                "plan",
                "batches",
                "cut",
                RUN,
                *(f"--{name}={{{{workflow.parameters.{name}}}}}" for name in (one.name for one in ARGUMENTS)),
                f"--workers-to={_WORKERS_TO}",
                "--page-status",
            ),
            outputs=[output("workers", _WORKERS_TO)],
        )
        work = chain(
            "work",
            [stage("validate", _PULL), stage("object-detect", _PULL), stage("threat-detect", _PULL)],
            inputs=[Parameter(name="worker")],
            synchronization=limit(WORKERS),
        )
        end = chain("end", [stage("plot", _PULL), verdict()], outputs=verdict_outputs())
        closing()
        with DAG(name="backfill"):
            Task(name="plan", template=plan)
            number = Parameter(name="worker", value="{{item}}")
            Task(name="work", template=work, depends="plan", with_param=_WORKERS, arguments=[number])
            Task(name="end", template=end, depends="work", when=f"'{_WORKERS}' != '[]'")
    return made
