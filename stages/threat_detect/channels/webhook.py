"""Letters by a signed webhook: an event of CloudEvents, posted to one URL.

The signature is that of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, so that a receiver can check it with
a library, refuse what is old, and know a repeat by its id. Neither the URL nor the secret leaves this object but to its
server: errors call the webhook by its name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
from email.utils import parsedate_to_datetime
from typing import Final

from lookout.config.channels import NamedChannel, variable
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.departure import LATE, Departure
from stages.threat_detect.channels.event import CONTENT_TYPE, to_event
from stages.threat_detect.mail.alert_text import clean
from stages.threat_detect.mail.exchange import NotSent, TooLate, Unanswered
from stages.threat_detect.mail.http_post import Answer, Connection, target

RETRY_S: Final = 60.0
"""After a limit without a time, and a request that was not taken in time."""
SETUP_RETRY_S: Final = 900.0
"""After a wrong secret or URL, which a person has to put right."""
MAX_WAIT_S: Final = 3600.0
"""A limit that ends later than this is not believed."""
MIN_SECRET: Final = 16
_SETUP: Final = (401, 403, 407)
_NOT_TAKEN: Final = (408, 425)
_ENCODED: Final = "whsec_"


class WebhookChannel:
    """Posts letters to one URL."""

    def __init__(self, channel: NamedChannel, timeout_s: float = 10.0, *, tls: ssl.SSLContext | None = None) -> None:
        """``timeout_s`` bounds a whole try. Raises InputRejected for a URL or a secret that cannot be used; it names
        the variable and does not show the value."""
        self.name = f"webhook:{channel.name}"
        url, secret = variable(channel.name, "URL"), variable(channel.name, "SECRET")
        if channel.type != "webhook":
            raise InputRejected("is not the URL of a webhook", url, "give one with https://, or use the type apprise")
        try:
            self._target = target(channel.url, query=True, shown=f"the webhook {channel.name}")
        except InputRejected:
            expected = "expected a URL such as https://example.com/hook, with nothing before the host"
            raise InputRejected(expected, url) from None
        if channel.secret is None:
            raise InputRejected("is not set", secret, "webhooks are signed: set it to a random text")
        self._key = _key(channel.secret, secret)
        self._hidden = (channel.url, self._target.path, self._target.host, channel.secret)
        self._timeout_s, self._tls = timeout_s, tls

    def __repr__(self) -> str:
        return f"WebhookChannel({self.name}, URL and secret hidden)"

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter and connect; see ``Channel``."""
        body = to_event(letter)
        try:
            connection = Connection(self._target, self._timeout_s, self._tls)
        except NotSent as exc:
            return Delivered(state=AlertState.PENDING, error=self._hide(str(exc)), closed=True)
        return _Post(self, connection, letter.id, body)

    def post(
        self, connection: Connection, letter_id: str, body: bytes, now_s: float, departure: Departure
    ) -> Delivered:
        """Post an event once; the states are chosen by ``delivered`` below."""
        try:
            answer = connection.post(body, sign(self._key, letter_id, now_s, body), departure.is_late)
        except TooLate:
            return Delivered(state=AlertState.PENDING, error=LATE)
        except NotSent as exc:
            return Delivered(state=AlertState.PENDING, error=self._hide(str(exc)), closed=True)
        except Unanswered as exc:
            return Delivered(state=AlertState.UNKNOWN, error=f"{self.name}: {self._hide(str(exc))}", closed=True)
        said = self._hide(clean(answer.body.decode("utf-8", "replace")))
        return delivered(answer, f"{self.name} answered {answer.status}" + (f": {said}" if said else ""), now_s)

    def _hide(self, text: str) -> str:
        """Return the text without URL and secret, should the other side repeat them."""
        for part in self._hidden:
            text = text.replace(part, "[hidden]") if len(part) > 1 else text
        return text


class _Post:
    """Request to a webhook: an event and the connection that it will take."""

    def __init__(self, channel: WebhookChannel, connection: Connection, letter_id: str, body: bytes) -> None:
        self._channel, self._connection, self._letter_id, self._body = channel, connection, letter_id, body

    def send(self, now_s: float, departure: Departure) -> Delivered:
        return self._channel.post(self._connection, self._letter_id, self._body, now_s, departure)

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()


def sign(key: bytes, letter_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """Return the headers of a signed event. ``letter_id`` is the same for every repeat; the time is that of the try."""
    id_, timestamp = clean(letter_id), str(int(now_s))
    signature = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "lookout",
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode('ascii')}",
    }


def delivered(answer: Answer, error: str, now_s: float) -> Delivered:
    """Return the meaning of an answer for the letter; docs/channels.md has the table.

    2xx is accepted. Redirects, 401, 403 and 407 are a wrong URL or secret: a person can correct that, so the letter
    waits (decision 12). 408, 425, 429, and 503 with a time, were not accepted and wait. Any other 4xx refuses this
    letter for good. Everything else may come after it was accepted.
    """
    status = answer.status
    if 200 <= status < 300:
        return Delivered(state=AlertState.SENT)
    if 300 <= status < 400 or status in _SETUP:
        hint = "check the secret" if status in _SETUP else "a redirect is not followed; check the URL"
        again_s = now_s + SETUP_RETRY_S
        return Delivered(state=AlertState.PENDING, error=f"{error} ({hint})", due_at_s=again_s, closed=True)
    again_s_or_none = _retry_at_s(answer, now_s)
    if status in _NOT_TAKEN:
        return Delivered(state=AlertState.PENDING, error=error, due_at_s=now_s + RETRY_S)
    if status == 429 or (status == 503 and again_s_or_none is not None):
        again_s = again_s_or_none or now_s + RETRY_S
        return Delivered(state=AlertState.PENDING, error=error, due_at_s=again_s, closed=True)
    if 400 <= status < 500:
        return Delivered(state=AlertState.DEAD, error=error)
    return Delivered(state=AlertState.UNKNOWN, error=error)


def _retry_at_s(answer: Answer, now_s: float) -> float | None:
    """Return the time of a Retry-After header, in seconds or as a date; None without one. A time that is past or over
    an hour away counts as a minute."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        digits = text.isascii() and text.isdigit() and len(text) <= 12
        at_s = now_s + int(text) if digits else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return now_s + RETRY_S
    return at_s if now_s < at_s <= now_s + MAX_WAIT_S else now_s + RETRY_S


def _key(secret: str, name: str) -> bytes:
    """Return the key of a secret: its bytes, or those that follow ``whsec_`` in base64."""
    key = secret.encode("ascii")
    if secret.startswith(_ENCODED):
        try:
            key = base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
        except binascii.Error:
            raise InputRejected(f"expected base64 after {_ENCODED}", name) from None
    if len(key) < MIN_SECRET:
        raise InputRejected(f"expected at least {MIN_SECRET} bytes, got {len(key)}", name, "set it to a random text")
    return key
