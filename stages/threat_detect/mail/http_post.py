"""Client of one POST whose end is known as exactly as it can be: never sent, answered, or sent and nobody knows.

Why not urllib or an SDK's own transport: those follow redirects with the Authorization header on, some log it, a
server that drips bytes holds them for ever, and they do not say whether the request had left when it failed. Here no
redirect is followed, nothing is logged, and the whole exchange has one limit in time. Knows no mail.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from lookout.domain.errors import InputRejected

MAX_ANSWER_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 64 * 1024
"""Bytes of a body that are handed to the kernel at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer of the server. ``headers`` have lower-case names; ``body`` is cut to ``MAX_ANSWER_BYTES``."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """The request did not leave as a whole: the other side cannot have acted on it."""


class TooLate(NotSent):
    """The request was not to leave any more."""


class Unanswered(Exception):
    """The request left, and no answer came: the other side may have acted on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Target of a post: ``scheme`` is http or https."""

    scheme: str
    host: str
    port: int
    path: str


def target(url: str) -> Target:
    """Return the parts of a URL. Raises InputRejected for one that is not plain http or https, or carries
    credentials."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InputRejected("expected a URL such as https://api.sendgrid.com", "host") from exc
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise InputRejected("expected a URL such as https://api.sendgrid.com", "host")
    default = 443 if parts.scheme == "https" else 80
    return Target(
        scheme=parts.scheme, host=parts.hostname, port=port if port is not None else default, path=parts.path or "/"
    )


class Connection:
    """Connection for one POST, open from the start. ``timeout_s`` bounds each wait of connecting, and the exchange
    after it as a whole. Raises NotSent when there is no connection."""

    def __init__(self, to: Target, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._to, self._timeout_s = to, timeout_s
        self._connection = _connect(to, timeout_s, tls)
        self._deadline = _Deadline(self._connection, timeout_s)

    def post(self, body: bytes, headers: Mapping[str, str], is_late: Callable[[], bool] = lambda: False) -> Answer:
        """Send ``body`` once and read the answer. ``is_late`` is asked directly before each piece of the body, so that
        the last one does not leave too late: then it raises TooLate. Raises NotSent or Unanswered otherwise, each with
        a short sentence; never anything of the network's own."""
        headers = {**headers, "Content-Length": str(len(body))}
        with self._deadline:
            _send(self._connection, self._to, _pieces(body, is_late), headers, self._deadline)
            return _receive(self._connection, self._deadline, self._timeout_s)

    def abort(self) -> None:
        """End a ``post`` in another thread: it raises what it would at its time limit."""
        self._deadline.cut()

    def close(self) -> None:
        self._connection.close()


def _connect(to: Target, timeout_s: float, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    connection: http.client.HTTPConnection
    if to.scheme == "https":
        context = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(to.host, to.port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(to.host, to.port, timeout=timeout_s)
    try:
        connection.connect()
    except socket.gaierror as exc:
        raise NotSent(f"the name {to.host} cannot be resolved") from exc
    except ssl.SSLError as exc:
        raise NotSent(f"no trusted connection to {to.host}:{to.port}: {exc.reason or 'TLS failed'}") from exc
    except TimeoutError as exc:
        raise NotSent(f"no connection to {to.host}:{to.port} within {timeout_s:g} s") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that IDNA cannot encode
        raise NotSent(f"no connection to {to.host}:{to.port}: {_why(exc)}") from exc
    return connection


def _pieces(body: bytes, is_late: Callable[[], bool]) -> Iterator[bytes]:
    """Cut a body into pieces; each is taken when the kernel has all those before it."""
    for start in range(0, len(body), PIECE_BYTES):
        if is_late():
            raise TooLate("the request was not to leave any more")
        yield body[start : start + PIECE_BYTES]


def _send(
    connection: http.client.HTTPConnection,
    to: Target,
    body: Iterator[bytes],
    headers: Mapping[str, str],
    deadline: _Deadline,
) -> None:
    """Hand the whole request to the kernel. When this fails a part is missing, so nobody can act on it."""
    try:
        connection.request("POST", to.path, body=body, headers=dict(headers))
    except (OSError, http.client.HTTPException) as exc:
        late = deadline.passed or isinstance(exc, TimeoutError)
        why = "it was stopped" if deadline.aborted else "it took too long" if late else _why(exc)
        raise NotSent(f"{to.host}:{to.port} did not take the whole request: {why}") from exc


def _receive(connection: http.client.HTTPConnection, deadline: _Deadline, timeout_s: float) -> Answer:
    try:
        response = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as exc:
        why = f"the connection ended without an answer: {_why(exc)}"
        if deadline.aborted:
            why = "stopped before an answer came"
        elif deadline.passed or isinstance(exc, TimeoutError):
            why = f"no answer within {timeout_s:g} s"
        raise Unanswered(f"{why}; the request had been sent") from exc
    body = b""
    with suppress(OSError, http.client.HTTPException, ValueError):  # the status is what counts, the body explains it
        body = response.read(MAX_ANSWER_BYTES)
    named = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, headers=named, body=body)


def _why(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__


class _Deadline:
    """Ends the connection under a reader that would wait too long: a timeout of a socket bounds only each wait."""

    def __init__(self, connection: http.client.HTTPConnection, timeout_s: float) -> None:
        self._socket = connection.sock
        self.passed = self.aborted = False
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        try:
            self._timer.start()
        except RuntimeError as exc:
            raise NotSent(f"no thread can be started to keep the time limit: {exc}") from exc

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def cut(self) -> None:
        """End the exchange now."""
        self.aborted = True
        self._end()

    def _end(self) -> None:
        self.passed = True
        with suppress(OSError):  # closed meanwhile: the exchange is over
            # Not SSLSocket.shutdown: it takes the encryption off first, and a writer in another thread would go on.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
