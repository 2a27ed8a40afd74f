"""A receiver of webhooks on a local port: real HTTP; it checks signature and form as a careful receiver does.

It misbehaves when told, as the fake of SendGrid's API does, of which it has the server. It checks the signature as
Standard Webhooks 1.0 says, in code of its own, and the form as CloudEvents 1.0.2 says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from devkit.fakes.sendgrid_api import Scripted, SendGridApi

PATH: Final = "/hook"
TOLERANCE_S: Final = 300.0
_REQUIRED: Final = ("specversion", "id", "source", "type")


class WebhookReceiver(SendGridApi):
    """The server; runs from ``with`` to its end. ``now_s`` is its clock, by default the real one."""

    def __init__(self, secret: str = "a secret of a test", *, now_s: float | None = None) -> None:  # noqa: S107
        super().__init__(drip_s=0.05)
        self.secret = secret
        self.now_s = now_s
        self.wrong: list[str] = []
        """Faults of requests that were refused."""

    @property
    def hook(self) -> str:
        """The URL to give a channel."""
        return f"{self.url}{PATH}?token=of-the-url"

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """All events that came, whatever was answered."""
        return [posted.message for posted in self.posted if posted.message is not None]

    def usual(self, path: str, headers: Mapping[str, str], body: bytes, message: Mapping[str, Any] | None) -> Scripted:
        """Return 204, or 401 and 400 for what a careful receiver refuses."""
        if path != f"{PATH}?token=of-the-url":
            return Scripted(status=404)
        fault = self._find_signature_fault(headers, body)
        if fault is not None:
            self.wrong.append(fault)
            return Scripted(status=401, body=fault.encode())
        fault = _find_form_fault(headers, message)
        if fault is not None:
            self.wrong.append(fault)
            return Scripted(status=400, body=fault.encode())
        return Scripted(status=204)

    def _find_signature_fault(self, headers: Mapping[str, str], body: bytes) -> str | None:
        id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        now_s = time.time() if self.now_s is None else self.now_s
        if not timestamp.isdigit() or abs(int(timestamp) - now_s) > TOLERANCE_S:
            return f"the time {timestamp!r} is too far away"
        key = self.secret.encode()
        if self.secret.startswith("whsec_"):
            key = base64.b64decode(self.secret[6:])
        signed = b".".join([id_.encode(), timestamp.encode(), body])
        wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        given = headers.get("webhook-signature", "").split(" ")
        return None if any(hmac.compare_digest(wanted, one) for one in given) else "the signature is another"


def _find_form_fault(headers: Mapping[str, str], message: Mapping[str, Any] | None) -> str | None:
    if headers.get("content-type") != "application/cloudevents+json; charset=utf-8":
        return f"the content type is {headers.get('content-type')!r}"
    if message is None:
        return "the body is no JSON object"
    for name in _REQUIRED:
        if not isinstance(message.get(name), str) or not message[name]:
            return f"{name} is missing"
    if message["specversion"] != "1.0":
        return f"specversion is {message['specversion']}"
    # Context attributes have names of small letters and digits, and values that are no objects.
    wrong = [name for name in message if not (name.isascii() and name.isalnum() and name == name.lower())]
    nested = [name for name, value in message.items() if name != "data" and not isinstance(value, str)]
    return json.dumps({"names": wrong, "values": nested}) if wrong or nested else None
