"""A store in a folder: what is visible is a plain file that people can open, copy and back up.

``root/<bucket>/<key>`` is the visible object. ``root/.staging/<version>`` is a version that ``put`` made and nobody
published; ``root/.versions/<sha256>`` is one that was replaced or removed. All three are on one file system, so that
publishing is one rename. A version is recognised by its content, never by where it lies: therefore every step of
``publish`` can be cut off by a kill and the same call, made again, finishes it.

The store must not know the ledger: it never decides which version counts.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lookout.datum import ObjectRef
from lookout.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.identity import sha256
from lookout.log import get_logger
from lookout.objects.base import Listed, ObjectStore, Publish
from lookout.objects.files import (
    ONE_PATH,
    check_bucket,
    check_key,
    failure,
    file_size,
    read_file,
    sync_file,
    sync_folder,
    unreadable,
    unwritable,
    words,
    write_new,
)
from lookout.objects.folders import Folders
from lookout.objects.listing import listing

log = get_logger(__name__)

_VERSION: Final = re.compile(r"[0-9a-f]{32}")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS})
_TRIES: Final = 10
_BUSY: Final = "other processes keep changing this object"


class FolderStore(ObjectStore):
    """Objects in a folder, for one machine. Several processes may use it at once.

    ``durable`` makes ``flush`` and ``publish`` survive a power cut; without it they survive a kill of any process only.
    The folder is made by the first ``put``.
    """

    def __init__(self, root: Path, durable: bool = True) -> None:
        self.root = Path(os.path.abspath(root))
        self.durable = durable
        self._root = str(self.root)
        self._staging = f"{self._root}/.staging"
        self._versions = f"{self._root}/.versions"
        self._folders = Folders(self._root)

    def __repr__(self) -> str:
        return f"FolderStore({self._root!r}, durable={self.durable})"

    # --- reading ----------------------------------------------------------------------------------------------------

    def get(self, ref: ObjectRef) -> bytes:
        other: str | None = None
        for path in self._places(ref):
            try:
                data = read_file(path)
            except OSError as error:
                raise unreadable(path, error) from error
            if data is None:
                continue
            found = sha256(data)
            if found == ref.sha256:
                return data
            other = found
        if other is None:
            raise ObjectMissing(ref.bucket, ref.key)
        raise ObjectChanged(ref.bucket, ref.key, ref.sha256, other)

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        return [self._has(ref) for ref in refs]

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        check_bucket(bucket)
        return listing(f"{self._root}/{bucket}", prefix, after)

    # --- writing ----------------------------------------------------------------------------------------------------

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str,  # noqa: ARG002
        *,
        known_sha256: str | None = None,
        made_by: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> ObjectRef:
        """See the contract. ``content_type`` is not kept: a file's name says it. Nor is ``made_by``."""
        target = self._target(bucket, key)
        try:
            version = self._stage(data)
        except OSError as error:
            raise failure(target, error) from error
        digest = known_sha256 or sha256(data)
        return ObjectRef(bucket=bucket, key=key, sha256=digest, size=len(data), version=version)

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        staged = [path for ref in refs if (path := self._staged(ref)) is not None]
        if not self.durable or not staged:
            return
        for path in staged:
            try:
                with suppress(FileNotFoundError):  # discarded since: nobody will name it
                    sync_file(path)
            except OSError as error:
                raise failure(path, error) from error
        self._sync({self._staging})

    def publish(self, changes: Sequence[Publish]) -> None:
        """See the contract. Also raises InputRejected when the key is a folder of other keys, or lies below a key."""
        touched: set[str] = set()
        for change in changes:
            target = self._target(change.bucket, change.key)
            try:
                if change.ref is None:
                    self._hide(change, target)
                else:
                    self._show(change, change.ref, target, touched)
            except OSError as error:
                raise unwritable(target, error) from error
            touched.add(os.path.dirname(target))
        if self.durable:
            self._sync(touched)

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        for ref in refs:
            staged = self._staged(ref)
            if staged is None:
                continue
            try:
                with suppress(FileNotFoundError):
                    os.unlink(staged)
            except OSError as error:
                raise failure(staged, error) from error

    def collect(self, keep_newer_than_s: float) -> int:
        gone = 0
        for folder in (self._staging, self._versions):
            try:
                with suppress(FileNotFoundError):  # nothing was staged yet
                    names = os.listdir(folder)
                    gone += sum(_remove_old(f"{folder}/{name}", keep_newer_than_s) for name in names)
            except OSError as error:
                raise failure(folder, error) from error
        return gone

    # --- where things are -------------------------------------------------------------------------------------------

    def _target(self, bucket: str, key: str) -> str:
        check_bucket(bucket)
        check_key(bucket, key)
        return f"{self._root}/{bucket}/{key}"

    def _staged(self, ref: ObjectRef) -> str | None:
        """Where the version was staged. A version handle is never trusted as a path."""
        if ref.version is None or not _VERSION.fullmatch(ref.version):
            return None
        return f"{self._staging}/{ref.version}"

    def _places(self, ref: ObjectRef) -> Iterable[str]:
        """Where the version can be, in the order in which versions travel, so that a reader cannot miss one."""
        target = self._target(ref.bucket, ref.key)
        staged = self._staged(ref)
        kept = f"{self._versions}/{ref.sha256}"
        return (target, kept) if staged is None else (staged, target, kept)

    def _has(self, ref: ObjectRef) -> bool:
        try:
            return any(file_size(path) == ref.size for path in self._places(ref))
        except InputRejected:
            return False
        except OSError as error:
            raise unreadable(f"{self._root}/{ref.path}", error) from error

    # --- steps of writing -------------------------------------------------------------------------------------------

    def _stage(self, data: bytes) -> str:
        version = _fresh_name()
        path = f"{self._staging}/{version}"
        try:
            write_new(path, data)
        except FileNotFoundError:
            self._make_hidden_folders()
            write_new(path, data)
        return version

    def _make_hidden_folders(self) -> None:
        for folder in (self._staging, self._versions):
            os.makedirs(folder, exist_ok=True)
        if self.durable:
            sync_folder(self._root)

    def _show(self, change: Publish, ref: ObjectRef, target: str, touched: set[str]) -> None:
        staged = self._staged(ref)
        if staged is None or not os.path.exists(staged):
            if self._is_shown(ref, target):
                return
            staged = self._restage(ref)
        for _ in range(_TRIES):
            self._keep(target, ref.sha256)
            try:
                touched.update(self._folders.move(staged, target))
            except FileNotFoundError:  # another process published this version meanwhile
                if self._is_shown(ref, target):
                    return
                staged = self._restage(ref)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                self._folders.refuse(change.bucket, change.key)
            else:
                return
        raise OSError(errno.EBUSY, _BUSY)

    def _is_shown(self, ref: ObjectRef, target: str) -> bool:
        if file_size(target) != ref.size:
            return False
        data = read_file(target)
        return data is not None and sha256(data) == ref.sha256

    def _restage(self, ref: ObjectRef) -> str:
        """A fresh staged copy of a replaced version; the kept one stays, as other keys may have the same content."""
        data = read_file(f"{self._versions}/{ref.sha256}")
        if data is None or sha256(data) != ref.sha256:
            raise ObjectMissing(ref.bucket, ref.key)
        return f"{self._staging}/{self._stage(data)}"

    def _hide(self, change: Publish, target: str) -> None:
        self._keep(target, None)
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(target)
        self._folders.remove_empty(change.bucket, os.path.dirname(target))

    def _keep(self, target: str, unless: str | None) -> None:
        """Give what is visible a second name under its digest, before it loses the first, unless that is its digest.

        It is named first and read by that name, so that what is kept is what was read, whatever other processes show
        meanwhile. The new name also renews a kept version that was there already: its age begins anew.
        """
        for _ in range(_TRIES):
            if file_size(target) is None:
                return
            spare = self._second_name(target)
            data = None if spare is None else read_file(spare)
            if spare is None or data is None:
                continue  # replaced or removed just now
            found = sha256(data)
            if found != unless:
                os.replace(spare, f"{self._versions}/{found}")
            # Renaming one name of a file onto another name of it does nothing at all: then the spare one is left.
            with suppress(FileNotFoundError):
                os.unlink(spare)
            return
        raise OSError(errno.EBUSY, _BUSY)

    def _second_name(self, target: str) -> str | None:
        """Another name for the file, or for a copy where files can have but one; None when it is not there any more."""
        if not os.path.exists(self._versions) or not os.path.exists(self._staging):
            self._make_hidden_folders()
        spare = f"{self._staging}/{_fresh_name()}"
        try:
            os.link(target, spare)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            data = read_file(target)
            return None if data is None else f"{self._staging}/{self._stage(data)}"
        return spare

    def _sync(self, folders: set[str]) -> None:
        for folder in folders:
            try:
                with suppress(FileNotFoundError, NotADirectoryError):  # removed again because it was empty
                    sync_folder(folder)
            except OSError as error:
                raise failure(folder, error) from error


def _remove_old(path: str, keep_newer_than_s: float) -> bool:
    try:
        # The inode's change time is when it was staged or replaced; the modification time is older.
        if os.stat(path).st_ctime >= keep_newer_than_s:
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False  # another process collects or publishes too
    except OSError as error:
        if error.errno not in ONE_PATH:
            raise
        log.warning("not collected", file=path, error=words(error))  # the others go, and this one when it can
        return False
    return True


def _fresh_name() -> str:
    """A name that no other process picks too."""
    return os.urandom(16).hex()
