"""Files that are no photographs: found beside pictures, and left alone."""

from __future__ import annotations

from typing import Final

from stages.validate.file_type import is_jpeg

_ENDINGS: Final = (".jpg", ".jpeg")
_PARTIAL: Final = (".part", ".partial", ".filepart", ".crdownload", ".tmp")
"""Endings of files that are being written; afterwards they are renamed."""
_FOLDERS: Final = frozenset(
    (
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        ".@__thumb",
        ".thumbnails",
        ".trash",
        ".trashes",
        "@eadir",
        "@recycle",
        "@tmp",
        "lost+found",
        "system volume information",
    )
)
"""Folders in which network storage and operating systems keep thumbnails and what was removed."""
_RESOURCE_FORK: Final = "._"
"""macOS keeps attributes of ``x.jpg`` in ``._x.jpg`` where the file system cannot."""


def is_foreign(key: str, data: bytes) -> bool:
    """Tell whether a file is left alone: it has neither a picture's name nor a JPEG's first bytes, is being written, or
    lies in a folder of the storage itself. ``data`` is empty for a file that is not read."""
    *folders, name = key.lower().split("/")
    if not _FOLDERS.isdisjoint(folders) or name.endswith(_PARTIAL):
        return True
    if name.startswith(_RESOURCE_FORK) or not name.endswith(_ENDINGS):
        return not is_jpeg(data)
    return False
