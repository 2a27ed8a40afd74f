"""Catch-up: the source of a deployment and its buckets of references are compared with the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from lookout.app.deployment import Deployment
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Refused
from lookout.domain.records import JsonObject
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.notes import read_note
from lookout.ledger.port import Ledger
from lookout.maintenance.renewal import renew
from lookout.references.activation import propose
from lookout.references.from_bucket import take_given
from lookout.sources.comparable import BucketPictures, FolderPictures, Source
from lookout.sources.ingest import SOURCE_ID_NOTE, SOURCE_NOTE
from lookout.sources.reconcile import Reconciled, reconcile, reconcile_recent

_REFUSED_NOTE: Final = "refused"


def take_pictures(opened: Deployment, *, full: bool) -> Reconciled:
    """Compare the source with the pictures that are known: all, or what lies behind the last key of each device."""
    look = reconcile if full else reconcile_recent
    if full:
        renew(opened.pipeline, opened.ledger, time.time())
    return look(opened.ledger, source_of(opened), opened.pipeline.inputs, opened.installation.readers, time.time)


def take_references(opened: Deployment, among: Collection[str] | None = None) -> tuple[list[str], list[Refused]]:
    """Bring into force what was put into these buckets, by default all of references, and the shipped model where none
    is in force: the buckets in which something else is in force than before, and what was refused."""
    changed: list[str] = []
    refused: list[Refused] = []
    if opened.minio is None:
        return changed, refused  # a state folder is given references by a run
    uses = {stage.references.bucket: stage.references for stage in opened.pipeline.stages if stage.references}
    pool = ProcessWorkers(store=opened.store, size=1)
    try:
        for bucket in uses if among is None else among:
            done = take_given(opened.ledger, opened.minio, pool, uses[bucket])
            if bucket == "model" and opened.wants_shipped_model:
                shipped = opened.references({})[bucket]
                done = propose(opened.ledger, opened.store, pool, uses[bucket], shipped).activate()
            changed += [bucket] if done.changed else []
            refused += done.refused
    finally:
        pool.stop()
    return changed, refused


def keep_refused(ledger: Ledger, run: str, refused: Sequence[Refused]) -> None:
    """Remember what this run was the first to see and cannot be used, for its verdict."""
    if run and refused:
        note: JsonObject = {"run": run, "reasons": [one.reason for one in refused]}
        ledger.put_note(_REFUSED_NOTE, json.dumps(note))


def find_refused(ledger: Ledger, run: str) -> list[str]:
    """Give the reasons why references that this run was the first to see cannot be used."""
    return read_note(ledger, _REFUSED_NOTE, "a run and reasons", partial(_read_reasons, run), [])


def _read_reasons(run: str, value: Any) -> list[str]:
    return [str(reason) for reason in value["reasons"]] if value["run"] == run else []


def source_of(opened: Deployment) -> Source:
    """Give the source that the state belongs to. Raises InputRejected when it has none."""
    if opened.minio is not None:
        from lookout.object_store.minio.names import FILE_ENDINGS

        return BucketPictures(store=opened.minio, bucket=opened.pipeline.inputs, endings=FILE_ENDINGS)
    root = opened.ledger.find_note(SOURCE_NOTE)
    if root is None:
        raise InputRejected(
            "this state has no source to compare with", str(opened.path), "run lookout on a folder first"
        )
    identity = opened.ledger.find_note(SOURCE_ID_NOTE)
    return FolderPictures(root=Path(root), bucket=opened.pipeline.inputs, identity=identity, exclude=(opened.path,))
