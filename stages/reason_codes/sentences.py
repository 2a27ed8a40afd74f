"""Sentences of reason codes: why a rule does not match, and what became of a match.

One function a code. A sentence names the numbers of the decision and asks for nothing else but the rule's own settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from lookout.domain.policy.records import Code
from lookout.domain.records import JsonObject
from stages.reason_codes.words import duration, listed, moment, percents, scores

MATCHES: Final = "match"
"""Code of a match on which the ledger has no decision."""
_CLOCKS: Final = {
    "clock_ahead": "The device's clock was ahead of the time of arrival and is not believed: the picture counts as "
    "taken when it arrived.",
    "clock_reset": "The device's clock says a time before 2015 and is not believed: the picture counts as taken when "
    "it arrived.",
    "received": "By the rule file, the time of arrival counts as the time at which this device took a picture.",
}


class ZoneInWords(Protocol):
    """Zone of a rule, as sentences name it."""

    @property
    def name(self) -> str: ...
    @property
    def decides(self) -> str: ...


class RuleInWords(Protocol):
    """Rule, as far as sentences ask for it: the time zone, zones, and the quiet time that holds at a moment, as seconds
    of the day."""

    @property
    def zone(self) -> ZoneInfo: ...
    @property
    def zones(self) -> Sequence[ZoneInWords]: ...
    def find_quiet(self, at_s: float, /) -> tuple[int, int] | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Circumstances of a decision: the picture's key, device and T, the rule if it is known, and the threshold above
    which object-detect keeps objects. ``each`` is set for rules of version 1, which tell each match."""

    key: str
    device: str
    at_s: float
    rule: RuleInWords | None = None
    each: bool = False
    threshold: float | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which times are said."""
        return ZoneInfo("UTC") if self.rule is None else self.rule.zone

    def time(self, at_s: float) -> str:
        """Return a time, without its date where it is the picture's."""
        return moment(at_s, self.zone, self.at_s)

    def picture(self, key: object) -> str:
        """Return the name of a picture."""
        return "this picture" if key == self.key else f"{key}"


_Numbers: TypeAlias = Mapping[str, Any]
_Sentence: TypeAlias = Callable[[_Numbers, Seen], str]


def sentence_of(code: str, numbers: JsonObject, seen: Seen) -> str:
    """Return the sentence of a code; for a code that is newer than this program, its numbers."""
    make = SENTENCES.get(code)
    if make is None:
        return ", ".join(f"{name} {value}" for name, value in numbers.items()) or f"{code}."
    text = make(numbers, seen)
    clock = _CLOCKS.get(str(numbers.get("clock")))
    return text if clock is None else f"{text} {clock}"


# --- no match --------------------------------------------------------------------------------------------------------


def _other_device(numbers: _Numbers, seen: Seen) -> str:
    return f"The rule does not watch {seen.device}; it watches {listed(list(numbers['devices']))}."


def _no_objects(_: _Numbers, seen: Seen) -> str:
    return "Nothing was seen." if seen.threshold is None else f"Nothing was seen with a score of {seen.threshold:.2f}."


def _no_wanted_class(numbers: _Numbers, _: Seen) -> str:
    return f"Nothing of the rule's classes was seen, only {listed(list(numbers['classes']))}."


def _below_score(numbers: _Numbers, _: Seen) -> str:
    score, needed = scores(numbers["score"], numbers["needed"])
    return f"Best was {numbers['class']} {score}; {needed} is needed."


def _too_small(numbers: _Numbers, _: Seen) -> str:
    area, needed = percents(numbers["area"], numbers["needed"])
    return f"The {numbers['class']} covers {area} of the picture; {needed} is needed."


def _too_large(numbers: _Numbers, _: Seen) -> str:
    area, needed = percents(numbers["area"], numbers["needed"])
    return f"The {numbers['class']} covers {area} of the picture; {needed} is the most."


def _excluded_zone(numbers: _Numbers, seen: Seen) -> str:
    if "overlap" in numbers:
        inside, needed = percents(numbers["overlap"], numbers["needed"])
        return f'{inside} of the {numbers["class"]} is in "{numbers["zone"]}", which is excluded from {needed} on.'
    return f'The {_point(numbers, seen)} is in "{numbers["zone"]}", which is excluded.'


def _outside_zone(numbers: _Numbers, seen: Seen) -> str:
    if "overlap" in numbers:
        inside, needed = percents(numbers["overlap"], numbers["needed"])
        return f'{inside} of the {numbers["class"]} is in "{numbers["zone"]}"; {needed} is needed.'
    return f'The {_point(numbers, seen)} is outside of "{numbers["zone"]}".'


def _point(numbers: _Numbers, seen: Seen) -> str:
    zones = () if seen.rule is None else seen.rule.zones
    decides = next((zone.decides for zone in zones if zone.name == numbers["zone"]), "foot")
    x, y = numbers["point"]
    return f"{decides} of the {numbers['class']} ({x:.2f}, {y:.2f})"


def _too_few(numbers: _Numbers, _: Seen) -> str:
    return f"Only {numbers['seen']} of the {numbers['needed']} objects that are needed."


def _outside_schedule(numbers: _Numbers, seen: Seen) -> str:
    taken = moment(seen.at_s, seen.zone)
    if numbers["next_s"] is None:
        return f"Taken {taken}, outside of the schedule; the rule holds at no time of the coming year."
    return f"Taken {taken}, outside of the schedule; the rule holds again on {moment(numbers['next_s'], seen.zone)}."


def _match(_: _Numbers, __: Seen) -> str:
    return "It matches, and the ledger has no decision on it: the picture is not finished, or the rule is newer."


# --- what is told ----------------------------------------------------------------------------------------------------


def _sent(numbers: _Numbers, seen: Seen) -> str:
    if seen.each:
        return "Told at once: a rule of version 1 tells each picture that matches."
    if numbers.get("event") in (None, seen.key):
        return "Told at once: the first picture of a new event."
    return f"Told at once: of the event that began with {numbers['event']}, nothing was told for long enough."


def _held_confirm(numbers: _Numbers, seen: Seen) -> str:
    leaves = seen.time(numbers["until_s"])
    return f"A new event, or still the one just before? Told at {leaves} unless a picture in between joins the two."


def _held_quiet(numbers: _Numbers, seen: Seen) -> str:
    return f"In a quiet time or before a digest: on the summary of {seen.time(numbers['until_s'])}."


def _late_summary(numbers: _Numbers, seen: Seen) -> str:
    return (
        f"Judged {duration(numbers['age_s'])} after it was taken: on the summary of late pictures, "
        f"which leaves on {moment(numbers['until_s'], seen.zone)} or later."
    )


# --- what is held back -----------------------------------------------------------------------------------------------


def _merged_event(numbers: _Numbers, seen: Seen) -> str:
    return f"Of this event the person was told {_ago(numbers, seen)}, by {seen.picture(numbers['told_by'])}."


def _cooldown(numbers: _Numbers, seen: Seen) -> str:
    told = f"The person was told of another event {_ago(numbers, seen)}, by {numbers['told_by']}"
    length_s = numbers["left_s"] + seen.at_s - numbers["told_at_s"]
    return f"{told}; the cooldown of {duration(length_s)} ends {duration(numbers['left_s'])} after this picture."


def _ago(numbers: _Numbers, seen: Seen) -> str:
    before_s = seen.at_s - numbers["told_at_s"]
    if before_s == 0:
        return "at the same time"
    return f"{duration(abs(before_s))} {'before' if before_s > 0 else 'after'} this picture"


def _static_object(numbers: _Numbers, seen: Seen) -> str:
    at, since = seen.time(numbers["seen_at_s"]), seen.time(numbers["since_s"])
    text = f"A {numbers['class']} stood at its place at {at} already (overlap {numbers['iou']:.2f})"
    return f"{text}." if at == since else f"{text}, and since {since}."


def _silenced(numbers: _Numbers, seen: Seen) -> str:
    by = f" by {numbers['by']}" if numbers.get("by") else ""
    return f"Silenced{by} until {seen.time(numbers['until_s'])} (silence {numbers['silence']})."


def _acknowledged(numbers: _Numbers, seen: Seen) -> str:
    by = f" by {numbers['by']}" if numbers.get("by") else ""
    return f"The event that began with {seen.picture(numbers['event'])} was acknowledged{by}: it is known."


def _quiet_dropped(_: _Numbers, seen: Seen) -> str:
    span = None if seen.rule is None else seen.rule.find_quiet(seen.at_s)
    said = "" if span is None else f" from {_clock(span[0])} to {_clock(span[1])}"
    return f"In the quiet time{said}, in which pictures are dropped."


def _clock(time_s: int) -> str:
    return f"{time_s // 3600:02}:{time_s % 3600 // 60:02}"


def _late_merged(numbers: _Numbers, seen: Seen) -> str:
    began = seen.picture(numbers["event"])
    return f"Judged {duration(numbers['age_s'])} after it was taken, and the person was told of its event ({began})."


def _late_dropped(numbers: _Numbers, _: Seen) -> str:
    return f"Judged {duration(numbers['age_s'])} after it was taken: the rule drops late pictures."


def _old_news(numbers: _Numbers, _: Seen) -> str:
    return (
        f"Processed again {duration(numbers['age_s'])} after it was taken, by another model or another rule: "
        "nothing is told of what was there before."
    )


# --- once decided ----------------------------------------------------------------------------------------------------


def _decided_before(numbers: _Numbers, seen: Seen) -> str:
    return f"Nothing new: decided on {moment(numbers['decided_s'], seen.zone)} as {numbers['was']}."


def _told_before(_: _Numbers, __: Seen) -> str:
    return "Nothing new: the outbox has an alert of this rule about this picture already."


def _withdrawn(numbers: _Numbers, _: Seen) -> str:
    left = "" if numbers.get("left") is None else f" Pictures left of its event: {numbers['left']}."
    return f"The picture is gone or matches no more; it was decided as {numbers['was']}.{left}"


SENTENCES: Final[Mapping[str, _Sentence]] = {
    "other_device": _other_device,
    "no_objects": _no_objects,
    "no_wanted_class": _no_wanted_class,
    "below_score": _below_score,
    "too_small": _too_small,
    "too_large": _too_large,
    "excluded_zone": _excluded_zone,
    "outside_zone": _outside_zone,
    "too_few": _too_few,
    "outside_schedule": _outside_schedule,
    MATCHES: _match,
    Code.SENT: _sent,
    Code.HELD_CONFIRM: _held_confirm,
    Code.HELD_QUIET: _held_quiet,
    Code.LATE_SUMMARY: _late_summary,
    Code.MERGED_EVENT: _merged_event,
    Code.COOLDOWN: _cooldown,
    Code.STATIC_OBJECT: _static_object,
    Code.SILENCED: _silenced,
    Code.ACKNOWLEDGED: _acknowledged,
    Code.QUIET_DROPPED: _quiet_dropped,
    Code.LATE_MERGED: _late_merged,
    Code.LATE_DROPPED: _late_dropped,
    Code.OLD_NEWS: _old_news,
    Code.DECIDED_BEFORE: _decided_before,
    Code.TOLD_BEFORE: _told_before,
    Code.WITHDRAWN: _withdrawn,
}
