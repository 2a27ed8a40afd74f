"""Source of a deployment's inputs, asked about one picture: the bucket, or the folder of this state."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lookout.app.deployment import Deployment
from lookout.sources.ingest import SOURCE_NOTE, BucketIntake, Intake
from lookout.sources.input_source import InputSource


def input_source(opened: Deployment) -> InputSource:
    """Give the source of this deployment. It takes pictures that are not known yet, too, where the state has one."""
    inputs, readers = opened.pipeline.inputs, opened.installation.readers
    if opened.bucket is not None:
        return BucketIntake(ledger=opened.ledger, source=opened.bucket, bucket=inputs, readers=readers, clock=time.time)
    intake = Intake(ledger=opened.ledger, bucket=inputs, readers=readers, clock=time.time)
    root = opened.ledger.find_note(SOURCE_NOTE)
    return intake if root is None else _BoundFolder(intake=intake, root=Path(root))


@dataclass(frozen=True, kw_only=True)
class _BoundFolder:
    intake: Intake
    root: Path

    def observe_again(self, key: str) -> None:
        self.intake.take_changes(self.root, [key])
