"""Workflow for dead letters, events that started no workflow: it records their objects in the ledger, as they are now.

Most of these are repeats of an event whose workflow exists already, so the ledger knows the object and nothing is to
do. Of the others, new objects are then dirty, and the next reconcile works on them.
"""

from __future__ import annotations

from hera.workflows import Parameter, WorkflowTemplate

from workflows.parts import HOUR_S, life, operator, single


def dead_letter() -> WorkflowTemplate:
    """Return the workflow that runs ``lookout look`` at the event's object."""
    with WorkflowTemplate(
        entrypoint="look",
        arguments=[Parameter(name="object", description="bucket/key of the event")],
        priority=5,
        **life("dead-letter", "An event that started no workflow", deadline_s=HOUR_S),
    ) as made:
        single("look", operator("look", "look", "--", "{{workflow.parameters.object}}"))
    return made
