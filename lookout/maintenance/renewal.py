"""Results that time has made wrong: they are found by their labels, marked, and made again by the next run.

A stage gets the time at which its input was first seen. Where that clock was behind, its verdict may be wrong for
good, though nothing that it reads will ever change. Knows no stage by name and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from lookout.domain.identity import digest
from lookout.domain.pipeline import Pipeline, load
from lookout.domain.records import Mark, State
from lookout.ledger.port import Ledger
from lookout.log import get_logger

log = get_logger(__name__)


def renew(pipeline: Pipeline, ledger: Ledger, now_s: float) -> int:
    """Mark the settled datums whose stage says that they are outdated at ``now_s``, as other ones than they were; says
    how many. Reads labelled slots only; writes nothing when none is outdated."""
    marks = [Mark(stage=stage, key=key) for stage, key in find_outdated(pipeline, ledger, now_s)]
    if not marks:
        return 0
    log.info("outdated", datums=len(marks))
    return ledger.mark(marks, revive=True, salt=digest("outdated/1", now_s)[:16])


def find_outdated(pipeline: Pipeline, ledger: Ledger, now_s: float) -> Iterator[tuple[str, str]]:
    """Give stage and key of the settled datums whose stage says that they are outdated. Reads labelled slots only."""
    for stage in pipeline.stages:
        if stage.outdated is None:
            continue
        is_outdated = load(stage.outdated)
        for slot in ledger.slots(stage.name, states=(State.SUCCESS,), labelled=True):
            record = slot.record
            if record is not None and not slot.dirty and is_outdated(slot.key, record.facts, stage.params, now_s):
                yield stage.name, slot.key
