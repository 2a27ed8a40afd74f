"""File access for the folder store and the folder source: safe names, whole reads, and error texts for people.

Knows no bucket's meaning and no version.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, LookoutError, ObjectUnreadable, Unavailable
from lookout.domain.identity import sha256, unread_digest

MAX_KEY_BYTES: Final = 1024
MAX_PART_BYTES: Final = 255
MAX_SETTING_BYTES: Final = 16 * 1024 * 1024
"""Of a file that holds settings, secrets or certificates."""

_WORDS: Final = {
    errno.ENOSPC: "no space is left on the disk; free some and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would be larger than the system allows",
    errno.EROFS: "the file system is read-only; mount it writable or choose another folder",
    errno.EACCES: "permission denied; check the owner and the mode of the folder",
    errno.EPERM: "the system does not permit it; check the owner and the mode of the folder",
    errno.EIO: "the disk reports an input/output error; check the disk and its cable",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOENT: "the folder is not there any more",
    errno.ENOTDIR: "a part of the path is no folder, or is a link, which is not followed",
    errno.ELOOP: "it is a link that leads in a circle, or a link was put in its place just now",
    errno.ESTALE: "the network folder was replaced or unmounted; mount it again",
}

ONE_PATH: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
    | {errno.EBUSY, errno.EFBIG, errno.EOVERFLOW}
)
"""Trouble of one path, beside which others may be well."""
_BAD_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


def words(error: OSError) -> str:
    """Return an error in words for a person."""
    known = _WORDS.get(error.errno or 0)
    text = error.strerror or type(error).__name__
    return known or text[0].lower() + text[1:]


def failure(path: str, error: OSError) -> LookoutError:
    """Return the error to raise for a failed system call: InputRejected if the name can never work here, else
    Unavailable."""
    if error.errno in _BAD_NAME:
        return InputRejected("the file system cannot hold this name", repr(path), words(error))
    return Unavailable(path, words(error))


def unreadable(path: str, error: OSError) -> LookoutError:
    """Give the error to raise for an object that cannot be read: ObjectUnreadable where others may be readable."""
    return ObjectUnreadable(path, words(error)) if error.errno in ONE_PATH else failure(path, error)


def unwritable(path: str, error: OSError) -> LookoutError:
    """Give the error to raise for an object that cannot be put in its place: InputRejected where others may be."""
    if error.errno in ONE_PATH:
        return InputRejected(words(error), path, "remove what is in the way, or make the folder writable")
    return failure(path, error)


def check_key(bucket: str, key: str) -> None:
    """Raise InputRejected unless the key can be a relative path of one file below its bucket's folder.

    Any script, spaces and newlines are fine; what could leave the folder, or be cut by the file system, is not.
    """
    problem = _key_problem(key)
    if problem:
        raise InputRejected(f"the key {problem}", f"{bucket}/{key!r}")


def check_bucket(bucket: str) -> None:
    """Raise InputRejected unless the bucket can be one visible folder; names that begin with a dot are reserved."""
    if not bucket or "/" in bucket or bucket.startswith(".") or _key_problem(bucket):
        raise InputRejected(
            "the bucket's name cannot be a folder", repr(bucket), "use letters, digits and dashes, no dot in front"
        )


def _key_problem(key: str) -> str | None:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "is not valid text"
    if not encoded:
        return "is empty"
    if b"\0" in encoded:
        return "has a NUL character in it"
    if len(encoded) > MAX_KEY_BYTES:
        return f"is {len(encoded)} bytes long; at most {MAX_KEY_BYTES} are allowed"
    for part in encoded.split(b"/"):
        if part in (b"", b".", b".."):
            return f"has the part {part.decode()!r}, which no file can be named"
        if len(part) > MAX_PART_BYTES:
            return f"has a part of {len(part)} bytes; at most {MAX_PART_BYTES} are allowed"
    return None


def is_text(name: str) -> bool:
    """Tell whether a name from the file system is valid UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def fingerprint_of(found: os.stat_result) -> str:
    """Return the fingerprint: it changes with the file's bytes, short of two changes in one tick of the system's
    clock."""
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def open_named(path: Path, hint: str = "") -> tuple[int, os.stat_result]:
    """Open the regular file that a person or a setting names, with its status; links are followed. The caller closes
    it. Never waits for a pipe or a device. Raises OSError, and InputRejected for what is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found
    os.close(fd)
    raise InputRejected("is a directory, a pipe or a device; a file is expected", str(path), hint)


def read_named(path: Path, max_bytes: int) -> bytes:
    """Read the whole file that a person or a setting names. Raises as ``open_named``, and InputRejected for one with
    more bytes, of which nothing is read, and for one whose size changes meanwhile."""
    fd, found = open_named(path)
    if found.st_size > max_bytes:
        os.close(fd)
        raise InputRejected(f"expected at most {max_bytes} bytes, got {found.st_size}", str(path))
    data = read_open(fd, found.st_size)
    if len(data) != found.st_size:
        raise InputRejected("is being written", str(path), "try again when it is complete")
    return data


def read_open(fd: int, size: int) -> bytes:
    """Read an open file that has so many bytes, and close it. One byte more tells of a file that grew meanwhile; not
    more of it is read. Errors are OSErrors."""
    try:
        parts, left = [], size + 1
        while left and (part := os.read(fd, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_within(fd: int, found: os.stat_result, max_bytes: int) -> tuple[str, bytes]:
    """Read an open file with this status, and close it: its sha256 and its bytes. Of a larger one nothing is read: see
    ``unread_digest``. Errors are OSErrors."""
    if found.st_size > max_bytes:
        os.close(fd)
        return unread_digest(found.st_size), b""
    data = read_open(fd, found.st_size)
    return sha256(data), data
