"""Device and time of a picture that was uploaded by HTTP: from the path, from headers or fields, from EXIF, or from its
arrival, in this order.

Pure: knows no HTTP library, no token and no store. The key is always ``<device>_<unix time>.jpg``, which every reader
of the bucket understands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

from lookout.domain.errors import InputRejected

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2286, 11, 20, tzinfo=UTC)
"""Unix seconds have ten digits until then."""
_UNIX: Final = re.compile(r"(?P<s>[0-9]{10})(?:\.(?P<fraction>[0-9]{1,9}))?", re.ASCII)
_UNIX_MS: Final = re.compile(r"[0-9]{13}", re.ASCII)
_PICTURE: Final = (".jpg", ".jpeg")
_NEXT: Final = 20
"""Keys tried for one picture: so many may be of one device and one second."""

DEVICE_HEADERS: Final = ("x-device", "x-device-id", "x-camera-id")
TIME_HEADERS: Final = ("x-captured-at", "x-timestamp")
"""Names that are in use in public sketches and clients of cameras."""
DEVICE_FIELDS: Final = ("device", "device_id", "camera_id")
TIME_FIELDS: Final = ("captured_at", "timestamp")


class Name(Protocol):
    """Name of a picture as the product reads it."""

    @property
    def device(self) -> str: ...


FindName = Callable[[str], Name | None]
FindTime = Callable[[bytes, tzinfo | None, datetime], datetime | None]
"""Reader of the time in a picture's EXIF tags: the picture, the zone of its clock, and the present; None if the tags do
not say the instant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """Statements of a request. ``name`` is the last part of its path if that is a picture's name in full."""

    devices: frozenset[str]
    name: str | None = None
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """Device and time of one picture; ``name`` is the key that the request itself has named."""

    device: str
    at: datetime
    name: str | None = None

    def candidates(self) -> Iterator[str]:
        """Yield the keys that the picture may have, in the order in which they are tried: in the one second, or from
        the one millisecond on, those after it are for further pictures. One that the request has named is the only
        one."""
        if self.name is not None:
            yield self.name
            return
        ms = (self.at - EPOCH) // timedelta(milliseconds=1)
        if self.at.microsecond == 0:
            yield f"{self.device}_{ms // 1000:010d}.jpg"
            ms += 1
        for later in range(_NEXT):
            yield f"{self.device}_{ms + later:013d}.jpg"


def read_said(path: str, headers: Mapping[str, str], find_name: FindName) -> Said:
    """Return what path and headers say. ``path`` is what follows ``/pictures/``. Raises InputRejected for a time that
    cannot be read."""
    parts = [part for part in path.split("/") if part]
    devices = {headers[name] for name in DEVICE_HEADERS if headers.get(name)}
    time = next((read_time(name, headers[name]) for name in TIME_HEADERS if headers.get(name)), None)
    name = find_name(parts[-1]) if parts else None
    if name is not None:
        stem, _, _ = parts[-1].rpartition(".")
        return Said(devices=frozenset({*devices, name.device}), name=f"{stem}.jpg", time=time)
    if parts and (len(parts) > 1 or not parts[0].lower().endswith(_PICTURE)):
        devices.add(parts[0])  # a folder; the file's own name says nothing
    return Said(devices=frozenset(devices), time=time)


def add_fields(said: Said, fields: Mapping[str, str]) -> Said:
    """Return what a form's fields say beside that."""
    devices = {fields[name] for name in DEVICE_FIELDS if fields.get(name)}
    time = next((read_time(name, fields[name]) for name in TIME_FIELDS if fields.get(name)), None)
    return Said(devices=said.devices | devices, name=said.name, time=said.time or time)


def describe(said: Said, device: str, now: datetime, in_picture: datetime | None) -> Capture:
    """Return device and time of a picture; ``in_picture`` is the time in its EXIF tags."""
    at = said.time or in_picture or now
    if not EPOCH <= at < _LAST:
        raise InputRejected("expected a time from 1970 to 2286", str(at))
    return Capture(device=device, at=at, name=said.name)


def read_time(what: str, text: str) -> datetime:
    """Return the time of a header or a field: Unix seconds of ten digits, also with decimals; milliseconds of thirteen
    digits; or ISO 8601 with an offset. Raises InputRejected."""
    text = text.strip()
    unix = _UNIX.fullmatch(text)
    if unix is not None:
        us = int(((unix["fraction"] or "") + "000000")[:6])
        return EPOCH + timedelta(seconds=int(unix["s"]), microseconds=us)
    if _UNIX_MS.fullmatch(text):
        return EPOCH + timedelta(milliseconds=int(text))
    hint = "Unix seconds of 10 digits, milliseconds of 13, or 2025-11-22T08:00:00+01:00"
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InputRejected("is not a time", f"{what}: {text[:40]}", hint) from exc
    if at.tzinfo is None:
        raise InputRejected("has no offset from UTC", f"{what}: {text[:40]}", hint)
    return at.astimezone(UTC)
