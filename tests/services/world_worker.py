"""Work of another process on a world on servers: ``python -m tests.services.world_worker``, its task as JSON on stdin.

Runs until nothing is dirty, or once. May freeze itself in a named moment of one datum, as a machine does that swaps,
or whose disk hangs, and die in another.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lookout.domain.errors import LookoutError
from lookout.ledger.etcd import EtcdLedger
from lookout.object_store.minio import MinioStore
from tests.services.world import LiveWorld, Place


class Moments:
    """Signals by moment, each once: by moment and object path, a signal to this process."""

    due: dict[tuple[str, str], int] = {}  # noqa: RUF012 - a process has one

    @classmethod
    def passed(cls, moment: str, path: str) -> None:
        if (number := cls.due.pop((moment, path), None)) is not None:
            os.kill(os.getpid(), number)


class TrickyStore(MinioStore):
    def put(self, bucket, key, data, content_type, **more):
        Moments.passed("before put", f"{bucket}/{key}")
        ref = super().put(bucket, key, data, content_type, **more)
        Moments.passed("after put", f"{bucket}/{key}")
        return ref

    def publish(self, changes):
        for change in changes:
            Moments.passed("before publish", f"{change.bucket}/{change.key}")
        super().publish(changes)
        for change in changes:
            Moments.passed("after publish", f"{change.bucket}/{change.key}")


class TrickyLedger(EtcdLedger):
    def commit(self, outcomes):
        for _, outcome in outcomes:
            for ref in outcome.record.outputs if outcome.record is not None else ():
                Moments.passed("before commit", ref.path)
        return super().commit(outcomes)


class WorkerWorld(LiveWorld):
    store_kind = TrickyStore
    ledger_kind = TrickyLedger

    def begin(self) -> None:
        """The test has made the buckets."""


def main() -> int:
    task = json.loads(sys.stdin.readline())
    Moments.due = {(moment, path): number for moment, path, number in task.get("moments", ())}
    world = WorkerWorld(root=Path(task["root"]), place=Place(**task["place"]))
    try:
        if task.get("until_done"):
            world.run_until_done()
        else:
            world.run(max_letters=100_000)
    except LookoutError as exc:
        sys.stderr.write(f"{type(exc).__name__}: {exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
