"""The user's own folder of pictures, as the bucket of inputs: observed and read, never written.

``scan`` compares the folder with what is known and rereads only what may have changed; ``observe_file`` looks at one
file. What they see goes to the ledger, and ``FolderSource`` reads it back by digest. Nothing here knows a stage or
decides whether a missing file is retracted.

Nothing outside the folder is ever read: a file is opened beneath it, part by part (``beneath.py``). A link is followed
to what lies in the folder, and refused otherwise; a walk enters no link. A file that is larger than any stage reads is
not read: its size says all that is to be known of it.

Keys are made of names by ``naming.py``; the walk through the folder is in ``walk.py``.

A fingerprint ``inode:size:mtime_ns:ctime_ns`` proves that bytes need no rereading. Only the change time is trusted to
move with every write, as anybody may set the modification time. The system stamps it from a clock that ticks every few
milliseconds: a file read within the tick of its last change could change again under the same stamp. Such a reading
gets no fingerprint, so that the next scan reads the file once more.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import MAX_INPUT_BYTES, unread_digest
from lookout.domain.records import ObjectRef, Observation
from lookout.filesystem.beneath import LeadsOutside, Root
from lookout.filesystem.files import fingerprint_of, is_text, read_within, unreadable, words
from lookout.object_store.port import ObjectReader
from lookout.sources.folder_keys import name_of, origin_of
from lookout.sources.folder_walk import Walk, open_root

BEING_WRITTEN: Final = "is being written"

_CHUNK_BYTES: Final = 1024 * 1024
_READS: Final = 3
_TICK_NS: Final = 50_000_000
"""More than any clock tick of a local file system (10 ms at most), with room for a busy machine."""
_COARSE_TICK_NS: Final = 2_000_000_000
"""For file systems that keep whole seconds; FAT keeps every second one."""
_DANGLING: Final = "is a link to a file that is not there"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """Difference between a whole folder and what was known of it.

    ``changed`` and ``gone`` are sorted by key; ``gone`` has observations without a ref. ``unchanged`` and ``total``
    count files. ``root_id`` is ``st_dev:st_ino`` of the folder: another one means another disk or folder at its path.
    ``unlistable`` are subfolders below which nothing is said to be gone: by their keys with a slash behind, and why.
    """

    changed: list[Observation]
    gone: list[Observation]
    unchanged: int
    total: int
    root_id: str
    unlistable: Mapping[str, str]


class FolderSource(ObjectReader):
    """Reader of what ``scan`` and ``observe_file`` saw: the ref's version is the folder, its key the path below."""

    def get(self, ref: ObjectRef) -> bytes:
        """See the contract. Also raises InputRejected for a file that is too large to be read."""
        root, name = self._place(ref)
        if ref.sha256 == unread_digest(ref.size):
            raise InputRejected(_too_large(ref.size), ref.path)
        try:
            with Root(root) as opened:
                found = opened.open_file(name)
            digest, data = ("", b"") if found is None else read_within(*found, max(ref.size, MAX_INPUT_BYTES))
        except (FileNotFoundError, NotADirectoryError, LeadsOutside):
            found = None
        except OSError as error:
            raise unreadable(f"{root}/{name}", error) from error
        if found is None:
            raise ObjectMissing(ref.bucket, ref.key)
        if digest != ref.sha256:
            raise ObjectChanged(ref.bucket, ref.key, ref.sha256, digest)
        return data

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        return [self._has(ref) for ref in refs]

    def _has(self, ref: ObjectRef) -> bool:
        try:
            root, name = self._place(ref)
            with Root(root) as opened:
                found = opened.stat(name)
        except (InputRejected, FileNotFoundError, NotADirectoryError, LeadsOutside):
            return False
        except OSError as error:
            raise unreadable(ref.path, error) from error
        return stat.S_ISREG(found.st_mode) and found.st_size == ref.size

    @staticmethod
    def _place(ref: ObjectRef) -> tuple[str, str]:
        if ref.version is None or not os.path.isabs(ref.version):
            raise ObjectMissing(ref.bucket, ref.key)
        return ref.version, name_of(ref.version, ref.key)


def _too_large(size: int) -> str:
    return f"has {size:,} bytes; at most {MAX_INPUT_BYTES:,} are read"


# --- one file --------------------------------------------------------------------------------------------------------


def observe_file(root: Path, key: str, bucket: str, now_s: float) -> Observation:
    """Look at one file of the folder and read it to its end, in pieces, unless it is larger than any stage reads.

    A file that is not there, or is no regular file, has neither ref nor error. One that cannot be read, leads outside
    the folder by a link, or changes whenever it is read has an error, in words. Raises InputRejected for a key that
    would leave the folder.
    """
    origin = origin_of(root)
    name_of(origin, key)
    try:
        opened = Root(origin)
    except (FileNotFoundError, NotADirectoryError):
        return Observation(bucket=bucket, key=key, origin=origin, ref=None, observed_at_s=now_s)
    except OSError as reason:
        error = f"cannot be read: {words(reason)}"
        return Observation(bucket=bucket, key=key, origin=origin, ref=None, observed_at_s=now_s, error=error)
    with opened:
        return _observe(opened, key, bucket, now_s)


def _observe(root: Root, key: str, bucket: str, now_s: float) -> Observation:
    name = name_of(root.path, key)
    ref, fingerprint, error = None, "", None
    try:
        found = _read_steadily(root, name)
        if found is not None:
            digest, size, fingerprint = found
            ref = ObjectRef(bucket=bucket, key=key, sha256=digest, size=size, version=root.path)
    except (FileNotFoundError, NotADirectoryError):
        error = _DANGLING if root.is_link(name) else None  # else it is gone since it was listed
    except LeadsOutside as reason:
        error = reason.strerror if _is_file(f"{root.path}/{name}") else None
    except OSError as reason:
        error = f"cannot be read: {words(reason)}"
    except _CannotObserve as reason:
        error = str(reason)
    return Observation(
        bucket=bucket, key=key, origin=root.path, ref=ref, fingerprint=fingerprint, observed_at_s=now_s, error=error
    )


class _CannotObserve(Exception):
    """The reason why a file is there and still no input; never leaves this module."""


def _is_file(path: str) -> bool:
    """Ask whether a link that leads outside leads to a file: only that is worth an error, as a walk passes by links to
    folders. Nothing is opened."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # nothing is there that could be missed


def _read_steadily(root: Root, name: str) -> tuple[str, int, str] | None:
    """Digest, size and fingerprint of a file that stays the same from the first byte to the last."""
    for _ in range(_READS):
        now_ns = time.time_ns()  # the system's clock, not the caller's: it is compared with the system's own stamps
        opened = root.open_file(name)
        if opened is None:
            return None
        fd, before = opened
        try:
            if before.st_size > MAX_INPUT_BYTES:
                return unread_digest(before.st_size), before.st_size, _mark_read(before, now_ns)
            digest = hashlib.sha256()
            size = 0
            while size <= before.st_size and (chunk := os.read(fd, min(_CHUNK_BYTES, before.st_size + 1 - size))):
                digest.update(chunk)
                size += len(chunk)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if fingerprint_of(before) == fingerprint_of(after) and size == after.st_size:
            return digest.hexdigest(), size, _mark_read(after, now_ns)
    raise _CannotObserve(BEING_WRITTEN)


def _mark_read(found: os.stat_result, now_ns: int) -> str:
    """Return the fingerprint to keep; an empty one when the file could change again under the same."""
    return "" if _is_racy(found, now_ns) else fingerprint_of(found)


def _is_racy(found: os.stat_result, now_ns: int) -> bool:
    tick_ns = _COARSE_TICK_NS if found.st_ctime_ns % 1_000_000_000 == 0 else _TICK_NS
    return found.st_ctime_ns >= now_ns - tick_ns


# --- the whole folder ------------------------------------------------------------------------------------------------


def scan(
    root: Path,
    bucket: str,
    known: Iterable[Observation],
    now_s: float,
    *,
    verify: bool = False,
    exclude: Sequence[Path] = (),
    threads: int = 2,
) -> Scan:
    """Look at all files below the folder, but those whose names or folders begin with a dot, and the ``exclude``
    folders. Folders that are links are not entered.

    ``known`` is compared by key; only what was seen in this same folder (origin) counts for ``gone``. ``verify``
    rereads every file, otherwise those whose fingerprint differs, in ``threads`` threads.

    A subfolder that cannot be listed, or is moved meanwhile, is named in ``unlistable``; all else is compared.

    Raises InputRejected when the folder is missing, is a file or may not be listed, and Unavailable when it goes away
    or cannot be listed on the way: then nothing can be said to be gone.
    """
    origin = origin_of(root)
    identity = root_id(origin)
    with open_root(origin) as opened:
        walk = Walk(opened, exclude)
        files = walk.run()
        before = {item.key: item for item in known}
        files.update((key, "") for key, item in before.items() if item.origin == origin and walk.is_below_link(key))
        suspects = [key for key, mark in files.items() if verify or not _is_same(before.get(key), origin, mark)]
        seen = _observe_all(suspects, lambda key: _observe(opened, key, bucket, now_s), threads)
    changed = []
    vanished = set()
    for item in seen:
        if item.ref is None and item.error is None:
            vanished.add(item.key)
        elif not _says_the_same(before.get(item.key), item):
            changed.append(item)
    gone = [
        Observation(bucket=bucket, key=key, origin=origin, ref=None, observed_at_s=now_s)
        for key, item in before.items()
        if item.origin == origin and (key not in files or key in vanished)
    ]
    if gone:
        walk.check_unmoved()
        gone = [item for item in gone if not walk.is_unknown(item.key)]
    changed.sort(key=_key)
    gone.sort(key=_key)
    total = len(files) - len(vanished)
    return Scan(
        changed=changed,
        gone=gone,
        unchanged=total - len(changed),
        total=total,
        root_id=identity,
        unlistable=walk.unlistable,
    )


def _key(item: Observation) -> str:
    return item.key


def _is_same(known: Observation | None, origin: str, mark: str) -> bool:
    return known is not None and mark != "" and known.fingerprint == mark and known.origin == origin


def _says_the_same(known: Observation | None, item: Observation) -> bool:
    if known is None or known.origin != item.origin or known.fingerprint != item.fingerprint:
        return False
    return known.error == item.error and known.ref == item.ref


def _observe_all(keys: Sequence[str], observe: Callable[[str], Observation], threads: int) -> Iterable[Observation]:
    if len(keys) <= threads or threads <= 1:
        return [observe(key) for key in keys]
    with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
        return list(pool.map(observe, keys))


def root_id(origin: str) -> str:
    """Identity of a folder that is there, as in ``Scan``. Raises InputRejected for anything else."""
    if not is_text(origin):
        raise InputRejected("the folder's path is not valid UTF-8", repr(origin), "rename it, or link to it")
    try:
        found = os.stat(origin)
    except (FileNotFoundError, NotADirectoryError):
        raise InputRejected("no such folder", origin, "check the name, and that the disk it is on is mounted") from None
    except OSError as error:
        raise InputRejected("the folder cannot be examined", origin, words(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InputRejected("expected a folder, got a file", origin)
    return f"{found.st_dev}:{found.st_ino}"
