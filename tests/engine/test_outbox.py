"""The outbox: each alert once, whatever the channel answers and whatever dies."""

from __future__ import annotations

import pytest

from lookout.datum import AlertState
from lookout.ledger.base import Delivered
from lookout.outbox import Letter, Outbox, Request

from .world import Postbox, Posting, World

UNKNOWN = Delivered(state=AlertState.UNKNOWN, error="the answer never came")
REFUSED = Delivered(state=AlertState.PENDING, error="connection refused", due_at_s=0.0, closed=True)


def alert_states(world: World) -> list[str]:
    with world.ledger() as ledger:
        return [alert.state.value for alert in ledger.alerts()]


def sent_ids(world: World) -> list[str]:
    return [alert_id for ids, _ in world.postbox.sent() for alert_id in ids]


def test_a_sent_alert_keeps_its_message_id(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    with world.ledger() as ledger:
        (alert,) = ledger.alerts()
    assert (alert.state, alert.message_id, alert.tries) == (AlertState.SENT, "m1", 1)
    assert world.postbox.letters[0].evidence == {alert.id: b"alarm\nALARM"}


def test_an_unknown_end_is_repeated_with_a_mark_until_it_is_known(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [UNKNOWN, REFUSED, UNKNOWN, UNKNOWN]
    for _ in range(6):
        world.run()
        world.now_s += 6 * 3600
    assert [resend for _, resend in world.postbox.sent()] == [False, True, True, True, True]
    assert alert_states(world) == ["sent"]


def test_a_repeat_waits_for_its_pause(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [UNKNOWN]
    world.run()
    world.now_s += 299
    world.run()
    assert len(world.postbox.letters) == 1
    world.now_s += 2
    world.run()
    assert alert_states(world) == ["sent"]


def test_what_was_certainly_not_delivered_goes_with_the_next_run(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [REFUSED]
    world.run()
    assert alert_states(world) == ["pending"]
    world.run()
    assert alert_states(world) == ["sent"]
    assert [resend for _, resend in world.postbox.sent()] == [False, False]


def test_a_channel_that_asks_to_wait_ends_the_round(world: World) -> None:
    for i in range(3):
        world.put(f"a/{i}", "alarm")
    later_s = world.now_s + 100
    world.postbox.answers = [Delivered(state=AlertState.PENDING, error="429", due_at_s=later_s, closed=True)]
    world.run()
    assert len(world.postbox.letters) == 1
    world.run()
    assert alert_states(world).count("pending") == 1, "the one that was told to wait waits"
    world.now_s = later_s + 1
    world.run()
    assert alert_states(world) == ["sent"] * 3


def test_a_refused_alert_is_dead_and_a_person_can_have_it_sent_again(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [Delivered(state=AlertState.DEAD, error="400 bad address")]
    world.run()
    world.run()
    assert alert_states(world) == ["dead"]
    with world.ledger() as ledger:
        assert ledger.resend_alerts([alert.id for alert in ledger.alerts()]) == 1
    world.run()
    assert alert_states(world) == ["sent"]


@pytest.mark.parametrize(("alarms", "letters"), [(3, 3), (4, 1)])
def test_more_alerts_than_letters_allowed_become_one_digest(world: World, alarms: int, letters: int) -> None:
    for i in range(alarms):
        world.put(f"a/{i}", "alarm")
    ran = world.run(max_letters=3)
    assert len(world.postbox.letters) == letters
    assert len(sent_ids(world)) == alarms
    assert ran.digests == (letters == 1)


def test_in_a_long_watch_letters_are_counted_by_the_hour_and_digests_leave_minutes_apart(world: World) -> None:
    """The window of a watch: three letters an hour, then a digest every five minutes, and letters again after it."""
    for i in range(9):
        world.put(f"a/{i}", "alarm")
    world.postbox.answers = [Delivered(state=AlertState.PENDING, error="429", due_at_s=world.now_s + 9, closed=True)]
    world.run()
    began_s = world.now_s
    with world.ledger() as ledger, ledger.session() as owner, world.runner() as runner:
        waiting = [alert.id for alert in ledger.alerts()]
        outbox = Outbox(
            ledger=Only(ledger, waiting),
            store=runner.store,
            channel=lambda: world.postbox,
            owner=owner,
            clock=lambda: world.now_s,
            max_letters=3,
            window_s=3600.0,
            digest_every_s=300.0,
        )
        world.postbox.letters.clear()

        def after(seconds: float, released: int) -> tuple[list[int], float | None]:
            world.now_s = began_s + seconds
            outbox.ledger.released = released
            before = len(world.postbox.letters)
            due_at_s = outbox.dispatch()
            return [len(letter.alerts) for letter in world.postbox.letters[before:]], due_at_s

        assert after(10, 3) == ([1, 1, 1], None)
        assert after(20, 5) == ([2], None), "the hour's letters are used up: the next two are one digest"
        assert after(30, 6) == ([], began_s + 320), "digests leave five minutes apart"
        assert after(321, 7) == ([2], None)
        assert after(3700, 8) == ([1], None), "an hour later single letters leave again"
        assert outbox.digests == 2


class Only:
    """A ledger of which the outbox sees the first few alerts, as if the others had not been made yet."""

    def __init__(self, ledger, ids) -> None:
        self._ledger, self._ids = ledger, ids
        self.released = 0

    def alerts(self, **chosen):
        return self._ledger.alerts(ids=self._ids[: self.released], **chosen)

    def __getattr__(self, name):
        return getattr(self._ledger, name)


def test_retraction_cancels_what_was_not_sent_yet(world: World) -> None:
    path = world.put("a/1", "alarm")
    world.postbox.answers = [Delivered(state=AlertState.PENDING, error="429", due_at_s=world.now_s + 1e6)]
    world.run()
    path.unlink()
    world.run()
    assert alert_states(world) == ["canceled"]
    assert len(world.postbox.letters) == 1


def test_an_alert_whose_picture_is_lost_is_sent_without_it(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [REFUSED]
    world.run()
    world.lose("third/a/1.alarm")
    world.run()
    assert world.postbox.letters[-1].evidence == {}
    assert alert_states(world) == ["sent"]


def test_a_connection_that_cannot_be_closed_changes_nothing_of_how_a_letter_ended(world: World) -> None:
    class Sticky(Posting):
        def close(self) -> None:
            raise OSError("it is gone")

    world.postbox.begin = lambda letter: Sticky(world.postbox, letter)  # type: ignore[method-assign]
    world.put("a/1", "alarm")
    world.run()
    world.run()
    assert alert_states(world) == ["sent"]
    assert len(world.postbox.letters) == 1


def test_what_is_refused_for_a_while_holds_up_no_other_letter_of_a_run(world: World) -> None:
    for i in range(6):
        world.put(f"a/{i}", "alarm")
    world.postbox.answers = [Delivered(state=AlertState.PENDING, error="403 sender", due_at_s=world.now_s + 900)] * 2
    world.run()
    assert sorted(alert_states(world)) == ["pending"] * 2 + ["sent"] * 4


def test_letters_that_cannot_be_made_ready_hold_up_no_other_of_a_run(world: World) -> None:
    class Unready(Postbox):
        def begin(self, letter: Letter) -> Request:
            if any(alert.draft.picture_key < "a/5" for alert in letter.alerts):
                raise RuntimeError("it cannot be rendered")
            return super().begin(letter)

    world.postbox = Unready(world.root / "letters")
    for i in range(7):
        world.put(f"a/{i}", "alarm")
    world.run()
    assert sorted(alert_states(world)) == ["pending"] * 5 + ["sent"] * 2
