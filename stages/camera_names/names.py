"""Reading of picture names by a list of entries: the first that matches decides.

An entry says how a family of cameras names its pictures: by a pattern, and where it says neither, by a constant device,
a zone, or another source of the time. What no entry reads is refused with a reason and a sentence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property
from typing import Final

from stages.camera_names.clock import (
    CORRECTED,
    UNKNOWN,
    Correction,
    OtherZone,
    Void,
    as_written,
    correct,
    find_correction,
)
from stages.camera_names.exif_time import disagree, find_exif_time
from stages.camera_names.instant import to_instant
from stages.camera_names.matcher import Ambiguous, Matcher, Split, is_too_long
from stages.camera_names.pattern import Token
from stages.camera_names.written_time import WrittenTime

EARLIEST: Final = datetime(2001, 1, 1, tzinfo=UTC)
"""Clocks that were reset show times up to the year 2000."""
TOLERANCE: Final = timedelta(days=1)
"""A picture may be so far ahead of when it was first seen."""
OF_ARRIVAL: Final = "time-of-arrival"
DISAGREES: Final = "exif-disagrees"
"""Name and EXIF tags say times that are more than a day apart: one of the two is wrong."""
BUILT_IN: Final = "built in"
"""Place of the entries that need no list. What they read depends on the name alone."""


class TimeSource(StrEnum):
    """Source of the time of an entry's pictures."""

    NAME = "name"
    EXIF = "exif"
    ARRIVAL = "arrival"


class NameReason(StrEnum):
    """Reasons for which a picture's name is refused. Stable codes."""

    NAME = "name"
    AMBIGUOUS = "name-ambiguous"
    DEVICE_MISSING = "device-missing"
    TIME_MISSING = "time-missing"
    WITHOUT_ZONE = "time-without-zone"
    TOO_EARLY = "time-too-early"
    IN_FUTURE = "time-in-future"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Result of reading one picture's name. ``entry`` is the place of the entry that decided.

    ``said`` and ``written`` are device and time before any correction: what does not change when zones, clocks and
    names of devices do. ``written`` has no zone where none is said.
    """

    device: str
    said: str
    captured_at: datetime
    written: datetime
    seq: int | None
    event: str | None
    flags: tuple[str, ...]
    entry: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A picture that cannot be read: ``reason`` and a sentence that says what to do. ``captured_at`` is a time that
    cannot be true."""

    reason: NameReason
    sentence: str
    entry: str | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """A file that an entry says to pass over."""

    entry: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """Settings of one device, by the name that its pictures say."""

    name: str
    zone: tzinfo | None = None
    earliest: datetime | None = None
    clock: tuple[Correction, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the list. ``place`` names it in messages; ``device_from`` are EXIF tags of which the first that is
    there names the device."""

    place: str
    matcher: Matcher
    ignore: bool = False
    time: TimeSource = TimeSource.NAME
    device: str | None = None
    device_from: tuple[str, ...] = ()
    zone: tzinfo | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Entry that matches a path: its number in the list, and what it reads, or the two readings that differ."""

    number: int
    entry: Entry
    split: Split | Ambiguous


@dataclass(frozen=True, kw_only=True)
class Names:
    """All entries in the order in which they are tried, and the devices. ``zone`` is for devices that have none."""

    entries: Sequence[Entry]
    devices: Mapping[str, Device] = field(default_factory=dict)
    zone: tzinfo | None = None
    earliest: datetime = EARLIEST
    tolerance: timedelta = TOLERANCE

    def read(
        self,
        path: str,
        *,
        first_seen: datetime | None = None,
        latest: datetime | None = None,
        exif: Mapping[str, str] | None = None,
    ) -> Reading | Unread | Ignored:
        """Read the path of a picture below its source. ``exif``: the tags of the picture, if they are known. A picture
        is of the future a day after ``latest``, or else after it was first seen."""
        return self.read_match(path, next(self.matches(path), None), first_seen=first_seen, latest=latest, exif=exif)

    @cached_property
    def reads_exif(self) -> bool:
        """True if an entry takes time or device from a picture's EXIF tags."""
        return any(entry.time is TimeSource.EXIF or entry.device_from for entry in self.entries)

    def matches(self, path: str) -> Iterator[Match]:
        """Yield the entries that match the path, in their order; the first decides. None does for one that is too
        long."""
        text = unicodedata.normalize("NFC", path)
        if is_too_long(text):
            return
        for number, entry in enumerate(self.entries):
            try:
                split: Split | Ambiguous | None = entry.matcher.find(text)
            except Ambiguous as both:
                split = both
            if split is not None:
                yield Match(number=number, entry=entry, split=split)

    def read_match(
        self,
        path: str,
        match: Match | None,
        *,
        first_seen: datetime | None,
        exif: Mapping[str, str] | None,
        latest: datetime | None = None,
    ) -> Reading | Unread | Ignored:
        """Read a path by the first of its ``matches``; None if there is none."""
        if match is None:
            text = unicodedata.normalize("NFC", path)
            if is_too_long(text):
                sentence = "The path is longer than 1,024 bytes, or a name in it is."
                return Unread(reason=NameReason.NAME, sentence=sentence)
            return Unread(reason=NameReason.NAME, sentence=_why_no_entry(self.entries, text))
        if isinstance(match.split, Ambiguous):
            return _ambiguous(match.entry, match.split)
        if match.entry.ignore:
            return Ignored(entry=match.entry.place)
        found = self._read(match.entry, match.split, first_seen, exif)
        if isinstance(found, Unread):
            return found
        return self._clock_fault(found, first_seen if latest is None else latest) or found

    def _clock_fault(self, found: Reading, seen: datetime | None) -> Unread | None:
        """Return why a picture's time cannot be true: before the earliest, or a day after it was seen."""
        at, name, device = found.captured_at, found.device, self.devices.get(found.said)
        earliest = self.earliest if device is None or device.earliest is None else device.earliest
        if at < earliest:
            sentence = (
                f"{name}'s picture says {_utc(at)}, before the earliest time allowed, {_utc(earliest)}: "
                "its clock is probably not set."
            )
            return Unread(reason=NameReason.TOO_EARLY, sentence=sentence, entry=found.entry, captured_at=at)
        if seen is not None and at > seen + self.tolerance:
            sentence = f"{name}'s picture says {_utc(at)}, and it was seen at {_utc(seen)}: its clock is ahead."
            return Unread(reason=NameReason.IN_FUTURE, sentence=sentence, entry=found.entry, captured_at=at)
        return None

    def _read(
        self, entry: Entry, split: Split, first_seen: datetime | None, exif: Mapping[str, str] | None
    ) -> Reading | Unread:
        said = entry.device or split.device or _device_of(entry, exif or {})
        if said is None:
            tags = f" (EXIF {', '.join(entry.device_from)})" if entry.device_from else ""
            sentence = f"Nothing names the device{tags}."
            return Unread(reason=NameReason.DEVICE_MISSING, sentence=sentence, entry=entry.place)
        device = self.devices.get(said, Device(name=said))
        if entry.time is TimeSource.ARRIVAL:
            written = None if first_seen is None else WrittenTime(at=first_seen)
        else:
            written = split.time if entry.time is TimeSource.NAME else find_exif_time(exif or {})
        if written is None:
            sentence = (
                f"The time of {device.name}'s picture is to come from {_SOURCES[entry.time]}, which does not say it."
            )
            return Unread(reason=NameReason.TIME_MISSING, sentence=sentence, entry=entry.place)
        try:
            instant = self._instant(written, entry, device, first_seen)
        except OverflowError:
            instant = datetime.max.replace(tzinfo=UTC), ()
        if instant is None:
            sentence = f"The time of {device.name}'s picture is local, and no zone is set: give the device a zone."
            return Unread(reason=NameReason.WITHOUT_ZONE, sentence=sentence, entry=entry.place)
        at, flags = instant
        return Reading(
            device=device.name,
            said=said,
            captured_at=at.astimezone(UTC),
            written=written.at,
            seq=split.seq,
            event=split.event,
            flags=(*_flags_of_source(entry, split, exif or {}), *flags),
            entry=entry.place,
        )

    def _instant(
        self, written: WrittenTime, entry: Entry, device: Device, first_seen: datetime | None
    ) -> tuple[datetime, tuple[str, ...]] | None:
        """Return the instant of a written time, with flags; None if no zone is known."""
        how = find_correction(device.clock, as_written(written.at))
        if isinstance(how, Void) and first_seen is not None:
            return first_seen, (UNKNOWN,)
        at, flags, zone = written.at, list[str](), written.at.tzinfo
        if zone is None:
            zone = how.zone if isinstance(how, OtherZone) else entry.zone or device.zone or self.zone
            if zone is None:
                return None
            instant = to_instant(at, zone, first_seen)
            at = instant.at
            flags += [instant.flag] if instant.flag else []
        if how is None or isinstance(how, Void):
            return at, tuple(flags)
        if not isinstance(how, OtherZone):
            at = correct(at, how, zone if written.is_local else UTC)
        return at, (*flags, CORRECTED)


def _flags_of_source(entry: Entry, split: Split, exif: Mapping[str, str]) -> Iterator[str]:
    if entry.time is TimeSource.ARRIVAL:
        yield OF_ARRIVAL
    elif entry.place != BUILT_IN and split.time is not None:
        tagged = find_exif_time(exif)
        if tagged is not None and disagree(split.time, tagged):
            yield DISAGREES


def _device_of(entry: Entry, exif: Mapping[str, str]) -> str | None:
    return next((text for tag in entry.device_from if (text := exif.get(tag, "").strip())), None)


_SOURCES: Final = {
    TimeSource.NAME: "its name",
    TimeSource.EXIF: "its EXIF tags",
    TimeSource.ARRIVAL: "its arrival",
}


def _ambiguous(entry: Entry, both: Ambiguous) -> Unread:
    first, second = both.first, both.second
    if first.device != second.device:
        what = f"device {first.device!r} or {second.device!r}"
    elif first.seq != second.seq:
        what = f"number {first.seq} or {second.seq}"
    else:
        what = "two times"
    sentence = f"The name can be read in two ways by {entry.matcher.pattern.text}: {what}."
    return Unread(reason=NameReason.AMBIGUOUS, sentence=sentence, entry=entry.place)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _why_no_entry(entries: Iterable[Entry], path: str) -> str:
    """Name the part in which the path differs from the entry with which it agrees furthest."""
    found = [(entry.matcher.find_furthest(path), entry) for entry in entries if not entry.ignore]
    nearest = max(found, key=lambda one: (one[0].number, one[0].at), default=None)
    if nearest is None or nearest[0].token is None:
        return "No entry reads the name."
    (at, token), entry = (nearest[0].at, nearest[0].token), nearest[1]
    text = path if entry.matcher.pattern.has_slash else path.rpartition("/")[2]
    before = f" after {text[:at]!r}" if at else ""
    got = repr(text[at : at + 20]) if text[at:] else "nothing"
    return f"No entry reads the name. By {entry.matcher.pattern.text}, expected {_described(token)}{before}, got {got}."


def _described(token: Token) -> str:
    match token.kind:
        case "text":
            return repr(token.text)
        case "ending":
            return "'.jpg' or '.jpeg'"
        case "slash":
            return "'/'"
        case "device":
            return "a device"
        case "event":
            return "an event"
        case "seq":
            return f"{token.width} digits" if token.width else "a number"
        case "p":
            return "AM or PM"
        case "z":
            return "an offset such as +02:00"
    if token.is_time:
        return f"{token.width} digits" if token.width else "digits"
    return "more text"
