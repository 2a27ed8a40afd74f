"""Deletions that look like an accident: held back, told, counted over a day, settled by a word; all else goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lookout.sources.deletion_guard import WINDOW_S, DeletionGuard, find_held, keep_retention
from lookout.sources.ingest import Intake

from .world import World

DAY_S = 24 * 3600.0


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def fill(world: World, number: int = 60) -> list[Path]:
    paths = [world.source / f"a/{n:02}" for n in range(number)]
    for path in paths:
        world.put(path.relative_to(world.source).as_posix(), f"text {path.name}")
    world.run()
    return paths


def live(world: World) -> int:
    return world.states().get("first", {}).get("success", 0)


def held(world: World) -> int:
    with world.ledger() as ledger:
        found = find_held(ledger)
    return found.pictures if found is not None else 0


def test_what_is_new_or_changed_is_taken_in_while_deletions_are_held_back(world: World) -> None:
    paths = fill(world)
    for path in paths[:30]:
        path.unlink()
    world.put("a/new", "alarm")
    world.put("a/59", "changed")
    ran = world.run()
    assert (ran.taken.held, ran.taken.gone, ran.taken.differed) == (30, 0, 2)
    assert "third/a/new.alarm" in world.results()
    assert world.results()["first/good/a/59"] == b"changed"
    assert "first/good/a/00" in world.results()
    assert [alert for alerts, _ in world.postbox.sent() for alert in alerts], "who must be told is told"


def test_held_deletions_are_shown_until_a_word_settles_them(world: World) -> None:
    paths = fill(world)
    for path in paths[:30]:
        path.unlink()
    world.run()
    with world.ledger() as ledger:
        found = find_held(ledger)
    assert found is not None
    assert str(found) == "30 of 60 pictures are gone; the results of 30 are kept"
    since_s = found.since_s
    world.now_s += 3600
    assert world.run().taken.held == 30
    with world.ledger() as ledger:
        again = find_held(ledger)
    assert again is not None
    assert again.since_s == since_s, "since when, whatever was looked at later"
    assert world.run(allow_deletions=True).taken.gone == 30
    assert (held(world), live(world)) == (0, 30)


def test_pictures_that_come_back_settle_it_too(world: World) -> None:
    paths = fill(world)
    for path in paths[:30]:
        path.rename(world.root / path.name)
    world.run()
    assert held(world) == 30
    for path in paths[:30]:
        (world.root / path.name).rename(path)
    assert world.run().taken.held == 0
    assert (held(world), live(world)) == (0, 60)


@pytest.mark.parametrize("at_once", [1, 7, 15])
def test_a_slow_removal_of_everything_is_stopped_like_a_quick_one(world: World, at_once: int) -> None:
    """Each look is a new process, so a restart does not begin the count anew."""
    paths = fill(world)
    for first in range(0, 60, at_once):
        for path in paths[first : first + at_once]:
            path.unlink()
        world.now_s += 600
        world.run()
    assert live(world) >= 40
    assert held(world) == live(world)


def test_a_few_deletions_each_day_pass_for_years(world: World) -> None:
    paths = fill(world, 100)
    for day in range(30):
        for path in paths[:15]:
            path.unlink()
        paths = paths[15:]
        for n in range(15):
            paths.append(world.source / f"b/{day:02}-{n:02}")
            world.put(f"b/{day:02}-{n:02}", "later")
        world.now_s += WINDOW_S
        assert world.run().taken.held == 0
    assert live(world) == 100


def test_a_clock_that_was_ahead_when_something_went_holds_nothing_back_for_longer_than_a_day(world: World) -> None:
    paths = fill(world)
    world.now_s += 3650 * DAY_S
    for path in paths[:20]:
        path.unlink()
    assert world.run().taken.gone == 20
    world.now_s -= 3650 * DAY_S
    paths[20].unlink()
    assert world.run().taken.held == 1, "they still count"
    for path in paths[21:23]:
        path.unlink()
    world.run(allow_deletions=True)
    paths[23].unlink()
    assert world.run().taken.gone == 1, "a word begins the count anew"


def test_pictures_older_than_the_retention_may_all_go(world: World) -> None:
    paths = fill(world)
    world.now_s += 8 * DAY_S
    for n in range(60):
        world.put(f"b/{n:02}", "new")
    world.run()
    with world.ledger() as ledger:
        keep_retention(ledger, 7 * DAY_S)
    for path in paths:
        path.unlink()
    for n in range(30):
        (world.source / f"b/{n:02}").unlink()
    taken = world.run().taken
    assert (taken.gone, taken.held) == (60, 30)
    with world.ledger() as ledger:
        keep_retention(ledger, None)
    assert world.run().taken.held == 30


def test_pictures_whose_results_cannot_be_read_in_the_ledger_are_a_loss_too(world: World) -> None:
    paths = fill(world)
    with closing(sqlite3.connect(world.root / "state" / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE records SET body = 'junk' WHERE stage = 'first'")
    for path in paths[:30]:
        path.unlink()
    assert world.run().taken.held == 30


def test_a_folder_that_is_renamed_loses_nothing(world: World) -> None:
    fill(world)
    (world.source / "a").rename(world.source / "elsewhere")
    taken = world.run().taken
    assert (taken.gone, taken.held, taken.changed) == (60, 0, 60)
    assert live(world) == 60


def test_an_emptied_folder_in_the_place_of_another_is_held_back_however_small(world: World) -> None:
    fill(world, 3)
    world.source.rename(world.root / "unmounted")
    world.source.mkdir()
    with world.ledger() as ledger:
        keep_retention(ledger, 0.001)
    assert world.run().taken.held == 3
    assert live(world) == 3


def test_a_picture_that_cannot_be_read_any_more_when_it_is_needed_passes_the_same_guard(world: World) -> None:
    """A stage that reads the source again looks at each picture by itself: one by one they are many too."""
    paths = fill(world)
    with world.ledger() as ledger:
        intake = Intake(ledger=ledger, bucket="texts", readers=("first",), clock=world.clock)
        for path in paths:
            path.unlink()
            intake.observe_again(path.relative_to(world.source).as_posix())
        assert ledger.count_inputs("texts") == 40
    assert held(world) == 40


def test_changes_that_are_told_one_by_one_are_counted_together(world: World) -> None:
    paths = fill(world)
    with world.ledger() as ledger:
        intake = Intake(ledger=ledger, bucket="texts", readers=("first",), clock=world.clock)
        gone = kept = 0
        for path in paths:
            path.unlink()
            taken = intake.take_changes(world.source, [path.relative_to(world.source).as_posix()])
            gone, kept = gone + taken.gone, kept + taken.held
    assert (gone, kept) == (20, 40)
    assert held(world) == 40


def test_a_kill_before_the_retraction_counts_it_twice_and_never_less(world: World) -> None:
    paths = fill(world)
    for path in paths[:15]:
        path.unlink()

    with world.ledger() as ledger:  # the note is there, and then the process is gone
        guard = DeletionGuard(
            ledger=ledger, bucket="texts", origin=str(world.source), clock=world.clock, readers=("first",)
        )
        guard.admit(15)
    assert world.run().taken.held == 15, "the safe side: a person is asked"
    assert live(world) == 60
