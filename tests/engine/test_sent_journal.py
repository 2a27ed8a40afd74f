"""The journal of sent mails: what left once does not leave again, and what may have left is marked as a repeat."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from devkit.contracts.ledger_kit import alert
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter
from lookout.outbox.departure import Departure
from lookout.outbox.sent_journal import SPARE_LINES, JournaledChannel

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


def lines(tmp_path: Path) -> list[list[object]]:
    """All lines of the journal but blank ones and the head of one that was written anew."""
    said = (tmp_path / "state" / "sent.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, filter(None, said)) if line[0]]


def fill(channel: JournaledChannel, alerts: int) -> None:
    """Have so many alerts begun, certainly not sent, begun again and sent."""
    ids = [f"old {n}" for n in range(alerts)]
    for state in (AlertState.SENDING, AlertState.PENDING, AlertState.SENDING):
        channel.note(ids, Delivered(state=state))
    channel.note(ids, Delivered(state=AlertState.SENT, message_id="m"))


def test_lines_that_do_not_count_are_dropped_and_each_alert_keeps_one(tmp_path: Path, postbox: Postbox) -> None:
    one, other = open_channel(tmp_path, postbox), open_channel(tmp_path, postbox)
    one.note(["sent"], Delivered(state=AlertState.SENT, message_id="m of sent"))
    one.note(["begun", "unknown", "refused"], Delivered(state=AlertState.SENDING))
    one.note(["unknown"], Delivered(state=AlertState.UNKNOWN))
    one.note(["refused"], Delivered(state=AlertState.PENDING))
    one.note(["twice"], Delivered(state=AlertState.SENDING))
    one.note(["twice"], Delivered(state=AlertState.SENDING))
    send(other, letter("known to the other"))
    fill(one, SPARE_LINES)
    send(one, letter("new"))
    assert len(lines(tmp_path)) == SPARE_LINES + 5 + 2
    postbox.log.unlink()
    channels = (one, other, open_channel(tmp_path, postbox))
    for channel in channels:
        assert send(channel, letter("sent")).message_id == "m of sent"
        for id_ in ("old 0", "old 999", "known to the other"):
            assert send(channel, letter(id_)).state is AlertState.SENT
    assert not postbox.log.exists()
    postbox.answers = [Delivered(state=AlertState.PENDING)] * 12
    for channel in channels:
        for id_ in ("begun", "unknown", "twice", "refused"):
            send(channel, letter(id_))
    marks = [(ids[0], repeat) for ids, repeat in postbox.sent()]
    assert marks[:4] == [("begun", True), ("unknown", True), ("twice", True), ("refused", False)]
    assert [repeat for id_, repeat in marks if id_ in ("unknown", "twice")] == [True] * 6


def test_a_journal_grows_with_its_alerts_and_not_with_their_tries(tmp_path: Path, postbox: Postbox) -> None:
    channel = open_channel(tmp_path, postbox)
    for _ in range(10):
        fill(channel, SPARE_LINES)
        channel.begin(letter("a"))
        assert len(lines(tmp_path)) <= 2 * SPARE_LINES


def die_while_dropping(journal: Path, call: str) -> None:
    """Drop lines up to a call of the system, as a process that is killed there."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, call, die)
    JournaledChannel(Postbox(journal.with_name("letters")), journal).begin(letter("a"))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_kill_while_lines_are_dropped_loses_nothing(tmp_path: Path, postbox: Postbox, call: str) -> None:
    fill(open_channel(tmp_path, postbox), SPARE_LINES)
    arguments = (tmp_path / "state" / "sent.jsonl", call)
    dying = multiprocessing.get_context("spawn").Process(target=die_while_dropping, args=arguments)
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    channel = open_channel(tmp_path, postbox)
    for n in range(SPARE_LINES):
        assert send(channel, letter(f"old {n}")).message_id == "m"
    assert not postbox.log.exists()
    assert len(lines(tmp_path)) == SPARE_LINES
    assert len(list((tmp_path / "state").iterdir())) == 1


def append_many(journal: Path, name: str) -> None:
    """Write how many alerts ended, while lines are dropped."""
    channel = JournaledChannel(Postbox(journal.with_name("letters")), journal)
    for n in range(300):
        channel.note([f"{name} {n}"], Delivered(state=AlertState.SENT, message_id=name))


def test_what_others_write_while_lines_are_dropped_is_not_lost(tmp_path: Path, postbox: Postbox) -> None:
    channel = open_channel(tmp_path, postbox)
    arguments = [(tmp_path / "state" / "sent.jsonl", name) for name in "ab"]
    writers = [multiprocessing.get_context("spawn").Process(target=append_many, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        fill(channel, SPARE_LINES)
        channel.begin(letter("new"))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    for name in "ab":
        for n in range(300):
            assert send(channel, letter(f"{name} {n}")).message_id == name


def test_a_journal_that_cannot_be_written_stops_no_mail(tmp_path: Path, postbox: Postbox) -> None:
    (tmp_path / "state").write_text("no folder")
    channel = JournaledChannel(postbox, tmp_path / "state" / "sent.jsonl")
    assert send(channel, letter("a")).state is AlertState.SENT


def test_a_pipe_or_a_link_in_the_place_of_the_journal_holds_up_no_mail_and_nothing_is_written_outside(
    tmp_path: Path, postbox: Postbox
) -> None:
    (tmp_path / "state").mkdir()
    journal, outside = tmp_path / "state" / "sent.jsonl", tmp_path / "outside"
    outside.write_text("kept")
    os.mkfifo(journal)
    assert send(open_channel(tmp_path, postbox), letter("a")).state is AlertState.SENT
    journal.unlink()
    journal.symlink_to(outside)
    assert send(open_channel(tmp_path, postbox), letter("b")).state is AlertState.SENT
    assert outside.read_text() == "kept"
