"""The journal of sent mails: what left once does not leave again, and what may have left is marked as a repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookout.datum import AlertState
from lookout.departure import Departure
from lookout.ledger.base import Delivered
from lookout.outbox import Letter
from lookout.sent_journal import JournaledChannel
from lookout.testing.ledger_kit import alert

from .world import Postbox


def letter(*ids: str) -> Letter:
    return Letter(id=ids[0], alerts=tuple(alert(id_) for id_ in ids), evidence={})


@pytest.fixture
def postbox(tmp_path: Path) -> Postbox:
    return Postbox(tmp_path / "letters")


def open_channel(tmp_path: Path, postbox: Postbox) -> JournaledChannel:
    return JournaledChannel(postbox, tmp_path / "state" / "sent.jsonl")


def send(by: JournaledChannel, letter: Letter) -> Delivered:
    request = by.begin(letter)
    return request if isinstance(request, Delivered) else request.send(1.0, Departure())


def test_a_sent_alert_is_answered_for_and_does_not_leave_again(tmp_path: Path, postbox: Postbox) -> None:
    first = send(open_channel(tmp_path, postbox), letter("a"))
    again = send(open_channel(tmp_path, postbox), letter("a"))
    assert (again.state, again.message_id, again.before) == (AlertState.SENT, "m1", {"a": first})
    assert postbox.sent() == [(("a",), False)]


def test_a_digest_leaves_with_those_of_its_alerts_that_did_not(tmp_path: Path, postbox: Postbox) -> None:
    channel = open_channel(tmp_path, postbox)
    send(channel, letter("a"))
    send(channel, letter("a", "b"))
    assert postbox.sent() == [(("a",), False), (("b",), False)]


def test_each_alert_of_a_digest_has_its_own_end(tmp_path: Path, postbox: Postbox) -> None:
    channel = open_channel(tmp_path, postbox)
    a, b = send(channel, letter("a")), send(channel, letter("b"))
    assert (a.message_id, b.message_id) == ("m1", "m2")
    assert send(channel, letter("b", "a")).before == {"a": a, "b": b}
    postbox.answers = [Delivered(state=AlertState.DEAD, error="400")]
    given = send(channel, letter("c", "a", "b"))
    assert (given.state, given.before) == (AlertState.DEAD, {"a": a, "b": b})
    assert postbox.sent()[-1] == (("c",), False)


@pytest.mark.parametrize(("state", "repeat"), [(AlertState.UNKNOWN, True), (AlertState.PENDING, False)])
def test_what_may_have_left_leaves_as_a_repeat(
    tmp_path: Path, postbox: Postbox, state: AlertState, repeat: bool
) -> None:
    postbox.answers = [Delivered(state=state)]
    send(open_channel(tmp_path, postbox), letter("a"))
    send(open_channel(tmp_path, postbox), letter("a"))
    assert postbox.sent() == [(("a",), False), (("a",), repeat)]


def test_a_repeat_that_certainly_failed_leaves_the_doubt(tmp_path: Path, postbox: Postbox) -> None:
    postbox.answers = [Delivered(state=AlertState.UNKNOWN), Delivered(state=AlertState.PENDING)]
    for _ in range(3):
        send(open_channel(tmp_path, postbox), letter("a"))
    assert [repeat for _, repeat in postbox.sent()] == [False, True, True]


def test_a_sender_that_died_under_way_may_have_sent(tmp_path: Path, postbox: Postbox) -> None:
    class Dying(Postbox):
        def take(self, letter: Letter) -> Delivered:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(open_channel(tmp_path, Dying(tmp_path / "dying")), letter("a"))
    send(open_channel(tmp_path, postbox), letter("a"))
    assert postbox.sent() == [(("a",), True)]


def test_torn_lines_and_lines_of_others_are_read(tmp_path: Path, postbox: Postbox) -> None:
    one, other = open_channel(tmp_path, postbox), open_channel(tmp_path, postbox)
    send(one, letter("a"))
    with (tmp_path / "state" / "sent.jsonl").open("ab") as file:
        file.write(b'["b", "se')
    send(one, letter("c"))
    send(other, letter("a"))
    send(other, letter("c"))
    assert [ids for ids, _ in postbox.sent()] == [("a",), ("c",)]


def test_a_journal_that_cannot_be_written_stops_no_mail(tmp_path: Path, postbox: Postbox) -> None:
    (tmp_path / "state").write_text("no folder")
    channel = JournaledChannel(postbox, tmp_path / "state" / "sent.jsonl")
    assert send(channel, letter("a")).state is AlertState.SENT
