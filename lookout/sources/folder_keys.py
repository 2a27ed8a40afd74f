"""Keys of files below a source folder, both ways, and the folder's own name as an origin.

Keys are paths below the folder with ``/`` between the parts. A byte that is not UTF-8 is written ``\\xff``, and the
backslash of a name that looks like such an escape is written ``\\x5c``: so every name has exactly one key and back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.filesystem.files import is_text

_ESCAPE: Final = re.compile(r"\\x([89a-f][0-9a-f]|5c)")
_LOOKS_ESCAPED: Final = re.compile(r"\\(?=x(?:[89a-f][0-9a-f]|5c))")


def origin_of(root: Path) -> str:
    """Return the origin under which observations of a folder are kept: its absolute path, links left as they are."""
    return os.path.abspath(root)


def key_of(name: str) -> str:
    """Return the key for a path below the source folder, as the system gives it. Every path has its own."""
    if "\\" not in name and is_text(name):
        return name
    return os.fsencode(_LOOKS_ESCAPED.sub(r"\\x5c", name)).decode("utf-8", "backslashreplace")


def name_of(root: str, key: str) -> str:
    """Give the path of a key below its folder, the inverse of ``key_of``. Raises InputRejected for a key that would
    leave the folder, ``root``."""
    name = _ESCAPE.sub(lambda found: _unescape(found[1]), key)
    if not key or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise InputRejected("the key is not a path inside the source folder", f"{root}: {key!r}")
    return name


def _unescape(two_digits: str) -> str:
    byte = int(two_digits, 16)
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)  # as os.fsdecode gives a byte that is not UTF-8
