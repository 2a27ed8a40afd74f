"""Webhooks: what is posted, and what each way a try can end means. Against a real server on a local port."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import Manner, Scripted
from devkit.fakes.webhook_receiver import WebhookReceiver
from lookout.config.channels import NamedChannel
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Channel, Letter
from lookout.outbox.departure import LATE, LIMIT_S, Departure
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.channels.event import PICTURES_MAX_BYTES
from stages.threat_detect.channels.webhook import RETRY_S, SETUP_RETRY_S, WebhookChannel

NOW_S = 1763798500.0
SECRET = "a secret of a test"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(SECRET, now_s=NOW_S) as server:
        yield server


def channel(receiver: WebhookReceiver, *, url: str | None = None, secret: str = SECRET, **more: Any) -> WebhookChannel:
    named = NamedChannel(name="home", url=url or receiver.hook, secret=secret)
    return WebhookChannel(named, **{"timeout_s": 5.0, **more})


def send(by: WebhookChannel, letter: Letter) -> Delivered:
    """One whole try, as the outbox makes it."""
    request = by.begin(letter)
    if isinstance(request, Delivered):
        return request
    with closing(request):
        return request.send(NOW_S, Departure())


# --- what is posted --------------------------------------------------------------------------------------------------


def test_an_accepted_letter_is_sent(receiver: WebhookReceiver, one: Letter) -> None:
    assert send(channel(receiver), one) == Delivered(state=AlertState.SENT)
    assert receiver.wrong == []
    assert receiver.posted[0].method == "POST"


def test_the_event_says_what_was_seen_and_where_it_comes_from(receiver: WebhookReceiver, one: Letter) -> None:
    send(channel(receiver), one)
    (event,) = receiver.events
    assert (event["id"], event["source"], event["type"]) == (one.id, "/lookout", "lookout.alerts.v1")
    assert (event["time"], event["subject"]) == ("2025-11-22T08:00:01.000Z", "porch")
    data = event["data"]
    assert (data["title"], data["repeat"]) == ("[Lookout] person at porch, 2025-11-22 09:00 CET", False)
    (alert,) = data["alerts"]
    assert (alert["id"], alert["device"], alert["captured_at"]) == (one.id, "porch", "2025-11-22T08:00:00.000Z")
    assert alert["objects"][0]["label"] == "person"
    for part in (alert["photo"], alert["model"], alert["rule_file"]):
        assert len(part["sha256"]) == 64
    assert alert["trace"].startswith("lookout trace ")
    assert decode_bgr(base64.b64decode(alert["picture"]["base64"], validate=True)).shape[1] == 160


def test_a_picture_that_is_missing_or_too_large_is_left_out(receiver: WebhookReceiver, one: Letter) -> None:
    large = one.evidence[one.alerts[0].id] + bytes(PICTURES_MAX_BYTES)
    for evidence in ({}, {one.alerts[0].id: large}, {one.alerts[0].id: b"no picture"}):
        assert send(channel(receiver), replace(one, evidence=evidence)).state is AlertState.SENT
        assert receiver.events[-1]["data"]["alerts"][0]["picture"] is None


def test_a_digest_is_one_event_with_all_its_alerts(receiver: WebhookReceiver, one: Letter) -> None:
    alert = one.alerts[0]
    other = replace(alert, id="f" * 64, draft=replace(alert.draft, detail={**alert.draft.detail, "device": "gate"}))
    assert send(channel(receiver), replace(one, id="d" * 64, alerts=(alert, other))).state is AlertState.SENT
    (event,) = receiver.events
    assert [each["id"] for each in event["data"]["alerts"]] == [alert.id, other.id]
    assert event["subject"] == "2 alerts"


def test_a_repeat_has_the_same_id_and_says_so(receiver: WebhookReceiver, one: Letter) -> None:
    for letter in (one, replace(one, resend=True)):
        send(channel(receiver), letter)
    first, again = receiver.events
    assert {**again, "data": {**again["data"], "repeat": False}} == dict(first)
    assert again["data"]["repeat"] is True
    assert {posted.headers["webhook-id"] for posted in receiver.posted} == {one.id}


def test_the_signature_is_that_of_standard_webhooks(receiver: WebhookReceiver, one: Letter) -> None:
    """The example of the specification: its key, id and time over the body, with the library's own arithmetic."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    from stages.threat_detect.channels.webhook import sign

    headers = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.0, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "another long secret"])
def test_the_receiver_knows_the_secret_by_the_signature(one: Letter, secret: str) -> None:
    with WebhookReceiver(secret, now_s=NOW_S) as receiver:
        assert send(channel(receiver, secret=secret), one).state is AlertState.SENT
        given = send(channel(receiver, secret=secret[::-1] if secret[0] == "a" else SECRET), one)
        assert (given.state, given.due_at_s, given.closed) == (AlertState.PENDING, NOW_S + SETUP_RETRY_S, True)
        assert "webhook:home answered 401: the signature is another (check the secret)" in str(given.error)


def test_it_is_a_channel(receiver: WebhookReceiver) -> None:
    given: Channel = channel(receiver)
    assert given.name == "webhook:home"


# --- what an answer means --------------------------------------------------------------------------------------------

SENT, WAITS, DEAD, UNKNOWN = AlertState.SENT, AlertState.PENDING, AlertState.DEAD, AlertState.UNKNOWN
DATE = {"Retry-After": format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True)}
ANSWERS: list[tuple[int, Mapping[str, str], AlertState, float | None, bool]] = [
    (200, {}, SENT, None, False),
    (201, {}, SENT, None, False),
    (202, {}, SENT, None, False),
    (204, {}, SENT, None, False),
    (304, {}, WAITS, SETUP_RETRY_S, True),
    (400, {}, DEAD, None, False),
    (401, {}, WAITS, SETUP_RETRY_S, True),
    (403, {}, WAITS, SETUP_RETRY_S, True),
    (404, {}, DEAD, None, False),
    (407, {}, WAITS, SETUP_RETRY_S, True),
    (408, {}, WAITS, RETRY_S, False),
    (410, {}, DEAD, None, False),
    (413, {}, DEAD, None, False),
    (425, {}, WAITS, RETRY_S, False),
    (429, {"Retry-After": "30"}, WAITS, 30, True),
    (429, {}, WAITS, RETRY_S, True),
    (429, DATE, WAITS, 90, True),
    (429, {"Retry-After": "soon"}, WAITS, RETRY_S, True),
    (429, {"Retry-After": "0"}, WAITS, RETRY_S, True),
    (429, {"Retry-After": "99999999"}, WAITS, RETRY_S, True),
    (429, {"Retry-After": "9" * 500}, WAITS, RETRY_S, True),
    (500, {}, UNKNOWN, None, False),
    (502, {}, UNKNOWN, None, False),
    (503, {}, UNKNOWN, None, False),
    (503, {"Retry-After": "120"}, WAITS, 120, True),
    (503, DATE, WAITS, 90, True),
    (504, {"Retry-After": "120"}, UNKNOWN, None, False),
]


@pytest.mark.parametrize(("status", "headers", "state", "wait_s", "closed"), ANSWERS)
def test_each_answer_has_one_meaning(
    receiver: WebhookReceiver,
    one: Letter,
    status: int,
    headers: Mapping[str, str],
    state: AlertState,
    wait_s: float | None,
    closed: bool,
) -> None:
    body = b"" if status in (204, 304) else b"\xff\x1b[31msaid\n" + b"x" * 5000
    receiver.script.append(Scripted(status=status, headers=headers, body=body))
    given = send(channel(receiver), one)
    assert (given.state, given.closed) == (state, closed)
    assert given.due_at_s == (None if wait_s is None else NOW_S + wait_s)
    assert given.message_id is None
    assert (given.error is None) is (state is SENT)
    if given.error is not None:
        assert f"webhook:home answered {status}" in given.error
        assert given.error.isprintable()
        assert len(given.error) < 400


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: WebhookReceiver, one: Letter, status: int) -> None:
    with WebhookReceiver(SECRET, now_s=NOW_S) as elsewhere:
        receiver.script.append(Scripted(status=status, headers={"Location": elsewhere.hook}))
        given = send(channel(receiver), one)
        assert given.state is WAITS
        assert "redirect" in str(given.error)
        assert elsewhere.posted == []


# --- when no answer comes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "part"),
    [
        (Manner.HANG, "no answer within 0.3 s; the request had been sent"),
        (Manner.DRIP, "no answer within 0.3 s; the request had been sent"),
        (Manner.DROP, "ended without an answer"),
        (Manner.RESET, "ended without an answer: Connection reset by peer"),
        (Manner.CUT, "ended without an answer"),
    ],
)
def test_silence_after_the_request_is_unknown_and_takes_no_longer_than_the_limit(
    receiver: WebhookReceiver, one: Letter, manner: Manner, part: str
) -> None:
    receiver.script.append(Scripted(manner=manner))
    started_s = time.monotonic()
    given = send(channel(receiver, timeout_s=0.3), one)
    assert time.monotonic() - started_s < 3
    assert (given.state, given.due_at_s, given.closed) == (UNKNOWN, None, True)
    assert part in str(given.error)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://127.0.0.1:1/x", "no connection to the webhook home: Connection refused"),
        ("http://name.invalid/x", "the name of the webhook home cannot be resolved"),
    ],
)
def test_what_was_never_sent_is_pending(receiver: WebhookReceiver, one: Letter, url: str, part: str) -> None:
    given = send(channel(receiver, url=url), one)
    assert given == Delivered(state=WAITS, error=part, closed=True)


def test_tls_that_fails_is_pending_and_nothing_is_posted(receiver: WebhookReceiver, one: Letter) -> None:
    given = send(channel(receiver, url=receiver.hook.replace("http:", "https:")), one)
    assert given.state is WAITS
    assert "no trusted connection to the webhook home" in str(given.error)
    assert receiver.posted == []


def test_a_request_that_is_aborted_may_have_arrived(receiver: WebhookReceiver, one: Letter) -> None:
    receiver.script.append(Scripted(manner=Manner.HANG))
    request = channel(receiver, timeout_s=60.0).begin(one)
    assert not isinstance(request, Delivered)
    began_s = time.monotonic()
    aborting = threading.Thread(target=lambda: (receiver.arrived.acquire(), request.abort()))
    aborting.start()
    with closing(request):
        given = request.send(NOW_S, Departure())
    aborting.join()
    assert time.monotonic() - began_s < 30
    assert given.state is UNKNOWN
    assert "stopped before an answer came" in str(given.error)


def test_a_request_that_is_late_does_not_leave(receiver: WebhookReceiver, one: Letter) -> None:
    now_s = 100.0
    departure = Departure(lambda: now_s)
    request = channel(receiver).begin(one)
    assert not isinstance(request, Delivered)
    now_s += LIMIT_S + 0.1
    with closing(request):
        given = request.send(NOW_S, departure)
    assert given == Delivered(state=WAITS, error=LATE)
    receiver.close()
    assert receiver.posted == []


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_url_and_secret_are_in_no_repr_log_or_error(
    receiver: WebhookReceiver, one: Letter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"{receiver.hook} /hook?token=of-the-url {SECRET} 127.0.0.1".encode()
    receiver.script.extend([Scripted(status=status, body=echo) for status in (400, 401, 500)])
    receiver.script.extend([Scripted(manner=manner) for manner in (Manner.DROP, Manner.RESET)])
    tried = channel(receiver)
    said = [str(send(tried, one)) for _ in range(5)]
    receiver.close()
    said.append(str(send(tried, one)))
    printed = capfd.readouterr()
    for text in (*said, repr(tried), str(tried), repr(NamedChannel(name="home", url=receiver.hook, secret=SECRET)),
                 caplog.text, printed.out, printed.err):  # fmt: skip
        assert not any(part in text for part in (receiver.hook, "token", "of-the-url", SECRET, "127.0.0.1"))
    assert "[hidden]" in said[0]


@pytest.mark.parametrize(
    ("url", "secret", "variable"),
    [
        ("http://u:p@x/hook", SECRET, "LOOKOUT_CHANNEL_HOME_URL"),
        ("https://x:99999/", SECRET, "LOOKOUT_CHANNEL_HOME_URL"),
        ("https:///hook", SECRET, "LOOKOUT_CHANNEL_HOME_URL"),
        ("ntfy://topic", SECRET, "LOOKOUT_CHANNEL_HOME_URL"),
        ("https://x/hook", None, "LOOKOUT_CHANNEL_HOME_SECRET"),
        ("https://x/hook", "too short", "LOOKOUT_CHANNEL_HOME_SECRET"),
        ("https://x/hook", "whsec_no base64", "LOOKOUT_CHANNEL_HOME_SECRET"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_and_not_shown(url: str, secret: str | None, variable: str) -> None:
    with pytest.raises(InputRejected, match=variable) as caught:
        WebhookChannel(NamedChannel(name="home", url=url, secret=secret))
    assert url not in str(caught.value)
    assert secret is None or secret not in str(caught.value)
