"""Letters by a mail server: the same mail as a file holds, handed over by SMTP with TLS.

What an answer means follows from RFC 5321: 4xx is for now, 5xx is for good, and no mail is accepted before the end of
its data. A repeat has the same Message-ID, so many mailboxes show it once.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Final

from lookout.config.channels import SmtpAddress
from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.outbox.channel import Letter, Request
from lookout.outbox.departure import LATE, Departure
from stages.threat_detect.mail.alert_text import clean
from stages.threat_detect.mail.exchange import NotSent, TooLate, Unanswered
from stages.threat_detect.mail.message import render
from stages.threat_detect.mail.mime import to_eml
from stages.threat_detect.mail.smtp_session import Refused, Session

TIMEOUT_S: Final = 30.0
"""For an answer, and for handing over a mail: servers look into it before they answer."""
RETRY_S: Final = 60.0
"""After a refusal for now: the server is busy, or wants to see the same mail again (greylisting)."""
SETUP_RETRY_S: Final = 900.0
"""After a wrong user, password, sender or setting, which a person has to put right."""
_TOO_LARGE: Final = 552
_BUSY: Final = 421
_UNREADY_STEPS: Final = ("greeting", "STARTTLS", "login")
_HINT: Final = "check LOOKOUT_SMTP_URL and LOOKOUT_SMTP_PASSWORD"


class SmtpChannel:
    """Sends letters by one mail server."""

    name = "smtp"

    def __init__(
        self,
        address: SmtpAddress,
        timeout_s: float = TIMEOUT_S,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``timeout_s`` bounds each answer, and the handing over as a whole; ``tls`` says whom to trust, by default
        the authorities of the system."""
        self._address, self._timeout_s, self._tls, self._clock = address, timeout_s, tls, clock

    def __repr__(self) -> str:
        return f"SmtpChannel({self._address.host}:{self._address.port}, user and password hidden)"

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter, connect, log in, and name sender and recipient; see ``Channel``."""
        mail = render(letter)
        if mail.fault:
            return Delivered(state=AlertState.DEAD, error=mail.fault)
        message = to_eml(mail, letter.id, seven_bit=True)
        session = Session(self._address, self._timeout_s, self._tls)
        try:
            session.open(mail.sender, mail.recipient, len(message))
        except NotSent as exc:
            session.close()
            return Delivered(state=AlertState.PENDING, error=self.hide(str(exc)), closed=True)
        except Refused as exc:
            session.close()
            return self.refused(exc, self._clock())
        return _Handover(self, session, message)

    def refused(self, refusal: Refused, now_s: float) -> Delivered:
        """Return what a refusal means for the letter; docs/channels.md has the table.

        A busy server, a wrong login and a sender that it does not let in concern more than this letter: it waits. A
        recipient or a mail that is refused for good is dead.
        """
        code, step = refusal.code, refusal.step
        said = self.hide(clean(refusal.text))
        error = f"the mail server refused the {step} with {code}" + (f": {said}" if said else "")
        if step in _UNREADY_STEPS or code in (_BUSY, 530, 535):
            lasting = 500 <= code < 600
            again_s = now_s + (SETUP_RETRY_S if lasting else RETRY_S)
            error += f" ({_HINT})" if lasting else ""
            return Delivered(state=AlertState.PENDING, error=error, due_at_s=again_s, closed=True)
        if 500 <= code < 600:
            if step == "sender" and code != _TOO_LARGE:
                error += " (check that the server lets this sender in)"
                return Delivered(state=AlertState.PENDING, error=error, due_at_s=now_s + SETUP_RETRY_S)
            return Delivered(state=AlertState.DEAD, error=error)
        if 400 <= code < 500 or step != "end of the data":
            return Delivered(state=AlertState.PENDING, error=error, due_at_s=now_s + RETRY_S)
        return Delivered(state=AlertState.UNKNOWN, error=error)

    def hide(self, text: str) -> str:
        """Return the text without user and password, should the server repeat them."""
        for secret in (self._address.password, self._address.user):
            text = text.replace(secret, "[hidden]") if secret else text
        return text


class _Handover:
    """Request to a mail server: a mail, and the session in which its recipient was accepted."""

    def __init__(self, channel: SmtpChannel, session: Session, message: bytes) -> None:
        self._channel, self._session, self._message = channel, session, message

    def send(self, now_s: float, departure: Departure) -> Delivered:
        try:
            accepted = self._session.send(self._message, departure.is_late)
        except TooLate:
            return Delivered(state=AlertState.PENDING, error=LATE)
        except NotSent as exc:
            return Delivered(state=AlertState.PENDING, error=self._channel.hide(str(exc)), closed=True)
        except Unanswered as exc:
            return Delivered(state=AlertState.UNKNOWN, error=self._channel.hide(str(exc)), closed=True)
        except Refused as exc:
            return self._channel.refused(exc, now_s)
        return Delivered(state=AlertState.SENT, message_id=self._channel.hide(clean(accepted)) or None)

    def abort(self) -> None:
        self._session.abort()

    def close(self) -> None:
        self._session.close()
