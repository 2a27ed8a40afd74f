"""The library apprise: what is sent, and what each way a try can end means. Against a real server on a local port.

Its services ntfy and json can be given any host, so these are sent to; of the others it is tried that their URLs are
understood.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.fakes.sendgrid_api import Manner, Scripted, SendGridApi
from lookout.config.channels import NamedChannel
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Channel, Letter
from lookout.outbox.departure import LATE, LIMIT_S, Departure
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.channels.apprise_channel import RETRY_S, SETUP_RETRY_S, AppriseChannel, meaning

# A service of the library still asks for a module that Python 3.13 leaves out, and does without it there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOW_S = 1763798500.0
SENT, WAITS, DEAD, UNKNOWN = AlertState.SENT, AlertState.PENDING, AlertState.DEAD, AlertState.UNKNOWN


class Service(SendGridApi):
    """A server that accepts everything with 200, and misbehaves when told."""

    def usual(self, *_: object) -> Scripted:  # type: ignore[override]
        return Scripted(status=200, body=b"{}")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        yield server


def channel(service: Service, *, kind: str = "json", timeout_s: float = 10.0) -> AppriseChannel:
    address = service.url.removeprefix("http://")
    url = {"json": f"json://the-user:the-password@{address}/path", "ntfy": f"ntfy://{address}/the-topic"}[kind]
    return AppriseChannel(NamedChannel(name="phone", url=url), timeout_s)


def send(by: AppriseChannel, letter: Letter) -> Delivered:
    """One whole try, as the outbox makes it."""
    request = by.begin(letter)
    assert not isinstance(request, Delivered)
    with closing(request):
        return request.send(NOW_S, Departure())


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_accepted_letter_is_sent_with_its_picture(service: Service, one: Letter) -> None:
    assert send(channel(service), one) == Delivered(state=SENT)
    (posted,) = service.posted
    assert posted.message is not None
    assert posted.message["title"] == "[Lookout] person at porch, 2025-11-22 09:00 CET"
    assert "person 0.87 at porch" in posted.message["message"]
    assert one.id[:12] in posted.message["message"]
    (attached,) = posted.message["attachments"]
    assert attached["mimetype"] == "image/jpeg"
    assert decode_bgr(base64.b64decode(attached["base64"])).shape[1] == 160


def test_a_repeat_says_so(service: Service, one: Letter) -> None:
    for letter in (one, replace(one, resend=True)):
        send(channel(service), letter)
    first, again = (str(posted.message and posted.message["message"]) for posted in service.posted)
    assert "repeat" not in first
    assert "This may be a repeat." in again


def test_a_digest_names_its_alerts(service: Service, one: Letter) -> None:
    alerts = tuple(replace(one.alerts[0], id=f"{number:064x}") for number in range(12))
    assert send(channel(service), replace(one, alerts=alerts)).state is SENT
    assert service.posted[0].message is not None
    lines = service.posted[0].message["message"].splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 2 more"


def test_ntfy_gets_text_and_picture(service: Service, one: Letter) -> None:
    assert send(channel(service, kind="ntfy"), one).state is SENT
    assert all("the-topic" in json.dumps(posted.message) + posted.path for posted in service.posted)


def test_a_name_with_marks_of_html_cannot_break_out_of_its_place(service: Service, one: Letter) -> None:
    alert = one.alerts[0]
    draft = replace(alert.draft, detail={**alert.draft.detail, "device": "<b>porch</b>"})
    send(channel(service), replace(one, alerts=(replace(alert, draft=draft),)))
    html = AppriseChannel(NamedChannel(name="phone", url=f"{_url(service, 'json')}?format=html"), 10.0)
    send(html, replace(one, alerts=(replace(alert, draft=draft),)))
    plain, escaped = (str(posted.message and posted.message["message"]) for posted in service.posted)
    assert "<b>porch</b>" in plain
    assert "<b>porch</b>" not in escaped


def _url(service: Service, kind: str) -> str:
    return f"{kind}://{service.url.removeprefix('http://')}/path"


def test_it_is_a_channel(service: Service) -> None:
    given: Channel = channel(service)
    assert given.name == "apprise:phone"


@pytest.mark.parametrize(
    "url",
    [
        "ntfy://topic",
        "ntfys://user:password@ntfy.example.com/topic",
        "tgram://123456789:abcdefg_hijklmnop-qrstuvwxyz01234567/12315544/",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "workflows://prod-00.westus.logic.azure.com:443/643e69f83c8944438d68119179a10a64/KODuebWbDGYFr0z0eu",
        "mqtt://user:password@192.168.1.2/lookout/alerts",
        "mqtts://user:password@mqtt.example.com/lookout",
        "pagerduty://abc123abc123abc123abc123abc123ab@abc123abc123abc123abc123abc123ab",
    ],
)
def test_the_url_of_a_service_is_understood(url: str) -> None:
    assert AppriseChannel(NamedChannel(name="phone", url=url)).name == "apprise:phone"


def test_nothing_is_written_to_the_disk(
    service: Service, one: Letter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    send(channel(service), one)
    assert list(tmp_path.iterdir()) == []


# --- what an answer means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "ntfy"])
@pytest.mark.parametrize(
    ("status", "state", "wait_s", "closed"),
    [
        (301, WAITS, SETUP_RETRY_S, True),
        (400, DEAD, None, False),
        (401, WAITS, SETUP_RETRY_S, True),
        (403, WAITS, SETUP_RETRY_S, True),
        (404, DEAD, None, False),
        (408, WAITS, RETRY_S, False),
        (413, DEAD, None, False),
        (429, WAITS, RETRY_S, True),
        (500, UNKNOWN, None, False),
        (503, UNKNOWN, None, False),
    ],
)
def test_each_answer_has_one_meaning(
    service: Service, one: Letter, kind: str, status: int, state: AlertState, wait_s: float | None, closed: bool
) -> None:
    service.script.append(Scripted(status=status, headers={"Location": "http://127.0.0.1:1/"}, body=b"no"))
    given = send(channel(service, kind=kind), one)
    assert (given.state, given.closed) == (state, closed)
    assert given.due_at_s == (None if wait_s is None else NOW_S + wait_s)
    assert f"apprise:phone: the service answered {status}" in str(given.error)


def test_a_code_of_ntfy_begins_with_its_status(service: Service, one: Letter) -> None:
    service.script.append(Scripted(status=401, body=b'{"code": 40101, "error": "unauthorized"}'))
    assert send(channel(service, kind="ntfy"), one).due_at_s == NOW_S + SETUP_RETRY_S


def test_a_refusal_after_a_part_was_accepted_is_unknown() -> None:
    sent = ("INFO", "Sent Telegram photo.")
    refused = ("WARNING", "Failed to send Telegram notification to 1: no, error=400.")
    failed = ("WARNING", "Failed to send Telegram photo, error=500.")
    for lines, state in (
        ([refused], DEAD),
        ([sent, refused], UNKNOWN),
        ([refused, failed], UNKNOWN),
        ([], UNKNOWN),
        ([("DEBUG", "JSON Payload: error=400.")], UNKNOWN),
        ([("WARNING", "A Connection error occurred sending error=400. to it")], UNKNOWN),
        ([("DEBUG", "Socket Exception: url: /x?device=NewConnectionError (Caused by ReadTimeoutError(")], UNKNOWN),
        ([("DEBUG", "Socket Exception: [Errno 104] Connection reset by peer")], UNKNOWN),
    ):
        assert meaning("apprise:phone", False, lines, NOW_S).state is state


# --- when no answer comes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", [Manner.DROP, Manner.RESET, Manner.CUT])
def test_a_connection_that_ends_after_the_request_is_unknown(service: Service, one: Letter, manner: Manner) -> None:
    service.script.append(Scripted(manner=manner))
    given = send(channel(service), one)
    assert (given.state, given.due_at_s) == (UNKNOWN, None)


@pytest.mark.parametrize("manner", [Manner.HANG, Manner.DRIP])
def test_silence_after_the_request_is_unknown_and_takes_no_longer_than_the_limit(
    service: Service, one: Letter, manner: Manner
) -> None:
    send(channel(service), one)  # loads the library's services
    service.script.append(Scripted(manner=manner))
    started_s = time.monotonic()
    given = send(channel(service, timeout_s=1.0), one)
    assert time.monotonic() - started_s < 3
    assert (given.state, given.closed) == (UNKNOWN, True)
    assert "no answer within 1 s; the notification may have been sent" in str(given.error)
    lasting = [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    assert lasting == [], "nothing holds up the end of the process"


@pytest.mark.parametrize("kind", ["json", "ntfy"])
def test_without_a_connection_nothing_has_left(service: Service, one: Letter, kind: str) -> None:
    tried = channel(service, kind=kind)
    service.close()
    given = send(tried, one)
    assert given == Delivered(state=WAITS, error="apprise:phone: no connection to the service", closed=True)


def test_a_broker_of_mqtt_that_is_not_there_has_got_nothing(one: Letter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    given = send(AppriseChannel(NamedChannel(name="phone", url=f"mqtt://127.0.0.1:{port}/topic"), 10.0), one)
    assert (given.state, given.closed) == (WAITS, True)


def test_a_request_that_is_aborted_may_have_arrived(service: Service, one: Letter) -> None:
    service.script.append(Scripted(manner=Manner.HANG))
    request = channel(service, timeout_s=60.0).begin(one)
    assert not isinstance(request, Delivered)
    began_s = time.monotonic()
    aborting = threading.Thread(target=lambda: (service.arrived.acquire(), request.abort()))
    aborting.start()
    with closing(request):
        given = request.send(NOW_S, Departure())
    aborting.join()
    assert time.monotonic() - began_s < 30
    assert given.state is UNKNOWN
    assert "stopped before an answer came" in str(given.error)


def test_a_request_that_is_late_does_not_leave(service: Service, one: Letter) -> None:
    now_s = 100.0
    departure = Departure(lambda: now_s)
    request = channel(service).begin(one)
    assert not isinstance(request, Delivered)
    now_s += LIMIT_S + 0.1
    with closing(request):
        given = request.send(NOW_S, departure)
    assert given == Delivered(state=WAITS, error=LATE)
    assert service.posted == []


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_the_url_is_in_no_repr_log_or_error(
    service: Service, one: Letter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="lookout")
    said = []
    for kind in ("json", "ntfy"):
        tried = channel(service, kind=kind)
        service.script.extend([Scripted(status=status, body=b"the-topic the-password") for status in (400, 401, 500)])
        service.script.append(Scripted(manner=Manner.DROP))
        said += [str(send(tried, one)) for _ in range(4)]
        said.append(repr(tried))
    service.close()
    said.append(str(send(tried, one)))
    printed = capfd.readouterr()
    for text in (*said, *_kept(caplog), printed.out, printed.err):
        assert not any(part in text for part in ("the-user", "the-password", "the-topic", "127.0.0.1"))


@pytest.mark.parametrize(
    "url", ["https://example.com/x", "nothing://example.com", "tgram://bad", "ntfy://a,ntfy://b c", "json://"]
)
def test_an_address_that_cannot_be_one_is_refused_and_not_shown(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputRejected, match="LOOKOUT_CHANNEL_PHONE_URL") as caught:
        AppriseChannel(NamedChannel(name="phone", url=url))
    printed = capfd.readouterr()
    assert not any(url in text for text in (str(caught.value), *_kept(caplog), printed.out, printed.err))


def _kept(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Messages that leave this process: pytest hears the library's own logger too, which hands on nothing."""
    assert not logging.getLogger("apprise").propagate
    assert all(isinstance(one, logging.NullHandler) for one in logging.getLogger("apprise").handlers
               if type(one).__module__.partition(".")[0] != "_pytest")  # fmt: skip
    return [one.getMessage() for one in caplog.records if one.name.partition(".")[0] not in ("apprise", "urllib3")]
