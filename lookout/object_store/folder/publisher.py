"""Publisher of versions in a folder: staged, shown under a key, and kept under their digests when they are replaced.

Each step can be cut off by a kill; the same steps, made again, finish it.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from typing import Final

from lookout.domain.errors import ObjectMissing
from lookout.domain.identity import MAX_INPUT_BYTES
from lookout.domain.records import ObjectRef
from lookout.object_store.folder.directories import Folders
from lookout.object_store.folder.owned import OwnedRoot
from lookout.object_store.port import Publish

STAGING: Final = ".staging"
VERSIONS: Final = ".versions"
_VERSION: Final = re.compile(r"[0-9a-f]{32}")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS})
_TRIES: Final = 10
_BUSY: Final = "other processes keep changing this object"


class Publisher:
    """The steps of publishing, in a root that is open and has its hidden folders."""

    def __init__(self, root: OwnedRoot) -> None:
        self._root, self._folders = root, Folders(root)
        self._touched: set[str] = set()

    def publish(self, change: Publish, target: str) -> None:
        if change.ref is None:
            self._hide(change.bucket, target)
        else:
            self._show(change, change.ref, target)
        self._touched.add(os.path.dirname(target))

    def sync(self) -> None:
        """Make the names that changed survive a power cut."""
        for folder in self._touched:
            with suppress(FileNotFoundError, NotADirectoryError):  # removed again because it was empty
                self._root.sync_folder(folder)

    def _show(self, change: Publish, ref: ObjectRef, target: str) -> None:
        staged = staged_name(ref)
        if staged is None or self._root.find_size(staged) is None:
            if self._is_shown(ref, target):
                return
            staged = self._restage(ref)
        for _ in range(_TRIES):
            self._keep(target, ref.sha256)
            try:
                self._touched.update(self._folders.move(staged, target))
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
        return self._root.find_size(target) == ref.size and self._root.digest(target) == ref.sha256

    def _restage(self, ref: ObjectRef) -> str:
        """Stage a fresh copy of a replaced version; the kept one stays, as other keys may have the same content."""
        found = self._root.read(f"{VERSIONS}/{ref.sha256}", max(ref.size, MAX_INPUT_BYTES))
        if found is None or found[0] != ref.sha256:
            raise ObjectMissing(ref.bucket, ref.key)
        return f"{STAGING}/{stage(self._root, found[1])}"

    def _hide(self, bucket: str, target: str) -> None:
        self._keep(target, None)
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._root.unlink(target)
        self._folders.remove_empty(bucket, os.path.dirname(target))

    def _keep(self, target: str, unless: str | None) -> None:
        """Give what is visible a second name under its digest, before it loses the first, unless that is its digest.

        It is named first and read by that name, so that what is kept is what was read, whatever other processes show
        meanwhile. The new name also renews a kept version that was there already: its age begins anew.
        """
        for _ in range(_TRIES):
            if self._root.find_size(target) is None:
                return
            spare = self._second_name(target)
            found = None if spare is None else self._root.digest(spare)
            if spare is None or found is None:
                continue  # replaced or removed just now
            if found != unless:
                self._root.replace(spare, f"{VERSIONS}/{found}")
            # Renaming one name of a file onto another name of it does nothing at all: then the spare one is left.
            with suppress(FileNotFoundError):
                self._root.unlink(spare)
            return
        raise OSError(errno.EBUSY, _BUSY)

    def _second_name(self, target: str) -> str | None:
        """Return another name for the file, or for a copy where files can have but one; None when it is not there any
        more."""
        spare = f"{STAGING}/{_fresh_name()}"
        try:
            self._root.link(target, spare)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            found = self._root.read(target, sys.maxsize)
            return None if found is None else f"{STAGING}/{stage(self._root, found[1])}"
        return spare


def staged_name(ref: ObjectRef) -> str | None:
    """Return the path of the staged version. A version handle is never trusted as a path."""
    if ref.version is None or not _VERSION.fullmatch(ref.version):
        return None
    return f"{STAGING}/{ref.version}"


def stage(root: OwnedRoot, data: bytes) -> str:
    """Write a version that nobody sees yet; return its name."""
    version = _fresh_name()
    root.write_new(f"{STAGING}/{version}", data)
    return version


def _fresh_name() -> str:
    """Return a name that no other process picks too."""
    return os.urandom(16).hex()
