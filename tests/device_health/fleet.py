"""Simulated devices: when each takes its pictures and when these arrive, and trouble that is put in."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lookout.domain.device_health.judge import allowed_silence_s, follow, last_sign_s
from lookout.domain.device_health.records import DAY_S, HOUR_S, Day, Finding, Kind, Limits, Observed, Sample

BEFORE_S, LONG_S = 30 * DAY_S, 30 * DAY_S
"""Time in which the devices become known, and the time that is looked at."""
LOOK_S = 6 * HOUR_S
RHYTHMS = ("hourly", "daylight", "office", "trail", "rare", "card")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    kind: Kind
    begin_s: float
    end_s: float


@dataclass(kw_only=True)
class Device:
    """Pictures in the order of their arrival: time taken, time seen, bytes, validity."""

    rhythm: str
    troubles: list[Trouble] = field(default_factory=list)
    pictures: list[tuple[Sample, bool]] = field(default_factory=list)


def times(rhythm: str, dice: random.Random) -> Iterator[float]:
    """Yield when a device of this rhythm takes pictures."""
    a_day = {"hourly": 24.0, "daylight": 12.0, "office": 12.0, "trail": 1.5, "rare": 0.3, "card": 4.0}[rhythm]
    at_s = dice.uniform(0, HOUR_S)
    while at_s < BEFORE_S + LONG_S:
        hour, weekday = at_s % DAY_S / HOUR_S, int(at_s // DAY_S) % 7
        awake = rhythm in ("hourly", "trail", "rare", "card") or 7 <= hour < 19
        if awake and (rhythm != "office" or weekday < 5):
            yield at_s
        at_s += HOUR_S + dice.uniform(-60, 60) if rhythm == "hourly" else dice.expovariate(a_day / DAY_S)


def device(rhythm: str, trouble: Kind | None, dice: random.Random) -> Device:
    """Return a device with one trouble in the middle of the time that is looked at, or none."""
    made = Device(rhythm=rhythm)
    begin_s = BEFORE_S + dice.uniform(3, 6) * DAY_S
    end_s = begin_s + (20 if rhythm != "hourly" else 4) * DAY_S
    if trouble is not None:
        made.troubles.append(Trouble(kind=trouble, begin_s=begin_s, end_s=end_s))
    for number, at_s in enumerate(times(rhythm, dice)):
        is_in = trouble is not None and begin_s <= at_s < end_s
        if is_in and trouble is Kind.SILENT:
            continue
        seen_s = (at_s // (7 * DAY_S) + 1) * 7 * DAY_S + 8 * HOUR_S if rhythm == "card" else at_s + dice.uniform(2, 40)
        wrong_s = -HOUR_S if is_in and trouble is Kind.CLOCK else 0.0
        bytes_ = "same" if is_in and trouble is Kind.IDENTICAL else str(number)
        sample = Sample(at_s=at_s + wrong_s, seen_at_s=seen_s, sha256=bytes_)
        made.pictures += [(sample, not (is_in and trouble is Kind.INVALID))]
        if is_in and trouble is Kind.FLOOD:
            made.pictures += [(replace(sample, sha256=f"{number}-{more}"), True) for more in range(1, 120)]
    made.pictures.sort(key=lambda one: one[0].seen_at_s)
    return made


def looks(of: Device, limits: Limits) -> Iterator[tuple[float, Observed]]:
    """Yield what the ledger would know of a device at each look."""
    seen = [one.seen_at_s for one, _ in of.pictures]
    days: dict[float, list[tuple[Sample, bool]]] = {}
    taken, now_s = 0, BEFORE_S
    while now_s < BEFORE_S + LONG_S:
        known = bisect_right(seen, now_s)
        for sample, valid in of.pictures[taken:known]:
            days.setdefault(sample.at_s // DAY_S * DAY_S, []).append((sample, valid))
        taken = known
        yield now_s, _observed(days, now_s, limits)
        now_s += LOOK_S


def _observed(days: dict[float, list[tuple[Sample, bool]]], now_s: float, limits: Limits) -> Observed:
    newest = sorted(days)[-31:]
    known = [
        Day(
            begin_s=begin_s,
            pictures=len(days[begin_s]),
            invalid=sum(not valid for _, valid in days[begin_s]),
            last_at_s=max(sample.at_s for sample, _ in days[begin_s]),
        )
        for begin_s in newest
    ]
    recent = [begin_s for begin_s in newest if now_s - 2 * DAY_S < begin_s][-1:]
    observed = Observed(days=known, samples=[sample for begin_s in recent for sample, _ in days[begin_s]])
    last_s = last_sign_s(observed, now_s)
    if last_s is not None and now_s - last_s > allowed_silence_s(observed, now_s, limits):
        arrivals = [sample.seen_at_s for begin_s in newest for sample, _ in days[begin_s]]
        return replace(observed, arrivals=arrivals)
    return observed


def found(of: Device, limits: Limits) -> list[Finding]:
    """Return all that is found of a device, each once, when it is found first."""
    kept: list[Finding] = []
    told: list[Finding] = []
    for now_s, observed in looks(of, limits):
        before = {one.kind for one in kept if one.end_s is None}
        kept = follow(kept, observed, now_s, limits)
        told += [one for one in kept if one.end_s is None and one.kind not in before]
    return told
