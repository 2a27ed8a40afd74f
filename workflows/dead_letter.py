"""What becomes of an event that no workflow was made of: its object is entered into the ledger, as it is now.

Most of these are repeats of an event whose workflow is there already, so the ledger knows the object and nothing is to
do. Of the others, what is new waits then, and the next reconcile works on it.
"""

from __future__ import annotations

from hera.workflows import Parameter, WorkflowTemplate

from workflows.parts import HOUR_S, life, operator, single


def dead_letter() -> WorkflowTemplate:
    """``lookout look`` at the event's object."""
    with WorkflowTemplate(
        entrypoint="look",
        arguments=[Parameter(name="object", description="bucket/key of the event")],
        priority=5,
        **life("dead-letter", "An event of which no workflow was made", deadline_s=HOUR_S),
    ) as made:
        single("look", operator("look", "look", "--", "{{workflow.parameters.object}}"))
    return made
