"""List of names as a person writes it: checked, with the place of whatever cannot be used.

``{"names": [entry, ...], "zone": ..., "devices": {"as read": {"name": ..., "zone": ..., "earliest": ...}}}``. An entry
has a ``pattern`` or a ``preset``. The form ``<device>_<unix seconds>.jpg`` is always the last entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from lookout.domain.errors import InputRejected
from stages.camera_names.matcher import Matcher
from stages.camera_names.names import Device, Entry, Names, TimeSource
from stages.camera_names.pattern import Pattern, parse
from stages.camera_names.presets import PRESETS
from stages.camera_names.written_time import offset
from stages.time_zones import find_zone

_BUILT_IN: Final = ("{device}_{time:%s}.jpg", "{device}_{time:%Q}.jpg")


def read_list(document: object, place: str) -> Names:
    """Check a whole list. Raises InputRejected with the place, such as ``devices.json: names[2]``."""
    top = _object(document, place, {"names", "zone", "devices"})
    listed = top.get("names", [])
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise InputRejected("expected a list of entries for names", place)
    entries = [
        entry
        for number, one in enumerate(listed)
        for entry in read_entries(one, f"{place}: names[{number}]" if place else f"names[{number}]")
    ]
    built_in = [entry for text in _BUILT_IN for entry in read_entries({"pattern": text}, "built in")]
    devices = _object(top.get("devices", {}), f"{place}: devices")
    zone = _optional_text(top, "zone", place)
    return Names(
        entries=[*entries, *built_in],
        devices={name: _read_device(name, one, f"{place}: devices[{name!r}]") for name, one in devices.items()},
        zone=None if zone is None else zone_of(zone, f"{place}: zone"),
    )


def read_entries(document: object, place: str) -> list[Entry]:
    """Return the entries of one line of a list: one for a pattern, several for a preset. Raises InputRejected."""
    line = _object(document, place, {"pattern", "preset", "ignore", "time", "device", "zone"})
    if ("pattern" in line) == ("preset" in line):
        raise InputRejected("expected either a pattern or a preset", place, 'as {"pattern": ...}')
    return list(_of_preset(line, place)) if "preset" in line else [_read_entry(line, place)]


def zone_of(text: str, place: str) -> tzinfo:
    """Return the zone of an IANA name, ``UTC``, or an offset such as ``+05:30``. Raises InputRejected."""
    try:
        found: tzinfo | None = offset(text) if text[:1] in ("+", "-") else UTC if text == "UTC" else find_zone(text)
    except ValueError:
        found = None
    if found is None:
        hint = "expected a name such as Europe/Vienna, UTC, or an offset such as +05:30"
        raise InputRejected(f"{text!r} is not a time zone", place, hint)
    return found


def _of_preset(line: Mapping[str, object], place: str) -> Iterator[Entry]:
    name = _text(line, "preset", place)
    preset = PRESETS.get(name)
    if preset is None:
        raise InputRejected(f"unknown preset {name!r}", place, f"there are {', '.join(PRESETS)}")
    for written in ("ignore", "time"):
        if written in line:
            raise InputRejected(f"{written} cannot be given beside a preset", place)
    more = {key: line[key] for key in ("device", "zone") if key in line}
    for entry in preset.entries:
        yield _read_entry(entry if entry.get("ignore") else {**entry, **more}, f"{place} ({name})")


def _read_entry(line: Mapping[str, object], place: str) -> Entry:
    ignore = line.get("ignore", False)
    if not isinstance(ignore, bool):
        raise InputRejected(f"expected true or false for ignore, got {ignore!r}", place)
    pattern = parse(_text(line, "pattern", place), place, is_ignored=ignore)
    time, device, zone = (_optional_text(line, name, place) for name in ("time", "device", "zone"))
    if time is not None and time not in list(TimeSource):
        raise InputRejected(f"expected time name, exif or arrival, got {time!r}", place)
    source = TimeSource(time or TimeSource.NAME)
    if not ignore:
        _check_entry(pattern, source, device, place)
    return Entry(
        place=place,
        matcher=Matcher(pattern=pattern),
        ignore=ignore,
        time=source,
        device=device,
        zone=None if zone is None else zone_of(zone, place),
    )


def _check_entry(pattern: Pattern, source: TimeSource, device: str | None, place: str) -> None:
    if device is None and not pattern.has_device:
        hint = "write {device} into the pattern, or give a constant device"
        raise InputRejected("nothing names the device", place, hint)
    if source is TimeSource.NAME and not pattern.has_time:
        raise InputRejected("the pattern has no time", place, 'write {time:...}, or give "time": "exif" or "arrival"')
    if source is TimeSource.ARRIVAL and not any(token.kind == "text" for token in pattern.tokens):
        raise InputRejected("the pattern has no text, so it would read every file", place, "name the file")


def _read_device(read: str, document: object, place: str) -> Device:
    line = _object(document, place, {"name", "zone", "earliest"})
    zone, earliest = _optional_text(line, "zone", place), _optional_text(line, "earliest", place)
    return Device(
        name=_optional_text(line, "name", place) or read,
        zone=None if zone is None else zone_of(zone, place),
        earliest=None if earliest is None else _read_date(earliest, place),
    )


def _read_date(text: str, place: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InputRejected(f"expected a date such as 2014-02-28 for earliest, got {text!r}", place) from exc
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _object(value: object, place: str, known: set[str] | None = None) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InputRejected(f"expected an object, got {value!r}", place)
    if known is not None and (unknown := sorted(set(value) - known)):
        raise InputRejected(f"unknown name {unknown[0]!r}", place, f"there are {', '.join(sorted(known))}")
    return value


def _text(line: Mapping[str, object], name: str, place: str) -> str:
    text = _optional_text(line, name, place)
    if text is None:
        raise InputRejected(f"{name} is missing", place)
    return text


def _optional_text(line: Mapping[str, object], name: str, place: str) -> str | None:
    value = line.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise InputRejected(f"expected text for {name}, got {value!r}", place)
    return value
