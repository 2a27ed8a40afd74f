"""Port of a channel: a letter, a request that is ready to leave, and a way to send. Knows no ledger and no outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lookout.domain.records import Alert
from lookout.ledger.port import Delivered
from lookout.outbox.departure import Departure


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One message to one recipient: one alert, or several as a digest. All its alerts have one channel, one sender and
    one recipient.

    ``id`` is stable over tries. ``evidence`` holds, by alert id, the bytes of the picture that shows the threat (of
    a digest: of as many alerts as the outbox chose to load). ``resend`` says that an earlier try may have arrived.
    """

    id: str
    alerts: tuple[Alert, ...]
    evidence: Mapping[str, bytes]
    resend: bool = False


class Request(Protocol):
    """A letter that is ready to leave: rendered, and connected to the other side."""

    def send(self, now_s: float, departure: Departure) -> Delivered:
        """Send once and say how it ended: SENT (with a message id), DEAD (refused for good), PENDING (certainly not
        delivered) or UNKNOWN (may have been delivered). PENDING if it is too late, directly before it leaves."""
        ...

    def abort(self) -> None:
        """End a ``send`` that another thread waits for, soon; it then says how that ended."""
        ...

    def close(self) -> None:
        """Give back what it holds. Twice is allowed."""
        ...


class Channel(Protocol):
    """A way to send letters. ``name`` is shown to people: ``sendgrid``, ``folder``, ``webhook:home``."""

    name: str

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter and connect. Nothing has left when this returns a Request or raises. Where the end is
        certain already, that is given instead: PENDING without a connection, DEAD for a letter that nobody can send,
        WRITTEN (a file's path as message id) by a channel that does the same only once however often it is asked."""
        ...
