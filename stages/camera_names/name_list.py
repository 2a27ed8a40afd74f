"""List of names as a person writes it: checked, with the place of whatever cannot be used.

docs/names.md has the form. An entry has a ``pattern`` or a ``preset``. The form ``<device>_<unix seconds>.jpg`` is
always the last entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from lookout.domain.errors import InputRejected
from stages.camera_names.clock import Correction, Drift, How, OtherZone, Pair, Shift, Void
from stages.camera_names.matcher import Matcher
from stages.camera_names.names import BUILT_IN, Device, Entry, Names, TimeSource
from stages.camera_names.pattern import Pattern, parse
from stages.camera_names.presets import PRESETS
from stages.camera_names.written_time import offset
from stages.time_zones import find_zone

_BUILT_IN: Final = ("{device}_{time:%s}.jpg", "{device}_{time:%Q}.jpg")
DEVICE_TAGS: Final = ("BodySerialNumber", "Model", "Make")
LEAST_DRIFT: Final = timedelta(hours=1)
"""Two pairs that lie closer say more of the seconds that somebody read off than of the clock."""


def read_list(document: object, place: str) -> Names:
    """Check a whole list. Raises InputRejected with the place, such as ``devices.json: names[2]``."""
    top = _object(document, place, {"$schema", "names", "zone", "devices", "pictures"})
    listed = _list(top, "names", place)
    entries = [
        entry
        for number, one in enumerate(listed)
        for entry in read_entries(one, f"{place}: names[{number}]" if place else f"names[{number}]")
    ]
    devices = _object(top.get("devices", {}), f"{place}: devices")
    zone = _optional_text(top, "zone", place)
    return Names(
        entries=[*entries, *built_in()],
        devices={name: _read_device(name, one, f"{place}: devices[{name!r}]") for name, one in devices.items()},
        zone=None if zone is None else zone_of(zone, f"{place}: zone"),
    )


def built_in() -> list[Entry]:
    """Return the entries of the form that needs no list."""
    return [entry for text in _BUILT_IN for entry in read_entries({"pattern": text}, BUILT_IN)]


def read_entries(document: object, place: str) -> list[Entry]:
    """Return the entries of one line of a list: one for a pattern, several for a preset. Raises InputRejected."""
    line = _object(document, place, {"pattern", "preset", "ignore", "time", "device", "device_from", "zone"})
    if ("pattern" in line) == ("preset" in line):
        raise InputRejected("expected either a pattern or a preset", place, 'as {"pattern": ...}')
    if "preset" not in line:
        return [_read_entry(line, place)]
    _check_preset(line, place)
    return [_read_entry(entry, f"{place} ({line['preset']})") for entry in expanded(line)]


def expanded(line: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the entries with a pattern for which a line that was checked stands: its own, or those of its preset."""
    if "preset" not in line:
        return [line]
    more = {key: line[key] for key in ("device", "device_from", "zone") if key in line}
    entries = PRESETS[str(line["preset"])].entries
    return [entry if entry.get("ignore") else {**entry, **more} for entry in entries]


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


def _check_preset(line: Mapping[str, object], place: str) -> None:
    name = _text(line, "preset", place)
    if name not in PRESETS:
        raise InputRejected(f"unknown preset {name!r}", place, f"there are {', '.join(PRESETS)}")
    for written in ("ignore", "time"):
        if written in line:
            raise InputRejected(f"{written} cannot be given beside a preset", place)


def _read_entry(line: Mapping[str, object], place: str) -> Entry:
    ignore = line.get("ignore", False)
    if not isinstance(ignore, bool):
        raise InputRejected(f"expected true or false for ignore, got {ignore!r}", place)
    pattern = parse(_text(line, "pattern", place), place, is_ignored=ignore)
    time, device, zone = (_optional_text(line, name, place) for name in ("time", "device", "zone"))
    if time is not None and time not in list(TimeSource):
        raise InputRejected(f"expected time name, exif or arrival, got {time!r}", place)
    source = TimeSource(time or TimeSource.NAME)
    device_from = _tags(line, place)
    if not ignore:
        _check_entry(pattern, source, device, device_from, place)
    return Entry(
        place=place,
        matcher=Matcher(pattern=pattern),
        ignore=ignore,
        time=source,
        device=device,
        device_from=device_from,
        zone=None if zone is None else zone_of(zone, place),
    )


def _tags(line: Mapping[str, object], place: str) -> tuple[str, ...]:
    tags = _list(line, "device_from", place)
    for tag in tags:
        if tag not in DEVICE_TAGS:
            raise InputRejected(f"{tag!r} is not an EXIF tag of a device", place, f"there are {', '.join(DEVICE_TAGS)}")
    return tuple(str(tag) for tag in tags)


def _check_entry(
    pattern: Pattern, source: TimeSource, device: str | None, device_from: tuple[str, ...], place: str
) -> None:
    named = [name for name, there in (("device", device), ("device_from", device_from)) if there]
    if not named and not pattern.has_device:
        hint = "write {device} into the pattern, or give a constant device, or device_from"
        raise InputRejected("nothing names the device", place, hint)
    if len(named) > 1 or (device_from and pattern.has_device):
        raise InputRejected("the device is named twice", place, "give one of {device}, device and device_from")
    if source is TimeSource.NAME and not pattern.has_time:
        raise InputRejected("the pattern has no time", place, 'write {time:...}, or give "time": "exif" or "arrival"')
    if source is TimeSource.ARRIVAL and not any(token.kind == "text" for token in pattern.tokens):
        raise InputRejected("the pattern has no text, so it would read every file", place, "name the file")


def _read_device(read: str, document: object, place: str) -> Device:
    line = _object(document, place, {"name", "zone", "earliest", "clock", "groups", "pictures"})
    zone, earliest = _optional_text(line, "zone", place), _optional_text(line, "earliest", place)
    return Device(
        name=_optional_text(line, "name", place) or read,
        zone=None if zone is None else zone_of(zone, place),
        earliest=None if earliest is None else read_instant(earliest, f"{place}: earliest"),
        clock=tuple(
            _read_correction(one, f"{place}: clock[{number}]") for number, one in enumerate(_list(line, "clock", place))
        ),
        groups=tuple(_text({"groups": one}, "groups", place) for one in _list(line, "groups", place)),
    )


_HOW: Final = ("drift", "true", "void", "zone")


def _read_correction(document: object, place: str) -> Correction:
    line = _object(document, place, {"from", "until", "written", *_HOW})
    begin, until = (
        None if text is None else read_written(text, f"{place}: {name}")
        for name, text in ((name, _optional_text(line, name, place)) for name in ("from", "until"))
    )
    if begin is not None and until is not None and begin >= until:
        raise InputRejected("from is not before until", place)
    kinds = sorted(set(_HOW) & set(line))
    if len(kinds) != 1 or ("written" in line and kinds != ["true"]):
        hint = 'write {"written": ..., "true": ...}, {"drift": [...]}, {"zone": ...} or {"void": true}'
        raise InputRejected("expected one kind of correction", place, hint)
    if kinds == ["true"]:
        pair = {name: line[name] for name in ("written", "true") if name in line}
        return Correction(how=Shift(pair=_read_pair(pair, place)), begin=begin, until=until)
    return Correction(how=_read_how(kinds[0], line[kinds[0]], f"{place}: {kinds[0]}"), begin=begin, until=until)


def _read_how(kind: str, value: object, place: str) -> How:
    if kind == "void":
        if value is not True:
            raise InputRejected(f"expected true, got {value!r}", place)
        return Void()
    if kind == "zone":
        return OtherZone(zone=zone_of(_text({"zone": value}, "zone", place), place))
    pairs = _list({"drift": value}, "drift", place)
    if len(pairs) != 2:
        raise InputRejected(f"expected two pairs of written and true, got {len(pairs)}", place)
    first, second = (_read_pair(one, f"{place}[{number}]") for number, one in enumerate(pairs))
    if second.written - first.written < LEAST_DRIFT:
        raise InputRejected("expected the second pair at least an hour after the first", place)
    return Drift(first=first, second=second)


def _read_pair(document: object, place: str) -> Pair:
    line = _object(document, place, {"written", "true"})
    return Pair(
        written=read_written(_text(line, "written", place), f"{place}: written"),
        true=read_instant(_text(line, "true", place), f"{place}: true"),
    )


def read_instant(text: str, place: str) -> datetime:
    """Return the instant of an ISO date or time; UTC, if it names no zone. Raises InputRejected."""
    at = _read_iso(text, place, "2014-03-05T17:20:00Z")
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def read_written(text: str, place: str) -> datetime:
    """Return an ISO date or time as a clock shows it. Raises InputRejected, also when it names a zone."""
    at = _read_iso(text, place, "2014-03-05T17:20:00")
    if at.tzinfo is not None:
        raise InputRejected(f"expected a time without a zone, as the device wrote it, got {text!r}", place)
    return at


def _read_iso(text: str, place: str, example: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InputRejected(f"expected a date or time such as {example}, got {text!r}", place) from exc
    if not 1970 <= at.year <= 2200:
        raise InputRejected(f"expected a year from 1970 to 2200, got {text!r}", place)
    return at


def _list(line: Mapping[str, object], name: str, place: str) -> Sequence[object]:
    value = line.get(name, [])
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputRejected(f"expected a list for {name}, got {value!r}", place)
    return value


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
