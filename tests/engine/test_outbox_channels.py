"""Alerts of several channels in one outbox: each has its own letters, digests and ends, and none stops another."""

from __future__ import annotations

import pytest

from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.outbox import NOT_SET_UP_S

from .world import Postbox, World

HOME = "webhook:home"
CLOSED = Delivered(state=AlertState.PENDING, error="connection refused", closed=True)


@pytest.fixture
def home(world: World) -> Postbox:
    """The channel of a webhook, beside the one of the mail."""
    world.postboxes[HOME] = Postbox(world.root / "home", name=HOME)
    return world.postboxes[HOME]


def put(world: World, count: int, *, by_home: int) -> None:
    for number in range(count):
        world.put(f"m/{number}", "alarm")
    for number in range(by_home):
        world.put(f"w/{number}", f"alarm by {HOME} now")


def states(world: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with world.ledger() as ledger:
        for alert in ledger.alerts():
            found.setdefault(alert.draft.channel, []).append(alert.state.value)
    return found


def test_an_alert_leaves_by_the_channel_that_it_names(world: World, home: Postbox) -> None:
    put(world, 2, by_home=1)
    world.run()
    assert states(world) == {"mail": ["sent"] * 2, HOME: ["sent"]}
    assert [letter.alerts[0].draft.picture_key for letter in home.letters] == ["w/0"]
    assert len(world.postbox.letters) == 2


def test_a_channel_that_is_down_does_not_end_the_round_of_another(world: World, home: Postbox) -> None:
    put(world, 4, by_home=4)
    world.postbox.answers = [CLOSED] * 9
    world.run()
    assert len(world.postbox.letters) == 1, "one letter, then its round ends"
    assert states(world) == {"mail": ["pending"] * 4, HOME: ["sent"] * 4}


def test_a_digest_never_mixes_channels_and_each_channel_has_a_window_of_its_own(world: World, home: Postbox) -> None:
    put(world, 4, by_home=3)
    ran = world.run(max_letters=3)
    assert [len(letter.alerts) for letter in world.postbox.letters] == [4]
    assert [len(letter.alerts) for letter in home.letters] == [1, 1, 1]
    assert ran.digests == 1


class Broken(Postbox):
    """A channel whose letters cannot be made ready."""

    def begin(self, letter: Letter) -> Request:
        raise RuntimeError("cannot be rendered")


def test_letters_of_one_channel_that_cannot_be_made_ready_end_the_round_of_no_other(world: World) -> None:
    world.postboxes[HOME] = Broken(world.root / "broken", name=HOME)
    put(world, 2, by_home=5)
    world.run()
    assert states(world) == {"mail": ["sent"] * 2, HOME: ["pending"] * 5}


def test_a_channel_that_is_not_set_up_holds_its_alerts_with_the_reason_until_it_is(world: World) -> None:
    put(world, 1, by_home=2)
    world.run()
    assert states(world) == {"mail": ["sent"], HOME: ["pending"] * 2}
    with world.ledger() as ledger:
        (tried, _) = sorted(
            (alert for alert in ledger.alerts() if alert.draft.channel == HOME), key=lambda alert: -alert.tries
        )
    assert (tried.tries, tried.doubts) == (1, 0)
    assert tried.due_at_s == pytest.approx(world.now_s + NOT_SET_UP_S, abs=1.0)
    assert "nothing is set for the channel webhook:home" in str(tried.error)
    world.postboxes[HOME] = Postbox(world.root / "home", name=HOME)
    world.now_s += NOT_SET_UP_S
    world.run()
    assert states(world)[HOME] == ["sent"] * 2
