"""Bringing files and folder trees into a bucket, many at once: what is there is skipped, one bad file stops no other.

Names are those of ``objects/source.py``, so that a folder that was run embedded has the same keys in a bucket. A file
is read twice: once to its end, in pieces, for its digest, and, unless the bucket has that already, once more to be
sent. Only bytes with that digest are sent: a file that changes meanwhile is read again, and named as failed if it
does not stop. Of one whose writer makes a pause nobody can know; the next upload brings the rest.

Knows no stage and no ledger; nothing need be kept to go on after an interruption, as the bucket says what is there.
"""

from __future__ import annotations

import mimetypes
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from lookout.datum import ObjectRef
from lookout.errors import InputRejected, LookoutError, ObjectChanged, ObjectMissing, Unavailable
from lookout.objects.files import words
from lookout.objects.minio import MinioStore
from lookout.objects.minio.errors import Denied, NoBucket
from lookout.objects.minio.names import check_object_key
from lookout.objects.source import OF_THE_SYSTEM, FolderSource, key_of, observe_file, origin_of

MAX_UPLOAD_BYTES: Final = 5 * 1024**3
"""What S3 takes in one request, and so as one version that is there whole or not at all."""
_READS: Final = 3
_LARGE_BYTES: Final = 64 * 1024**2
"""Larger files are sent one at a time, as a file is in memory while it is sent."""
_GIVE_UP_AFTER: Final = 16
"""Files in a row that the server did not take: then it is not the files."""
_AHEAD: Final = 4
"""Files waiting a worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file to bring: ``name`` is its key below the folder ``root``, ``key`` the one in the bucket."""

    root: Path
    name: str
    key: str

    @property
    def path(self) -> str:
        return f"{self.root}/{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What became of one file: ``ref`` is what is in the bucket now; ``error`` says why the file is not there."""

    file: File
    ref: ObjectRef | None = None
    is_new: bool = False
    error: str | None = None


def find_files(paths: Sequence[Path], prefix: str = "") -> list[File]:
    """The files named, and the regular files in the folders named, but for names and folders that begin with a dot;
    folders that are links are not entered. In the order named, a folder's by key.

    Raises InputRejected for a path that is not there or cannot be listed, and for two files with one key.
    """
    files: list[File] = []
    for path in paths:
        root = Path(origin_of(path))
        if root.is_dir():
            names = sorted(key_of(name) for name in _walk(str(root)))
            files += [File(root=root, name=name, key=prefix + name) for name in names]
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
    sender = _Sender(store, bucket)
    rest = iter(files)
    lost_in_a_row = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
        waiting: deque[Future[Sent | _Lost]] = deque()
        try:
            while True:
                waiting.extend(pool.submit(sender.send, file) for file in islice(rest, workers * _AHEAD - len(waiting)))
                if not waiting:
                    return
                sent = waiting.popleft().result()
                if isinstance(sent, _Lost):
                    lost_in_a_row += 1
                    if lost_in_a_row >= _GIVE_UP_AFTER:
                        raise sent.error
                    sent = Sent(file=sent.file, error=str(sent.error))
                else:
                    lost_in_a_row = 0
                yield sent
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lost:
    """A file that the server did not take."""

    file: File
    error: Unavailable


class _Sender:
    """Brings one file; used by several threads at once."""

    def __init__(self, store: MinioStore, bucket: str) -> None:
        self._store, self._bucket = store, bucket
        self._full = store.full(bucket)
        self._source = FolderSource()
        self._large = threading.Lock()
        self._may_look = True

    def send(self, file: File) -> Sent | _Lost:
        """Raises Unavailable for what no file is to blame for."""
        try:
            check_object_key(self._bucket, file.key)
            for _ in range(_READS):
                sent = self._try(file)
                if sent is not None:
                    return sent
        except (Denied, NoBucket):
            raise
        except Unavailable as error:
            return _Lost(file=file, error=error)
        except InputRejected as error:
            return Sent(file=file, error=str(error))
        return Sent(file=file, error="is being written; upload it again when that has ended")

    def _try(self, file: File) -> Sent | None:
        """None when the file changed between both readings."""
        seen = observe_file(file.root, file.name, self._bucket, time.time())
        if seen.ref is None:
            return Sent(file=file, error=seen.error or "is not there any more, or is no regular file")
        if seen.ref.size > MAX_UPLOAD_BYTES:
            raise InputRejected(f"expected at most {MAX_UPLOAD_BYTES} bytes, got {seen.ref.size}")
        there = self._find(file.key, seen.ref)
        if there is not None:
            return Sent(file=file, ref=there)
        with self._large if seen.ref.size > _LARGE_BYTES else nullcontext():
            try:
                data = self._source.get(seen.ref)
            except (ObjectChanged, ObjectMissing):
                return None
            except LookoutError as error:
                return Sent(file=file, error=f"cannot be read: {error}")
            kind = mimetypes.guess_type(file.key, strict=True)[0] or "application/octet-stream"
            ref = self._store.put(self._bucket, file.key, data, kind, known_sha256=seen.ref.sha256)
        return Sent(file=file, ref=ref, is_new=True)

    def _find(self, key: str, wanted: ObjectRef) -> ObjectRef | None:
        """What is visible under the key, if it declares these bytes. A user that may put and not look puts always: the
        same bytes again are another version of the same content, and cost no processing."""
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


def _walk(root: str) -> Iterator[str]:
    """Paths of files below the folder, as the system gives them, relative to it."""
    pending = [""]
    while pending:
        above = pending.pop()
        folder = f"{root}/{above}"
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name[0] == ".":
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        if _may_be_a_file(entry):
                            yield above + entry.name
                    elif entry.name not in OF_THE_SYSTEM:
                        pending.append(f"{above}{entry.name}/")
        except OSError as error:
            raise InputRejected(f"cannot be listed: {words(error)}", folder, "nothing was uploaded") from error


def _may_be_a_file(entry: os.DirEntry[str]) -> bool:
    """False for what can be no photograph: a pipe, a socket, a link to a folder."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True  # reading it will say in words what is wrong
