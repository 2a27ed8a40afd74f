"""kill -9 of the real pipeline at some boundaries between two writes: the next run ends where an undisturbed one does.

The runs that die are processes of their own, forked from a server that has loaded the stages and opened no model.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from tests.engine.boundaries import kill_at

from .conftest import Finished
from .site import CUP, Site, rule

LOADED = [
    "lookout.outbox.sender",
    "stages.validate.core",
    "stages.object_detect.core",
    "stages.threat_detect.core",
    "stages.plot.core",
    "tests.pipeline.site",
]
KILLS = 6


def change(site: Site) -> None:
    """Give the run under test its work: a new and a deleted photograph, and another rule."""
    site.put("porch_1763884800.jpg")
    (site.root / "photos" / CUP).unlink()
    site.put_rule("yard", rule("yard", "dog"))


def _run(root: Path, boundary: int | None, passed: SimpleQueue[int]) -> None:
    count = kill_at(boundary)
    Site(root=root).run()
    passed.put(count())


def test_a_kill_changes_nothing_in_the_end(finished: Finished) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    passed: SimpleQueue[int] = context.SimpleQueue()
    boundary: int | None = None
    expected, boundaries = None, 0
    for share in range(KILLS + 1):
        site = finished.begin()
        change(site)
        boundary = boundaries * share // (KILLS + 1) or None
        run = context.Process(target=_run, args=(site.root, boundary, passed))
        run.start()
        run.join()
        if boundary is None:
            assert run.exitcode == 0
            boundaries, expected = passed.get(), site.end()
            assert boundaries > 100
        else:
            assert run.exitcode == -signal.SIGKILL
            site.run()
            assert site.end() == expected, f"killed at boundary {boundary} of {boundaries}"
