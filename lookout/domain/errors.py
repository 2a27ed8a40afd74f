"""The four kinds of errors, and the meaning of each for a caller.

Every error that leaves an adapter is one of these; foreign errors stop there (``raise ... from exc``). The kind alone
decides whether trying again can help and which exit code a command ends with, so no caller compares messages. Each
keeps its facts as positional ``args``, so that it survives the way between processes.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_DATUM_FAILED: Final = 1
EXIT_CRASHED: Final = 70  # EX_SOFTWARE of sysexits.h
EXIT_STOPPED: Final = 130


class LookoutError(Exception):
    """Root of all errors that Lookout raises on purpose."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class InputRejected(LookoutError):
    """Input that cannot be used until somebody changes it: a bad file, option or name.

    ``what`` says what is wrong, ``where`` names the place, ``hint`` says what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what, self.where, self.hint = what, where, hint

    def within(self, place: str) -> InputRejected:
        """Return the same rejection with its place as one in ``place``: a file, say."""
        return InputRejected(self.what, f"{place}: {self.where}" if self.where else place, self.hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f" ({self.hint})" if self.hint else "")


class ObjectMissing(InputRejected):
    """The object asked for is not in the store, in no version that the reference can mean."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__("no such object", f"{bucket}/{key}")
        self.args = (bucket, key)
        self.bucket, self.key = bucket, key


class Unavailable(LookoutError):
    """Something outside does not answer or has no room: a store, a ledger, a disk. The same call may work later."""

    retryable = True
    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a scheduler may try again

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class ObjectChanged(Unavailable):
    """The object's bytes are not those that were observed: observe it again, then plan again."""

    def __init__(self, bucket: str, key: str, expected: str, got: str) -> None:
        super().__init__(f"{bucket}/{key}", f"changed: expected sha256 {expected[:12]}, got {got[:12]}")
        self.args = (bucket, key, expected, got)
        self.bucket, self.key, self.expected, self.got = bucket, key, expected, got


class ObjectUnreadable(Unavailable):
    """One object is there and cannot be read, as on a bad sector or in a folder that may not be entered: a failure of
    the datum that reads it, not of the store."""


class Denied(Unavailable):
    """The credentials are right but may not do this: for a caller that can do without it."""


class ClaimLost(LookoutError):
    """A write carried a claim that is no longer held: somebody else has the datum now, and nothing was written."""

    retryable = True
    exit_code = 75

    def __init__(self, datum: str, token: int, holder: str | None) -> None:
        super().__init__(datum, token, holder)
        self.datum, self.token, self.holder = datum, token, holder

    def __str__(self) -> str:
        return f"claim {self.token} of {self.datum} is lost; now held by {self.holder or 'nobody'}"


class Corrupt(LookoutError):
    """Stored bytes or records are not what was written: a digest differs, a record cannot be read. ``hint`` says what
    to do where something can be done."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, what: str, expected: str, got: str, hint: str = "") -> None:
        super().__init__(what, expected, got, hint)
        self.what, self.expected, self.got, self.hint = what, expected, got, hint

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, got {self.got}"


_REMEDIES: Final = {
    errno.EAGAIN: ("processes and threads", "raise the limit (ulimit -u and -v, pids and memory of the container)"),
    errno.EMFILE: ("open files of this process", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("open files of this machine", "raise the limit (sysctl fs.file-max), or end other processes"),
    errno.ENOMEM: ("memory", "raise the limit (ulimit -v, memory of the container), or use fewer --workers"),
    errno.ENOSPC: ("disk", "make room"),
    errno.EDQUOT: ("disk quota", "make room"),
}
"""By the number of the operating system's error: the resource that is used up, and the remedy."""
_NO_THREAD: Final = "can't start new thread"
_NO_MAP: Final = ("failed to map segment", "cannot allocate memory")
"""How Python says that no thread can be started, and the loader that it has no memory for a library."""


def find_lack(error: BaseException) -> Unavailable | None:
    """Name the resource of this machine that is used up by this error, with the remedy; None for any other error."""
    number: int | None = None
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _is_map(str(error))):
        number = errno.ENOMEM
    elif isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        number = errno.EAGAIN
    elif isinstance(error, OSError):
        number = error.errno
    if number not in _REMEDIES:
        return None
    what, remedy = _REMEDIES[number]
    place = getattr(error, "filename", None)
    reason = f"{place}: {os.strerror(number)}" if place is not None else os.strerror(number)
    return Unavailable(what, f"{reason}; {remedy}")


def _is_map(text: str) -> bool:
    return any(sign in text.lower() for sign in _NO_MAP)
