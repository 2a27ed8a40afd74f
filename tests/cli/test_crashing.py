"""A process in which something dies ends with a code that says so, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .shell import CALM, LOOKOUT, THREAT, World

DEADLINE_S = 90.0

ENTRY = """
import sys, threading
from pathlib import Path
import click
from stages.installation import INSTALLATION
from lookout.app.process import run_command
from lookout.cli import cli
from lookout.domain.errors import Unavailable
from lookout.object_store.folder.store import FolderStore
from lookout.execution.process_pool import ProcessWorkers

def die(how):
    if how == "defect":
        raise ValueError("two\\nlines")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        raise SystemExit(3)
    raise Unavailable("the ledger", "does not answer")

@cli.command(name="die")
@click.argument("how")
def dies(how):
    if how.startswith("main "):
        die(how.removeprefix("main "))
    workers = ProcessWorkers(store=FolderStore(Path("objects")), size=1)
    print(workers.call("os:getpid")(), flush=True)
    thread = threading.Thread(target=die, args=(how,), name="of the test")
    thread.start()
    thread.join()
    if how != "exit":
        threading.Event().wait()
    workers.stop()

cli.get_command = lambda context, name: dies
if __name__ == "__main__":
    sys.exit(run_command(cli, "lookout", obj=INSTALLATION))
"""


def _ended(pid: int) -> bool:
    """Tell whether the process is gone, but for its exit code that nobody took."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _until(is_so: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end_s, f"expected in time: {what}"
        time.sleep(0.01)


def _die(world: World, how: str) -> subprocess.CompletedProcess[str]:
    script = world.root / "entry.py"
    script.write_text(ENTRY)
    return subprocess.run(
        [sys.executable, script, "die", how],
        cwd=world.root,
        env=world.variables(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


# --- threads ---------------------------------------------------------------------------------------------------------


def test_a_thread_that_dies_of_a_defect_ends_its_process_with_70_and_one_event(empty_world: World) -> None:
    done = _die(empty_world, "defect")
    assert done.returncode == 70
    event, said = done.stderr.splitlines()
    assert 'crashed thread="of the test" error=ValueError(' in event
    assert 'traceback="Traceback (most recent call last):\\n' in event
    assert said == "lookout: a defect of Lookout: ValueError in the thread of the test; please report it"
    _until(lambda: _ended(int(done.stdout)), "the end of the worker process")


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("memory", 75, "lookout: memory: Cannot allocate memory; raise the limit (ulimit -v, "),
        ("ledger", 75, "lookout: the ledger: does not answer"),
        ("main defect", 70, "lookout: a defect of Lookout: ValueError in the thread main; please report it"),
        ("main memory", 75, "lookout: memory: Cannot allocate memory; "),
        ("main ledger", 75, "lookout: the ledger: does not answer"),
        ("main exit", 3, ""),
        ("exit", 0, ""),
    ],
)
def test_each_end_of_a_thread_has_its_code(empty_world: World, how: str, code: int, said: str) -> None:
    done = _die(empty_world, how)
    assert done.returncode == code
    assert (done.stderr.splitlines() or [""])[-1].startswith(said)
    assert ("crashed" in done.stderr) == (code == 70)


# --- worker processes ------------------------------------------------------------------------------------------------


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _of_all_threads(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def _maps_shared_memory(pid: int) -> bool:
    """Tell whether the process uses a semaphore with a name, which is a file there."""
    try:
        return "/dev/shm/" in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_a_killed_run_leaves_no_process_and_no_semaphore(empty_world: World, after_s: float) -> None:
    world = empty_world
    world.put(THREAT, CALM)
    with subprocess.Popen(
        [LOOKOUT, "run", "photos", "--state", "state", "--workers", "2"],
        cwd=world.root,
        env=world.variables(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        _until(lambda: len(_of_all_threads(run.pid)) >= 2, "worker processes")
        time.sleep(after_s)  # the moment of the kill is what is tried
        children = _of_all_threads(run.pid)
        assert not any(map(_maps_shared_memory, [run.pid, *children]))
        run.kill()
    _until(lambda: all(map(_ended, children)), "the end of all its processes")


HANGS = """
import os, sys
from pathlib import Path
from lookout.object_store.folder.store import FolderStore
from lookout.execution.process_pool import ProcessWorkers
if __name__ == "__main__":
    workers = ProcessWorkers(store=FolderStore(Path("objects")), size=1)
    print(workers.call("os:getpid")(), flush=True)
    workers.call("re:match", "(a+)+$", "a" * 64 + "b")()
"""


def test_a_worker_that_hangs_in_native_code_ends_with_its_killed_parent(tmp_path: Path) -> None:
    """No thread of Python gets a turn there."""
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    with subprocess.Popen([sys.executable, script], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())

        def ticks() -> int:
            return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[11])

        begun = ticks()
        _until(lambda: ticks() > begun + 20, "a worker that hangs")
        parent.send_signal(signal.SIGKILL)
    _until(lambda: _ended(worker), "the end of the worker")


# --- lack of something -----------------------------------------------------------------------------------------------


def _limited(number: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(number, (limit, limit))


@pytest.mark.parametrize("files", [8, 12, 14, 16, 18])
def test_too_few_files_are_named_with_the_remedy(empty_world: World, files: int) -> None:
    world = empty_world
    world.put(THREAT)
    (world.root / "rules").mkdir()
    command = ("run", "photos", "--state", "state", "--rules", "rules", "--workers", "1")
    said = world.refused(*command, code=75, before=_limited(resource.RLIMIT_NOFILE, files))
    assert "Too many open files; raise the limit (ulimit -n)" in said


@pytest.mark.parametrize("kilobytes", [60_000, 200_000, 250_000])
def test_too_little_memory_is_named_with_the_remedy_and_no_model_is_to_blame(
    empty_world: World, kilobytes: int
) -> None:
    world = empty_world
    world.put(THREAT)
    command = ("run", "photos", "--state", "state", "--workers", "1")
    done = world.lookout(*command, code=75, before=_limited(resource.RLIMIT_AS, kilobytes * 1024))
    assert "ulimit" in done.err
    assert "--model" not in done.err


@contextmanager
def _few_processes(limit: int) -> Iterator[Callable[[], None]]:
    """A group of at most so many processes and threads, which all must end; gives what puts a child into it before it
    begins."""
    root = next((root for root in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if root.is_dir()), Path())
    group = root / f"lookout-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(limit))
    except OSError:
        pytest.skip("limiting the number of processes needs rights that this process lacks")

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield enter
        _until(lambda: not (group / "cgroup.procs").read_text(), "the end of all processes")
    finally:
        group.rmdir()


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 5, 6, 7, 9, 11])
def test_where_no_process_can_be_started_the_run_says_so_and_ends_with_75(empty_world: World, processes: int) -> None:
    world = empty_world
    world.put(THREAT)
    with _few_processes(processes) as enter:
        done = subprocess.run(
            [LOOKOUT, "run", "photos", "--state", "state", "--workers", "2", "--json"],
            cwd=world.root,
            env=world.variables(),
            capture_output=True,
            text=True,
            preexec_fn=enter,
            check=False,
            timeout=90,
        )
    assert "Traceback" not in done.stderr
    assert "model" not in done.stderr
    if done.returncode == 0:
        assert processes > 7
        assert json.loads(done.stdout)["stages"]["object-detect"]["success"] == 1
    else:
        assert done.returncode == 75
        assert "raise the limit (ulimit -u" in done.stderr
        assert done.stdout == ""


def test_a_run_needs_no_room_in_shared_memory(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT)
    full = "mount -t tmpfs -o nr_inodes=1 tmpfs /dev/shm"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", full], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("filling /dev/shm for one process needs rights that this process lacks")
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f"{full} && ! touch /dev/shm/x && {LOOKOUT} run photos --state state --json",
        ],
        cwd=world.root,
        env=world.variables(),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stages"]["object-detect"]["success"] == 1
