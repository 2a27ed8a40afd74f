"""Workflow for one batch, or one new object, through the four stages: a chain of their containers in one pod."""

from __future__ import annotations

from typing import Final

from hera.workflows import Parameter, WorkflowTemplate
from hera.workflows.models import LabelValueFrom

from workflows.limits import PIPELINES
from workflows.parts import HOUR_S, RUN, chain, closing, life, limit, stage, verdict, verdict_outputs

_DEVICE: Final = (
    'sprig.trimAll("-", sprig.trunc(63, sprig.regexReplaceAll("[^A-Za-z0-9]+",'
    ' sprig.regexReplaceAll("_?[0-9]*[.][A-Za-z]+$", sprig.base(workflow.parameters.object), ""), "-")))'
)
"""The device of ``images/some/where/porch_1763798400.jpg``, porch, as a label may be."""


def pipeline() -> WorkflowTemplate:
    """Exactly one of ``batch`` and ``object`` is given; the stages refuse anything else."""
    work = ("--batch={{workflow.parameters.batch}}", "--object={{workflow.parameters.object}}")
    described = life("pipeline", "One batch, or one new object, through the four stages", deadline_s=HOUR_S)
    shown = described["workflow_metadata"]
    shown.labels_from = {"lookout/device": LabelValueFrom(expression=_DEVICE)}
    shown.annotations = {"workflows.argoproj.io/title": "`{{workflow.parameters.object}}{{workflow.parameters.batch}}`"}
    with WorkflowTemplate(
        entrypoint="stages",
        arguments=[
            Parameter(name="batch", value="", description="the id of a batch"),
            Parameter(name="object", value="", description="bucket/key of a new, changed or deleted picture"),
        ],
        priority=10,
        synchronization=limit(PIPELINES),
        on_exit="at-exit",
        **described,
    ) as made:
        chain(
            "stages",
            [
                stage("validate", RUN, *work),
                stage("object-detect", RUN, *work),
                stage("threat-detect", RUN, *work),
                stage("plot", RUN, *work),
                verdict(*work),
            ],
            outputs=verdict_outputs(),
        )
        closing(*work)
    return made
