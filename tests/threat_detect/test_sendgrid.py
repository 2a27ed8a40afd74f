"""SendGrid: what is posted, and what each way a try can end means. Against a real server on a local port."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import Manner, Scripted, SendGridApi
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Channel, Letter
from lookout.outbox.departure import LATE, LIMIT_S, Departure
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.mail.exchange import PIECE_BYTES, TooLate
from stages.threat_detect.mail.http_post import Connection, target
from stages.threat_detect.mail.message import render
from stages.threat_detect.mail.sendgrid import RETRY_S, SETUP_RETRY_S, SendGridChannel

KEY = "SG.the-key"
NOW_S = 1763798500.0
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def channel(api: SendGridApi, **more: Any) -> SendGridChannel:
    return SendGridChannel(KEY, api.url, **{"timeout_s": 5.0, **more})


def send(by: SendGridChannel, letter: Letter) -> Delivered:
    """One whole try, as the outbox makes it."""
    request = by.begin(letter)
    if isinstance(request, Delivered):
        return request
    with closing(request):
        return request.send(NOW_S, Departure())


# --- what is posted --------------------------------------------------------------------------------------------------


def test_an_accepted_letter_is_sent_with_the_message_id(api: SendGridApi, one: Letter) -> None:
    given = send(channel(api), one)
    assert (given.state, given.message_id, given.error) == (AlertState.SENT, "message-1", None)


def test_the_message_posted_is_whole(api: SendGridApi, one: Letter) -> None:
    send(channel(api), one)
    (posted,) = api.posted
    assert (posted.method, posted.path) == ("POST", "/v3/mail/send")
    assert posted.headers["authorization"] == f"Bearer {KEY}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["user-agent"].startswith("sendgrid/")
    message = posted.message
    assert message is not None
    (person,) = message["personalizations"]
    assert person["to"] == [{"email": "home@example.com"}]
    assert set(person) <= {"to", "custom_args", "headers"}  # no cc, no bcc
    assert message["from"] == {"name": "Lookout", "email": "lookout@example.com"}
    assert message["subject"] == "[Lookout] person at porch, 2025-11-22 09:00 CET"
    assert [part["type"] for part in message["content"]] == ["text/plain", "text/html"]
    (attached,) = message["attachments"]
    assert (attached["type"], attached["disposition"]) == ("image/jpeg", "inline")
    assert f'src="cid:{attached["content_id"]}"' in message["content"][1]["value"]
    assert decode_bgr(base64.b64decode(attached["content"], validate=True)).shape[1] == 160
    assert message["tracking_settings"]["click_tracking"]["enable"] is False
    assert message["tracking_settings"]["open_tracking"]["enable"] is False


def test_the_alert_id_is_a_header_and_a_custom_argument(api: SendGridApi, one: Letter) -> None:
    send(channel(api), one)
    message = api.posted[0].message
    assert message is not None
    everywhere = {**message.get("headers", {}), **message["personalizations"][0].get("headers", {})}
    arguments = {**message.get("custom_args", {}), **message["personalizations"][0].get("custom_args", {})}
    assert everywhere["X-Lookout-Alert"] == one.alerts[0].id
    assert arguments == {"lookout_letter": one.id, "lookout_alert": one.alerts[0].id}


def test_a_repeat_has_the_same_subject_and_alert_id_and_says_so(api: SendGridApi, one: Letter) -> None:
    for letter in (one, replace(one, resend=True)):
        send(channel(api), letter)
    first, again = (posted.message for posted in api.posted)
    assert first is not None
    assert again is not None
    assert again["subject"] == first["subject"]
    assert again.get("custom_args") == first.get("custom_args")
    assert again["personalizations"] == first["personalizations"]
    assert "THIS MAY BE A REPEAT" in again["content"][0]["value"]
    assert "REPEAT" not in first["content"][0]["value"]


def test_the_sandbox_accepts_with_200_and_asks_for_it(api: SendGridApi, one: Letter) -> None:
    assert send(channel(api, sandbox=True), one).state is AlertState.SENT
    message = api.posted[0].message
    assert message is not None
    assert message["mail_settings"]["sandbox_mode"]["enable"] is True
    assert api.posted[0].status == 200


def test_it_is_a_channel(api: SendGridApi) -> None:
    given: Channel = channel(api)
    assert given.name == "sendgrid"


# --- what an answer means --------------------------------------------------------------------------------------------


def errors(*faults: tuple[str, str | None]) -> bytes:
    return json.dumps({"errors": [{"message": said, "field": place, "help": None} for said, place in faults]}).encode()


BAD_FROM = errors(("The from email does not contain a valid address.", "from.email"), ("Bad Request", None))

ANSWERS: list[tuple[int, Mapping[str, str], bytes, AlertState, float | None, str]] = [
    (200, HTML, b"<html>log in to the hotel</html>", AlertState.UNKNOWN, None, "answered 200"),
    (204, {}, b"", AlertState.UNKNOWN, None, "answered 204"),
    (400, JSON, BAD_FROM, AlertState.DEAD, None,
     "SendGrid answered 400: The from email does not contain a valid address. (from.email); Bad Request"),
    (400, HTML, b"<html><b>no</b></html>", AlertState.DEAD, None, "answered 400: a page of HTML"),
    (400, JSON, b"{", AlertState.DEAD, None, "answered 400: {"),
    (400, JSON, b'{"errors": ["plain", 5, {"message": 6}]}', AlertState.DEAD, None, "answered 400: plain"),
    (400, JSON, b"[" * 60_000, AlertState.DEAD, None, "answered 400"),
    (400, {}, b"\xff\x00\x1b[31mred", AlertState.DEAD, None, "answered 400"),
    (401, JSON, errors(("unauthorized", None)), AlertState.PENDING, SETUP_RETRY_S, "check that SENDGRID"),
    (403, JSON, errors(("not a verified sender", "from")), AlertState.PENDING, SETUP_RETRY_S, "the sender's"),
    (404, JSON, errors(("not found", None)), AlertState.DEAD, None, "answered 404: not found"),
    (408, {}, b"", AlertState.PENDING, RETRY_S, "answered 408"),
    (413, JSON, errors(("too large", None)), AlertState.DEAD, None, "answered 413: too large"),
    (429, {"X-RateLimit-Reset": "1763798530"}, b"", AlertState.PENDING, 30, "answered 429"),
    (429, {}, b"", AlertState.PENDING, RETRY_S, "answered 429"),
    (429, {"X-RateLimit-Reset": "1763798400"}, b"", AlertState.PENDING, RETRY_S, "answered 429"),
    (429, {"X-RateLimit-Reset": "99999999999"}, b"", AlertState.PENDING, RETRY_S, "answered 429"),
    (429, {"X-RateLimit-Reset": "soon"}, b"", AlertState.PENDING, RETRY_S, "answered 429"),
    (429, {"X-RateLimit-Reset": "9" * 500}, b"", AlertState.PENDING, RETRY_S, "answered 429"),
    (500, JSON, errors(("internal", None)), AlertState.UNKNOWN, None, "answered 500: internal"),
    (502, HTML, b"<html>bad gateway</html>", AlertState.UNKNOWN, None, "answered 502: a page of HTML"),
    (503, HTML, b"<html>" + b"x" * 200_000, AlertState.UNKNOWN, None, "answered 503: a page of HTML"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "body", "state", "wait_s", "part"), ANSWERS)
def test_each_answer_has_one_meaning(
    api: SendGridApi,
    one: Letter,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    state: AlertState,
    wait_s: float | None,
    part: str,
) -> None:
    api.script.append(Scripted(status=status, headers=headers, body=body))
    given = send(channel(api), one)
    assert given.state is state
    assert given.message_id is None
    assert given.error is not None
    assert part in given.error
    assert given.error.isprintable()
    assert len(given.error) < 1000
    assert given.due_at_s == (None if wait_s is None else NOW_S + wait_s)


def test_what_is_no_address_is_not_even_posted(api: SendGridApi, one: Letter) -> None:
    draft = replace(one.alerts[0].draft, recipient="nobody at all")
    given = send(channel(api), replace(one, alerts=(replace(one.alerts[0], draft=draft),)))
    assert given.state is AlertState.DEAD
    assert "the recipient 'nobody at all' is not a plain e-mail address" in str(given.error)
    assert api.posted == []


def test_a_wrong_key_waits_for_a_person(api: SendGridApi, one: Letter) -> None:
    given = send(SendGridChannel("SG.other", api.url), one)
    assert given.state is AlertState.PENDING
    assert "SENDGRID_API_KEY" in str(given.error)


# --- when no answer comes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "part"),
    [
        (Manner.HANG, "no answer within 0.3 s; the request had been sent"),
        (Manner.DRIP, "no answer within 0.3 s; the request had been sent"),  # too slow for a status
        (Manner.DROP, "ended without an answer"),
        (Manner.CUT, "ended without an answer"),
    ],
)
def test_silence_after_the_request_is_unknown_and_takes_no_longer_than_the_limit(
    api: SendGridApi, one: Letter, manner: Manner, part: str
) -> None:
    api.script.append(Scripted(manner=manner))
    started_s = time.monotonic()
    given = send(channel(api, timeout_s=0.3), one)
    assert time.monotonic() - started_s < 3
    assert given.state is AlertState.UNKNOWN
    assert part in str(given.error)
    assert given.due_at_s is None, "the ledger says when a repeat is due"
    assert len(api.posted) == 1


def test_a_drip_that_has_given_its_status_is_an_answer_and_takes_no_longer_than_the_limit(one: Letter) -> None:
    with SendGridApi(KEY, drip_s=0.002) as api:
        api.script.append(Scripted(manner=Manner.DRIP))
        started_s = time.monotonic()
        assert send(channel(api, timeout_s=3.0), one).state is AlertState.SENT
        assert time.monotonic() - started_s < 8


def test_a_status_counts_even_if_its_body_is_cut(api: SendGridApi, one: Letter) -> None:
    api.script.append(Scripted(status=400, body=BAD_FROM, headers=JSON, manner=Manner.CUT_BODY))
    api.script.append(Scripted(status=202, body=b"xx", headers={"X-Message-Id": "m"}, manner=Manner.CUT_BODY))
    assert send(channel(api), one).state is AlertState.DEAD
    assert send(channel(api), one).state is AlertState.SENT


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://name.invalid", "cannot be resolved"),
        ("http://" + "x" * 70 + ".example", "x" * 70),
    ],
)
def test_what_was_never_sent_is_pending(one: Letter, host: str, part: str) -> None:
    given = send(SendGridChannel(KEY, host, 5.0), one)
    assert given.state is AlertState.PENDING
    assert part in str(given.error)


def test_a_request_that_is_aborted_may_have_arrived(api: SendGridApi, one: Letter) -> None:
    api.script.append(Scripted(manner=Manner.HANG))
    request = channel(api, timeout_s=60.0).begin(one)
    assert not isinstance(request, Delivered)
    began_s = time.monotonic()
    aborting = threading.Thread(target=lambda: (api.arrived.acquire(), request.abort()))
    aborting.start()
    with closing(request):
        given = request.send(NOW_S, Departure())
    assert (given.state, given.error) == (
        AlertState.UNKNOWN,
        "stopped before an answer came; the request had been sent",
    )
    aborting.join()
    assert time.monotonic() - began_s < 30


def test_a_request_that_is_late_does_not_leave(api: SendGridApi, one: Letter) -> None:
    now_s = 100.0
    departure = Departure(lambda: now_s)
    request = channel(api).begin(one)
    assert not isinstance(request, Delivered)
    now_s += LIMIT_S + 0.1
    with closing(request):
        given = request.send(NOW_S, departure)
    assert given == Delivered(state=AlertState.PENDING, error=LATE)
    api.close()
    assert api.posted == []


def test_a_body_whose_last_piece_is_late_does_not_leave_as_a_whole(api: SendGridApi) -> None:
    late = iter([False, False, True])
    with closing(Connection(target(f"{api.url}/v3/mail/send"), 5.0)) as connection, pytest.raises(TooLate):
        connection.post(bytes(2 * PIECE_BYTES + 1), {}, lambda: next(late))
    api.close()
    assert api.posted == []


def test_without_a_connection_nothing_has_left_and_the_ledger_says_when_to_retry(one: Letter) -> None:
    given = SendGridChannel(KEY, "http://127.0.0.1:1", 5.0).begin(one)
    assert isinstance(given, Delivered)
    assert (given.state, given.due_at_s) == (AlertState.PENDING, None)


def test_tls_that_fails_is_pending_and_the_key_stays_here(api: SendGridApi, one: Letter) -> None:
    given = send(SendGridChannel(KEY, api.url.replace("http:", "https:"), 5.0), one)
    assert given.state is AlertState.PENDING
    assert "no trusted connection" in str(given.error)
    assert api.posted == []


def test_a_server_that_takes_only_a_part_of_the_request_cannot_have_sent_it(one: Letter) -> None:
    noise = b"\xff\xd8" + bytes(6_000_000)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        letter = replace(one, evidence={one.alerts[0].id: one.evidence[one.alerts[0].id] + noise})
        assert len(render(letter).pictures) == 1
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        given = send(SendGridChannel(KEY, host, 0.3), letter)
    assert given.state is AlertState.PENDING
    assert "did not take the whole request" in str(given.error)


# --- TLS that works --------------------------------------------------------------------------------------------------


@pytest.fixture
def safe_api(certificate: Path) -> Iterator[SendGridApi]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with SendGridApi(KEY, tls=tls) as server:
        yield server


def test_an_untrusted_certificate_is_pending_and_nothing_is_posted(safe_api: SendGridApi, one: Letter) -> None:
    given = send(channel(safe_api), one)
    assert given.state is AlertState.PENDING
    assert "CERTIFICATE_VERIFY_FAILED" in str(given.error)
    assert safe_api.posted == []


@pytest.mark.parametrize(("manner", "state"), [(Manner.PLAIN, AlertState.SENT), (Manner.HANG, AlertState.UNKNOWN)])
def test_a_trusted_certificate_is_used(
    safe_api: SendGridApi, certificate: Path, one: Letter, manner: Manner, state: AlertState
) -> None:
    safe_api.script.append(Scripted(manner=manner))
    trusting = ssl.create_default_context(cafile=str(certificate))
    given = send(channel(safe_api, tls=trusting, timeout_s=5.0 if manner is Manner.PLAIN else 0.5), one)
    assert given.state is state
    assert len(safe_api.posted) == 1


# --- the key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(api: SendGridApi, one: Letter, status: int) -> None:
    with SendGridApi(KEY) as elsewhere:
        api.script.append(Scripted(status=status, headers={"Location": f"{elsewhere.url}/v3/mail/send"}))
        given = send(channel(api), one)
        assert given.state is AlertState.PENDING
        assert "redirect" in str(given.error)
        assert elsewhere.posted == []


def test_the_key_is_in_no_repr_log_or_error(
    api: SendGridApi, one: Letter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    api.script.append(Scripted(status=400, body=errors((f"bad key {KEY}", f"Bearer {KEY}")), headers=JSON))
    api.script.append(Scripted(manner=Manner.DROP))
    tried = channel(api)
    said = [str(send(tried, one)) for _ in range(3)]
    printed = capfd.readouterr()
    for text in (*said, repr(tried), str(tried), caplog.text, printed.out, printed.err):
        assert KEY not in text
    assert "bad key [key]" in said[0]
    assert KEY not in api.messages().decode()


@pytest.mark.parametrize("key", ["", "  ", "SG.a\r\nX-Evil: 1", "SG.ü", "SG.a b"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.of-the-environment")
    with pytest.raises(InputRejected, match="SENDGRID_API_KEY") as caught:
        SendGridChannel(key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["", "api.sendgrid.com", "ftp://x", "http://", "http://u:p@x", "http://x:99999", "http://x y"]
)
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(InputRejected, match="host"):
        SendGridChannel(KEY, host)


def test_letters_may_be_sent_from_several_threads(api: SendGridApi, one: Letter) -> None:
    tried = channel(api)
    states: list[AlertState] = []
    threads = [threading.Thread(target=lambda: states.append(send(tried, one).state)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [AlertState.SENT] * 4
