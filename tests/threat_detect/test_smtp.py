"""SMTP: the mail that is handed over, and what each way a try can end means. Against a real server on a local port."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.smtp_server import Manner, SmtpServer, Step
from lookout.config.channels import SmtpAddress
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Channel, Letter
from lookout.outbox.departure import LATE, LIMIT_S, Departure
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.mail.exchange import PIECE_BYTES, TooLate
from stages.threat_detect.mail.smtp import RETRY_S, SETUP_RETRY_S, SmtpChannel
from stages.threat_detect.mail.smtp_session import Session

NOW_S = 1763798500.0
USER, PASSWORD = "the-user", "the-pass-word"


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    """A server on this machine without TLS and without users."""
    with SmtpServer() as listening:
        yield listening


def channel(server: SmtpServer, *, host: str = "127.0.0.1", **more: Any) -> SmtpChannel:
    address = SmtpAddress(
        host=host,
        port=server.port,
        implicit_tls=more.pop("implicit_tls", False),
        user=more.pop("user", server.user),
        password=more.pop("password", server.password),
    )
    return SmtpChannel(address, **{"timeout_s": 5.0, "clock": lambda: NOW_S, **more})


def send(by: SmtpChannel, letter: Letter) -> Delivered:
    """One whole try, as the outbox makes it."""
    request = by.begin(letter)
    if isinstance(request, Delivered):
        return request
    with closing(request):
        return request.send(NOW_S, Departure())


def part(message: EmailMessage, kind: str) -> EmailMessage:
    (found,) = [one for one in message.walk() if one.get_content_type() == kind]
    assert isinstance(found, EmailMessage)
    return found


# --- the mail --------------------------------------------------------------------------------------------------------


def test_an_accepted_letter_is_sent_with_the_servers_sentence(server: SmtpServer, one: Letter) -> None:
    given = send(channel(server), one)
    assert (given.state, given.message_id, given.error) == (AlertState.SENT, "2.0.0 Ok: queued as Q1", None)
    assert server.envelopes == [("lookout@example.com", ["home@example.com"])]


def test_the_mail_is_the_same_as_by_any_other_way(server: SmtpServer, one: Letter) -> None:
    send(channel(server), one)
    (message,) = server.accepted
    assert message["Subject"] == "[Lookout] person at porch, 2025-11-22 09:00 CET"
    assert message["From"] == "Lookout <lookout@example.com>"
    assert message["X-Lookout-Alert"] == one.alerts[0].id
    assert message["Message-ID"] == f"<{one.id}@lookout>"
    picture = part(message, "image/jpeg")
    assert picture.get_content_disposition() == "inline"
    assert f'src="cid:{picture["Content-ID"][1:-1]}"' in part(message, "text/html").get_content()
    assert decode_bgr(picture.get_content()).shape[1] == 160
    assert "sha256" in part(message, "text/plain").get_content()


def test_a_repeat_has_the_same_message_id_and_says_so(server: SmtpServer, one: Letter) -> None:
    for letter in (one, replace(one, resend=True)):
        send(channel(server), letter)
    first, again = server.accepted
    assert (again["Message-ID"], again["Subject"]) == (first["Message-ID"], first["Subject"])
    assert "THIS MAY BE A REPEAT" in part(again, "text/plain").get_content()
    assert "REPEAT" not in part(first, "text/plain").get_content()


def test_a_line_that_begins_with_a_dot_and_letters_beyond_ascii_arrive_whole(server: SmtpServer) -> None:
    text = "a\r\n.b\r\n..c\r\n.\r\nd\r\n"
    address = SmtpAddress(host="127.0.0.1", port=server.port)
    with closing(Session(address, 5.0)) as session:
        session.open("a@example.com", "b@example.com", len(text))
        session.send(b"Subject: x\r\n\r\n" + text.encode(), lambda: False)
    (message,) = server.accepted
    assert message.get_content().replace("\n", "\r\n").replace("\r\r", "\r") == text


def test_every_byte_of_the_mail_is_seven_bits_wide(server: SmtpServer, one: Letter) -> None:
    alert = one.alerts[0]
    draft = replace(alert.draft, rule="Nächte \N{SNOWMAN}", detail={**alert.draft.detail, "device": "Tür"})
    send(channel(server), replace(one, alerts=(replace(alert, draft=draft),)))
    (message,) = server.accepted
    assert message.as_bytes().isascii()
    assert "Tür" in part(message, "text/plain").get_content()


def test_it_is_a_channel(server: SmtpServer) -> None:
    given: Channel = channel(server)
    assert given.name == "smtp"


# --- what an answer means --------------------------------------------------------------------------------------------

WAITS, DEAD = AlertState.PENDING, AlertState.DEAD
ANSWERS: list[tuple[Step, str, AlertState, float | None, bool]] = [
    (Step.EHLO, "421 4.3.2 busy", WAITS, RETRY_S, True),
    (Step.EHLO, "450 later", WAITS, RETRY_S, True),
    (Step.MAIL, "451 4.3.0 later", WAITS, RETRY_S, False),
    (Step.MAIL, "421 4.7.0 too many", WAITS, RETRY_S, True),
    (Step.MAIL, "530 5.7.0 log in first", WAITS, SETUP_RETRY_S, True),
    (Step.MAIL, "550 5.7.1 not your address", WAITS, SETUP_RETRY_S, False),
    (Step.MAIL, "552 5.3.4 too large", DEAD, None, False),
    (Step.RCPT, "450 4.2.0 greylisted", WAITS, RETRY_S, False),
    (Step.RCPT, "421 4.7.0 too many", WAITS, RETRY_S, True),
    (Step.RCPT, "550 5.1.1 no such user", DEAD, None, False),
    (Step.RCPT, "551 5.7.1 not here", DEAD, None, False),
    (Step.DATA, "451 4.3.0 later", WAITS, RETRY_S, False),
    (Step.DATA, "554 5.5.1 no", DEAD, None, False),
    (Step.DATA, "250 what", WAITS, RETRY_S, False),
    (Step.END, "452 4.2.2 full", WAITS, RETRY_S, False),
    (Step.END, "421 4.3.2 going down", WAITS, RETRY_S, True),
    (Step.END, "550 5.7.1 this looks like spam", DEAD, None, False),
    (Step.END, "552 5.2.2 too large", DEAD, None, False),
    (Step.END, "354 go on", AlertState.UNKNOWN, None, False),
]


@pytest.mark.parametrize(("step", "answer", "state", "wait_s", "closed"), ANSWERS)
def test_each_answer_has_one_meaning(
    server: SmtpServer,
    one: Letter,
    step: Step,
    answer: str,
    state: AlertState,
    wait_s: float | None,
    closed: bool,
) -> None:
    server.answers[step] = answer
    given = send(channel(server), one)
    assert given.state is state
    assert given.due_at_s == (None if wait_s is None else NOW_S + wait_s)
    assert given.closed is closed
    assert given.error is not None
    assert f"with {answer[:3]}" in given.error
    assert answer[4:] in given.error
    assert server.accepted == []


def test_a_wrong_password_waits_for_a_person(one: Letter) -> None:
    with SmtpServer(user=USER, password=PASSWORD) as server:
        given = send(channel(server, password="another"), one)
        assert (given.state, given.due_at_s, given.closed) == (WAITS, NOW_S + SETUP_RETRY_S, True)
        assert "refused the login with 535" in str(given.error)
        assert "LOOKOUT_SMTP_PASSWORD" in str(given.error)
        assert send(channel(server), one).state is AlertState.SENT


def test_a_login_that_is_refused_for_now_waits_a_minute(one: Letter) -> None:
    with SmtpServer(user=USER, password=PASSWORD) as server:
        server.answers[Step.AUTH] = "454 4.7.0 later"
        given = send(channel(server), one)
    assert (given.state, given.due_at_s) == (WAITS, NOW_S + RETRY_S)


def test_a_server_that_offers_no_login_waits_for_a_person(server: SmtpServer, one: Letter) -> None:
    given = send(channel(server, user=USER, password=PASSWORD), one)
    assert (given.state, given.due_at_s) == (WAITS, NOW_S + SETUP_RETRY_S)
    assert "no way to log in" in str(given.error)


def test_what_is_no_address_is_not_even_sent(server: SmtpServer, one: Letter) -> None:
    draft = replace(one.alerts[0].draft, recipient="nobody at all")
    given = send(channel(server), replace(one, alerts=(replace(one.alerts[0], draft=draft),)))
    assert given.state is DEAD
    assert "is not a plain e-mail address" in str(given.error)


# --- when no answer comes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", list(Manner))
@pytest.mark.parametrize("step", list(Step))
def test_before_the_end_of_the_data_a_mail_is_certainly_not_accepted_and_after_it_nobody_knows(
    server: SmtpServer, one: Letter, step: Step, manner: Manner
) -> None:
    if step is Step.AUTH:
        return  # aiosmtpd cannot wait there
    server.manners[step] = manner
    started_s = time.monotonic()
    given = send(channel(server, timeout_s=0.4), one)
    assert time.monotonic() - started_s < 5
    assert given.state is (AlertState.UNKNOWN if step is Step.END else WAITS)
    assert given.due_at_s is None, "the ledger says when a repeat is due"
    assert given.closed
    why = "no answer within 0.4 s; the mail had been sent" if step is Step.END else "did not answer in time"
    assert manner is Manner.DROP or why in str(given.error)
    assert manner is Manner.HANG or "closed the connection" in str(given.error) or "reset" in str(given.error)


@contextmanager
def raw(*said: bytes) -> Iterator[int]:
    """A server that says these bytes to whoever connects, in turn, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ending = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for text in said:
                    connection.sendall(text)
                    if ending.wait(0.1):
                        return
                ending.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ending.set()
            thread.join()


@pytest.mark.parametrize(
    ("said", "part", "wait_s"),
    [
        ([b"554 5.7.1 you are on a list\r\n"], "refused the greeting with 554", SETUP_RETRY_S),
        ([b"421 4.3.2 closing\r\n"], "refused the greeting with 421", RETRY_S),
        ([b"HTTP/1.1 400 Bad Request\r\n"], "refused the greeting with -1", RETRY_S),
        ([], "did not answer in time", None),
        ([b"2"] * 60, "did not answer in time", None),  # one byte at a time, without an end
        ([b"2" * 100_000 + b"\r\n"], "its answer is too long", None),
    ],
)
def test_a_server_that_does_not_begin_as_it_should_has_accepted_nothing(
    one: Letter, said: list[bytes], part: str, wait_s: float | None
) -> None:
    with raw(*said) as port:
        by = SmtpChannel(SmtpAddress(host="127.0.0.1", port=port), 0.4, clock=lambda: NOW_S)
        started_s = time.monotonic()
        given = send(by, one)
    assert time.monotonic() - started_s < 5
    assert given.state is WAITS
    assert given.closed
    assert part in str(given.error)
    assert wait_s is None or given.due_at_s == NOW_S + wait_s


@pytest.mark.parametrize(
    ("host", "part"),
    [("127.0.0.1", "Connection refused"), ("name.invalid", "the name name.invalid cannot be resolved")],
)
def test_without_a_connection_nothing_has_left(one: Letter, host: str, part: str) -> None:
    given = SmtpChannel(SmtpAddress(host=host, port=1), 5.0).begin(one)
    assert isinstance(given, Delivered)
    assert (given.state, given.due_at_s, given.closed) == (WAITS, None, True)
    assert part in str(given.error)


def test_a_request_that_is_aborted_after_the_data_may_have_arrived(server: SmtpServer, one: Letter) -> None:
    server.manners[Step.END] = Manner.HANG
    request = channel(server, timeout_s=60.0).begin(one)
    assert not isinstance(request, Delivered)
    began_s = time.monotonic()
    aborting = threading.Thread(target=lambda: (server.arrived.acquire(), request.abort()))
    aborting.start()
    with closing(request):
        given = request.send(NOW_S, Departure())
    aborting.join()
    assert time.monotonic() - began_s < 30
    assert given.state is AlertState.UNKNOWN
    assert "stopped before an answer came" in str(given.error)


def test_a_request_that_is_late_does_not_leave(server: SmtpServer, one: Letter) -> None:
    now_s = 100.0
    departure = Departure(lambda: now_s)
    request = channel(server).begin(one)
    assert not isinstance(request, Delivered)
    now_s += LIMIT_S + 0.1
    with closing(request):
        given = request.send(NOW_S, departure)
    assert given == Delivered(state=WAITS, error=LATE)
    assert server.accepted == []


def test_a_mail_whose_end_is_late_is_not_accepted(server: SmtpServer) -> None:
    late = iter([False, False, False, True])
    address = SmtpAddress(host="127.0.0.1", port=server.port)
    with closing(Session(address, 5.0)) as session:
        session.open("a@example.com", "b@example.com", 3 * PIECE_BYTES)
        with pytest.raises(TooLate):
            session.send(b"Subject: x\r\n\r\n" + b"line\r\n" * (PIECE_BYTES // 3), lambda: next(late))
    assert server.accepted == []


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("implicit", [False, True])
def test_a_trusted_certificate_is_used_for_the_login_and_the_mail(
    tls: ssl.SSLContext, certificate: Path, one: Letter, implicit: bool
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    given_tls = {"implicit_tls": tls} if implicit else {"starttls": tls}
    with SmtpServer(user=USER, password=PASSWORD, **given_tls) as server:
        given = send(channel(server, implicit_tls=implicit, tls=trusting), one)
        assert given.state is AlertState.SENT
        assert server.encrypted == [True]


@pytest.mark.parametrize("implicit", [False, True])
def test_an_untrusted_certificate_is_pending_and_the_password_stays_here(
    tls: ssl.SSLContext, one: Letter, implicit: bool
) -> None:
    given_tls = {"implicit_tls": tls} if implicit else {"starttls": tls}
    with SmtpServer(user=USER, password=PASSWORD, **given_tls) as server:
        given = send(channel(server, implicit_tls=implicit), one)
        assert (given.state, given.closed) == (WAITS, True)
        assert "CERTIFICATE_VERIFY_FAILED" in str(given.error)
        assert server.accepted == []


def test_a_server_elsewhere_that_offers_no_encryption_gets_neither_the_password_nor_the_mail(one: Letter) -> None:
    with SmtpServer(host="127.0.0.2", user=USER, password=PASSWORD) as server:
        given = send(channel(server, host="127.0.0.2"), one)
        assert (given.state, given.due_at_s) == (WAITS, NOW_S + SETUP_RETRY_S)
        assert "it offers no encryption" in str(given.error)
        assert server.accepted == []


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_user_and_password_are_in_no_repr_log_or_error(
    one: Letter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    with SmtpServer(user=USER, password=PASSWORD) as server:
        tried = channel(server)
        server.answers[Step.RCPT] = f"550 no {USER} {PASSWORD}"
        said = [str(send(tried, one))]
        server.answers = {Step.AUTH: f"535 wrong {PASSWORD} of {USER}"}
        said.append(str(send(tried, one)))
        server.answers, server.manners = {}, {Step.END: Manner.DROP}
        said.append(str(send(tried, one)))
    printed = capfd.readouterr()
    caught = [one for one in caplog.text.splitlines() if "mail.log" not in one and "aiosmtpd" not in one]
    for text in (*said, repr(tried), str(tried), "\n".join(caught), printed.out, printed.err):
        assert not any(secret in text for secret in (USER, PASSWORD, encoded))
    assert "550: no [hidden] [hidden]" in said[0]


@pytest.mark.parametrize(
    ("url", "password", "part"),
    [
        ("smtp://user:word@host", "", "holds a password"),
        ("http://host", "", "expected scheme"),
        ("smtp://", "", "expected scheme"),
        ("smtp://host/path", "", "expected scheme"),
        ("smtp://host:99999", "", "not a valid URL"),
        ("smtp://user@host", "", "is not set"),
        ("smtp://host", "word", "names no user"),
        ("smtp://ho st", "", "expected scheme"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_and_not_shown(url: str, password: str, part: str) -> None:
    with pytest.raises(InputRejected, match="LOOKOUT_SMTP") as caught:
        SmtpAddress.from_environment({"LOOKOUT_SMTP_URL": url, "LOOKOUT_SMTP_PASSWORD": password})
    assert part in str(caught.value)
    assert "word" not in str(caught.value).replace("password", "")


def test_an_address_has_the_port_of_its_scheme_and_a_user_with_an_at_sign() -> None:
    environment = {"LOOKOUT_SMTP_URL": "smtps://me%40example.com@mail.example.com", "LOOKOUT_SMTP_PASSWORD": "w"}
    address = SmtpAddress.from_environment(environment)
    assert address == SmtpAddress(
        host="mail.example.com", port=465, implicit_tls=True, user="me@example.com", password="w"
    )
    assert "example.com'" not in repr(address).replace("'mail.example.com'", "")
