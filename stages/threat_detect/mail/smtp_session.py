"""Session with a mail server, step by step: each refusal with its step, so that what is certain about a mail is known.

Why not ``smtplib.SMTP.sendmail``: it does not say whether the end of the data had left when it failed. Of smtplib this
uses the dialogue and the login. Before the end of the data (a dot alone on a line, RFC 5321 4.1.1.4) a server cannot
have accepted a mail. Knows no letter.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

from lookout.config.channels import SmtpAddress
from stages.threat_detect.mail.exchange import Deadline, NotSent, TooLate, Unanswered, pieces, why

Step = Literal["greeting", "STARTTLS", "login", "sender", "recipient", "data", "end of the data"]
OPENING: Final = 3
"""Time limits in which a session is opened: it takes up to seven answers."""
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_END: Final = b".\r\n"


class Refused(Exception):
    """The server's answer is no. ``code`` is 4xx for now and 5xx for good; ``text`` is its sentence."""

    def __init__(self, step: Step, code: int, text: str) -> None:
        super().__init__(step, code, text)
        self.step, self.code, self.text = step, code, text


class Session:
    """One mail's session. ``open`` connects and announces sender and recipient, ``send`` hands over the mail.

    Each raises NotSent, TooLate or Refused when the mail was not accepted, with a short sentence that shows neither the
    user nor the password; ``send`` raises Unanswered when it may have been.
    """

    def __init__(self, address: SmtpAddress, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._address, self._timeout_s, self._tls = address, timeout_s, tls
        self._server = f"{address.host}:{address.port}"
        name = socket.gethostname()
        # A full name, or the form of RFC 5321 for a host without one: looking it up could take minutes.
        self._smtp = smtplib.SMTP(local_hostname=name if "." in name else "[127.0.0.1]", timeout=timeout_s)
        self._limit = Deadline(lambda: self._smtp.sock, OPENING * timeout_s)

    def open(self, sender: str, recipient: str, size: int) -> None:
        """Connect, encrypt, log in, and name sender and recipient of a mail of that many bytes."""
        with self._limit, self._before_the_end():
            self._connect()
            self._encrypt()
            self._log_in()
            options = [f"size={size}"] if self._smtp.has_extn("size") else []
            _expect("sender", self._smtp.mail(sender, options), 250)
            _expect("recipient", self._smtp.rcpt(recipient), 250, 251)

    def send(self, message: bytes, is_late: Callable[[], bool]) -> str:
        """Hand over the mail, and return the sentence with which the server accepted it. ``is_late`` is asked before
        each piece, and before the end of the data."""
        self._limit = Deadline(lambda: self._smtp.sock, self._timeout_s)
        with self._limit:
            with self._before_the_end():
                _expect("data", self._smtp.docmd("DATA"), 354)
                for piece in pieces(_dotted(message), is_late):
                    self._socket().sendall(piece)
                if is_late():
                    raise TooLate("the end of the mail was not to leave any more")
            code, text = self._end()
        if not 200 <= code < 300:
            raise Refused("end of the data", code, text)
        return text

    def abort(self) -> None:
        """End what another thread waits for here."""
        self._limit.cut()

    def close(self) -> None:
        """Say goodbye without waiting for the answer."""
        with suppress(OSError, smtplib.SMTPException):
            if self._smtp.sock is not None:
                self._smtp.sock.settimeout(1.0)
                self._smtp.putcmd("quit")
        self._smtp.close()

    # --- steps ------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._smtp.sock = socket.create_connection((self._address.host, self._address.port), self._timeout_s)
        if self._address.implicit_tls:
            self._wrap()
        _expect("greeting", self._smtp.getreply(), 220)
        self._hello()

    def _encrypt(self) -> None:
        """Begin TLS. A server that offers none is refused unless it is on this machine."""
        if self._address.implicit_tls:
            return
        if self._smtp.has_extn("starttls"):
            _expect("STARTTLS", self._smtp.docmd("STARTTLS"), 220)
            self._wrap()
            self._hello()
        elif self._address.host not in _LOCAL:
            raise Refused("STARTTLS", 502, "it offers no encryption")

    def _wrap(self) -> None:
        context = self._tls or ssl.create_default_context()
        self._smtp.sock = context.wrap_socket(self._socket(), server_hostname=self._address.host)
        self._smtp.file = None  # what came before the encryption counts no more

    def _hello(self) -> None:
        code, text = self._smtp.ehlo()
        if code != 250:
            _expect("greeting", self._smtp.helo() if code >= 500 else (code, text), 250)

    def _log_in(self) -> None:
        if self._address.user is None or self._address.password is None:
            return
        try:
            self._smtp.login(self._address.user, self._address.password)
        except smtplib.SMTPAuthenticationError as exc:
            raise Refused("login", exc.smtp_code, _text(exc.smtp_error)) from None
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPException:
            raise Refused("login", 504, "it offers no way to log in that is known here") from None

    def _end(self) -> tuple[int, str]:
        failure: Exception | None = None
        try:
            self._socket().sendall(_END)
            code, text = self._smtp.getreply()
        except (OSError, smtplib.SMTPException, ValueError) as exc:
            failure = exc
        if failure is None and not self._limit.passed:  # else a part of an answer may look like one
            return code, _text(text)
        said = f"no answer within {self._timeout_s:g} s"
        if self._limit.aborted:
            said = "stopped before an answer came"
        elif failure is not None and not self._limit.passed and not _is_timeout(failure):
            said = f"the connection ended without an answer: {self._why(failure)}"
        raise Unanswered(f"{self._server}: {said}; the mail had been sent") from failure

    @contextmanager
    def _before_the_end(self) -> Iterator[None]:
        """Turn whatever the network does into NotSent: the end of the data has not left."""
        try:
            yield
        except Refused as exc:
            if self._limit.passed:  # what came of the answer is not all of it
                raise NotSent(self._explain(exc)) from exc
            raise
        except (OSError, smtplib.SMTPException, ValueError) as exc:
            raise NotSent(self._explain(exc)) from exc

    def _explain(self, exc: Exception) -> str:
        if self._limit.aborted:
            return f"the dialogue with {self._server} was stopped"
        if isinstance(exc, socket.gaierror):
            return f"the name {self._address.host} cannot be resolved"
        if isinstance(exc, ssl.SSLError):
            return f"no trusted connection to {self._server}: {exc.reason or 'TLS failed'}"
        if self._limit.passed or _is_timeout(exc):
            return f"{self._server} did not answer in time"
        return f"no dialogue with {self._server}: {self._why(exc)}"

    def _why(self, exc: Exception) -> str:
        if isinstance(exc, smtplib.SMTPServerDisconnected):
            return "the server closed the connection"
        return "its answer is too long" if isinstance(exc, smtplib.SMTPResponseException) else why(exc)

    def _socket(self) -> socket.socket:
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected
        return self._smtp.sock


def _is_timeout(exc: Exception) -> bool:
    """Tell whether a wait was too long; smtplib tells it as a connection that has ended."""
    return isinstance(exc, TimeoutError) or isinstance(exc.__context__, TimeoutError)


def _expect(step: Step, reply: tuple[int, bytes], *codes: int) -> None:
    if reply[0] not in codes:
        raise Refused(step, reply[0], _text(reply[1]))


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _dotted(message: bytes) -> bytes:
    """Return the mail as data: each line that begins with a dot gets a second one, and the last line ends."""
    dotted = re.sub(rb"^\.", b"..", message, flags=re.MULTILINE)
    return dotted if dotted.endswith(b"\r\n") else dotted + b"\r\n"
