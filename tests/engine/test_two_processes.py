"""Two processes on one state at once share the work, and the end is the same as of one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from .world import World


def _run(root: Path, barrier: object) -> None:
    world = World(root=root)
    barrier.wait()  # type: ignore[attr-defined]
    world.run(max_letters=1000)


def test_two_runs_at_once_end_as_one_run_does(tmp_path: Path) -> None:
    alone, shared = World(root=tmp_path / "alone"), World(root=tmp_path / "shared")
    for world in (alone, shared):
        for i in range(300):
            world.put(f"a/{i:03}", "alarm" if i % 3 else "bad")
    alone.run(max_letters=1000)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    runs = [context.Process(target=_run, args=(shared.root, barrier)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    assert shared.results() == alone.results()
    assert shared.live() == alone.live()
    ids = [alert_id for letter, _ in shared.postbox.sent() for alert_id in letter]
    assert len(ids) == len(set(ids)) == 200
