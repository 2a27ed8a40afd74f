"""Listing a tree of files as keys in the order of their code points, never holding more than a few folders.

The order of keys is not that of a walk: ``a.b`` sorts before ``a/b``, and ``a0`` after it. It is the order of names
once each folder is given the slash that follows it in its keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from lookout.errors import InputRejected
from lookout.objects.base import Listed
from lookout.objects.files import check_key, failure, is_text


def listing(top: str, prefix: str, after: str) -> Iterator[Listed]:
    """Regular files below ``top`` whose keys start with ``prefix`` and come after ``after``; see ObjectStore.list.

    Folders in which no such key can be are not entered. Raises Unavailable for one that cannot be listed.
    """
    start = prefix.rpartition("/")[0]
    if start:
        try:
            check_key("", start)
        except InputRejected:
            return  # no key can begin like that
        start += "/"
    pending = [iter(_sorted_names(top, start, prefix, after))]
    while pending:
        key = next(pending[-1], None)
        if key is None:
            pending.pop()
        elif key.endswith("/"):
            pending.append(iter(_sorted_names(top, key, prefix, after)))
        else:
            try:
                found = os.stat(f"{top}/{key}")
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed while listing
            except OSError as error:
                raise failure(f"{top}/{key}", error) from error
            yield Listed(key=key, size=found.st_size, modified_at_s=found.st_mtime)


def _sorted_names(top: str, folder: str, prefix: str, after: str) -> list[str]:
    """Keys of the files, and of the folders with a slash, in one folder that can still hold something asked for."""
    names = []
    try:
        with os.scandir(f"{top}/{folder}") as entries:
            for entry in entries:
                key = folder + entry.name
                if not is_text(key):
                    continue  # put there by somebody else: no key can be named so
                if entry.is_dir(follow_symlinks=False):
                    key += "/"
                    if (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key)):
                        names.append(key)
                elif key > after and key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                    names.append(key)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise failure(f"{top}/{folder}", error) from error
    names.sort()
    return names
