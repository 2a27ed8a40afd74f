"""Client of one POST whose end is known as exactly as it can be: never sent, answered, or sent and nobody knows.

Why not urllib or an SDK's own transport: those follow redirects with the Authorization header on, some log it, a
server that drips bytes holds them for ever, and they do not say whether the request had left when it failed. Here no
redirect is followed, nothing is logged, and the whole exchange has one limit in time. Knows no mail.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from lookout.domain.errors import InputRejected
from stages.threat_detect.mail.exchange import Deadline, NotSent, Unanswered, pieces, why

MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer of the server. ``headers`` have lower-case names; ``body`` is cut to ``MAX_ANSWER_BYTES``."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Target of a post: ``scheme`` is http or https. ``shown`` stands for host and port in errors, where those are
    not to be told."""

    scheme: str
    host: str
    port: int
    path: str
    shown: str = ""

    @property
    def place(self) -> str:
        """Host and port, or what stands for them."""
        return self.shown or f"{self.host}:{self.port}"


def target(url: str, *, query: bool = False, shown: str = "") -> Target:
    """Return the parts of a URL. Raises InputRejected for one that is not plain http or https, or carries credentials,
    or a query where none is allowed; it does not show the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputRejected("expected a URL such as https://api.sendgrid.com", "host") from None
    plain = url.isascii() and url.isprintable() and " " not in url
    bare = parts.username is None and (query or not parts.query)
    if not plain or not bare or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputRejected("expected a URL such as https://api.sendgrid.com", "host")
    return Target(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port if port is not None else 443 if parts.scheme == "https" else 80,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        shown=shown,
    )


class Connection:
    """Connection for one POST, open from the start. ``timeout_s`` bounds each wait of connecting, and the exchange
    after it as a whole. Raises NotSent when there is no connection."""

    def __init__(self, to: Target, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._to, self._timeout_s = to, timeout_s
        self._connection = _connect(to, timeout_s, tls)
        used = self._connection.sock  # the connection forgets it before the answer's body is read
        self._deadline = Deadline(lambda: used, timeout_s)

    def post(self, body: bytes, headers: Mapping[str, str], is_late: Callable[[], bool] = lambda: False) -> Answer:
        """Send ``body`` once and read the answer. ``is_late`` is asked directly before each piece of the body, so that
        the last one does not leave too late: then it raises TooLate. Raises NotSent or Unanswered otherwise, each with
        a short sentence; never anything of the network's own."""
        headers = {**headers, "Content-Length": str(len(body))}
        with self._deadline:
            _send(self._connection, self._to, pieces(body, is_late), headers, self._deadline)
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
        raise NotSent(
            f"the name of {to.place} cannot be resolved" if to.shown else f"the name {to.host} cannot be resolved"
        ) from exc
    except ssl.SSLError as exc:
        raise NotSent(f"no trusted connection to {to.place}: {exc.reason or 'TLS failed'}") from exc
    except TimeoutError as exc:
        raise NotSent(f"no connection to {to.place} within {timeout_s:g} s") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that IDNA cannot encode
        raise NotSent(f"no connection to {to.place}: {why(exc)}") from exc
    return connection


def _send(
    connection: http.client.HTTPConnection,
    to: Target,
    body: Iterator[bytes],
    headers: Mapping[str, str],
    deadline: Deadline,
) -> None:
    """Hand the whole request to the kernel. When this fails a part is missing, so nobody can act on it."""
    try:
        connection.request("POST", to.path, body=body, headers=dict(headers))
    except (OSError, http.client.HTTPException) as exc:
        late = deadline.passed or isinstance(exc, TimeoutError)
        said = "it was stopped" if deadline.aborted else "it took too long" if late else why(exc)
        raise NotSent(f"{to.place} did not take the whole request: {said}") from exc


def _receive(connection: http.client.HTTPConnection, deadline: Deadline, timeout_s: float) -> Answer:
    try:
        response = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as exc:
        said = f"the connection ended without an answer: {why(exc)}"
        if deadline.aborted:
            said = "stopped before an answer came"
        elif deadline.passed or isinstance(exc, TimeoutError):
            said = f"no answer within {timeout_s:g} s"
        raise Unanswered(f"{said}; the request had been sent") from exc
    body = b""
    with suppress(OSError, http.client.HTTPException, ValueError):  # the status is what counts, the body explains it
        body = response.read(MAX_ANSWER_BYTES)
    named = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, headers=named, body=body)
