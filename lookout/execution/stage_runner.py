"""Runner of stages in a worker: reads the inputs of a job, runs the pure stage, and puts the outputs.

Outputs are versions that nobody sees yet, and only the small description of them goes back. Knows no ledger: the
engine's commit decides what counts.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, cast

from lookout.domain.errors import find_lack
from lookout.domain.pipeline import Prepare, Run, load
from lookout.domain.records import Input, LoadedReference, ObjectRef, Reference, Work
from lookout.execution.jobs import Job, JobInput, StageRun
from lookout.object_store.port import ObjectReader, ObjectStore

PREPARED_STAGES_KEPT: Final = 256
"""Prepared stages that a worker keeps: one a stage, and one a set of references that selects differently."""


class StageRunner:
    """Runner of jobs, one after another in this process; it keeps prepared stages for the next."""

    def __init__(self, store: ObjectStore, kept: int = PREPARED_STAGES_KEPT) -> None:
        self._store, self._kept = store, kept
        self._prepared: OrderedDict[str, Run] = OrderedDict()

    def run(self, job: Job) -> StageRun:
        """Do one job. Raises what the stage or the store raises; versions put for a failed job are discarded."""
        started_at_s = time.time()
        stage = self.prepare(job)
        inputs = {item.role: self._read(item) for item in job.inputs}
        result = stage(Work(key=job.key, inputs=inputs, known=job.known, tallies=job.tallies, members=job.members))
        outputs: list[ObjectRef] = []
        try:
            for output in result.outputs:
                known = _digest_of(output.data, inputs.values())
                outputs.append(
                    self._store.put(
                        job.stage,
                        output.key,
                        output.data,
                        output.content_type,
                        known_sha256=known,
                        made_by=job.made_by,
                    )
                )
        except BaseException:
            self._store.discard(outputs)
            raise
        return StageRun(
            outputs=tuple(outputs),
            facts=result.facts,
            counts=dict(result.counts),
            label=result.label,
            at_s=result.at_s,
            group=result.group,
            alerts=result.alerts,
            verdicts=result.verdicts,
            started_at_s=started_at_s,
            finished_at_s=time.time(),
        )

    def attempt(self, job: Job) -> StageRun:
        """Do one job, whatever comes of it.

        A stage that cannot be prepared for lack of something, or a machine without files or threads left, gives
        Unavailable: that is no datum's fault. A datum for which the memory does not suffice is at fault.
        """
        try:
            self.prepare(job)
        except Exception as exc:  # noqa: BLE001 - as below
            return StageRun(error=find_lack(exc) or exc)
        try:
            return self.run(job)
        except MemoryError:
            return StageRun(error=MemoryError("the memory of its process does not suffice for it"))
        except Exception as exc:  # noqa: BLE001 - any failure of a stage is the datum's, never the engine's
            return StageRun(error=find_lack(exc) or exc)

    def prepare(self, job: Job) -> Run:
        """Make the stage ready with the job's parameters and references, or give it as it was for an earlier job."""
        run = self._prepared.get(job.prepared)
        if run is None:
            loaded = [
                LoadedReference(reference=reference, data=_load_files(self._store, reference))
                for reference in job.references
            ]
            run = cast(Prepare, load(job.prepare))(job.params, loaded)
            self._prepared[job.prepared] = run
            if len(self._prepared) > self._kept:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(job.prepared)
        return run

    def _read(self, item: JobInput) -> Input:
        too_large = item.max_bytes is not None and item.ref.size > item.max_bytes
        data = b"" if too_large else self._store.get(item.ref)
        return Input(
            role=item.role, ref=item.ref, data=data, observed_at_s=item.observed_at_s, planned_at_s=item.planned_at_s
        )


def _digest_of(data: bytes, inputs: Iterable[Input]) -> str | None:
    """Give the digest of bytes that are those of a whole input, handed on as they are; None for any other."""
    return next((seen.ref.sha256 for seen in inputs if seen.data is data and len(data) == seen.ref.size), None)


def _load_files(store: ObjectReader, reference: Reference) -> dict[str, bytes]:
    return {role: store.get(ref) for role, ref in reference.files.items()}
