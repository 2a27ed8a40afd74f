"""Proposal of a list of names for a folder: the presets that read most of its paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lookout.domain.records import JsonObject
from stages.camera_names.name_list import read_entries, read_list
from stages.camera_names.names import Names, Reading
from stages.camera_names.presets import PRESETS

CONSTANT: Final = "camera"
"""The device of a preset whose pictures name none, until a person gives it a name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A path, the time when the file was last changed, and its EXIF tags."""

    path: str
    changed_at: datetime
    exif: Mapping[str, str] | None = None


def propose(samples: Sequence[Sample], zone: str | None) -> JsonObject:
    """Return a list of names that reads as many of the samples as presets can, with as few presets as possible.

    What the built-in form reads needs no preset. ``zone`` becomes that of all devices.
    """
    left = [sample for sample in samples if not _reads(read_list({}, ""), sample)]
    readers = {name: Names(entries=read_entries(_line(name), name), zone=UTC) for name in PRESETS}
    lines: list[JsonObject] = []
    while left:
        numbers = {name: sum(_reads(names, sample) for sample in left) for name, names in readers.items()}
        best = max(numbers, key=lambda name: numbers[name])
        if not numbers[best]:
            break
        lines.append(_line(best))
        left = [sample for sample in left if not _reads(readers[best], sample)]
    proposed: JsonObject = {"names": list(lines)}
    return proposed if zone is None else {**proposed, "zone": zone}


def _line(name: str) -> JsonObject:
    """Return the entry of a preset, with a constant device where its pictures name none."""
    has_device = any("{device" in str(entry["pattern"]) for entry in PRESETS[name].entries)
    return {"preset": name} if has_device else {"preset": name, "device": CONSTANT}


def _reads(names: Names, sample: Sample) -> bool:
    return isinstance(names.read(sample.path, first_seen=sample.changed_at, exif=sample.exif), Reading)
