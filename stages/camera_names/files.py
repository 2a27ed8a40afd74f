"""Names of pictures as a command shows them: a list from a file, and each reading as a JSON object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject
from lookout.filesystem.files import words
from stages import strict_json
from stages.camera_names.name_list import read_list
from stages.camera_names.names import Ignored, Reading, Unread
from stages.imaging.exif import find_texts

HEADER_BYTES: Final = 256 * 1024
"""EXIF lies in the first segments of a JPEG, of 64 KiB each."""


def open_names(file: Path | None) -> Callable[[str, datetime], JsonObject]:
    """Return what reads one path, first seen at a time, by the list of a file, or without one by the built-in form.
    Raises InputRejected for a file that cannot be read or used."""
    names = read_list({} if file is None else _document(file), "" if file is None else str(file))

    def read(path: str, first_seen: datetime) -> JsonObject:
        found = names.read(path, first_seen=first_seen, exif=_exif_of(Path(path)))
        return {"path": path, **_as_json(found)}

    return read


def _document(file: Path) -> object:
    try:
        return strict_json.read(file.read_bytes())
    except OSError as exc:
        raise InputRejected(f"cannot be read: {words(exc)}", str(file)) from exc
    except InputRejected as exc:
        where = f"{file}: {exc.where}" if exc.where else str(file)
        raise InputRejected(exc.what, where, exc.hint) from exc


def _exif_of(path: Path) -> Mapping[str, str] | None:
    """The tags of a path that is a file."""
    try:
        with path.open("rb") as picture:
            return find_texts(picture.read(HEADER_BYTES))
    except OSError:
        return None  # a path of names only


def _as_json(found: Reading | Unread | Ignored) -> JsonObject:
    if isinstance(found, Ignored):
        return {"ignored": True, "entry": found.entry}
    if isinstance(found, Unread):
        return {"reason": found.reason.value, "sentence": found.sentence, "entry": found.entry}
    at = found.captured_at.astimezone(UTC)
    return {
        "device": found.device,
        "captured_at": at.isoformat().replace("+00:00", "Z"),
        "seq": found.seq,
        "event": found.event,
        "flags": list(found.flags),
        "entry": found.entry,
    }
