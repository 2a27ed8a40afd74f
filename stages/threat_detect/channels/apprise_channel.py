"""Letters by the library apprise: ntfy, Telegram, Slack, Discord, Teams, MQTT, PagerDuty and over a hundred more.

The one module that imports it; an extra of the installation. Of a notification that failed the library tells no reason
but in its log, so this reads the log: what certainly was not accepted waits or is dead, and everything else is unknown.
No line of that log is shown or kept, as it may hold the URL.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Sequence
from typing import Final

from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyFormat, NotifyType
from apprise.attachment.memory import AttachMemory

from lookout.config.channels import NamedChannel, variable
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.departure import LATE, Departure
from stages.threat_detect.channels.short_text import Notice, to_notice

TIMEOUT_S: Final = 20.0
"""For a notification, which may be several requests: a text and a picture."""
RETRY_S: Final = 60.0
SETUP_RETRY_S: Final = 900.0
_STATUS: Final = re.compile(r"\berror=([1-5][0-9]{2})[0-9]{0,2}\.?\Z")
"""The end of a line that tells of a refusal. What stands before it may come from names that strangers chose."""
_NOT_CONNECTED: Final = re.compile(
    r"Socket Exception: (?:\[Errno -?[0-9]+\] (?:Connection refused|Name or service not known|No route to host)"
    r"|.*\(Caused by (?:NewConnectionError|NameResolutionError|ConnectTimeoutError)\("
    r"|.*\(Caused by SSLError\(SSLCertVerificationError\()",
    re.DOTALL,
)
"""A line that tells of a connection that was not made. A URL in it has no parentheses of its own."""
_log = logging.getLogger("apprise")
_log.propagate = False
_log.addHandler(logging.NullHandler())
_log.setLevel(logging.DEBUG)


class AppriseChannel:
    """Sends letters to one URL of the library."""

    def __init__(self, channel: NamedChannel, timeout_s: float = TIMEOUT_S) -> None:
        """``timeout_s`` bounds a whole try. Raises InputRejected for a URL that the library cannot use; it names the
        variable and does not show the value."""
        self.name = f"apprise:{channel.name}"
        name = variable(channel.name, "URL")
        if channel.type != "apprise":
            hint = "see docs/channels.md, or use the type webhook"
            raise InputRejected("expected a URL with a scheme of apprise, such as ntfy://topic", name, hint)
        self._url, self._timeout_s = channel.url, timeout_s
        if self.open() is None:
            raise InputRejected("apprise knows no such URL", name, "see docs/channels.md")

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name}, URL hidden)"

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter; see ``Channel``. The library connects when it sends."""
        return _Notification(self, to_notice(letter), self._timeout_s)

    def open(self) -> Apprise | None:
        """Make the library's object for the URL: it follows no redirect, keeps nothing on the disk, and sends in the
        thread that calls it, as its own threads would hold up the end of the process. None if it cannot."""
        asset = AppriseAsset(
            app_id="Lookout", http_redirects=False, storage_mode="memory", async_mode=False, service_timeout=0
        )
        made = Apprise(asset=asset)
        return made if made.add(self._url) and len(list(made)) == 1 else None


class _Notification:
    """Request to a service. The library cannot be interrupted, so it works in a thread that is left when its time is
    over, or when the request is aborted."""

    def __init__(self, channel: AppriseChannel, notice: Notice, timeout_s: float) -> None:
        self._channel, self._notice, self._timeout_s = channel, notice, timeout_s
        self._ended: queue.SimpleQueue[Delivered | None] = queue.SimpleQueue()

    def send(self, now_s: float, departure: Departure) -> Delivered:
        thread = threading.Thread(target=self._work, args=(now_s, departure), name=self._channel.name, daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            return Delivered(state=AlertState.PENDING, error=f"no thread can be started: {exc}")
        try:
            delivered = self._ended.get(timeout=self._timeout_s)
        except queue.Empty:
            why = f"no answer within {self._timeout_s:g} s"
        else:
            if delivered is not None:
                return delivered
            why = "stopped before an answer came"
        error = f"{self._channel.name}: {why}; the notification may have been sent"
        return Delivered(state=AlertState.UNKNOWN, error=error, closed=True)

    def abort(self) -> None:
        self._ended.put(None)

    def close(self) -> None:
        """Nothing to give back: the thread ends with its request."""

    def _work(self, now_s: float, departure: Departure) -> None:
        try:
            self._ended.put(self._notify(now_s, departure))
        except Exception as exc:  # noqa: BLE001 - the sender waits for an end; the text may hold the URL
            error = f"{self._channel.name}: {type(exc).__name__} in apprise"
            self._ended.put(Delivered(state=AlertState.UNKNOWN, error=error))

    def _notify(self, now_s: float, departure: Departure) -> Delivered:
        service = self._channel.open()
        if service is None:
            return Delivered(state=AlertState.PENDING, error=f"{self._channel.name}: the URL cannot be used")
        attached = AppriseAttachment()
        for picture in self._notice.pictures if all(one.attachment_support for one in service) else ():
            attached.add(AttachMemory(picture.data, picture.name, "image/jpeg"))  # type: ignore[no-untyped-call]
        if departure.is_late():
            return Delivered(state=AlertState.PENDING, error=LATE)
        lines: list[tuple[str, str]] = []
        arrived = service.notify(
            body=self._notice.text,
            title=self._notice.title,
            notify_type=NotifyType.WARNING,
            body_format=NotifyFormat.TEXT,
            attach=attached if len(attached) else None,
            log_level=logging.DEBUG,
            log_callback=lambda entry, _: lines.append((entry.level, entry.message)),
        )
        return meaning(self._channel.name, bool(arrived), lines, now_s)


def meaning(name: str, arrived: bool, lines: Sequence[tuple[str, str]], now_s: float) -> Delivered:
    """Return how a notification ended. ``lines`` are the library's log of it: levels and texts.

    Without a request that it says was accepted, a single status or a connection that was not made says what is
    certain. In all other cases a part may have arrived.
    """
    if arrived:
        return Delivered(state=AlertState.SENT)
    sent = any(level == "INFO" and text.startswith("Sent ") for level, text in lines)
    found = (_STATUS.search(text) for level, text in lines if level in ("WARNING", "ERROR"))
    statuses = {int(code[1]) for code in found if code is not None}
    if not sent and not statuses and any(_NOT_CONNECTED.match(text) for _, text in lines):
        return Delivered(state=AlertState.PENDING, error=f"{name}: no connection to the service", closed=True)
    if sent or len(statuses) != 1:
        return Delivered(state=AlertState.UNKNOWN, error=f"{name}: the service did not say that it accepted all")
    status = statuses.pop()
    error = f"{name}: the service answered {status}"
    if status in (401, 403) or 300 <= status < 400:
        hint = "check the URL and what it lets in"
        again_s = now_s + SETUP_RETRY_S
        return Delivered(state=AlertState.PENDING, error=f"{error} ({hint})", due_at_s=again_s, closed=True)
    if status in (408, 425, 429):
        again_s = now_s + RETRY_S
        return Delivered(state=AlertState.PENDING, error=error, due_at_s=again_s, closed=status == 429)
    if 400 <= status < 500:
        return Delivered(state=AlertState.DEAD, error=error)
    return Delivered(state=AlertState.UNKNOWN, error=error)
