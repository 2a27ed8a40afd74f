"""Trouble with devices by the real command: found, shown, told once by a mail."""

from __future__ import annotations

import email
import email.policy
import shutil
import time

from .shell import CALM, PHOTOS, World

OPERATOR = {"LOOKOUT_OPERATOR": "me@example.com", "LOOKOUT_OPERATOR_FROM": "lookout@example.com"}


def freeze(world: World) -> int:
    """A camera that has sent the same picture for some minutes; the time of the first."""
    world.photos.mkdir()
    # Within one day in UTC, whenever this runs.
    now = int(time.time())
    first = max(now - 600, now // 86_400 * 86_400)
    for number in range(10):
        shutil.copyfile(PHOTOS / CALM, world.photos / f"frozen_{first + number}.jpg")
    return first


def test_a_frozen_camera_is_shown_by_status_and_told_once(empty_world: World) -> None:
    world = empty_world
    world.photos.rmdir()
    first = freeze(world)
    world.run()
    (trouble,) = world.lookout("status", "--state", "state", "--json").json["devices"]["troubles"]
    expected = {"device": "frozen", "kind": "identical", "begin_s": first, "end_s": None, "value": 10}
    assert trouble == {**expected, "told_at_s": None}
    told = world.lookout("upkeep", "devices", "--state", "state", "--json", env=OPERATOR).json
    assert told == {"devices": 1, "began": 1, "ended": 0, "told": 1}
    world.lookout("alerts", "send", "--state", "state")
    again = world.lookout("upkeep", "devices", "--state", "state", env=OPERATOR).out
    assert again == "1 device: trouble began 0, ended 0, told 0\n"
    world.lookout("alerts", "send", "--state", "state")
    (letter,) = world.letters()
    mail = email.message_from_bytes(letter.read_bytes(), policy=email.policy.default)
    assert (mail["To"], mail["From"]) == ("me@example.com", "Lookout <lookout@example.com>")
    assert "identical: 10 pictures in a row with the same bytes at frozen" in mail["Subject"]
    text = world.lookout("status", "--state", "state").out
    assert "10 pictures in a row with the same bytes" in text


def test_nobody_is_told_while_no_operator_is_named(empty_world: World) -> None:
    world = empty_world
    world.photos.rmdir()
    freeze(world)
    world.run()
    done = world.lookout("upkeep", "devices", "--state", "state")
    assert (done.out, done.err) == (
        "1 device: trouble began 1, ended 0, told 0\n",
        "nobody is told: LOOKOUT_OPERATOR is not set\n",
    )
    assert world.lookout("alerts", "list", "--state", "state", "--json").out == ""


def test_an_operator_that_cannot_be_told_is_refused(empty_world: World) -> None:
    said = empty_world.refused("upkeep", "devices", "--state", "state", env={"LOOKOUT_OPERATOR": "home"})
    assert "LOOKOUT_OPERATOR" in said
