"""A fake of SendGrid's v3 API on a local port: real HTTP, so that a channel is tested to its last byte.

It checks what the real one checks first (the key, the shape of a mail send), keeps what was posted, and misbehaves
when told: any status, HTML bodies, silence, dropped connections, drips. In a test it is a context manager; in a cluster
``python -m devkit.fakes.sendgrid_api --port 8025`` stands for the API and lets in the key in ``SENDGRID_API_KEY``
alone, ``GET /messages`` gives what it took, and ``POST /script`` tells it how to misbehave. It sends nothing anywhere.
Knows no channel.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import os
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

SEND_PATH: Final = "/v3/mail/send"
SCRIPT_PATH: Final = "/script"
MAX_POST_BYTES: Final = 30 * 1024 * 1024
"""The real limit on a whole mail."""


class Manner(Enum):
    """Manner in which an answer is given."""

    PLAIN = "plain"
    HANG = "hang"
    """Take the request and say nothing until the server closes."""
    DROP = "drop"
    """Take the request and close the connection without a word."""
    RESET = "reset"
    """Take the request and reset the connection."""
    CUT = "cut"
    """Close in the middle of the status line."""
    CUT_BODY = "cut_body"
    """Send the head, promise a body, close in the middle of it."""
    DRIP = "drip"
    """Send the head one byte at a time, each in good time, without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scripted:
    """One answer to give instead of the usual one."""

    status: int = 202
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = Manner.PLAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """One request as it came: header names in small letters; ``message`` is None if the body was no JSON object.

    ``status`` is what was answered, 0 for none.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    message: Mapping[str, Any] | None
    status: int


class SendGridApi:
    """The server; runs from ``with`` to its end. ``script`` is used up first, then the usual answers come."""

    def __init__(
        self,
        key: str = "SG.test",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        drip_s: float = 0.02,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.key = key
        self.drip_s = drip_s
        self.script: deque[Scripted] = deque()
        self.posted: list[Posted] = []
        self.arrived = threading.Semaphore(0)
        """Released once for each request that came."""
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server((host, port), self)
        self._scheme = "https" if tls else "http"
        if tls:
            # The handshake is left to each request's thread: a client that breaks it off must not end the server.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Return the URL to give a channel as its host."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; hanging answers end."""
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def serve_forever(self) -> None:
        """Serve in this thread until it is interrupted."""
        self._server.serve_forever()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Scripted:
        """Keep a request and choose its answer."""
        message = _object(body)
        with self._lock:
            scripted = self.script.popleft() if self.script else self.usual(path, headers, body, message)
            status = 0 if scripted.manner in (Manner.HANG, Manner.DROP, Manner.RESET, Manner.CUT) else scripted.status
            self.posted.append(Posted(method=method, path=path, headers=headers, message=message, status=status))
        self.arrived.release()
        return scripted

    def learn(self, body: bytes) -> Scripted:
        """Take answers to give from now on, in place of those that were told and not given yet: a JSON list of
        ``{"status": 429}`` or ``{"manner": "drop"}``, both optional."""
        try:
            told = [
                Scripted(status=int(one.get("status", 202)), manner=Manner(one.get("manner", "plain")))
                for one in json.loads(body)
            ]
        except (ValueError, TypeError, AttributeError) as error:
            return _errors(400, [(f"not a script: {error}", None)])
        with self._lock:
            self.script = deque(told)
        return Scripted(status=204)

    def messages(self) -> bytes:
        """Return all requests as JSON, without the key, and of attachments only how long they are as they came."""
        with self._lock:
            posted = list(self.posted)
        return json.dumps([_shown(one) for one in posted]).encode()

    def usual(self, path: str, headers: Mapping[str, str], body: bytes, message: Mapping[str, Any] | None) -> Scripted:
        """Return the answer of the real API to a request."""
        if path != SEND_PATH:
            return _errors(404, [("not found", None)])
        if headers.get("authorization") != f"Bearer {self.key}":
            return _errors(401, [("The provided authorization grant is invalid, expired, or revoked", None)])
        if len(body) > MAX_POST_BYTES:
            return _errors(413, [("The request is larger than 30 MB.", None)])
        wrong = [("Bad Request", None)] if message is None else find_faults(message)
        if wrong or message is None:
            return _errors(400, wrong)
        sandbox = message.get("mail_settings", {}).get("sandbox_mode", {}).get("enable") is True
        number = len(self.posted) + 1
        return Scripted(status=200 if sandbox else 202, headers={"X-Message-Id": f"message-{number}"})


def _shown(posted: Posted) -> dict[str, Any]:
    message = posted.message
    if message is not None and isinstance(message.get("attachments"), list):
        short = [
            {**one, "content": len(str(one.get("content", "")))} if isinstance(one, dict) else one
            for one in message["attachments"]
        ]
        message = {**message, "attachments": short}
    headers = {name: value for name, value in posted.headers.items() if name != "authorization"}
    return asdict(replace(posted, headers=headers, message=message))


def find_faults(message: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return why the API would refuse a mail: sentences with the fields they are about. Empty for a valid one."""
    faults: list[tuple[str, str | None]] = []
    people = message.get("personalizations")
    if not isinstance(people, list) or not people:
        faults.append(("The personalizations field is required and must have at least one personalization.", None))
        people = []
    for number, person in enumerate(people):
        if not isinstance(person, dict) or not all(_is_address(to) for to in person.get("to") or [None]):
            faults.append(("Does not contain a valid address.", f"personalizations.{number}.to"))
    if not _is_address(message.get("from")):
        faults.append(("The from object must be provided for every email send.", "from.email"))
    subject = message.get("subject")
    if not isinstance(subject, str) or not subject or "\n" in subject or "\r" in subject:
        faults.append(("The subject is required and must be one line.", "subject"))
    return faults + _content_faults(message) + _attachment_faults(message)


def _content_faults(message: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    kinds = [part.get("type") for part in message.get("content") or []]
    if not kinds:
        return [("The content value must be a list with at least one element.", "content")]
    if "text/plain" in kinds and kinds[0] != "text/plain":
        return [("If present, text/plain must be the first content.", "content")]
    return []


def _attachment_faults(message: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    faults: list[tuple[str, str | None]] = []
    for number, attached in enumerate(message.get("attachments") or []):
        try:
            base64.b64decode(attached.get("content", ""), validate=True)
        except (binascii.Error, ValueError, TypeError):
            faults.append(("The attachment content must be base64 encoded.", f"attachments.{number}.content"))
        if attached.get("disposition") == "inline" and not attached.get("content_id"):
            faults.append(("An inline attachment needs a content_id.", f"attachments.{number}.content_id"))
    return faults


def _is_address(value: object) -> bool:
    email = value.get("email") if isinstance(value, dict) else None
    return isinstance(email, str) and email.count("@") == 1 and email.isprintable() and " " not in email


def _errors(status: int, faults: Sequence[tuple[str, str | None]]) -> Scripted:
    errors = [{"message": message, "field": place, "help": None} for message, place in faults]
    return Scripted(
        status=status, body=json.dumps({"errors": errors}).encode(), headers={"Content-Type": "application/json"}
    )


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        tree = json.loads(body)
    except ValueError:
        return None
    return tree if isinstance(tree, dict) else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], api: SendGridApi) -> None:
        self.api = api
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is what tests are about; anything else is an error of this server."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        promised = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(promised)
        if len(body) < promised:  # nobody acts on a part of a request
            self.close_connection = True
            return
        if self.path == SCRIPT_PATH:
            self._give(self.server.api.learn(body))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._give(self.server.api.answer("POST", self.path, headers, body))

    def do_GET(self) -> None:
        if self.path == "/messages":
            body = self.server.api.messages()
            self._give(Scripted(status=200, body=body, headers={"Content-Type": "application/json"}))
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._give(self.server.api.answer("GET", self.path, headers, b""))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing: what was posted is kept."""

    def _give(self, scripted: Scripted) -> None:
        self.close_connection = True
        head = f"HTTP/1.1 {scripted.status} Scripted\r\n"
        named = {"Content-Length": str(len(scripted.body)), "Connection": "close", **scripted.headers}
        whole = (head + "".join(f"{name}: {value}\r\n" for name, value in named.items()) + "\r\n").encode("latin-1")
        closing = self.server.api.closing
        try:
            if scripted.manner is Manner.HANG:
                closing.wait()
            elif scripted.manner is Manner.RESET:
                # Closed with nothing to linger for, a connection is reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            elif scripted.manner is Manner.CUT:
                self.wfile.write(whole[:7])
            elif scripted.manner is Manner.CUT_BODY:
                self.wfile.write(whole + scripted.body[: len(scripted.body) // 2])
            elif scripted.manner is Manner.DRIP:
                endless = whole[:-2] + b"X-Drip: "
                while not closing.wait(self.server.api.drip_s):
                    self.wfile.write(endless[:1])
                    endless = endless[1:] or b"."
            elif scripted.manner is Manner.PLAIN:
                self.wfile.write(whole + scripted.body)
        except OSError:
            return  # the other side has gone, as tests of time limits mean it to


def main() -> None:
    """Serve the fake API until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for SendGrid's v3 API; it sends nothing anywhere.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8025)
    given = parser.parse_args()
    # By the environment only: everybody on a machine sees the arguments of a process.
    api = SendGridApi(os.environ.get("SENDGRID_API_KEY") or "SG.test", host=given.host, port=given.port)
    sys.stdout.write(f"{api.url}\n")
    sys.stdout.flush()
    try:
        api.serve_forever()
    except KeyboardInterrupt:
        api.close()


if __name__ == "__main__":
    main()
