"""The outbox: each alert once, whatever the channel answers and whatever dies."""

from __future__ import annotations

import pytest

from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.outbox import Outbox
from lookout.outbox.sent_journal import JournaledChannel

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


class Picky(Postbox):
    """A channel that refuses letters with the alert of one picture, and digests of more than some alerts."""

    refused = "a/1"
    most = 99

    def take(self, letter: Letter) -> Delivered:
        super().take(letter)
        if len(letter.alerts) > self.most or any(one.draft.picture_key == self.refused for one in letter.alerts):
            return Delivered(state=AlertState.DEAD, error="400: it is refused")
        return Delivered(state=AlertState.SENT, message_id="m")


@pytest.mark.parametrize(("refused", "most"), [("a/1", 99), ("a/1", 1), ("none", 1)])
def test_the_alerts_of_a_digest_that_is_refused_leave_singly_and_each_has_its_own_end(
    world: World, refused: str, most: int
) -> None:
    picky = world.postbox = Picky(world.root / "letters")
    picky.refused, picky.most = refused, most
    for i in range(4):
        world.put(f"a/{i}", "alarm")
    ran = world.run(max_letters=3)
    assert [len(letter.alerts) for letter in picky.letters] == [4, 1, 1, 1, 1]
    assert not any(letter.resend for letter in picky.letters)
    with world.ledger() as ledger:
        ends = {alert.draft.picture_key: alert.state for alert in ledger.alerts()}
    assert ends == {f"a/{i}": AlertState.DEAD if f"a/{i}" == refused else AlertState.SENT for i in range(4)}
    assert ran.digests == 0
    world.run(max_letters=3)
    assert len(picky.letters) == 5, "once"


def test_the_alerts_of_a_refused_digest_that_have_to_wait_leave_singly_later(world: World) -> None:
    for i in range(4):
        world.put(f"a/{i}", "alarm")
    world.postbox.answers = [REFUSED]
    world.run(max_letters=3)
    world.postbox.letters.clear()
    world.postbox.answers = [Delivered(state=AlertState.DEAD, error="413"), REFUSED]
    with world.ledger() as ledger, ledger.session() as owner, world.runner() as runner:
        outbox = Outbox(
            ledger=ledger,
            store=runner.store,
            channel=lambda _: world.postbox,
            owner=owner,
            clock=lambda: world.now_s,
            max_letters=3,
        )
        outbox.dispatch()
        outbox.dispatch()
    assert [len(letter.alerts) for letter in world.postbox.letters] == [4, 1, 1, 1, 1, 1]
    assert alert_states(world) == ["sent"] * 4


def test_each_alert_of_a_digest_has_the_end_that_the_journal_knows_or_its_own(world: World) -> None:
    for i in range(4):
        world.put(f"a/{i}", "alarm")
    world.postbox.answers = [REFUSED]
    world.run(max_letters=3)
    channel = JournaledChannel(world.postbox, world.root / "sent.jsonl")
    with world.ledger() as ledger:
        ids = [alert.id for alert in ledger.alerts()]
    for id_ in ids[:2]:
        channel.note([id_], Delivered(state=AlertState.SENT, message_id=f"before: {id_}"))
    world.postbox.answers = [Delivered(state=AlertState.DEAD, error="400")] * 2
    world.postbox, postbox = channel, world.postbox  # type: ignore[assignment]
    world.run(max_letters=3)
    assert [len(letter.alerts) for letter in postbox.letters] == [4, 2, 1, 1]
    with world.ledger() as ledger:
        ends = {alert.id: (alert.state, alert.message_id) for alert in ledger.alerts()}
    assert [ends[id_] for id_ in ids[:2]] == [(AlertState.SENT, f"before: {id_}") for id_ in ids[:2]]
    assert sorted(ends[id_][0].value for id_ in ids[2:]) == ["dead", "sent"]


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
            channel=lambda _: world.postbox,
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
