"""Status beside the page, written by a command that is run on a schedule, where no run and no watch lives on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lookout.app.deployment import PLOT, Deployment
from lookout.domain.pipeline import Pipeline
from lookout.runs.status_file import StatusFile


@contextmanager
def reporting(opened: Deployment, *, wanted: bool) -> Iterator[None]:
    """Report how the deployment stands at the end of the block, also after an error; do nothing unless ``wanted``."""
    try:
        yield
    finally:
        if wanted:
            status_file(opened, opened.pipeline_in_force()).report_once()


def status_file(opened: Deployment, pipeline: Pipeline) -> StatusFile:
    """Make the writer of the status beside the page of the deployment."""
    return StatusFile(pipeline=pipeline, ledger=opened.ledger, store=opened.store, bucket=PLOT, clock=time.time)
