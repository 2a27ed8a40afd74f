"""SendGrid's stand-in for a storm: misbehaves as planned, can be away, and remembers which alerts came and how.

Knows no ledger.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from devkit.fakes.sendgrid_api import SEND_PATH, Manner, Posted, Scripted, SendGridApi
from tests.storm.beacon import Beacon
from tests.storm.weather import Answer

KEY: Final = "SG.storm"
_ALERT: Final = re.compile(r"^ +alert +([0-9a-f]{64})$", re.MULTILINE)
_MARK: Final = "THIS MAY BE A REPEAT"
_MANNERS: Final = {Answer.HANG: Manner.HANG, Answer.DROP: Manner.DROP, Answer.CUT: Manner.CUT}
REASON: Final = "this recipient is refused"


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One request with alerts. ``status`` is 0 where none was answered."""

    alerts: tuple[str, ...]
    status: int
    marked: bool

    @property
    def may_be_accepted(self) -> bool:
        """Tell whether the sender cannot know that it was refused."""
        return self.status == 0 or self.status >= 500 or 200 <= self.status < 300


class _Api(SendGridApi):
    """The stand-in, which asks for its answers as requests come."""

    def __init__(self, post: MailService, port: int) -> None:
        super().__init__(KEY, port=port)
        self._post = post
        self._turn = threading.Lock()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Scripted:
        with self._turn:
            self.script.clear()
            if path == SEND_PATH and (chosen := self._post.choose(body)) is not None:
                self.script.append(chosen)
            answered = super().answer(method, path, headers, body)
            self._post.arrived(self.posted[-1])
        return answered


class MailService:
    """The mail API of one storm, at one address whether it is there or not."""

    def __init__(self, beacon: Beacon) -> None:
        self._beacon = beacon
        self._api = _Api(self, 0)
        self._port = int(self._api.url.rpartition(":")[2])
        self._open = False
        self._answers: list[Answer] = []
        self._refuses = b""
        self.arrivals: list[Arrival] = []
        self.requests = 0

    @property
    def url(self) -> str:
        """The address for ``LOOKOUT_SENDGRID_HOST``."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._api.__enter__()
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def begin(self, answers: Sequence[Answer] = (), *, closed: bool = False, refuses: str = "") -> None:
        """Behave like this from now on."""
        self._answers = list(answers)
        self._refuses = refuses.encode()
        if closed and self._open:
            self._api.close()
            self._open = False
        elif not closed and not self._open:
            self._api = _Api(self, self._port)
            self._api.__enter__()
            self._open = True

    def choose(self, body: bytes) -> Scripted | None:
        """The answer to give instead of the usual one."""
        if self._refuses and self._refuses in body:
            return Scripted(status=400, body=b'{"errors": [{"message": "%s"}]}' % REASON.encode())
        if not self._answers:
            return None
        answer = self._answers.pop(0)
        if answer in _MANNERS:
            return Scripted(manner=_MANNERS[answer])
        if answer is Answer.REFUSED:
            return Scripted(status=400, body=b'{"errors": [{"message": "%s"}]}' % REASON.encode())
        return Scripted(status=int(answer), body=b'{"errors": [{"message": "a storm"}]}')

    def arrived(self, posted: Posted) -> None:
        """Remember a request."""
        text = "\n".join(str(part.get("value")) for part in (posted.message or {}).get("content", ()))
        ids = tuple(dict.fromkeys(_ALERT.findall(text)))
        self.arrivals.append(Arrival(alerts=ids, status=posted.status, marked=_MARK in text))
        self.requests += 1
        self._beacon.tell()
