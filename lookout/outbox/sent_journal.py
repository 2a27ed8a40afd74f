"""Journal of sent mails beside the ledger: an alert that left once is not sent again by a ledger that lost its memory.

An older backup, or a ledger begun anew, knows nothing of the mails that were sent since. The journal is a file of JSON
lines: one before a mail may leave, one when it is known how that ended. Of each alert only one line counts; the others
are dropped now and then by writing the file anew. None is too old to count: a ledger begun anew enters the alerts of
all pictures that are there. Knows no ledger and no way of sending.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from lookout.domain.records import AlertState
from lookout.ledger.port import Delivered
from lookout.log import get_logger
from lookout.outbox.channel import Channel, Letter, Request
from lookout.outbox.departure import Departure

log = get_logger(__name__)

SPARE_LINES: Final = 1000
"""A file is written anew when more than so many lines, and a third of all, do not count."""
HEAD_BYTES: Final = 100
_NO_OTHER: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link in the place of the journal is not followed, and a pipe is not waited for."""
_DONE: Final = (AlertState.SENT, AlertState.WRITTEN)


@dataclass
class _Lines:
    """Sum of the lines of a file, taken in turn: by alert the one that counts."""

    done: dict[str, bytes] = field(default_factory=dict)
    """Of those that arrived."""
    begun: dict[str, bytes] = field(default_factory=dict)
    """Of those that may be on their way."""
    doubted: dict[str, bytes] = field(default_factory=dict)
    """Of those that may have arrived in an earlier try."""
    count: int = 0

    def take(self, line: bytes) -> None:
        """Take in the next line. Raises ValueError or TypeError for one that a power cut has torn."""
        self.count += 1
        id_, state, _, at_s = json.loads(line)
        if state in [each.value for each in _DONE]:
            self.done[id_] = line
        elif state == AlertState.SENDING.value:
            if id_ in self.begun:  # by a sender that did not live to write how it ended
                self.doubted[id_] = _line(id_, Delivered(state=AlertState.UNKNOWN), at_s)
            self.begun[id_] = line
        else:
            self.begun.pop(id_, None)
            if state == AlertState.UNKNOWN.value:
                self.doubted[id_] = line

    def find_end(self, id_: str) -> Delivered | None:
        """Return the end of an alert that arrived."""
        if id_ not in self.done:
            return None
        _, state, message_id, _ = json.loads(self.done[id_])
        return Delivered(state=AlertState(state), message_id=message_id)

    def is_spare(self) -> bool:
        """Tell whether so many lines do not count that it is worth while to drop them."""
        counting = len(self.done) + len(self.begun) + len(self.doubted)
        return self.count - counting > max(SPARE_LINES, self.count // 3)

    def counting(self) -> list[bytes]:
        """One line an alert, which says as much as all that were taken."""
        return list((self.begun | self.doubted | self.done).values())


class _File:
    """Journal as a file of lines that several processes write. Who appends shares a lock, and who writes it anew has it
    alone; both look then whether the file is still the one of that name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self._head = b""
        """Beginning of the file that was read: each one that is written anew begins in its own way."""
        self.lines = _Lines()

    def read(self) -> None:
        """Take in what this and other processes have written since."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | _NO_OTHER), "rb") as file:
                same = file.read(len(self._head)) == self._head
                if not same or os.fstat(file.fileno()).st_size < self._read_to:  # written anew, or an older one
                    self._read_to, self._head, self.lines = 0, b"", _Lines()
                if not self._head:
                    file.seek(0)
                    self._head = file.read(HEAD_BYTES)
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read_to += len(line)
                    self._take(line.strip())
        except FileNotFoundError:
            return
        except OSError as exc:
            log.warning("sent journal not usable", file=str(self._path), error=exc)

    def append(self, lines: Sequence[bytes]) -> None:
        """Add lines, durably. A failure is logged: it stops no mail."""
        # A line begins with its own newline, so that one torn before it stays alone.
        text = b"".join([b"\n" + line for line in lines]) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_OTHER, 0o666)
                with _locked(descriptor, fcntl.LOCK_SH):
                    if self._is(descriptor):
                        _write(descriptor, text)
                        return
        except OSError as exc:
            log.warning("sent journal not usable", file=str(self._path), error=exc)

    def drop_spare(self) -> None:
        """Write the file anew with those lines alone that count, unless somebody else uses it just now. The new file
        takes the place of the old one when it is on the disk, so a kill leaves either."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | _NO_OTHER)
            with _locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                if not self._is(descriptor):
                    return
                self.read()
                new = self._path.with_name(f".{self._path.name}.new")
                written = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_OTHER, 0o666)
                with _locked(written, fcntl.LOCK_EX):
                    head = json.dumps(["", "anew", os.urandom(16).hex(), 0.0]).encode()  # counts for no alert
                    _write(written, b"".join([line + b"\n" for line in (head, *self.lines.counting())]))
                    new.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
            with _locked(folder, fcntl.LOCK_SH):
                os.fsync(folder)
        except BlockingIOError:
            return
        except OSError as exc:
            log.warning("sent journal not usable", file=str(self._path), error=exc)

    def _is(self, descriptor: int) -> bool:
        """Tell whether the open file still has the name."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _take(self, line: bytes) -> None:
        try:
            if line:
                self.lines.take(line)
        except (TypeError, ValueError):
            log.warning("line of the sent journal not readable", file=str(self._path), line=repr(line[:80]))


@contextmanager
def _locked(descriptor: int, how: int) -> Iterator[None]:
    """Hold a lock of an open file, which is closed at the end."""
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _write(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _line(id_: str, delivered: Delivered, at_s: float) -> bytes:
    return json.dumps([id_, delivered.state.value, delivered.message_id, at_s]).encode()


class JournaledChannel:
    """A channel that answers for what it has sent before, and marks as a repeat what may have arrived.

    A journal that cannot be written stops no mail: then only a ledger that is lost too could send it twice.
    """

    def __init__(self, channel: Channel, journal: Path, clock: Callable[[], float] = time.time) -> None:
        self.name = channel.name
        self._channel, self._file, self._clock = channel, _File(journal), clock

    def begin(self, letter: Letter) -> Request | Delivered:
        """See ``Channel``. Alerts that were sent before are left out, and keep their end; a letter of such alone is not
        sent."""
        self._file.read()
        lines = self._file.lines
        if lines.is_spare():
            self._file.drop_spare()
        ends = {alert.id: lines.find_end(alert.id) for alert in letter.alerts}
        before = {id_: end for id_, end in ends.items() if end is not None}
        rest = tuple(alert for alert in letter.alerts if alert.id not in before)
        if not rest:
            log.info("alert already sent", id=letter.id)
            return replace(before[letter.alerts[0].id], before=before)
        ids = [alert.id for alert in rest]
        resend = letter.resend or any(id_ in lines.doubted or id_ in lines.begun for id_ in ids)
        request = self._channel.begin(replace(letter, alerts=rest, resend=resend))
        if isinstance(request, Delivered):
            if request.state in _DONE:
                self.note(ids, request)
            return replace(request, before=before)
        return _JournaledRequest(self, request, ids, before)

    def note(self, ids: Sequence[str], delivered: Delivered) -> None:
        """Write how alerts stand, durably."""
        self._file.append([_line(id_, delivered, self._clock()) for id_ in ids])


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
