"""A mail server on a local port, by aiosmtpd: real SMTP, so that a channel is tested to its last byte.

It keeps what it accepts and can be told to misbehave: ``answers`` gives another answer at a step of the dialogue, and
``manners`` lets it hang, or drop the connection, at one. It sends nothing anywhere.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import warnings
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Step(StrEnum):
    """Steps at which the server can misbehave."""

    EHLO = "EHLO"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "END"
    """The answer to the end of the data."""


class Manner(StrEnum):
    """Ways to give no answer at a step."""

    HANG = "hang"
    DROP = "drop"


class _Smtp(SMTP):
    """The dialogue, which asks the double before the answer to DATA too."""

    async def smtp_DATA(self, arg: str) -> None:
        double: SmtpServer = self.event_handler
        if (answer := await double.misbehave(Step.DATA, self)) is not None:
            await self.push(answer)
            return
        await super().smtp_DATA(arg)


class SmtpServer:
    """Server that listens while it is entered. ``user`` and ``password`` must be given if they are set."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        user: str | None = None,
        password: str | None = None,
        starttls: ssl.SSLContext | None = None,
        implicit_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.user, self.password = user, password
        self.answers: dict[Step, str] = {}
        self.manners: dict[Step, Manner] = {}
        self.accepted: list[EmailMessage] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []
        self.encrypted: list[bool] = []
        self.arrived = threading.Semaphore(0)
        """Released whenever a step is reached at which the server misbehaves."""
        self._options: Mapping[str, Any] = {
            "tls_context": starttls,
            "require_starttls": starttls is not None,
            "auth_required": user is not None,
            "auth_require_tls": starttls is not None,
            "auth_exclude_mechanism": None if user is not None else ("LOGIN", "PLAIN"),
            "authenticator": self._authenticate if user is not None else None,
            "enable_SMTPUTF8": False,
        }
        self._controller = _Controller(self, self._options, host, implicit_tls)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return self._controller.port

    async def misbehave(self, step: Step, server: SMTP) -> str | None:
        """Return another answer to this step, if there is one; hang or drop the connection, if that is set."""
        manner = self.manners.get(step)
        if manner is not None:
            self.arrived.release()
        if manner is Manner.HANG:
            await asyncio.Event().wait()
        if manner is Manner.DROP and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
            await asyncio.Event().wait()
        return self.answers.get(step)

    # --- what aiosmtpd asks -----------------------------------------------------------------------------------------

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        answer = await self.misbehave(Step.EHLO, server)
        return [answer] if answer is not None else responses

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (answer := await self.misbehave(Step.MAIL, server)) is not None:
            return answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (answer := await self.misbehave(Step.RCPT, server)) is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (answer := await self.misbehave(Step.END, server)) is not None:
            return answer
        content = envelope.content
        if not isinstance(content, bytes):
            raise TypeError(f"expected bytes, got {type(content).__name__}")
        message = message_from_bytes(content, policy=policy.SMTP)
        if not isinstance(message, EmailMessage):
            raise TypeError(f"expected an EmailMessage, got {type(message).__name__}")
        self.accepted.append(message)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        self.encrypted.append(bool(server.transport and server.transport.get_extra_info("ssl_object")))
        return f"250 2.0.0 Ok: queued as Q{len(self.accepted)}"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if Step.AUTH in self.answers:
            return AuthResult(success=False, handled=False, message=self.answers[Step.AUTH])
        wanted = LoginPassword((self.user or "").encode(), (self.password or "").encode())
        return AuthResult(success=data == wanted, handled=False)


class _Controller(Controller):
    """Listener that gives each connection its own dialogue."""

    def __init__(
        self, double: SmtpServer, options: Mapping[str, Any], host: str, implicit_tls: ssl.SSLContext | None
    ) -> None:
        self._options = options
        super().__init__(double, hostname=host, port=0, ssl_context=implicit_tls)

    def factory(self) -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a login without TLS is not safe
            return _Smtp(self.handler, hostname="double.example", ident="double", **self._options)

    def _trigger_server(self) -> None:
        """Connect once, as the base class does, to the port that the system chose."""
        if not isinstance(self.server, asyncio.Server):
            raise TypeError(f"expected a listening server, got {self.server!r}")
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]
