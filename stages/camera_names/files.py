"""Names of pictures as a command shows them: a list from a file, and each reading as a JSON object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject
from lookout.filesystem.files import open_named, read_named, words
from lookout.sources.folder_keys import name_of, origin_of
from lookout.sources.folder_walk import Walk, open_root
from stages import strict_json
from stages.camera_names.names import Ignored, Reading, Unread
from stages.camera_names.proposal import Sample, propose
from stages.camera_names.trial import Trial
from stages.imaging.exif import find_texts
from stages.time_zones import zone_names
from stages.validate.devices_file import read_devices

HEADER_BYTES: Final = 256 * 1024
"""EXIF lies in the first segments of a JPEG, of 64 KiB each."""


MOST_SAMPLES: Final = 2_000
"""Presets are tried on so many pictures of a folder."""


def open_names(file: Path | None) -> Callable[[str, datetime], JsonObject]:
    """Return what reads one path, first seen at a time, by the list of a file, or without one by the built-in form.
    Raises InputRejected for a file that cannot be read or used."""
    names = read_devices({} if file is None else _document(file), "" if file is None else str(file))

    def read(path: str, first_seen: datetime) -> JsonObject:
        found = names.read(path, first_seen=first_seen, exif=_exif_of(Path(path)))
        return {"path": path, **_as_json(found)}

    return read


def try_names(folder: Path, file: Path | None) -> JsonObject:
    """Try a list of names on all files below a folder: see ``Trial.report``; ``proposal`` is a list that presets make.
    Raises InputRejected, or Unavailable for a folder that cannot be listed."""
    names = read_devices({} if file is None else _document(file), "" if file is None else str(file))
    trial, samples = Trial(names), list[Sample]()
    with open_root(origin_of(folder)) as root:
        walk = Walk(root, [])
        for key, _ in walk.files():
            path = folder / name_of(str(folder), key)
            changed_at = _changed_at(path)
            if changed_at is None:
                continue
            is_sample = len(samples) < MOST_SAMPLES and key.lower().endswith((".jpg", ".jpeg"))
            exif = _exif_of(path) if names.reads_exif or is_sample else None
            trial.add(key, changed_at, exif)
            if is_sample:
                samples.append(Sample(path=key, changed_at=changed_at, exif=exif))
    return {**trial.report(), "unlistable": dict(walk.unlistable), "proposal": propose(samples, _zone_of_machine())}


def _changed_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return None  # gone meanwhile, or a link to nothing


def _zone_of_machine() -> str | None:
    """Return the name of this machine's zone, as a proposal: never used for a picture unless a person takes it over."""
    try:
        name = str(Path("/etc/localtime").readlink()).partition("/zoneinfo/")[2]
    except OSError:
        return None
    return name if name in zone_names() else None


def _document(file: Path) -> object:
    try:
        return strict_json.read(read_named(file, strict_json.MAX_BYTES))
    except OSError as exc:
        raise InputRejected(f"cannot be read: {words(exc)}", str(file)) from exc
    except InputRejected as exc:
        raise exc.within(str(file)) from exc


def _exif_of(path: Path) -> Mapping[str, str] | None:
    """Return the tags of a path that is a file."""
    try:
        with os.fdopen(open_named(path)[0], "rb") as picture:
            return find_texts(picture.read(HEADER_BYTES))
    except (OSError, InputRejected):
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
