"""What the folder store and the folder source share: careful names, whole reads, and plain words for trouble.

Knows no bucket's meaning and no version.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from lookout.errors import InputRejected, LookoutError, ObjectUnreadable, Unavailable

MAX_KEY_BYTES: Final = 1024
MAX_PART_BYTES: Final = 255

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
    errno.ESTALE: "the network folder was replaced or unmounted; mount it again",
}

ONE_PATH: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
    | {errno.EBUSY, errno.EFBIG, errno.EOVERFLOW}
)
"""Trouble of one path, beside which others may be well."""
_BAD_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


def words(error: OSError) -> str:
    """What went wrong, in words for a person."""
    known = _WORDS.get(error.errno or 0)
    return known or (error.strerror or type(error).__name__).lower()


def failure(path: str, error: OSError) -> LookoutError:
    """The error to raise for a failed system call: InputRejected if the name can never work here, else Unavailable."""
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
    """Raises InputRejected unless the key can be a relative path of one file below its bucket's folder.

    Any script, spaces and newlines are fine; what could leave the folder, or be cut by the file system, is not.
    """
    problem = _key_problem(key)
    if problem:
        raise InputRejected(f"the key {problem}", f"{bucket}/{key!r}")


def check_bucket(bucket: str) -> None:
    """Raises InputRejected unless the bucket can be one visible folder; names that begin with a dot are reserved."""
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
    """Whether a name that the system gave is valid UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_file(path: str) -> bytes | None:
    """All bytes of a regular file, or None when there is none at the path (also when it is a folder, pipe or device).

    Never blocks on a pipe. Other trouble is an OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with open(fd, "rb", buffering=0) as file:
        return file.readall()


def write_new(path: str, data: bytes) -> None:
    """Make a file that is not there yet. On any error nothing of it is left behind. Errors are OSErrors."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(path)
        raise


def file_size(path: str) -> int | None:
    """Bytes of a regular file, None when there is none at the path. Other trouble is an OSError."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def sync_file(path: str) -> None:
    """Make a file's bytes survive a power cut. Errors are OSErrors."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut. Errors are OSErrors."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
