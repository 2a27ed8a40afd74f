"""Alerts by the real command while pictures, mail service and processes fail: none is lost, and none is kept quiet."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import Manner, Scripted, SendGridApi

from .shell import CALM, NEW, RULES, THREAT, World, modes_are_obeyed, obey_modes
from .test_channels import HOME_SECRET, HOME_URL, SECRET, write_rules

NOWHERE = "http://127.0.0.1:9"
"""A port at which nobody listens."""
WORK = ("run", "photos", "--state", "state", "--rules", RULES, "--workers", "1", "--json")


@pytest.fixture(scope="module")
def unsent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world ``saved``: two threats, of whom four mails tell, worked through at the place ``world``
    while the mail service cannot be reached."""
    root = tmp_path_factory.mktemp("unsent")
    world = World(root=root / "world")
    world.root.mkdir()
    world.put(THREAT, NEW, CALM)
    world.environment = {"SENDGRID_API_KEY": "SG.any", "LOOKOUT_SENDGRID_HOST": NOWHERE}
    ran = world.lookout(*WORK, code=75).json
    assert (ran["alerts"]["pending"], ran["unsent"]["pending"]) == (4, 4)
    assert "no connection to 127.0.0.1:9" in ran["unsent"]["reason"]
    world.root.rename(root / "saved")
    return root


@pytest.fixture
def told(unsent: Path) -> Iterator[tuple[World, SendGridApi]]:
    """Two threats, of whom four mails tell, which are due, and the mail service, which can be reached."""
    world = World(root=unsent / "world")
    shutil.rmtree(world.root, ignore_errors=True)
    shutil.copytree(unsent / "saved", world.root, symlinks=True)  # at the same place: a state knows its source
    with SendGridApi() as api:
        world.environment = {"SENDGRID_API_KEY": api.key, "LOOKOUT_SENDGRID_HOST": api.url}
        _resend(world)
        yield world, api


def _ids(world: World) -> list[str]:
    with world.ledger() as ledger:
        return [alert.id for alert in ledger.alerts()]


def _states(world: World) -> Counter[str]:
    with world.ledger() as ledger:
        return Counter(alert.state.value for alert in ledger.alerts())


def _resend(world: World) -> None:
    """As ``lookout alerts resend`` does for all alerts."""
    ids = _ids(world)
    with world.ledger(writing=True) as ledger:
        ledger.resend_alerts(ids)


def _send(world: World, code: int = 0) -> Any:
    return world.lookout("alerts", "send", "--state", "state", "--json", code=code).json


def _marks(api: SendGridApi) -> dict[str, list[bool]]:
    """By alert the mails that came, in turn: whether each said that it may be a repeat."""
    marks: dict[str, list[bool]] = {}
    for posted in api.posted:
        assert posted.message is not None
        repeat = "MAY BE A REPEAT" in posted.message["content"][0]["value"]
        alert = (
            posted.message.get("headers", {}).get("X-Lookout-Alert")
            or posted.message["personalizations"][0]["headers"]["X-Lookout-Alert"]
        )
        marks.setdefault(alert, []).append(repeat)
    return marks


def test_alerts_whose_picture_cannot_be_read_for_a_moment_are_sent_once_each(
    told: tuple[World, SendGridApi],
) -> None:
    world, api = told
    evidence = list((world.state / "objects" / "threat-detect").rglob("*.jpg"))
    if not modes_are_obeyed(world.root):
        pytest.fail("this test needs a kernel that lets root give up its rights over modes of files")
    for path in evidence:
        path.chmod(0)
    for _ in range(3):
        world.lookout("alerts", "send", "--state", "state", "--json", code=75, before=obey_modes)
        _resend(world)
        assert _states(world) == {"pending": 4}
    for path in evidence:
        path.chmod(0o644)
    _send(world)
    assert _states(world) == {"sent": 4}
    assert sorted(_marks(api).values()) == [[False]] * 4
    assert all(posted.message is not None and posted.message.get("attachments") for posted in api.posted)


def test_alerts_whose_picture_is_lost_are_sent_without_it(told: tuple[World, SendGridApi]) -> None:
    world, api = told
    for path in (world.state / "objects" / "threat-detect").rglob("*.jpg"):
        path.unlink()
        path.symlink_to(path.name)
    _send(world)
    assert _states(world) == {"sent": 4}
    assert not any(posted.message is None or posted.message.get("attachments") for posted in api.posted)


def test_an_earlier_refusal_leaves_an_unknown_end_all_its_repeats(told: tuple[World, SendGridApi]) -> None:
    world, api = told
    for status in (429, 503, 503, 401, 503):
        api.script.extend([Scripted(status=status)] * 4)
        for _ in range(4):
            _resend(world)
            _send(world, code=75)
            if not api.script:
                break
        api.script.clear()
    assert _states(world)["unknown"] == 4
    _resend(world)
    _send(world)
    assert _states(world) == {"sent": 4}
    for marks in _marks(api).values():
        assert not marks[0]
        assert marks[-1], "the last one may be a repeat, and says so"


def test_a_sender_that_is_killed_before_its_request_leaves_loses_and_repeats_nothing(
    told: tuple[World, SendGridApi],
) -> None:
    world, api = told
    with _hanging_connect() as (deaf, host):
        world.environment["LOOKOUT_SENDGRID_HOST"] = host
        for _ in range(3):
            with world.start("alerts", "send", "--state", "state", "--json") as sending:
                _await_connect(deaf)
                sending.kill()
            assert _states(world) == {"pending": 4}
        said = world.lookout("status", "--state", "state").out
        assert "NOT SENT: 4 alerts (4 pending)" in said
    world.environment["LOOKOUT_SENDGRID_HOST"] = api.url
    _send(world)
    assert sorted(_marks(api).values()) == [[False]] * 4


@contextmanager
def _hanging_connect() -> Iterator[tuple[socket.socket, str]]:
    """A server of TLS that takes a connection and never shakes hands."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield deaf, f"https://127.0.0.1:{deaf.getsockname()[1]}"


def _await_connect(deaf: socket.socket) -> None:
    deaf.settimeout(60)
    connection, _ = deaf.accept()
    with connection:
        assert connection.recv(1), "the beginning of a handshake"


def test_a_sender_that_is_killed_while_it_waits_for_an_answer_repeats_with_a_mark(
    told: tuple[World, SendGridApi],
) -> None:
    world, api = told
    for _ in range(3):
        api.script.append(Scripted(manner=Manner.HANG))
        with world.start("alerts", "send", "--state", "state", "--json") as sending:
            assert api.arrived.acquire(timeout=60)
            sending.kill()
        # The command: its session takes back what the killed one held.
        world.lookout("alerts", "resend", "--state", "state", *_ids(world))
    _send(world)
    assert _states(world) == {"sent": 4}
    marks = _marks(api)
    assert len(marks) == 4
    for each in marks.values():
        assert each == [False] + [True] * (len(each) - 1)


def test_what_is_not_sent_is_told_by_every_command_and_its_exit_code(told: tuple[World, SendGridApi]) -> None:
    world, api = told
    api.script.extend([Scripted(status=400), Scripted(status=503), Scripted(status=429)])
    ran = world.lookout("run", "photos", "--state", "state", code=1).out
    assert "NOT SENT: 4 alerts (2 pending, 1 unknown, 1 dead)" in ran
    assert "resend or cancel" in ran
    assert "NOT SENT: 4 alerts" in world.lookout("status", "--state", "state").out
    unsent = world.lookout("status", "--state", "state", "--json").json["unsent"]
    assert {state: unsent[state] for state in ("pending", "unknown", "dead")} == {"pending": 2, "unknown": 1, "dead": 1}
    checks = {
        check["name"]: check for check in world.lookout("doctor", "--state", "state", "--json", code=1).json["checks"]
    }
    assert not checks["alerts"]["ok"]
    assert "NOT SENT: 4 alerts" in checks["alerts"]["found"]

    world.lookout("alerts", "resend", "--state", "state", *_ids(world))
    _send(world)
    assert _states(world) == {"sent": 4}
    assert "NOT SENT" not in world.lookout("run", "photos", "--state", "state").out
    doctor = world.lookout("doctor", "--state", "state", "--json").json
    assert next(check for check in doctor["checks"] if check["name"] == "alerts")["found"] == "all sent"


def test_a_person_can_call_off_what_was_refused(told: tuple[World, SendGridApi]) -> None:
    world, api = told
    api.script.extend([Scripted(status=400)] * 4)
    _send(world, code=1)
    assert world.lookout("alerts", "cancel", "--state", "state", "--json", *_ids(world)).json == {"canceled": 4}
    assert "NOT SENT" not in world.lookout("run", "photos", "--state", "state").out
    assert _states(world) == {"canceled": 4}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_while_mails_hang_ends_within_seconds(
    told: tuple[World, SendGridApi], number: signal.Signals
) -> None:
    world, api = told
    api.script.extend([Scripted(manner=Manner.HANG)] * 4)
    with world.start("run", "photos", "--state", "state", "--json") as running:
        assert api.arrived.acquire(timeout=60)
        assert running.stop(number) == 130
    # One had left, and 10 s are a mail's limit in time: the run did not wait for it, and did not begin another.
    assert len(api.posted) == 1
    assert _states(world) == {"unknown": 1, "pending": 3}
    _resend(world)
    api.script.clear()
    _send(world)
    assert sorted(_marks(api).values()) == [[False], [False], [False], [False, True]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["webhook", "apprise", "smtp"])
def test_a_run_that_is_stopped_while_another_channel_hangs_ends_within_seconds(
    tmp_path: Path, way: str, number: signal.Signals
) -> None:
    world, channel = World(root=tmp_path), {"type": way, "name": "home"}
    world.put(THREAT, NEW)
    if way == "smtp":
        channel = {"type": "mail", "from": "lookout@example.com", "to": ["home@example.com"]}
    write_rules(world, channels=[channel])
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes a connection, and never answers
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        world.environment = {
            "smtp": {"LOOKOUT_SMTP_URL": f"smtp://{place}"},
            "webhook": {HOME_URL: f"http://{place}/hook", HOME_SECRET: SECRET},
            "apprise": {HOME_URL: f"ntfy://{place}/topic"},
        }[way]
        silent.settimeout(60)
        with world.start("run", "photos", "--state", "state", "--rules", "rules", "--json") as running:
            connection, _ = silent.accept()
            with connection:
                began_s = time.monotonic()
                assert running.stop(number) == 130
                took_s = time.monotonic() - began_s
    assert took_s < 20.0
    states = _states(world)
    assert states.total() == states["pending"] + states["unknown"]
    assert states["unknown"] <= 1, "the one that may have left"
