"""Trial of a list of names on many paths: what each entry reads, what stays unread, and clocks that look wrong.

Memory does not grow with the number of paths: examples and samples are kept up to a limit, all else is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from lookout.domain.records import Json, JsonObject
from stages.camera_names.matcher import Ambiguous
from stages.camera_names.names import Ignored, Match, Names, Reading, Unread
from stages.camera_names.written_time import WrittenTime

EXAMPLES: Final = 3
MOST_DEVICES: Final = 1_000
MOST_SAMPLES: Final = 500
"""Pictures of a device whose times are compared."""
_WHOLE_HOURS_WITHIN: Final = timedelta(minutes=5)
_LEAST_FOR_A_ZONE: Final = 5
_MOST_OF_ONE_TIME: Final = 20
_BACK: Final = timedelta(hours=1)
_FARTHEST: Final = timedelta(hours=14)


@dataclass
class _Clock:
    """Samples of one device: folder, number and path, the time that was read, and when the file was last changed."""

    pictures: int = 0
    samples: list[tuple[str, int, str, datetime, datetime]] = field(default_factory=list)


class Trial:
    """Counts for a list of names; ``add`` takes one path after the other, ``report`` says what was found."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._read: Counter[int] = Counter()
        self._examples: dict[int, list[JsonObject]] = defaultdict(list)
        self._ignored: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        self._why: dict[str, list[JsonObject]] = defaultdict(list)
        self._shadowed: Counter[tuple[int, int]] = Counter()
        self._shadowed_example: dict[tuple[int, int], str] = {}
        self._clocks: dict[str, _Clock] = {}

    def add(self, path: str, changed_at: datetime, exif: Mapping[str, str] | None = None) -> None:
        """Take a path that was last changed at a time."""
        matches = self._names.matches(path)
        first = next(matches, None)
        found = self._names.read_match(path, first, first_seen=changed_at, exif=exif)
        if isinstance(found, Ignored):
            self._ignored[found.entry] += 1
        elif isinstance(found, Reading) and first is not None:
            self._count(first.number, path, found, changed_at)
            self._compare(path, first, matches)
        elif isinstance(found, Unread):
            self._unread[found.reason] += 1
            if len(self._why[found.reason]) < EXAMPLES:
                self._why[found.reason].append({"path": path, "sentence": found.sentence})

    def report(self) -> JsonObject:
        """Return what was found, as ``lookout names try --json`` shows it."""
        entries = self._names.entries
        return {
            "read": self._read.total(),
            "ignored": dict(self._ignored),
            "unread": [
                {"reason": reason, "count": number, "examples": list(self._why[reason])}
                for reason, number in self._unread.most_common()
            ],
            "entries": [
                {
                    "entry": entry.place,
                    "pattern": entry.matcher.pattern.text,
                    "count": self._read[number],
                    "examples": list(self._examples[number]),
                }
                for number, entry in enumerate(entries)
                if not entry.ignore
            ],
            "shadowed": [
                {
                    "entry": entries[first].place,
                    "by": entries[second].place,
                    "count": number,
                    "example": self._shadowed_example[first, second],
                }
                for (first, second), number in self._shadowed.most_common()
            ],
            "devices": {device: clock.pictures for device, clock in sorted(self._clocks.items())},
            "clocks": [note for device, clock in sorted(self._clocks.items()) for note in _notes(device, clock)],
        }

    def _count(self, number: int, path: str, found: Reading, changed_at: datetime) -> None:
        self._read[number] += 1
        if len(self._examples[number]) < EXAMPLES:
            utc = found.captured_at.astimezone(UTC)
            example: JsonObject = {"path": path, "device": found.device, "utc": utc.isoformat().replace("+00:00", "Z")}
            self._examples[number].append({**example, "flags": list(found.flags)})
        if found.device not in self._clocks and len(self._clocks) >= MOST_DEVICES:
            return
        clock = self._clocks.setdefault(found.device, _Clock())
        clock.pictures += 1
        if len(clock.samples) < MOST_SAMPLES:
            folder = path.rpartition("/")[0]
            clock.samples.append((folder, found.seq or 0, path, found.captured_at, changed_at))

    def _compare(self, path: str, first: Match, later: Iterable[Match]) -> None:
        """Count the later entries that would read the path as another device or time."""
        own = _device_and_time(first)
        for match in later:
            other = None if match.entry.ignore else _device_and_time(match)
            if other not in (None, own):
                self._shadowed[first.number, match.number] += 1
                self._shadowed_example.setdefault((first.number, match.number), path)


def _device_and_time(match: Match) -> tuple[str | None, WrittenTime | None] | None:
    """Return what an entry reads; None if it reads two things."""
    split = match.split
    return None if isinstance(split, Ambiguous) else (match.entry.device or split.device, split.time)


def _notes(device: str, clock: _Clock) -> list[Json]:
    """Return what looks wrong with the times of a device."""
    found: list[Json] = []
    ahead = [(read - changed) for _, _, _, read, changed in clock.samples]
    hours = {round(one / timedelta(hours=1)) for one in ahead}
    if len(ahead) >= _LEAST_FOR_A_ZONE and len(hours) == 1:
        (hour,) = hours
        off = timedelta(hours=hour)
        if hour and abs(off) <= _FARTHEST and all(abs(one - off) <= _WHOLE_HOURS_WITHIN for one in ahead):
            what = f"all times are {abs(hour)} h {'after' if hour > 0 else 'before'} the files were written"
            found.append({"device": device, "note": "whole-hours-off", "sentence": f"{what}: check its zone."})
    times = Counter(read for _, _, _, read, _ in clock.samples)
    if times and times.most_common(1)[0][1] > _MOST_OF_ONE_TIME:
        at, number = times.most_common(1)[0]
        sentence = f"{number} pictures have one and the same time, {at:%Y-%m-%d %H:%M:%S} UTC."
        found.append({"device": device, "note": "same-time", "sentence": sentence})
    back = _find_step_back(clock.samples)
    if back is not None:
        sentence = f"The time goes back by more than an hour at {back}: the clock was set or reset."
        found.append({"device": device, "note": "going-back", "sentence": sentence})
    return found


def _find_step_back(samples: Sequence[tuple[str, int, str, datetime, datetime]]) -> str | None:
    """Return the first path in a folder sorted by number whose time is more than an hour before that of the one
    before."""
    numbered = sorted(one for one in samples if one[1])
    for (folder, _, _, before, _), (other, _, path, at, _) in pairwise(numbered):
        if folder == other and before - at > _BACK:
            return path
    return None
