"""Health of all devices, read from the ledger: counts by day, pictures of the newest days, and kept trouble.

A look reads the counts of at most 31 days a device, and pictures only of days that changed since the look before, at
most ``MOST_PICTURES`` of them. Reads the ledger only, and knows no stage by name.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from lookout.domain.device_health.codec import findings_from_json
from lookout.domain.device_health.judge import allowed_silence_s, follow, last_sign_s
from lookout.domain.device_health.records import DAY_S, Day, Finding, Limits, Observed, Sample
from lookout.domain.pipeline import UNNAMED, Pipeline
from lookout.domain.records import Tally
from lookout.ledger.port import Ledger
from lookout.references.fit import PICTURES

KEPT: Final = "device"
"""Kind of the policy's texts that keep a device's trouble; the device is the first part of the name."""
INVALID: Final = "invalid"
"""Name of a count, as the stage gives it that reads the pictures."""
EVERY_S: Final = 60.0
MOST_PICTURES: Final = 20_000
MOST_OF_A_DAY: Final = 1000
"""A day with more pictures is not looked at picture by picture."""
MOST_ARRIVALS: Final = 1000
_DAYS: Final = 31
_PIECE: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceTrouble:
    """One finding of one device."""

    device: str
    finding: Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceHealth:
    """Health of the ``devices``, so many. ``troubles`` are those that last and those that ended lately. Not ``whole``:
    the pictures of some devices were not looked at; the next look goes on with them."""

    devices: int = 0
    troubles: Sequence[DeviceTrouble] = ()
    whole: bool = True

    @property
    def lasting(self) -> list[DeviceTrouble]:
        """Return the trouble that is not over."""
        return [one for one in self.troubles if one.finding.end_s is None]


class HealthReader:
    """Reader of the health of devices. It remembers what it has read, looks at most each ``every_s``, and reads at most
    so many pictures in a look."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Limits | None = None,
        *,
        every_s: float = EVERY_S,
        most: int = MOST_PICTURES,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline, self._limits = pipeline, limits or Limits()
        self._every_s, self._uptime = every_s, uptime
        self._looked: tuple[float, DeviceHealth] | None = None
        self._tallies: dict[str, tuple[int, Day]] = {}
        self._samples: dict[str, tuple[Day, Sequence[Sample]]] = {}
        self._most = self._room = most
        self.whole = True
        """True if the last look had room for all pictures that say something."""

    def look(self, ledger: Ledger, now_s: float) -> DeviceHealth:
        """Return the health of all devices now, or as it was found less than ``every_s`` ago."""
        uptime_s = self._uptime()
        if self._looked is None or uptime_s - self._looked[0] >= self._every_s:
            self._looked = (uptime_s, self._look(ledger, now_s))
        return self._looked[1]

    def observe(self, ledger: Ledger, now_s: float) -> Iterator[tuple[str, Observed]]:
        """Yield what is known of each device that names its pictures, in the order of the devices."""
        self._room, self.whole = self._most, True
        days = self._days(ledger)
        for device, known in sorted(days.items()):
            observed = Observed(days=known, samples=list(self._newest(ledger, device, known, now_s)))
            last_s = last_sign_s(observed, now_s)
            if last_s is not None and now_s - last_s > allowed_silence_s(observed, now_s, self._limits):
                arrivals = [sample.seen_at_s for sample in self._arrivals(ledger, device, known, now_s)]
                observed = replace(observed, arrivals=arrivals, arrivals_known=self._room > MOST_OF_A_DAY)
            yield device, observed
        wanted = {group_of(device, day) for device, known in days.items() for day in known}
        self._samples = {group: kept for group, kept in self._samples.items() if group in wanted}
        self._tallies = {group: kept for group, kept in self._tallies.items() if group in wanted}

    def _look(self, ledger: Ledger, now_s: float) -> DeviceHealth:
        kept = kept_findings(ledger)
        troubles, devices = list[DeviceTrouble](), set[str]()
        for device, observed in self.observe(ledger, now_s):
            devices.add(device)
            found = follow(kept.get(device, ()), observed, now_s, self._limits)
            troubles += [DeviceTrouble(device=device, finding=one) for one in found]
        return DeviceHealth(devices=len(devices), troubles=tuple(troubles), whole=self.whole)

    def _days(self, ledger: Ledger) -> dict[str, list[Day]]:
        """Return the newest days of each device that have pictures, in their order."""
        groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for group, number in ledger.sums(PICTURES).items():
            device, _, day = group.partition("/")
            if device != UNNAMED and _begin_s(day) is not None:
                groups[device].append((day, number))
        newest = {f"{device}/{day}": number for device, days in groups.items() for day, number in sorted(days)[-_DAYS:]}
        changed = [group for group, number in newest.items() if self._tallies.get(group, (0, None))[0] != number]
        for start in range(0, len(changed), _PIECE):
            for tally in ledger.tallies(changed[start : start + _PIECE]):
                self._tallies[tally.group] = (newest[tally.group], _day(tally))
        found: dict[str, list[Day]] = defaultdict(list)
        for group in sorted(newest):
            if group in self._tallies:
                found[group.partition("/")[0]].append(self._tallies[group][1])
        return found

    def _newest(self, ledger: Ledger, device: str, days: Sequence[Day], now_s: float) -> Iterator[Sample]:
        """Yield the pictures of the newest day up to today, unless that is long ago, and of the last day after it: a
        clock that is far ahead dates its pictures so."""
        past = [day for day in days if now_s - 2 * DAY_S < day.begin_s <= now_s][-1:]
        future = [day for day in days if day.begin_s > now_s][-1:]
        for day in (*past, *future):
            yield from self._of_day(ledger, device, day)

    def _of_day(self, ledger: Ledger, device: str, day: Day) -> Sequence[Sample]:
        group = group_of(device, day)
        known, samples = self._samples.get(group, (None, ()))
        if known == day or day.pictures > MOST_OF_A_DAY:
            return samples
        if day.pictures > self._room:
            self.whole = False
            return samples
        self._room -= day.pictures
        samples = list(self._read(ledger, group, day, MOST_OF_A_DAY))
        self._samples[group] = (day, samples)
        return samples

    def _arrivals(self, ledger: Ledger, device: str, days: Sequence[Day], now_s: float) -> Iterator[Sample]:
        """Yield pictures of a device that may be silent, the newest days first, until there are enough."""
        room = MOST_ARRIVALS
        for day in reversed(days):
            if day.begin_s <= now_s and room > 0:
                samples = self._of_day(ledger, device, day) if day.pictures <= room else ()
                room -= day.pictures
                yield from samples

    def _read(self, ledger: Ledger, group: str, day: Day, most: int) -> Iterator[Sample]:
        for stage in self._pipeline.readers(self._pipeline.inputs):
            members = ledger.members(stage.name, group)[:most]
            times = {member.key: member.at_s for member in members}
            for keys in _pieces(iter(times)):
                for key, seen in ledger.find_inputs(self._pipeline.inputs, keys).items():
                    if seen.ref is not None:
                        at_s = times[key]
                        yield Sample(
                            at_s=day.begin_s if at_s is None else at_s,
                            seen_at_s=seen.observed_at_s,
                            sha256=seen.ref.sha256,
                        )


def kept_findings(ledger: Ledger) -> dict[str, list[Finding]]:
    """Return the trouble that the ledger keeps, by device."""
    return {device: findings_from_json(device, text) for (_, device, _), text in ledger.policy_texts(KEPT)}


def group_of(device: str, day: Day) -> str:
    """Return the group of a device and day."""
    return f"{device}/{datetime.fromtimestamp(day.begin_s, UTC).date().isoformat()}"


def as_json(trouble: DeviceTrouble) -> Mapping[str, object]:
    """Return the contract of ``--json``; documented in docs/cli.md."""
    found = trouble.finding
    return {
        "device": trouble.device,
        "kind": found.kind.value,
        "begin_s": found.begin_s,
        "end_s": found.end_s,
        "told_at_s": found.told_at_s,
        "value": found.value,
    }


def _day(tally: Tally) -> Day:
    begin_s = _begin_s(tally.group.partition("/")[2])
    return Day(
        begin_s=begin_s or 0.0,
        pictures=tally.counts.get(PICTURES, 0),
        invalid=tally.counts.get(INVALID, 0),
        last_at_s=tally.last_at_s,
    )


def _begin_s(day: str) -> float | None:
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None  # a group that is no day


def _pieces(keys: Iterator[str]) -> Iterator[list[str]]:
    while piece := list(islice(keys, _PIECE)):
        yield piece
