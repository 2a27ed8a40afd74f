"""Journal of sent mails beside the ledger: an alert that left once is not sent again by a ledger that lost its memory.

An older backup, or a ledger begun anew, knows nothing of the mails that were sent since. The journal is a file of JSON
lines that only grows: one before a mail may leave, one when it is known how that ended. Knows no ledger and no way of
sending.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lookout.datum import AlertState
from lookout.departure import Departure
from lookout.ledger.base import Delivered
from lookout.log import get_logger
from lookout.outbox import Channel, Letter, Request

log = get_logger(__name__)

_DONE = (AlertState.SENT, AlertState.WRITTEN)


class JournaledChannel:
    """A channel that answers for what it has sent before, and marks as a repeat what may have arrived.

    A journal that cannot be written stops no mail: then only a ledger that is lost too could send it twice.
    """

    def __init__(self, channel: Channel, journal: Path, clock: Callable[[], float] = time.time) -> None:
        self.name = channel.name
        self._channel, self._journal, self._clock = channel, journal, clock
        self._read_to = 0
        self._known: dict[str, Delivered] = {}
        self._begun: set[str] = set()
        self._doubted: set[str] = set()

    def begin(self, letter: Letter) -> Request | Delivered:
        """See ``Channel``. Alerts that were sent before are left out, and keep their end; a letter of such alone is not
        sent."""
        self._read()
        before = {alert.id: self._known[alert.id] for alert in letter.alerts if alert.id in self._known}
        rest = tuple(alert for alert in letter.alerts if alert.id not in before)
        if not rest:
            log.info("sent before", id=letter.id)
            return replace(before[letter.alerts[0].id], before=before)
        ids = [alert.id for alert in rest]
        resend = letter.resend or not self._doubted.union(self._begun).isdisjoint(ids)
        request = self._channel.begin(replace(letter, alerts=rest, resend=resend))
        if isinstance(request, Delivered):
            if request.state in _DONE:
                self.note(ids, request)
            return replace(request, before=before)
        return _JournaledRequest(self, request, ids, before)

    def note(self, ids: Sequence[str], delivered: Delivered) -> None:
        """Write how alerts stand, durably."""
        # A line begins with its own newline, so that one torn before it stays alone.
        lines = [json.dumps([id_, delivered.state.value, delivered.message_id, self._clock()]) for id_ in ids]
        text = "".join(f"\n{line}" for line in lines) + "\n"
        try:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as exc:
            log.warning("sent journal", file=str(self._journal), error=exc)

    def _read(self) -> None:
        """Take in what this and other processes have written since."""
        try:
            with self._journal.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._read_to:
                    self._read_to = 0  # it was replaced by an older one
                file.seek(self._read_to)
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as exc:
            log.warning("sent journal", file=str(self._journal), error=exc)
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            id_, state, message_id, _ = json.loads(line) if line else ("", "", None, 0)
        except (TypeError, ValueError):  # a line that a power cut has torn
            log.warning("sent journal", file=str(self._journal), line=repr(line[:80]))
            return
        if state in [each.value for each in _DONE]:
            self._known[id_] = Delivered(state=AlertState(state), message_id=message_id)
        elif state == AlertState.SENDING.value:
            self._begun.add(id_)
        else:
            self._begun.discard(id_)
            if state == AlertState.UNKNOWN.value:
                self._doubted.add(id_)


class _JournaledRequest:
    """Request of which the journal notes that it may leave, and how it ended."""

    def __init__(
        self, journal: JournaledChannel, request: Request, ids: Sequence[str], before: Mapping[str, Delivered]
    ) -> None:
        self._journal, self._request, self._ids, self._before = journal, request, ids, before

    def send(self, now_s: float, departure: Departure) -> Delivered:
        self._journal.note(self._ids, Delivered(state=AlertState.SENDING))
        delivered = self._request.send(now_s, departure)
        self._journal.note(self._ids, delivered)
        return replace(delivered, before=self._before)

    def abort(self) -> None:
        self._request.abort()

    def close(self) -> None:
        self._request.close()


__all__ = ["JournaledChannel"]
