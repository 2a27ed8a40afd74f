"""Rules for names of buckets and keys in MinIO: others are refused here, with a hint, before any request is sent.

Found by trying keys on a real server and by reading what it checks. MinIO keeps every object in a folder of that name
and treats a backslash as a slash when it looks for ``..``. Pure: knows no connection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.filesystem.files import check_key

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_FOLDER_SUFFIX: Final = "__XLDIR__"
"""What MinIO appends to the folder of an object whose key ends with a slash; such a key is listed as another one."""
_METADATA_FILE: Final = "xl.meta"
"""Where MinIO keeps an object: as a part of a key it could take the place of another object's metadata."""
_SPACES: Final = " \t\n\v\f\r"

_KINDS: Final = (
    *("jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp", "heic", "heif", "avif", "mp4", "mov", "avi"),
    *("txt", "log", "csv", "json", "xml", "ini", "db"),
)
FILE_ENDINGS: Final = tuple(f".{ending}" for kind in _KINDS for ending in (kind, kind.upper()))
"""Endings of the files that a camera's folder holds. An object with one of them hides nothing, as no folder is named
so; devices may put no other. See ``check_beside_others``."""


def check_object_key(bucket: str, key: str) -> None:
    """Raise InputRejected unless MinIO keeps this key and gives it back unchanged in a listing.

    At most 1024 bytes, parts of at most 255; no part that is empty, ``.`` or ``..``, with either slash and with spaces
    around it; not only white space; none of the names that MinIO uses inside. Any other text is fine, also control
    characters.
    """
    check_key(bucket, key)
    hint = "rename the file before it is uploaded"
    if not key.strip():
        raise InputRejected("the key is only white space, which the object store refuses", f"{bucket}/{key!r}", hint)
    for part in key.replace("\\", "/").split("/"):
        if part.strip(_SPACES) in (".", ".."):
            what = f"the key has the part {part!r} between slashes or backslashes, which the object store refuses"
            raise InputRejected(what, f"{bucket}/{key!r}", hint)
    for part in key.split("/"):
        if part == _METADATA_FILE or part.endswith(_FOLDER_SUFFIX):
            raise InputRejected(f"the key has the part {part!r}, a name the object store uses inside", bucket, hint)


def check_hides_nothing(bucket: str, key: str, endings: Sequence[str]) -> None:
    """Raise InputRejected when an object of this key could keep others out of every listing.

    MinIO keeps an object in a folder of its key's name and lists nothing that lies below an object, whatever it is
    asked for, and also when only a delete marker is left of it: beside ``cam1``, each ``cam1/<name>`` is readable by
    name and in no listing. A key that ends in one of ``endings`` is taken for a file's. Without any, all keys pass.
    """
    if endings and not key.endswith(tuple(endings)):
        raise InputRejected(
            "has no ending of a file, so it could be a folder's name: the object store lists nothing below an object",
            f"{bucket}/{key!r}",
            "give the file an ending such as .jpg; if the object is there, remove all its versions",
        )


def check_beside_others(bucket: str, key: str, endings: Sequence[str]) -> None:
    """Raise InputRejected unless objects that pass this are all listed, however many there are: a key has an ending,
    and no folder in it has one. Policies for devices say the same."""
    check_hides_nothing(bucket, key, endings)
    for folder in key.split("/")[:-1]:
        if endings and folder.endswith(tuple(endings)):
            what = f"is in a folder named like a file, {folder!r}: the object store lists nothing below an object"
            raise InputRejected(what, f"{bucket}/{key!r}", "rename the folder")


def full_bucket(prefix: str, bucket: str) -> str:
    """Return the bucket's name on the server. Raises InputRejected unless it is 3 to 63 lower-case letters, digits and
    dashes, with a letter or digit at both ends: what every S3 server takes."""
    name = prefix + bucket
    if not _BUCKET.fullmatch(name):
        raise InputRejected(
            f"the bucket cannot be named {name!r}",
            repr(bucket),
            "use 3 to 63 lower-case letters, digits and dashes, and a prefix that begins with a letter",
        )
    return name


def servable_prefix(prefix: str) -> str | None:
    """Return the longest part of a prefix that MinIO takes in a listing, None when no key can begin with the prefix at
    all.

    MinIO refuses the prefix ``..`` although it begins the legal key ``..x``: the caller filters what comes.
    """
    above, slash, last = prefix.rpartition("/")
    if slash:
        try:
            check_object_key("", f"{above}/x")
        except InputRejected:
            return None
    parts = last.split("\\")
    if "\0" in last or any(0xD800 <= ord(letter) <= 0xDFFF for letter in last):
        return None
    if any(part.strip(_SPACES) in (".", "..") for part in parts):
        return above + slash
    return prefix
