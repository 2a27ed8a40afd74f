"""Upload of files and folder trees to a bucket, many at once: unchanged ones are skipped, one bad file stops no other.

Names are those of ``objects/source.py``, so that a folder that was run embedded has the same keys in a bucket. A file
is read twice: once to its end, in pieces, for its digest, and, unless the bucket has that already, once more to be
sent. Only bytes with that digest are sent: a file that changes meanwhile is read again, and named as failed if it
does not stop. Of one whose writer makes a pause nobody can know; the next upload brings the rest.

Knows no stage and no ledger; nothing need be kept to go on after an interruption, as the bucket says what is there.
Where the user may not look, a caller that remembers what it sent says so with each file (``sent_log.py``).
"""

from __future__ import annotations

import mimetypes
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final

from lookout.domain.errors import Denied, InputRejected, LookoutError, ObjectChanged, ObjectMissing, Unavailable
from lookout.domain.identity import MAX_INPUT_BYTES
from lookout.domain.records import ObjectRef
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.access import NoBucket
from lookout.object_store.minio.errors import NotAccepted
from lookout.object_store.minio.names import FILE_ENDINGS, check_beside_others, check_object_key
from lookout.sources.folder import BEING_WRITTEN, FolderSource, observe_file
from lookout.sources.folder_keys import key_of, origin_of
from lookout.sources.folder_walk import Walk, open_root

_READS: Final = 3
_GIVE_UP_AFTER: Final = 16
"""Files in a row that the server did not take: then it is not the files."""
_AHEAD: Final = 4
"""Files waiting a worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file to bring: ``name`` is its key below the folder ``root``, ``key`` the one in the bucket. ``error`` says why
    it cannot be brought, where that is known; so it is for a folder, with a slash behind, that cannot be listed."""

    root: Path
    name: str
    key: str
    error: str | None = None

    @property
    def path(self) -> str:
        return f"{self.root}/{self.name}"


class Became(StrEnum):
    """Outcome for one file. ``BUSY`` changed whenever it was read: later it may be whole. ``GONE`` is not there any
    more, or no regular file. ``FAILED`` cannot be uploaded until somebody changes it."""

    NEW = "uploaded"
    THERE = "there"
    BUSY = "busy"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Result for one file: ``ref`` is what is in the bucket now, without a version if that came from the log and not
    from the store; ``error`` says why the file is not there. ``fingerprint``, if any, proves that it need not be read
    again."""

    file: File
    became: Became
    ref: ObjectRef | None = None
    fingerprint: str = ""
    error: str | None = None

    @property
    def is_new(self) -> bool:
        return self.became is Became.NEW


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A file that the server did not take, and that is not to blame."""

    file: File
    error: Unavailable


def find_files(paths: Sequence[Path], prefix: str = "") -> list[File]:
    """Return the files named, and the regular files in the folders named, but for names and folders that begin with a
    dot; folders that are links are not entered. In the order named, a folder's by key. A subfolder that cannot be
    listed is among them, with its error.

    Raises InputRejected for a path that is not there or cannot be listed, and for two files with one key. Raises
    Unavailable where a path moves meanwhile, or this machine lacks something.
    """
    files: list[File] = []
    for path in paths:
        root = Path(origin_of(path))
        if root.is_dir():
            with open_root(str(root)) as opened:
                walk = Walk(opened, ())
                names = sorted(walk.run())
            files += [File(root=root, name=name, key=prefix + name) for name in names]
            for name, why in sorted(walk.unlistable.items()):
                error = f"the folder cannot be listed: {why}"
                files.append(File(root=root, name=name, key=prefix + name, error=error))
        elif root.exists() or root.is_symlink():
            name = key_of(root.name)
            files.append(File(root=root.parent, name=name, key=prefix + name))
        else:
            raise InputRejected("no such file or folder", str(path), "nothing was uploaded")
    owners: dict[str, File] = {}
    for file in files:
        other = owners.setdefault(file.key, file)
        if other.path != file.path:
            what = f"would have the key of {other.path}: {file.key!r}"
            raise InputRejected(what, file.path, "upload them with different --prefix")
    return list(owners.values())


def upload(store: MinioStore, bucket: str, files: Iterable[File], *, workers: int = 8) -> Iterator[Sent]:
    """Bring the files, several at once; says of each what became of it, in the order given.

    Raises Unavailable when the server, the bucket or the user's rights are in the way and not single files. What was
    said to be sent by then is; the same call goes on from there.
    """
    sender = Sender(store, bucket)
    rest = iter(files)
    lost_in_a_row = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
        waiting: deque[Future[Sent | Lost]] = deque()
        try:
            while True:
                waiting.extend(
                    pool.submit(_send, sender, file) for file in islice(rest, workers * _AHEAD - len(waiting))
                )
                if not waiting:
                    return
                sent = waiting.popleft().result()
                if isinstance(sent, Lost):
                    lost_in_a_row += 1
                    if lost_in_a_row >= _GIVE_UP_AFTER:
                        raise sent.error
                    sent = Sent(file=sent.file, became=Became.FAILED, error=str(sent.error))
                else:
                    lost_in_a_row = 0
                yield sent
        finally:
            for future in waiting:
                future.cancel()


def _send(sender: Sender, file: File) -> Sent | Lost:
    """Raise what is in the way of all files, and can be seen to be."""
    sent = sender.send(file)
    if isinstance(sent, Lost) and isinstance(sent.error, Denied | NoBucket):
        raise sent.error
    return sent


class Sender:
    """Sender of single files; used by several threads at once."""

    def __init__(self, store: MinioStore, bucket: str) -> None:
        self._store, self._bucket = store, bucket
        self._full = store.full(bucket)
        self._source = FolderSource()
        self._may_look = True

    def send(self, file: File, known_sha256: str | None = None) -> Sent | Lost:
        """Bring the file unless its bytes are there already: as the bucket says, or as ``known_sha256``, the digest of
        what the caller knows to be under the key."""
        if file.error is not None:
            return Sent(file=file, became=Became.FAILED, error=file.error)
        try:
            check_object_key(self._bucket, file.key)
            check_beside_others(self._bucket, file.key, FILE_ENDINGS)
            for _ in range(_READS):
                sent = self._try(file, known_sha256)
                if sent is not None:
                    return sent
        except (InputRejected, NotAccepted) as error:
            return Sent(file=file, became=Became.FAILED, error=str(error))
        except Unavailable as error:
            return Lost(file=file, error=error)
        return Sent(file=file, became=Became.BUSY, error=f"{BEING_WRITTEN}; upload it again when that has ended")

    def _try(self, file: File, known_sha256: str | None) -> Sent | None:
        """None when the file changed between both readings."""
        seen = observe_file(file.root, file.name, self._bucket, time.time())
        if seen.ref is None:
            return _unread(file, seen.error)
        if seen.ref.size > MAX_INPUT_BYTES:
            raise InputRejected(f"has {seen.ref.size:,} bytes; no stage reads more than {MAX_INPUT_BYTES:,}")
        there = self._find(file.key, seen.ref, known_sha256)
        if there is not None:
            return Sent(file=file, became=Became.THERE, ref=there, fingerprint=seen.fingerprint)
        try:
            data = self._source.get(seen.ref)
        except (ObjectChanged, ObjectMissing):
            return None
        except LookoutError as error:
            return Sent(file=file, became=Became.FAILED, error=f"cannot be read: {error}")
        kind = mimetypes.guess_type(file.key, strict=True)[0] or "application/octet-stream"
        ref = self._store.put(self._bucket, file.key, data, kind, known_sha256=seen.ref.sha256)
        return Sent(file=file, became=Became.NEW, ref=ref, fingerprint=seen.fingerprint)

    def _find(self, key: str, wanted: ObjectRef, known_sha256: str | None) -> ObjectRef | None:
        """Return the visible version of the key, if it declares these bytes. A write-only user always puts, except
        files in its log: the same bytes again are another version of the same content, and cost no processing."""
        if wanted.sha256 == known_sha256:
            return ObjectRef(bucket=self._bucket, key=key, sha256=wanted.sha256, size=wanted.size)
        if not self._may_look:
            return None
        try:
            found = self._store.connection.stat(self._full, key)
        except Denied:
            self._may_look = False
            return None
        if found is None or (found.sha256, found.size) != (wanted.sha256, wanted.size):
            return None
        return ObjectRef(bucket=self._bucket, key=key, sha256=wanted.sha256, size=wanted.size, version=found.version)


def _unread(file: File, error: str | None) -> Sent:
    """Of a file that could not be observed."""
    if error is None:
        return Sent(file=file, became=Became.GONE, error="is not there any more, or is no regular file")
    return Sent(file=file, became=Became.BUSY if error == BEING_WRITTEN else Became.FAILED, error=error)
