"""Devices file as references of the stage: one unit for each entry of its list and for each device.

A picture depends on the entry that reads it, on the zone of the list, and on its device only: a change of one device
makes no other device's picture anew. Accepted once, selected while planning, and put together again for the stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files as resources
from typing import Final, cast

from lookout.domain.errors import InputRejected
from lookout.domain.identity import digest
from lookout.domain.pipeline import Accepted, Refused, Selection
from lookout.domain.records import Json, JsonObject, LoadedReference, Reference
from stages import strict_json
from stages.camera_names.name_list import built_in, expanded, read_entries, read_list
from stages.camera_names.names import Entry, Match, Names
from stages.time_zones import zone_data
from stages.validate.limits import Limits

ROLE: Final = "devices"
ENTRY, ZONE, DEVICE, PICTURES = "entry", "zone", "device", "pictures"
PRESETS_EDITION: Final = 1
"""Raised when a preset changes: a test holds their digest."""
READING_EDITION: Final = 2
"""Raised when the same entry and the same picture give another reading: since 2, with the flag ``exif-disagrees``."""
_KINDS: Final = (ENTRY, ZONE, DEVICE, PICTURES)


def accept(files: Mapping[str, bytes]) -> Sequence[Accepted | Refused]:
    """Check a devices file. It becomes a unit of its own name, which no picture depends on, and one for each part."""
    if len(files) != 1:
        names = ", ".join(sorted(files))
        return [Refused(name=name, reason=f"expected one devices file, got {names}") for name in sorted(files)]
    ((name, data),) = files.items()
    try:
        document = cast(JsonObject, strict_json.read(data))
        read_devices(document, "")
        parts = list(_parts(name, document))
    except InputRejected as exc:
        return [Refused(name=name, reason=str(exc.within(name)))]
    return [Accepted(name=name, files={ROLE: data}), *parts]


def context() -> str:
    """Return what the meaning of a file depends on beside its bytes: zone data, presets, and how names are read."""
    return f"{zone_data()}, presets {PRESETS_EDITION}, reading {READING_EDITION}"


def read_devices(document: object, place: str) -> Names:
    """Check a whole devices file and return how it reads names. Raises InputRejected with the place."""
    names = read_list(document, place)
    before = f"{place}: " if place else ""
    checked = cast(JsonObject, document)
    Limits().replaced(checked.get("pictures", {}), f"{before}pictures")
    for said, settings in cast(Mapping[str, JsonObject], checked.get("devices", {})).items():
        Limits().replaced(settings.get("pictures", {}), f"{before}devices[{said!r}]: pictures")
    return names


def schema() -> str:
    """Return the JSON Schema of devices files."""
    return resources("stages.validate").joinpath("devices-1.schema.json").read_text("utf-8")


def _parts(name: str, document: JsonObject) -> Iterator[Accepted]:
    names, devices = document.get("names", ()), document.get("devices", {})
    done: set[str] = set()
    for number, line in enumerate(cast(Sequence[JsonObject], names)):
        entries = [cast(JsonObject, entry) for entry in expanded(line)]
        part = _part(name, ENTRY, {"entries": entries, "reading": READING_EDITION}, number)
        if part.name not in done:  # the same entry once more can never be the first that matches
            done.add(part.name)
            yield part
    if document.get("zone") is not None:
        yield _part(name, ZONE, {"zone": document["zone"], "data": zone_data()})
    if document.get("pictures"):
        yield _part(name, PICTURES, {"pictures": document["pictures"]})
    for said, settings in cast(Mapping[str, JsonObject], devices).items():
        yield _part(name, DEVICE, {"said": said, "device": settings, "data": zone_data()})


def _part(name: str, kind: str, content: JsonObject, number: int = 0) -> Accepted:
    document: JsonObject = {"kind": kind, **content}
    data = json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
    return Accepted(
        name=f"{name}/{kind}-{digest('devices/1', document)[:16]}",
        files={ROLE: data},
        meta={"number": number, "part": document},
    )


# --- selecting, while planning ---------------------------------------------------------------------------------------


def select(references: Sequence[Reference]) -> Selection:
    """Prepare a selection of the parts on which a picture depends."""
    return _Selection(references)


class _Selection:
    """Parts by what they say. A picture that the built-in form reads depends on no entry and no zone."""

    def __init__(self, references: Sequence[Reference]) -> None:
        self._by_kind: dict[str, list[Reference]] = {kind: [] for kind in _KINDS}
        self._devices: dict[str, Reference] = {}
        for reference in references:
            part = _part_of(reference)
            if part is not None:
                self._by_kind[str(part["kind"])].append(reference)
                if part["kind"] == DEVICE:
                    self._devices[str(part["said"])] = reference
        self._by_kind[ENTRY].sort(key=lambda one: cast(int, one.meta["number"]))
        entries, self._of_entry = list[Entry](), list[Reference]()
        for reference in self._by_kind[ENTRY]:
            for entry in _entries(cast(JsonObject, reference.meta["part"])):
                entries.append(entry)
                self._of_entry.append(reference)
        self._names = Names(entries=[*entries, *built_in()])

    def __call__(self, key: str, _group: str, /) -> Sequence[Reference]:
        if not any(self._by_kind.values()):
            return ()
        match = next(self._names.matches(key), None)
        if match is None:
            return [*self._by_kind[ENTRY], *self._by_kind[PICTURES]]
        is_listed = match.number < len(self._of_entry)
        of_entry = [self._of_entry[match.number], *self._by_kind[ZONE]] if is_listed else []
        return [*of_entry, *self._by_kind[PICTURES], *self._devices_of(match)]

    def _devices_of(self, match: Match) -> Sequence[Reference]:
        if match.entry.device_from:
            return self._by_kind[DEVICE]  # which one it is, the picture's EXIF tags say
        said = match.entry.device or getattr(match.split, "device", None)
        found = None if said is None else self._devices.get(said)
        return () if found is None else [found]


def _part_of(reference: Reference) -> JsonObject | None:
    part = reference.meta.get("part")
    return part if isinstance(part, Mapping) else None


def _entries(part: JsonObject) -> list[Entry]:
    """Return the entries of a line as it was accepted: a preset's as they were then."""
    lines = cast(Sequence[JsonObject], part["entries"])
    return [entry for line in lines for entry in read_entries(line, str(line["pattern"]))]


# --- in the stage ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Parts of a devices file that hold for some pictures: how their names are read, and what they may be.

    ``pictures`` has changes to the limits by the device that a name says; those under None hold for all others.
    """

    names: Names
    pictures: Mapping[str | None, JsonObject]

    def limits(self, said: str | None, limits: Limits) -> Limits:
        """Return the limits for the pictures of a device, as its name says it."""
        changes: dict[str, Json] = {**self.pictures.get(None, {}), **self.pictures.get(said, {})}
        return limits.replaced(changes, "pictures") if changes else limits


def read_settings(references: Sequence[LoadedReference], limits: Limits) -> Settings | None:
    """Put the parts together again that were selected; None if there are none. Raises InputRejected."""
    entries: list[JsonObject] = []
    document: dict[str, Json] = {}
    devices: dict[str, JsonObject] = {}
    for loaded in sorted(references, key=lambda one: one.reference.name):
        if ROLE not in loaded.data:
            raise InputRejected("expected a part of a devices file", loaded.reference.name)
        part = cast(JsonObject, strict_json.read(loaded.data[ROLE]))
        if part["kind"] == ENTRY:
            entries.append(part)
        elif part["kind"] == DEVICE:
            devices[str(part["said"])] = cast(JsonObject, part["device"])
        else:
            document[str(part["kind"])] = part[str(part["kind"])]
    if not references:
        return None
    names = read_list({**document, "devices": devices}, "devices")
    pictures: dict[str | None, JsonObject] = {
        said: cast(JsonObject, settings["pictures"]) for said, settings in devices.items() if "pictures" in settings
    }
    pictures[None] = cast(JsonObject, document.get("pictures", {}))
    listed = [entry for part in entries for entry in _entries(part)]
    return Settings(
        names=Names(
            entries=[*listed, *names.entries],
            devices=names.devices,
            zone=names.zone,
            earliest=datetime.fromtimestamp(limits.earliest_s, UTC),
            tolerance=timedelta(seconds=limits.future_tolerance_s),
        ),
        pictures=pictures,
    )
