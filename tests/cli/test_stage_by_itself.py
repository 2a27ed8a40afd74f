"""A container for one picture runs its stage in its own process, one for a batch does not; each logs what it costs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cluster_backfill import Container, containers_of

from .shell import DEADLINE_S, REPOSITORY, THREAT, World
from .stages_kit import run_stage

ONE_JOB = """
import sys
import threading
from pathlib import Path
from lookout.app.stage_worker import OwnProcess
from lookout.object_store.folder.store import FolderStore
from lookout.execution.jobs import Job

def fails(params, references):
    raise ValueError("cannot be used")

def hangs(params, references):
    threading.Event().wait()

job = Job(stage="validate", key="it", prepare=f"__main__:{sys.argv[1]}", params={}, prepared="it")
OwnProcess(FolderStore(Path(sys.argv[2]))).submit([job], 1.0, print)
print("went on")
"""


def costs(world: World, *arguments: str) -> Container:
    """Return the figures of the container's log, read as the benchmarks read it."""
    said = run_stage(world, "validate", *arguments, env={"LOOKOUT_LOG": "info", "TZ": "UTC"}).err
    (found,) = containers_of({("pod", "1-validate"): said}, time.time())
    return found


def test_one_picture_takes_no_process_more_and_a_batch_does(world: World) -> None:
    world.lookout("datums", "invalidate", "validate", THREAT, "--state", "state")
    one = costs(world, f"--object=images/{THREAT}")
    assert one.workers_cpu_s == 0
    assert one.cpu_s > 0
    assert -DEADLINE_S < one.began_s < one.ended_s < 0, "told in UTC, from the program's first line"
    world.lookout("datums", "invalidate", "validate", THREAT, "--state", "state")
    cut = world.lookout("batches", "cut", "--kind", "live", "--state", "state", "--json").json
    batch = costs(world, f"--batch={cut['batches'][0]['id']}", "--workers=1")
    assert batch.workers_cpu_s > 0


@pytest.mark.parametrize(
    ("manner", "code", "said"), [("fails", 0, "cannot be used"), ("hangs", 1, "Timeout")], ids=["fails", "hangs"]
)
def test_a_job_that_overruns_ends_its_process_and_one_that_fails_does_not(
    tmp_path: Path, manner: str, code: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_JOB, manner, tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("went on" in done.stdout) is (code == 0)
