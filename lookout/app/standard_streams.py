"""Standard output and standard error that never end the work: text that cannot be written is dropped and counted.

On stderr, progress and logs, the next line that can be written says how many were lost. On stdout, results, the loss is
kept for the end of the command, which fails because of it. Knows no command and no log.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 1.0
"""Maximum time that a line for stderr waits for a reader that does not read. Later lines do not wait at all, until one
can be written again."""


class LossyOutput(io.RawIOBase):
    """Standard stream as raw bytes that raises nothing while there is no room: not for a full disk, a closed terminal
    or a quota. ``error`` and ``lost`` are the first error and the number of lines that were dropped."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.error: OSError | None = None
        self.lost = 0
        self._number = number
        self._lock = threading.RLock()  # a signal's handler may write while this thread does
        self._failing = False
        self._torn = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: object) -> int:
        """Write all of the data, or drop the rest of it. Gives its length in both cases."""
        given = bytes(data)  # type: ignore[call-overload]
        with self._lock:
            try:
                if self._failing:
                    self._send((b"\n" if self._torn else b"") + self._note())
                    self._recovered()
                self._send(given)
            except OSError as exc:
                self._drop(given, exc)
        return len(given)

    def _drop(self, data: bytes, error: OSError) -> None:
        self._failing = True
        self.error = self.error or error
        self.lost += data.count(b"\n")

    def _recovered(self) -> None:
        self._failing = self._torn = False

    def _note(self) -> bytes:
        """Give the line that precedes the first one that can be written again."""
        return b""

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = self._send_some(left)
            self._torn = left[written - 1] != ord("\n")
            left = left[written:]

    def _send_some(self, data: memoryview) -> int:
        try:
            return os.write(self._number, data)
        except BlockingIOError:  # somebody who shares the stream made it so
            _wait_writable(self._number, None)
            return 0


class ErrorOutput(LossyOutput):
    """Standard error, which waits only a moment for its reader and tells of lost lines itself."""

    def _note(self) -> bytes:
        lines = "line" if self.lost == 1 else "lines"
        why = self.error.strerror if self.error is not None else ""
        return f"{self.lost} log {lines} could not be written: {why}\n".encode() if self.lost else b""

    def _recovered(self) -> None:
        super()._recovered()
        self.error, self.lost = None, 0

    def _send_some(self, data: memoryview) -> int:
        if not _wait_writable(self._number, 0.0 if self._failing else PATIENCE_S):
            raise OSError(errno.EAGAIN, "nobody reads it")
        return os.write(self._number, data[: select.PIPE_BUF])  # so much never waits once a pipe is ready


class ResultOutput(LossyOutput):
    """Standard output. A reader that left is told of at once, by BrokenPipeError; the first loss goes to ``tell``."""

    def __init__(self, number: int, name: str, tell: Callable[[OSError], None]) -> None:
        super().__init__(number, name)
        self._tell = tell

    def _drop(self, data: bytes, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        if not self._failing:
            self._tell(error)
        super()._drop(data, error)


def open_streams(tell: Callable[[OSError], None]) -> ResultOutput | None:
    """Fill standard streams that were closed, and have stdout and stderr drop what they cannot write. ``tell`` hears of
    each time that stdout begins to fail. Gives stdout; None where something else took its place, as under a test."""
    _fill_closed_streams()
    if _is_standard(sys.stderr, 2):
        sys.stderr = _text(ErrorOutput(2, "<stderr>"), sys.stderr)
    if not _is_standard(sys.stdout, 1):
        return None
    results = ResultOutput(1, "<stdout>", tell)
    sys.stdout = _text(results, sys.stdout)
    return results


def let_go_of_stdout() -> None:
    """Have what a library may still write to stdout go nowhere, once its reader has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _is_standard(stream: object, number: int) -> bool:
    """Tell whether it writes to the standard stream of this number, and not to one that took its place."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    except (OSError, ValueError):
        return False


def _text(raw: LossyOutput, old: object) -> io.TextIOWrapper:
    if not isinstance(old, io.TextIOWrapper):
        raise TypeError(f"expected a text stream, got {old!r}")
    old.flush()
    return io.TextIOWrapper(
        raw,
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=True,
        write_through=True,
    )


def _wait_writable(number: int, patience_s: float | None) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    end_s = None if patience_s is None else time.monotonic() + patience_s
    left_s = patience_s
    while not poll.poll(None if left_s is None else max(0.0, left_s) * 1000):
        left_s = None if end_s is None else end_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            return False
    return True


def _fill_closed_streams() -> None:
    """Fill standard streams that were closed (``2>&-``): the next file opened would get their number, and with it
    whatever a library says on stderr."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
