"""kill -9 of the real pipeline at some boundaries between two writes: the next run ends where an undisturbed one does.

The runs that die are processes of their own, forked from a server that has loaded the stages and opened no model.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from tests.engine.boundaries import kill_at

from .conftest import Finished
from .site import CUP, PERSON, Site, rule

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


def nothing(_site: Site) -> None:
    """Leave all as it is before the next run."""


def change_names(site: Site) -> None:
    """Give the run under test a picture that only a devices file reads."""
    site.put_as(PERSON, "porch_20251122003000.jpg")
    site.put_devices({"names": [{"preset": "reolink"}], "zone": "UTC"})


def correct_zone(site: Site) -> None:
    """Correct the zone, while a run may have died over the one before."""
    site.put_devices({"names": [{"preset": "reolink"}], "zone": "Europe/Vienna"})


def change_to_version2(site: Site) -> None:
    """Give the run under test a rule of version 2, and two visits that it tells in any order."""
    made = {"user": "home", "classes": ["person"], "from": "lookout@example.com", "to": ["home@example.com"]}
    site.put_rule("visits", json.dumps({"version": 2, "rules": [{**made, "name": "visits", "devices": ["gate"]}]}))
    for ago_s in (900, 100):
        site.put_as(PERSON, f"gate_{int(site.now_s) - ago_s}.jpg")


def _run(root: Path, boundary: int | None, passed: SimpleQueue[int]) -> None:
    count = kill_at(boundary)
    Site(root=root).run()
    passed.put(count())


@pytest.mark.parametrize(
    ("before", "after"), [(change, nothing), (change_names, correct_zone), (change_to_version2, nothing)]
)
def test_a_kill_changes_nothing_in_the_end(
    finished: Finished, before: Callable[[Site], None], after: Callable[[Site], None]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    passed: SimpleQueue[int] = context.SimpleQueue()
    boundary: int | None = None
    expected, boundaries = None, 0
    for share in range(KILLS + 1):
        site = finished.begin()
        before(site)
        boundary = boundaries * share // (KILLS + 1) or None
        run = context.Process(target=_run, args=(site.root, boundary, passed))
        run.start()
        run.join()
        assert run.exitcode == (0 if boundary is None else -signal.SIGKILL)
        after(site)
        site.run()
        if boundary is None:
            boundaries, expected = passed.get(), site.end()
            assert boundaries > 100
        else:
            assert site.end() == expected, f"killed at boundary {boundary} of {boundaries}"
