"""Judgement of one device: the trouble that it has now, and trouble followed from one look to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from lookout.domain.device_health.records import DAY_S, HOUR_S, Day, Finding, Kind, Limits, Observed, Sample

PAUSES: Final = 30
"""The newest pauses say what is usual."""
LEAST_SPAN_S: Final = 2 * HOUR_S
LEAST_SAMPLES: Final = 5
KEPT_S: Final = 30 * DAY_S
"""Time for which trouble that is over is remembered."""
_RECENT_S: Final = 2 * DAY_S
_IRREGULAR: Final = 3.0


def judge(observed: Observed, now_s: float, known: Mapping[Kind, Finding], limits: Limits) -> dict[Kind, Finding]:
    """Return the trouble that a device has now. ``known`` is trouble that was found and is not over: it needs less to
    go on than to begin."""
    found = [
        _silence(observed, now_s, known.get(Kind.SILENT), limits),
        _flood(observed.days, now_s, known.get(Kind.FLOOD), limits),
        _invalid(observed.days, now_s, known.get(Kind.INVALID), limits),
        _identical(observed.samples, known.get(Kind.IDENTICAL), limits),
        _clock(observed.samples, now_s, known.get(Kind.CLOCK), limits),
    ]
    return {one.kind: one for one in found if one is not None}


def follow(known: Sequence[Finding], observed: Observed, now_s: float, limits: Limits) -> list[Finding]:
    """Return the trouble of a device after one more look: what goes on keeps its begin, what is over has an end, and
    is forgotten after ``KEPT_S``."""
    lasting = {one.kind: one for one in known if one.end_s is None}
    over = [one for one in known if one.end_s is not None and one.end_s > now_s - KEPT_S]
    found = judge(observed, now_s, lasting, limits)
    ended = [replace(one, end_s=now_s) for kind, one in lasting.items() if kind not in found]
    going = [replace(lasting[kind], value=one.value) if kind in lasting else one for kind, one in found.items()]
    return [*over, *ended, *going]


# --- silence ---------------------------------------------------------------------------------------------------------


def silent_after_s(times_s: Sequence[float], limits: Limits) -> float:
    """Return the silence after which a device with these signs of life, in their order, is silent for too long.

    By the device's own rhythm: the median of its newest pauses, and three times what the second longest has above it.
    So a device whose pauses are alike is missed soon, and an irregular one late; one outage among the pauses is not
    taken for usual, two are. With few pauses, three times the longest, and a week at least.
    """
    newest = sorted([later - sooner for sooner, later in pairwise(times_s)][-PAUSES:])
    if len(newest) < limits.least_pauses:
        return max(limits.unknown_silence_s, _IRREGULAR * max(newest, default=0.0))
    middle = median(newest)
    return max(limits.least_silence_s, middle + _IRREGULAR * (newest[-2] - middle))


def last_sign_s(observed: Observed, now_s: float) -> float | None:
    """Return the last sign of life: the time of a picture, or of its arrival, that is not in the future."""
    times = [day.last_at_s for day in observed.days if day.last_at_s is not None]
    times += [*observed.arrivals, *(sample.seen_at_s for sample in observed.samples)]
    return max((at_s for at_s in times if at_s <= now_s), default=None)


def allowed_silence_s(observed: Observed, now_s: float, limits: Limits) -> float:
    """Return the silence that is usual by the pictures' times and by their arrivals, whichever is longer: a device
    whose memory card is read once a week has both."""
    lasts = [day.last_at_s for day in observed.days if day.last_at_s is not None and day.last_at_s <= now_s]
    allowed_s = silent_after_s(lasts, limits)
    if not observed.arrivals:
        return allowed_s
    return max(allowed_s, silent_after_s(list(_bursts(observed.arrivals)), limits))


def _bursts(arrivals_s: Sequence[float]) -> Iterator[float]:
    """Yield the begin of each row of arrivals that are less than an hour apart, and the last arrival."""
    times = sorted(arrivals_s)
    yield from times[:1]
    for sooner, later in pairwise(times):
        if later - sooner > HOUR_S:
            yield later


def _silence(observed: Observed, now_s: float, known: Finding | None, limits: Limits) -> Finding | None:
    last_s = last_sign_s(observed, now_s)
    if last_s is None:
        return None
    if known is not None and last_s <= known.begin_s:
        return known
    allowed_s = allowed_silence_s(observed, now_s, limits)
    if now_s - last_s <= allowed_s or not observed.arrivals_known:
        return None
    return Finding(kind=Kind.SILENT, begin_s=last_s, value=allowed_s)


# --- days ------------------------------------------------------------------------------------------------------------


def _recent(days: Sequence[Day], now_s: float) -> list[Day]:
    """Return today and yesterday, the newest first, as far as they have pictures."""
    return [day for day in reversed(days) if now_s - _RECENT_S < day.begin_s <= now_s]


def _flood(days: Sequence[Day], now_s: float, known: Finding | None, limits: Limits) -> Finding | None:
    for day in _recent(days, now_s):
        before = [one.pictures for one in days if one.begin_s < day.begin_s][-PAUSES:]
        if len(before) < limits.least_days:
            return None
        limit = max(limits.least_flood, limits.flood_factor * median(before))
        if day.pictures > limit * (1.0 if known is None else limits.relief):
            return Finding(kind=Kind.FLOOD, begin_s=day.begin_s, value=day.pictures)
    return None


def _invalid(days: Sequence[Day], now_s: float, known: Finding | None, limits: Limits) -> Finding | None:
    """Judge the newest day that has enough pictures: a few at the begin of a day say nothing."""
    day = next((one for one in _recent(days, now_s) if one.pictures >= limits.least_pictures), None)
    if day is None:
        return None
    share = day.invalid / day.pictures
    if share < limits.invalid_share * (1.0 if known is None else limits.relief):
        return None
    return Finding(kind=Kind.INVALID, begin_s=day.begin_s, value=share)


# --- pictures --------------------------------------------------------------------------------------------------------


def _identical(samples: Sequence[Sample], known: Finding | None, limits: Limits) -> Finding | None:
    """Find equal pictures in a row, up to the newest. It goes on for as long as the newest is that picture."""
    if not samples:
        return known
    ordered = sorted(samples, key=lambda one: (one.at_s, one.seen_at_s))
    newest = ordered[-1]
    row = 0
    for sample in reversed(ordered):
        if sample.sha256 != newest.sha256:
            break
        row += 1
    goes_on = known is not None and known.mark == newest.sha256
    if row < limits.least_pictures and not goes_on:
        return None
    return Finding(kind=Kind.IDENTICAL, begin_s=ordered[-row].at_s, value=row, mark=newest.sha256)


def _clock(samples: Sequence[Sample], now_s: float, known: Finding | None, limits: Limits) -> Finding | None:
    """Find a clock that is ahead, as no picture is seen before it is taken; or behind: all pictures of hours come
    equally late. What waits in a device or on a memory card comes unequally late."""
    recent = sorted((one for one in samples if one.seen_at_s > now_s - _RECENT_S), key=lambda one: one.seen_at_s)
    if not recent:
        return None
    newest = recent[-1]
    error_s = newest.at_s - newest.seen_at_s
    if known is not None:
        goes_on = abs(error_s) > limits.relief * limits.clock_s and (error_s > 0) == (known.value > 0)
        return replace(known, value=error_s) if goes_on else None
    if error_s > limits.clock_s or (-error_s > limits.clock_s and _is_steady(recent, limits)):
        return Finding(kind=Kind.CLOCK, begin_s=recent[0].seen_at_s, value=error_s)
    return None


def _is_steady(samples: Sequence[Sample], limits: Limits) -> bool:
    delays = [one.seen_at_s - one.at_s for one in samples]
    taken = [one.at_s for one in samples]
    return (
        len(samples) >= LEAST_SAMPLES
        and max(taken) - min(taken) >= LEAST_SPAN_S
        and max(delays) - min(delays) <= limits.steady_s
    )
