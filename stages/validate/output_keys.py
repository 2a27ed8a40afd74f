"""Keys for a picture's files: the same key when it is plain, else a digest of it.

Keys come from outside and become keys, and often paths, in our stores. What is not plain must neither escape from its
place nor meet another picture's files there. Pure text; knows nothing of pictures.

The layout of ``invalid/`` has no collisions, by construction: reason files are exactly the keys that end in ``.json``;
no part of a picture's key there ends so, which also keeps a folder from taking the place of a reason file; and ``_/``
holds only what is named by its digest.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from stages.strict_json import printable

MAX_PART_BYTES: Final = 200
MAX_KEY_BYTES: Final = 900

_HASHED: Final = "_"
_REASON_ENDING: Final = ".json"
_PLAIN_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,8}\Z", re.ASCII)


def shown(text: str) -> str:
    """Return the text in quotes for a sentence: on one line, shortened to about 60 characters."""
    return f'"{printable(text if len(text) <= 60 else text[:59] + "…")}"'


def find_fault(key: str) -> str | None:
    """Return why a key cannot be used as it is, as the rest of a sentence; None when it is plain.

    Plain: at most 900 bytes of UTF-8 in all and 200 a part between slashes, each part printable text that neither is
    empty nor starts with a dot.
    """
    for part in key.split("/"):
        fault = _find_part_fault(part)
        if fault:
            return fault
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    return None


def _find_part_fault(part: str) -> str | None:
    if not part:
        return "one of its parts between slashes is empty"
    if not part.isprintable():  # also true of lone surrogates, which UTF-8 cannot hold
        return f"its part {shown(part)} has characters that cannot be printed"
    if part.startswith("."):
        return f"its part {shown(part)} starts with a dot"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"its part {shown(part)} is longer than {MAX_PART_BYTES} bytes"
    return None


def safe_key(key: str) -> str:
    """Return the key under ``invalid/``: plain, never that of another key, never that of a reason file."""
    parts = key.split("/")
    reserved = parts[0] == _HASHED or any(part.lower().endswith(_REASON_ENDING) for part in parts)
    if not reserved and find_fault(key) is None:
        return key
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
    found = _PLAIN_ENDING.search(key)
    ending = found[0] if found and found[0].lower() != _REASON_ENDING else ""
    return f"{_HASHED}/{digest}{ending}"


def reason_key(safe: str) -> str:
    """Return the key of the reason file beside ``safe``."""
    return safe + _REASON_ENDING
