"""Letters by SendGrid's v3 API: the one module that knows the SDK. Imported only when there is a key.

The SDK writes the message and the headers; ``http_post`` carries them. The API has no idempotency key, so each outcome
is mapped by what is certain: accepted, refused for good, not accepted, or unknown. The key never leaves this object
but in the Authorization header; no error, log line or repr shows it.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from typing import Final

from sendgrid import SendGridAPIClient  # type: ignore[import-untyped]
from sendgrid.helpers.mail import (  # type: ignore[import-untyped]
    Attachment,
    ClickTracking,
    ContentId,
    CustomArg,
    Disposition,
    Email,
    FileContent,
    FileName,
    FileType,
    Header,
    MailSettings,
    OpenTracking,
    SandBoxMode,
    TrackingSettings,
)
from sendgrid.helpers.mail import Mail as Message

from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.departure import LATE, Departure
from stages.threat_detect.mail.alert_text import clean
from stages.threat_detect.mail.exchange import NotSent, TooLate, Unanswered
from stages.threat_detect.mail.http_post import Answer, Connection, target
from stages.threat_detect.mail.message import SENDER_NAME, Mail, render

DEFAULT_HOST: Final = "https://api.sendgrid.com"
RETRY_S: Final = 60.0
"""After a limit without a time, and a request that was not taken in time."""
SETUP_RETRY_S: Final = 900.0
"""After a wrong key or setting, which a person has to put right."""
MAX_WAIT_S: Final = 3600.0
"""A limit that ends later than this is not believed: clocks differ."""
_MAX_ERROR: Final = 500

_KEY_HINT: Final = "check that SENDGRID_API_KEY is a complete, active key with the permission Mail Send"
_SENDER_HINT: Final = f"{_KEY_HINT}, and that the sender's address is verified"


class SendGridChannel:
    """Sends letters by SendGrid's v3 mail send."""

    name = "sendgrid"

    def __init__(
        self,
        api_key: str,
        host: str = DEFAULT_HOST,
        timeout_s: float = 10.0,
        *,
        sandbox: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``host`` is the API's address without a path; ``timeout_s`` bounds a whole try; in the ``sandbox`` the API
        checks the mail and sends nothing. Raises InputRejected for a key or a host that cannot be one."""
        api_key = api_key.strip()
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise InputRejected(
                "the SendGrid key is empty or has characters that are not allowed in one", "SENDGRID_API_KEY"
            )
        self._target = target(f"{host.rstrip('/')}/v3/mail/send")
        if not timeout_s > 0:
            raise InputRejected(f"expected a time limit above 0 s, got {timeout_s}", "timeout_s")
        self._key = api_key
        self._timeout_s = timeout_s
        self._sandbox = sandbox
        self._tls = tls

    def __repr__(self) -> str:
        return f"SendGridChannel({self._target.host}:{self._target.port}, key hidden)"

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter and connect; see ``Channel``."""
        mail = render(letter)
        if mail.fault:
            return Delivered(state=AlertState.DEAD, error=mail.fault)
        body = json.dumps(to_message(mail, letter.id, sandbox=self._sandbox)).encode("ascii")
        try:
            connection = Connection(self._target, self._timeout_s, self._tls)
        except NotSent as exc:
            return Delivered(state=AlertState.PENDING, error=self._hide(str(exc)), closed=True)
        return _Post(self, connection, body)

    def post(self, connection: Connection, body: bytes, now_s: float, departure: Departure) -> Delivered:
        """Post a message once; the states are chosen by ``delivered`` below."""
        headers = {**SendGridAPIClient(self._key).client.request_headers, "Content-Type": "application/json"}
        try:
            answer = connection.post(body, headers, departure.is_late)
        except TooLate:
            return Delivered(state=AlertState.PENDING, error=LATE)
        except NotSent as exc:
            return Delivered(state=AlertState.PENDING, error=self._hide(str(exc)))
        except Unanswered as exc:
            return Delivered(state=AlertState.UNKNOWN, error=self._hide(str(exc)))
        return delivered(answer, self._hide(_explain(answer)), now_s, sandbox=self._sandbox)

    def _hide(self, text: str) -> str:
        """Return the text without the key, should the other side repeat it."""
        return text.replace(self._key, "[key]")


class _Post:
    """Request to SendGrid: a message and the connection that it will take."""

    def __init__(self, channel: SendGridChannel, connection: Connection, body: bytes) -> None:
        self._channel, self._connection, self._body = channel, connection, body

    def send(self, now_s: float, departure: Departure) -> Delivered:
        return self._channel.post(self._connection, self._body, now_s, departure)

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()


def to_message(mail: Mail, letter_id: str, *, sandbox: bool = False) -> Mapping[str, object]:
    """Return the mail as the body of a v3 mail send: one personalization a recipient, so that none sees another;
    pictures inline; the ids as headers and custom arguments; no tracking of opens and clicks."""
    message = Message(
        from_email=Email(mail.sender, SENDER_NAME),
        to_emails=[mail.recipient],
        subject=mail.subject,
        plain_text_content=mail.text,
        html_content=mail.html,
        is_multiple=True,
    )
    for picture in mail.pictures:
        message.attachment = Attachment(
            FileContent(base64.b64encode(picture.data).decode("ascii")),
            FileName(picture.name),
            FileType("image/jpeg"),
            Disposition("inline"),
            ContentId(picture.content_id),
        )
    for name, value in mail.headers.items():
        message.header = Header(name, value)
    message.custom_arg = CustomArg("lookout_letter", clean(letter_id))
    if "X-Lookout-Alert" in mail.headers:
        message.custom_arg = CustomArg("lookout_alert", mail.headers["X-Lookout-Alert"])
    message.tracking_settings = TrackingSettings(ClickTracking(False, False), OpenTracking(False))
    if sandbox:
        message.mail_settings = MailSettings(sandbox_mode=SandBoxMode(True))
    body: Mapping[str, object] = message.get()
    return body


def delivered(answer: Answer, said: str, now_s: float, *, sandbox: bool = False) -> Delivered:
    """Return the meaning of an answer for the letter; ``said`` is the server's sentence.

    202 (200 in the sandbox) is accepted. 401 and 403 are a wrong key or an unverified sender: a person can correct
    that, so the letter waits instead of being lost. 408, 429 and redirects were certainly not accepted and wait too.
    Any other 4xx refuses this letter for good. 5xx may come after the mail was accepted, and an answer that the API
    does not document proves nothing: unknown.
    """
    status = answer.status
    error = f"SendGrid answered {status}" + (f": {said}" if said else "")
    if status == 202 or (sandbox and status == 200):
        return Delivered(state=AlertState.SENT, message_id=clean(answer.headers.get("x-message-id", "")) or None)
    if status in (401, 403):
        hint = _KEY_HINT if status == 401 else _SENDER_HINT
        again_s = now_s + SETUP_RETRY_S
        return Delivered(state=AlertState.PENDING, error=f"{error} ({hint})", due_at_s=again_s, closed=status == 401)
    if status == 429:
        return Delivered(state=AlertState.PENDING, error=error, due_at_s=_reset_at_s(answer, now_s), closed=True)
    if status == 408:
        return Delivered(state=AlertState.PENDING, error=error, due_at_s=now_s + RETRY_S)
    if 300 <= status < 400:
        hint = "a redirect is not followed; check the host"
        again_s = now_s + SETUP_RETRY_S
        return Delivered(state=AlertState.PENDING, error=f"{error} ({hint})", due_at_s=again_s, closed=True)
    if 400 <= status < 500:
        return Delivered(state=AlertState.DEAD, error=error)
    return Delivered(state=AlertState.UNKNOWN, error=error)


def _reset_at_s(answer: Answer, now_s: float) -> float:
    """Return the end of a rate limit: the header's Unix seconds if they are in the near future, else a minute from
    now."""
    text = answer.headers.get("x-ratelimit-reset", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 12 and now_s < int(text) <= now_s + MAX_WAIT_S:
        return float(text)
    return now_s + RETRY_S


def _explain(answer: Answer) -> str:
    """Return the API's error sentences with their fields, or the beginning of whatever else came. One printable
    line."""
    try:
        tree = json.loads(answer.body)
    except (ValueError, RecursionError):
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        if "html" in kind:
            return "a page of HTML, so perhaps not from SendGrid itself"
        return clean(answer.body.decode("utf-8", "replace"))
    errors = tree.get("errors") if isinstance(tree, dict) else None
    parts = []
    for item in errors if isinstance(errors, list) else []:
        message, where = (item.get("message"), item.get("field")) if isinstance(item, dict) else (item, None)
        if isinstance(message, str):
            parts.append(message + (f" ({where})" if isinstance(where, str) and where else ""))
    return clean("; ".join(parts), limit=_MAX_ERROR)
