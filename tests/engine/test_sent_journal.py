"""The journal of sent mails: what left once does not leave again, and what may have left is marked as a repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lookout.datum import AlertState
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


def test_a_sent_alert_is_answered_for_and_does_not_leave_again(tmp_path: Path, postbox: Postbox) -> None:
    first = open_channel(tmp_path, postbox).send(letter("a"), 1.0)
    again = open_channel(tmp_path, postbox).send(letter("a"), 2.0)
    assert again == replace(first, due_at_s=0.0)
    assert postbox.sent() == [(("a",), False)]


def test_a_digest_leaves_with_those_of_its_alerts_that_did_not(tmp_path: Path, postbox: Postbox) -> None:
    channel = open_channel(tmp_path, postbox)
    channel.send(letter("a"), 1.0)
    channel.send(letter("a", "b"), 2.0)
    assert postbox.sent() == [(("a",), False), (("b",), False)]


@pytest.mark.parametrize(("state", "repeat"), [(AlertState.UNKNOWN, True), (AlertState.PENDING, False)])
def test_what_may_have_left_leaves_as_a_repeat(
    tmp_path: Path, postbox: Postbox, state: AlertState, repeat: bool
) -> None:
    postbox.answers = [Delivered(state=state)]
    open_channel(tmp_path, postbox).send(letter("a"), 1.0)
    open_channel(tmp_path, postbox).send(letter("a"), 2.0)
    assert postbox.sent() == [(("a",), False), (("a",), repeat)]


def test_a_sender_that_died_under_way_may_have_sent(tmp_path: Path, postbox: Postbox) -> None:
    class Dying(Postbox):
        def send(self, letter: Letter, now_s: float) -> Delivered:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_channel(tmp_path, Dying(tmp_path / "dying")).send(letter("a"), 1.0)
    open_channel(tmp_path, postbox).send(letter("a"), 2.0)
    assert postbox.sent() == [(("a",), True)]


def test_torn_lines_and_lines_of_others_are_read(tmp_path: Path, postbox: Postbox) -> None:
    one, other = open_channel(tmp_path, postbox), open_channel(tmp_path, postbox)
    one.send(letter("a"), 1.0)
    with (tmp_path / "state" / "sent.jsonl").open("ab") as file:
        file.write(b'["b", "se')
    one.send(letter("c"), 2.0)
    other.send(letter("a"), 3.0)
    other.send(letter("c"), 3.0)
    assert [ids for ids, _ in postbox.sent()] == [("a",), ("c",)]


def test_a_journal_that_cannot_be_written_stops_no_mail(tmp_path: Path, postbox: Postbox) -> None:
    (tmp_path / "state").write_text("no folder")
    channel = JournaledChannel(postbox, tmp_path / "state" / "sent.jsonl")
    assert channel.send(letter("a"), 1.0).state is AlertState.SENT
