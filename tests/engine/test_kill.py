"""kill -9 at every boundary between two writes: the next run, at once, ends where an undisturbed one does.

A child process runs the whole engine and kills itself before its n-th file operation or SQL statement, for every n.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from .boundaries import kill_at
from .world import World

SHARES = 4
"""In how many tests the boundaries are dealt out. The short form is one: every fourth boundary."""


def change(world: World) -> None:
    """Give the run under test its work: a new, a changed, a worse, a deleted text, and another word."""
    world.put("a/new", "alarm new")
    world.put("a/changed", "alarm other")
    world.put("b/worse", "bad")
    (world.source / "b/deleted").unlink()
    (world.root / "words" / "all.txt").write_text("?")


def first_state(world: World) -> None:
    (world.root / "words").mkdir()
    (world.root / "words" / "all.txt").write_text("!")
    for key, text in {
        "a/changed": "alarm",
        "b/worse": "alarm worse",
        "b/deleted": "alarm deleted",
    }.items():
        world.put(key, text)
    run(world)


def run(world: World) -> None:
    world.run(references={"words": world.root / "words"})


def end_state(world: World) -> dict[str, object]:
    with world.ledger() as ledger:
        alerts = {alert.id: alert.state.value for alert in ledger.alerts()}
        dirty = {stage.name: ledger.count_dirty(stage.name) for stage in world.pipeline.stages}
        with ledger.unpublished() as changes:
            unpublished = list(changes)
        tallies = ledger.tallies()
        inputs = [(seen.key, seen.ref) for seen in ledger.inputs("texts")]
    return {
        "live": world.live(),
        "results": world.results(),
        "states": world.states(),
        "alerts": alerts,
        "dirty": dirty,
        "unpublished": unpublished,
        "tallies": tallies,
        "inputs": [(key, ref and ref.sha256) for key, ref in inputs],
    }


def dies_at(boundary: int, action: Callable[[], None]) -> bool:
    """Run the action in a child that kills itself at the boundary; False when it ended before reaching it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            kill_at(boundary)
            action()
            status = 0
        except BaseException:  # noqa: BLE001 - the child must never go on as a second test process
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(ended) == 0, f"the child failed by itself before boundary {boundary}"
    return False


class Trial:
    """One state from which each trial begins anew, in the same place, and the end of an undisturbed run from it."""

    def __init__(self, root: Path) -> None:
        self._saved, self._place = root / "saved", root / "world"
        first_state(World(root=self._place))
        self._place.rename(self._saved)
        calm = self.begin()
        run(calm)
        self._expected = end_state(calm)

    def begin(self) -> World:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._saved, self._place)
        world = World(root=self._place)
        change(world)
        return world

    def check(self, world: World, where: str) -> None:
        assert end_state(world) == self._expected, where
        _check_letters(world, where)


def _check_letters(world: World, where: str) -> None:
    """Each alert was sent once. A letter after a try whose end is not known says so, and is the last."""
    for alert_id in {alert_id for ids, _ in world.postbox.sent() for alert_id in ids}:
        repeats = [resend for ids, resend in world.postbox.sent() if alert_id in ids]
        assert repeats in ([False], [True], [False, True]), where


@pytest.mark.parametrize("share", [0, *(pytest.param(share, marks=pytest.mark.slow) for share in range(1, SHARES))])
def test_a_kill_at_every_write_boundary_changes_nothing_in_the_end(tmp_path: Path, share: int) -> None:
    trial = Trial(tmp_path)
    for boundary in count(1 + share, SHARES):
        world = trial.begin()
        died = dies_at(boundary, partial(run, world))
        if died:
            run(world)
        trial.check(world, f"killed at boundary {boundary}")
        if not died:
            break
    assert boundary > 100, "far fewer boundaries than the work has writes"


@pytest.mark.slow
def test_a_kill_in_the_recovery_from_a_kill_changes_nothing_in_the_end(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    chance = random.Random(1)
    for _ in range(500):
        first, second = chance.randint(1, 250), chance.randint(1, 250)
        world = trial.begin()
        dies_at(first, partial(run, world))
        dies_at(second, partial(run, world))
        run(world)
        trial.check(world, f"killed at boundary {first} and then at {second}")
