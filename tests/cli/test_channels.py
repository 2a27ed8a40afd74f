"""Channels by the real command: what rules name is sent as the environment says, and no death loses or hides it."""

from __future__ import annotations

import json
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import Manner, Scripted
from devkit.fakes.smtp_server import Manner as SmtpManner
from devkit.fakes.smtp_server import SmtpServer, Step
from devkit.fakes.webhook_receiver import WebhookReceiver

from .shell import CALM, NEW, THREAT, World

SECRET = "a-secret-of-these-tests"
HOME_URL, HOME_SECRET = "LOOKOUT_CHANNEL_HOME_URL", "LOOKOUT_CHANNEL_HOME_SECRET"
NOWHERE = "http://127.0.0.1:9/hook"
"""A port at which nobody listens."""
RULE: dict[str, Any] = {
    "name": "people",
    "user": "home",
    "classes": ["person"],
    "event": {"gap": "0s"},
    "cooldown": "0s",
    "late": {"action": "send"},
    "channels": [
        {"type": "mail", "from": "lookout@example.com", "to": ["home@example.com"]},
        {"type": "webhook", "name": "home"},
    ],
}


def write_rules(world: World, **fields: Any) -> Path:
    path = world.root / "rules" / "home.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": 2, "rules": [{**RULE, **fields}]}))
    return path


@pytest.fixture(scope="module")
def unsent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world ``saved``, worked through at the place ``world``: two threats, of each of which a mail and
    a webhook tell; the mails are files, and the webhook's server cannot be reached."""
    root = tmp_path_factory.mktemp("unsent")
    world = World(root=root / "world")
    world.root.mkdir()
    world.put(THREAT, NEW, CALM)
    write_rules(world)
    world.environment = {HOME_URL: NOWHERE, HOME_SECRET: SECRET}
    ran = world.run("--rules", "rules", code=75)
    assert (ran["alerts"]["pending"], ran["alerts"]["written"], ran["unsent"]["pending"]) == (2, 2, 2)
    assert ran["unsent"]["reason"] == "no connection to the webhook home: Connection refused"
    world.root.rename(root / "saved")
    return root


@pytest.fixture
def told(unsent: Path) -> Iterator[tuple[World, WebhookReceiver]]:
    """The two webhooks, which are due, and their receiver, which can be reached."""
    world = World(root=unsent / "world")
    shutil.rmtree(world.root, ignore_errors=True)
    shutil.copytree(unsent / "saved", world.root, symlinks=True)  # at the same place: a state knows its source
    with WebhookReceiver(SECRET) as receiver:
        world.environment = {HOME_URL: receiver.hook, HOME_SECRET: SECRET}
        _resend(world)
        yield world, receiver


def _waiting(world: World) -> list[str]:
    with world.ledger() as ledger:
        return [alert.id for alert in ledger.alerts() if alert.draft.channel == "webhook:home"]


def _states(world: World) -> Counter[str]:
    with world.ledger() as ledger:
        return Counter(alert.state.value for alert in ledger.alerts() if alert.draft.channel == "webhook:home")


def _resend(world: World) -> None:
    """As ``lookout alerts resend`` does."""
    ids = _waiting(world)
    with world.ledger(writing=True) as ledger:
        ledger.resend_alerts(ids)


def _send(world: World, code: int = 0) -> Any:
    return world.lookout("alerts", "send", "--state", "state", "--json", code=code).json


def _marks(receiver: WebhookReceiver) -> dict[str, list[bool]]:
    """By letter the events that came, in turn: whether each said that it is a repeat."""
    marks: dict[str, list[bool]] = {}
    for event in receiver.events:
        marks.setdefault(event["id"], []).append(event["data"]["repeat"])
    return marks


def test_each_alert_leaves_by_its_channel_and_is_one_of_its_own(told: tuple[World, WebhookReceiver]) -> None:
    world, receiver = told
    _send(world)
    assert _states(world) == {"sent": 2}
    assert (receiver.wrong, sorted(_marks(receiver).values())) == ([], [[False], [False]])
    told_of = {event["data"]["alerts"][0]["photo"]["key"] for event in receiver.events}
    assert told_of == {THREAT, NEW}
    assert len(world.letters()) == 2
    again = world.run("--rules", "rules")
    assert again["unsent"]["pending"] == 0
    assert len(receiver.events) == 2


def test_a_sender_that_is_killed_before_its_request_leaves_loses_and_repeats_nothing(
    told: tuple[World, WebhookReceiver],
) -> None:
    world, receiver = told
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes a connection and never shakes hands
        deaf.settimeout(60)
        world.environment[HOME_URL] = f"https://127.0.0.1:{deaf.getsockname()[1]}/hook"
        for _ in range(3):
            with world.start("alerts", "send", "--state", "state", "--json") as sending:
                connection, _ = deaf.accept()
                with connection:
                    assert connection.recv(1), "the beginning of a handshake"
                sending.kill()
            assert _states(world) == {"pending": 2}
    world.environment[HOME_URL] = receiver.hook
    _send(world)
    assert sorted(_marks(receiver).values()) == [[False], [False]]


def test_a_sender_that_is_killed_while_it_waits_for_an_answer_repeats_with_a_mark_and_the_same_id(
    told: tuple[World, WebhookReceiver],
) -> None:
    world, receiver = told
    for _ in range(3):
        receiver.script.append(Scripted(manner=Manner.HANG))
        with world.start("alerts", "send", "--state", "state", "--json") as sending:
            assert receiver.arrived.acquire(timeout=60)
            sending.kill()
        # The command: its session takes back what the killed one held.
        world.lookout("alerts", "resend", "--state", "state", *_waiting(world))
    _send(world)
    assert _states(world) == {"sent": 2}
    marks = _marks(receiver)
    assert len(marks) == 2
    for each in marks.values():
        assert each == [False] + [True] * (len(each) - 1)


@pytest.mark.parametrize(
    ("scripted", "code", "states"),
    [
        (Scripted(status=410), 1, {"dead": 2}),
        (Scripted(status=429), 75, {"pending": 2}),
        (Scripted(status=500), 75, {"unknown": 2}),
        (Scripted(manner=Manner.RESET), 75, {"unknown": 1, "pending": 1}),
    ],
)
def test_what_came_back_is_kept(
    told: tuple[World, WebhookReceiver], scripted: Scripted, code: int, states: dict[str, int]
) -> None:
    world, receiver = told
    receiver.script.extend([scripted] * 2)
    _send(world, code=code)
    assert _states(world) == states
    receiver.script.clear()
    _resend(world)
    _send(world)
    assert _states(world) == {"sent": 2}


def test_neither_url_nor_secret_is_in_any_file_or_word(told: tuple[World, WebhookReceiver]) -> None:
    world, receiver = told
    receiver.script.extend(
        [Scripted(status=status, body=f"{receiver.hook} {SECRET}".encode()) for status in (500, 401)]
    )
    words = []
    for code in (75, 75):
        done = world.lookout("alerts", "send", "--state", "state", code=code, env={"LOOKOUT_LOG": "debug"})
        words += [done.out, done.err]
    for command in (("alerts", "list"), ("status",), ("doctor",)):
        done = world.lookout(*command, "--state", "state", code=1 if command == ("doctor",) else 0)
        words += [done.out, done.err]
    words.append(world.lookout("channels", "list").out)
    assert any("webhook:home answered" in word for word in words)
    contents = [path.read_bytes().decode(errors="replace") for path in world.state.rglob("*") if path.is_file()]
    for text in (*words, *contents):
        assert not any(part in text for part in (receiver.url.removeprefix("http://"), "of-the-url", SECRET))


def test_a_channel_without_a_variable_is_told_and_its_alerts_wait_with_that_reason(
    told: tuple[World, WebhookReceiver],
) -> None:
    world, receiver = told
    set_up, world.environment = world.environment, {}
    why = f"{HOME_URL}: is not set (webhook:home needs it)"
    sent = _send(world, code=75)
    assert (sent["waiting"], sent["unsent"]["reason"]) == (2, why)
    assert why in world.lookout("alerts", "list", "--state", "state").out
    doctor = world.lookout("doctor", "--state", "state", "--json", code=1).json
    (check,) = [check for check in doctor["checks"] if check["name"] == "channel"]
    assert (check["ok"], check["warning"]) == (True, True)
    assert check["found"] == f"webhook:home: {why}; rules in force name it"
    (found,) = world.lookout("rules", "check", "rules", "--json").lines
    assert found["rules"][0]["channels"] == ["webhook:home"]
    assert found["notes"] == [f"webhook:home is not set up here: {why}"]

    world.environment = set_up
    _resend(world)
    _send(world)
    assert len(receiver.events) == 2
    assert world.lookout("rules", "check", "rules", "--json").lines[0]["notes"] == []


def test_mail_by_a_mail_server_beside_a_webhook_that_is_down(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    world.put(THREAT)
    write_rules(world)
    with SmtpServer() as server:
        world.environment = {HOME_URL: NOWHERE, HOME_SECRET: SECRET}
        world.environment["LOOKOUT_SMTP_URL"] = f"smtp://127.0.0.1:{server.port}"
        server.manners[Step.END] = SmtpManner.DROP
        world.run("--rules", "rules", code=75)
        assert server.accepted == []
        del server.manners[Step.END]
        with world.ledger(writing=True) as ledger:
            ledger.resend_alerts([alert.id for alert in ledger.alerts() if alert.draft.channel == "mail"])
        _send(world, code=75)
        (message,) = server.accepted
    assert "THIS MAY BE A REPEAT" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert _states(world) == {"pending": 1}


def test_without_any_variable_mails_are_files_and_all_commands_say_so(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    world.put(THREAT)
    rules = write_rules(world, channels=RULE["channels"][:1])
    assert world.run("--rules", rules)["alerts"]["written"] == 1
    (letter,) = world.letters()
    assert message_from_bytes(letter.read_bytes(), policy=policy.SMTP)["To"] == "home@example.com"
    listed = world.lookout("channels", "list").out
    assert listed.split() == [
        "mail",
        "no",
        "service",
        "set:",
        "mails",
        "become",
        ".eml",
        "files",
        "in",
        "the",
        "state",
        "folder",
    ]


# --- lookout channels ------------------------------------------------------------------------------------------------


def test_a_sample_is_sent_by_a_webhook(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    with WebhookReceiver(SECRET) as receiver:
        world.environment = {HOME_URL: receiver.hook, HOME_SECRET: SECRET}
        for name in ("home", "webhook:home"):
            assert world.lookout("channels", "test", name).out == "webhook:home: sent\n"
        event = receiver.events[0]
        assert event["data"]["alerts"][0]["rule"] == "test of this channel"
        assert event["data"]["alerts"][0]["picture"] is not None
        receiver.script.extend(
            [Scripted(status=410), Scripted(status=500), Scripted(status=503, headers={"Retry-After": "9"})]
        )
        for code, state in ((1, "dead"), (75, "unknown"), (75, "pending")):
            done = world.lookout("channels", "test", "home", "--json", code=code).json
            assert (done["channel"], done["state"]) == ("webhook:home", state)
    done = world.lookout("channels", "test", "home", code=75)
    assert done.out == "webhook:home: not sent: no connection to the webhook home: Connection refused\n"


def test_a_sample_is_sent_by_a_mail_server(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    addresses = ("--from", "lookout@example.com", "--to", "home@example.com")
    with SmtpServer() as server:
        world.environment = {"LOOKOUT_SMTP_URL": f"smtp://127.0.0.1:{server.port}"}
        done = world.lookout("channels", "test", "mail", *addresses)
        assert done.out == "mail: sent: 2.0.0 Ok: queued as Q1\n"
        assert "test of this channel" in str(server.accepted[0].get_body(("plain",)))
        server.answers[Step.RCPT] = "550 5.1.1 no such user"
        done = world.lookout("channels", "test", "mail", *addresses, code=1)
        assert (
            done.out == "mail: refused for good: the mail server refused the recipient with 550: 5.1.1 no such user\n"
        )
    assert "needs a sender and a recipient" in world.refused("channels", "test", "mail")


def test_a_sample_is_sent_by_apprise(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    with WebhookReceiver() as receiver:
        receiver.script.append(Scripted(status=200))
        world.environment = {"LOOKOUT_CHANNEL_PHONE_URL": f"ntfy://{receiver.url.removeprefix('http://')}/topic"}
        assert world.lookout("channels", "test", "phone").out == "apprise:phone: sent\n"
        assert world.lookout("channels", "test", "phone", code=1).out.startswith("apprise:phone: refused for good: ")


def test_channels_that_cannot_be_used_are_told_with_their_variable(tmp_path: Path) -> None:
    world = World(root=tmp_path)
    world.environment = {
        HOME_URL: "https://example.com/hook",
        "LOOKOUT_CHANNEL_FRONT_DOOR_URL": "nothing://example.com",
        "LOOKOUT_CHANNEL_PHONE_URL": "ntfy://topic",
    }
    listed = {one["channel"]: one for one in world.lookout("channels", "list", "--json", code=1).lines}
    assert listed["webhook:home"]["reason"].startswith(f"{HOME_SECRET}: is not set")
    assert listed["apprise:front-door"]["reason"].startswith(
        "LOOKOUT_CHANNEL_FRONT_DOOR_URL: apprise knows no such URL"
    )
    assert listed["apprise:phone"] == {"channel": "apprise:phone", "found": "set up", "reason": None}
    checks = world.lookout("doctor", "--state", "state", "--json", code=1).json["checks"]
    assert [check["ok"] for check in checks if check["name"] == "channel"] == [False, False, True]
    assert "LOOKOUT_CHANNEL_HOME_SECRET" in world.refused("channels", "test", "home")
    assert "no channel has this name" in world.refused("channels", "test", "garage")
    assert "knows no such channel" in world.refused("channels", "test", "pigeon:home")


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"SENDGRID_API_KEY": "SG.x", "LOOKOUT_SMTP_URL": "smtp://h"}, "is set beside SENDGRID_API_KEY (unset one"),
        ({"LOOKOUT_CHANNEL_HOME": "x"}, "LOOKOUT_CHANNEL_HOME: expected LOOKOUT_CHANNEL_<NAME>_URL"),
        ({"LOOKOUT_CHANNEL__URL": "x"}, "LOOKOUT_CHANNEL__URL: expected LOOKOUT_CHANNEL_<NAME>_URL"),
        ({"LOOKOUT_CHANNEL_home_URL": "x"}, "LOOKOUT_CHANNEL_home_URL: expected LOOKOUT_CHANNEL_<NAME>_URL"),
        ({HOME_SECRET: "x"}, f"{HOME_SECRET}: is set without {HOME_URL}"),
        ({HOME_URL: "no URL, and secret"}, f"{HOME_URL}: has characters"),
        ({HOME_URL: "secret"}, f"{HOME_URL}: expected a URL"),
    ],
)  # fmt: skip
def test_an_environment_that_makes_no_sense_ends_each_command_and_is_not_shown(
    tmp_path: Path, environment: dict[str, str], part: str
) -> None:
    world = World(root=tmp_path, environment=environment)
    said = world.refused("channels", "list")
    assert part in said
    assert "secret" not in said
