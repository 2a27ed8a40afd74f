"""Journal of sent mails beside the ledger: an alert that left once is not sent again by a ledger that lost its memory.

An older backup, or a ledger begun anew, knows nothing of the mails that were sent since. The journal is a file of JSON
lines that only grows: one before a mail may leave, one when it is known how that ended. Knows no ledger and no way of
sending.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lookout.datum import AlertState
from lookout.ledger.base import Delivered
from lookout.log import get_logger
from lookout.outbox import Channel, Letter

log = get_logger(__name__)

_DONE = (AlertState.SENT, AlertState.WRITTEN)


class JournaledChannel:
    """A channel that answers for what it has sent before, and marks as a repeat what may have arrived.

    A journal that cannot be written stops no mail: then only a ledger that is lost too could send it twice.
    """

    def __init__(self, channel: Channel, journal: Path) -> None:
        self.name = channel.name
        self._channel, self._journal = channel, journal
        self._read_to = 0
        self._known: dict[str, Delivered] = {}
        self._begun: set[str] = set()

    def send(self, letter: Letter, now_s: float) -> Delivered:
        """See ``Channel``. Alerts that were sent before are left out; a letter of such alone is not sent."""
        self._read()
        rest = tuple(alert for alert in letter.alerts if alert.id not in self._known)
        if not rest:
            log.info("sent before", id=letter.id)
            return self._known[letter.alerts[0].id]
        ids = [alert.id for alert in rest]
        resend = letter.resend or any(id_ in self._begun for id_ in ids)
        self._write(ids, AlertState.SENDING, None, now_s)
        delivered = self._channel.send(replace(letter, alerts=rest, resend=resend), now_s)
        self._write(ids, delivered.state, delivered.message_id, now_s)
        return delivered

    def _read(self) -> None:
        """Take in what this and other processes have written since."""
        try:
            with self._journal.open("rb") as file:
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
        except ValueError:  # a line that a power cut has torn
            log.warning("sent journal", file=str(self._journal), line=repr(line[:80]))
            return
        if state in [each.value for each in _DONE]:
            self._known[id_] = Delivered(state=AlertState(state), message_id=message_id)
        elif state in (AlertState.SENDING.value, AlertState.UNKNOWN.value):
            self._begun.add(id_)
        else:
            self._begun.discard(id_)

    def _write(self, ids: Sequence[str], state: AlertState, message_id: str | None, now_s: float) -> None:
        # A line begins with its own newline, so that one torn before it stays alone.
        text = "".join(f"\n{json.dumps([id_, state.value, message_id, now_s])}" for id_ in ids) + "\n"
        try:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.write(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as exc:
            log.warning("sent journal", file=str(self._journal), error=exc)


__all__ = ["JournaledChannel"]
