"""Listing a tree of files as keys in the order of their code points, never holding more than a few folders.

The order of keys is not that of a walk: ``a.b`` sorts before ``a/b``, and ``a0`` after it. It is the order of names
once each folder is given the slash that follows it in its keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

from lookout.domain.errors import InputRejected, find_lack
from lookout.filesystem.beneath import Root
from lookout.filesystem.files import check_key, failure, is_text
from lookout.object_store.port import Listed

PassBy: TypeAlias = Callable[[str, OSError], None]


def listing(top: str, folder: str, prefix: str, after: str, pass_by: PassBy | None = None) -> Iterator[Listed]:
    """Regular files in ``top/folder`` ("" is ``top`` itself) whose keys, below that, start with ``prefix`` and come
    after ``after``; see ObjectStore.list.

    Folders in which no such key can be are not entered, nor are links. Raises Unavailable for one that cannot be
    listed, unless it is to be told to ``pass_by``, by its name below ``top``, and passed by.
    """
    start = prefix.rpartition("/")[0]
    if start:
        try:
            check_key("", start)
        except InputRejected:
            return  # no key can begin like that
        start += "/"
    try:
        root = Root(top)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise failure(top, error) from error
    with root:
        yield from _Listing(root, f"{folder}/" if folder else "", prefix, after, pass_by).run(start)


class _Listing:
    """One listing of what lies below ``base``, a folder of the root."""

    def __init__(self, root: Root, base: str, prefix: str, after: str, pass_by: PassBy | None) -> None:
        self._root, self._base, self._prefix, self._after = root, base, prefix, after
        self._pass_by = pass_by

    def run(self, start: str) -> Iterator[Listed]:
        pending = [iter(self._sorted_names(start))]
        while pending:
            key = next(pending[-1], None)
            if key is None:
                pending.pop()
            elif key.endswith("/"):
                pending.append(iter(self._sorted_names(key)))
            else:
                try:
                    with self._root.parent(self._base + key) as fd:
                        found = os.stat(key.rpartition("/")[2], dir_fd=fd, follow_symlinks=False)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # removed while listing
                except OSError as error:
                    self._fail(key, error)
                    continue
                yield Listed(key=key, size=found.st_size, modified_at_s=found.st_mtime)

    def _sorted_names(self, folder: str) -> list[str]:
        """Keys of the files, and of the folders with a slash, in one folder that can still hold something asked for."""
        try:
            fd = self._root.open_folder((self._base + folder).rstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._fail(folder, error)
            return []
        try:
            with os.scandir(fd) as entries:
                return sorted(key for entry in entries if (key := self._key(folder, entry)) is not None)
        except OSError as error:
            self._fail(folder, error)
            return []
        finally:
            os.close(fd)

    def _key(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        key, prefix, after = folder + entry.name, self._prefix, self._after
        if not is_text(key):
            return None  # put there by somebody else: no key can be named so
        if entry.is_dir(follow_symlinks=False):
            key += "/"
            wanted = (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
            return key if wanted else None
        wanted = key > after and key.startswith(prefix) and entry.is_file(follow_symlinks=False)
        return key if wanted else None

    def _fail(self, key: str, error: OSError) -> None:
        if self._pass_by is None or not key or find_lack(error) is not None:
            raise failure(f"{self._root.path}/{self._base}{key}", error) from error
        self._pass_by(self._base + key, error)
