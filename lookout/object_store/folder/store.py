"""A store in a folder: what is visible is a plain file that people can open, copy and back up.

``root/<bucket>/<key>`` is the visible object. ``root/.staging/<version>`` is a version that ``put`` made and nobody
published; ``root/.versions/<sha256>`` is one that was replaced or removed. All three are on one file system, so that
publishing is one rename. A version is recognised by its content, never by where it lies: therefore every step of
``publish`` can be cut off by a kill and the same call, made again, finishes it. All of it is done beneath the root, by
descriptors (``owned.py``): a link in the place of a folder or an object is never followed.

The store must not know the ledger: it never decides which version counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import MAX_INPUT_BYTES, sha256
from lookout.domain.records import ObjectRef
from lookout.filesystem.files import ONE_PATH, check_bucket, check_key, failure, unreadable, unwritable, words
from lookout.log import get_logger
from lookout.object_store.folder.directories import Folders
from lookout.object_store.folder.listing import listing
from lookout.object_store.folder.owned import OwnedRoot
from lookout.object_store.folder.publisher import STAGING, VERSIONS, Publisher, stage, staged_name
from lookout.object_store.port import Listed, ObjectStore, Publish

log = get_logger(__name__)


class FolderStore(ObjectStore):
    """Objects in a folder, for one machine. Several processes may use it at once.

    ``durable`` makes ``flush`` and ``publish`` survive a power cut; without it they survive a kill of any process only.
    The folder is made by the first ``put``.
    """

    def __init__(self, root: Path, durable: bool = True) -> None:
        self.root = Path(os.path.abspath(root))
        self.durable = durable
        self._root = str(self.root)

    def __repr__(self) -> str:
        return f"FolderStore({self._root!r}, durable={self.durable})"

    # --- reading ----------------------------------------------------------------------------------------------------

    def get(self, ref: ObjectRef) -> bytes:
        other: str | None = None
        places = self._places(ref)
        try:
            with OwnedRoot(self._root) as root:
                for name in places:
                    found = root.read(name, max(ref.size, MAX_INPUT_BYTES))
                    if found is None:
                        continue
                    if found[0] == ref.sha256:
                        return found[1]
                    other = found[0]
        except FileNotFoundError:
            pass  # nothing was ever put
        except OSError as error:
            raise unreadable(f"{self._root}/{ref.path}", error) from error
        if other is None:
            raise ObjectMissing(ref.bucket, ref.key)
        raise ObjectChanged(ref.bucket, ref.key, ref.sha256, other)

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        try:
            with OwnedRoot(self._root) as root:
                return [self._has(root, ref) for ref in refs]
        except FileNotFoundError:
            return [False] * len(refs)  # nothing was ever put
        except OSError as error:
            raise failure(self._root, error) from error

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        check_bucket(bucket)
        return listing(self._root, bucket, prefix, after)

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
        self._name(bucket, key)
        try:
            with self._made() as root:
                version = stage(root, data)
        except OSError as error:
            raise failure(f"{self._root}/{bucket}/{key}", error) from error
        digest = known_sha256 or sha256(data)
        return ObjectRef(bucket=bucket, key=key, sha256=digest, size=len(data), version=version)

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        staged = [name for ref in refs if (name := staged_name(ref)) is not None]
        if not self.durable or not staged:
            return
        try:
            with OwnedRoot(self._root) as root:
                for name in staged:
                    root.sync_file(name)  # unless discarded since: nobody will name it
                root.sync_folder(STAGING)
        except OSError as error:
            raise failure(f"{self._root}/{STAGING}", error) from error

    def publish(self, changes: Sequence[Publish]) -> None:
        """See the contract. Also raises InputRejected when the key is a folder of other keys, or lies below a key."""
        names = [self._name(change.bucket, change.key) for change in changes]
        if not changes:
            return
        target = self._root
        try:
            with self._made() as root:
                publisher = Publisher(root)
                for change, name in zip(changes, names, strict=True):
                    target = f"{self._root}/{name}"
                    publisher.publish(change, name)
                if self.durable:
                    publisher.sync()
        except OSError as error:
            raise unwritable(target, error) from error

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002
        """See the contract. Raises InputRejected as ``publish`` does."""
        target = self._name(bucket, key)
        try:
            with self._made() as root:
                staged = f"{STAGING}/{stage(root, data)}"
                folders = Folders(root)
                try:
                    folders.move(staged, target)
                except OSError as error:
                    root.unlink(staged)
                    if isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError)):
                        folders.refuse(bucket, key)
                    raise
        except OSError as error:
            raise unwritable(f"{self._root}/{target}", error) from error

    def find_visible(self, bucket: str, key: str) -> bytes | None:
        name = self._name(bucket, key)
        try:
            with OwnedRoot(self._root) as root:
                found = root.read(name, MAX_INPUT_BYTES)
        except FileNotFoundError:
            return None  # nothing was ever put
        except OSError as error:
            raise unreadable(f"{self._root}/{name}", error) from error
        return None if found is None else found[1]

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        staged = [name for ref in refs if (name := staged_name(ref)) is not None]
        try:
            with suppress(FileNotFoundError), OwnedRoot(self._root) as root:
                for name in staged:
                    with suppress(FileNotFoundError):
                        root.unlink(name)
        except OSError as error:
            raise failure(f"{self._root}/{STAGING}", error) from error

    def collect(self, keep_newer_than_s: float) -> int:
        gone = 0
        try:
            with suppress(FileNotFoundError), OwnedRoot(self._root) as root:  # nothing was staged yet
                for folder in (STAGING, VERSIONS):
                    gone += _remove_old(root, folder, keep_newer_than_s)
        except OSError as error:
            raise failure(self._root, error) from error
        return gone

    # --- where things are -------------------------------------------------------------------------------------------

    @staticmethod
    def _name(bucket: str, key: str) -> str:
        check_bucket(bucket)
        check_key(bucket, key)
        return f"{bucket}/{key}"

    def _places(self, ref: ObjectRef) -> Iterable[str]:
        """Return the possible places of a version, in the order in which versions move, so that a reader cannot miss
        one."""
        target, staged, kept = self._name(ref.bucket, ref.key), staged_name(ref), f"{VERSIONS}/{ref.sha256}"
        return (target, kept) if staged is None else (staged, target, kept)

    def _has(self, root: OwnedRoot, ref: ObjectRef) -> bool:
        try:
            return any(root.find_size(name) == ref.size for name in self._places(ref))
        except InputRejected:
            return False
        except OSError as error:
            raise unreadable(f"{self._root}/{ref.path}", error) from error

    def _made(self) -> OwnedRoot:
        """Return the folder, open; made with its hidden folders when it is not there."""
        try:
            root = OwnedRoot(self._root)
            try:
                if root.has_folder(STAGING) and root.has_folder(VERSIONS):
                    return root
            except BaseException:
                root.close()
                raise
            root.close()
        except FileNotFoundError:
            pass
        os.makedirs(self._root, exist_ok=True)
        root = OwnedRoot(self._root)
        try:
            for folder in (STAGING, VERSIONS):
                root.make_folders(folder)
            if self.durable:
                root.sync_folder("")
        except BaseException:
            root.close()
            raise
        return root


def _remove_old(root: OwnedRoot, folder: str, keep_newer_than_s: float) -> int:
    """Remove what was put into a hidden folder before that time; says how many."""
    gone, fd = 0, root.open_folder(folder)
    try:
        for name in os.listdir(fd):
            try:
                # The inode's change time is when it was staged or replaced; the modification time is older.
                if os.stat(name, dir_fd=fd, follow_symlinks=False).st_ctime < keep_newer_than_s:
                    os.unlink(name, dir_fd=fd)
                    gone += 1
            except FileNotFoundError:
                continue  # another process collects or publishes too
            except OSError as error:
                if error.errno not in ONE_PATH:
                    raise
                log.warning("not collected", file=f"{folder}/{name}", error=words(error))  # the others go
    finally:
        os.close(fd)
    return gone
