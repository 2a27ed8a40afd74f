"""Comparison of a replay with what was: pictures told before and not now, and told now and not before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from lookout.domain.records import JsonObject
from stages.reason_codes.sentences import Seen, sentence_of
from stages.threat_detect.replay.in_time import NO_RULE, UNKNOWN, Replayed, TimeReplay
from stages.threat_detect.simulation.rulebook import Entry

_SENTENCES: Final = {
    NO_RULE: "These rules have no rule of this name.",
    UNKNOWN: "It cannot be judged: its detections are not kept any more.",
}


@dataclass(kw_only=True, slots=True)
class Day:
    """One rule on one day of its time zone: pictures that match, those told now, those told before, and of both the
    ones that the other does not tell."""

    matches: int = 0
    told: int = 0
    was_told: int = 0
    only_now: int = 0
    only_before: int = 0


@dataclass(kw_only=True, slots=True)
class Comparison:
    """Result of a replay: days by rule and date, as they are counted while the pictures are gone through."""

    replay: TimeReplay
    entries: dict[str, Entry]
    days: dict[tuple[str, str], Day] = field(default_factory=dict)

    def pictures(self, since_s: float, until_s: float, device: str | None = None) -> Iterator[JsonObject]:
        """Yield, of pictures that were taken in the span by a device that the glob names, one object a picture and
        rule: ``rule``, ``key``, ``device``, ``t``, ``code``, ``told``, ``sentence``, ``was`` (``code`` and
        ``told``, None for no match) and ``difference``: ``only_now``, ``only_before`` or None."""
        for one in self.replay.results(since_s, until_s):
            if device is not None and not fnmatchcase(one.device, device):
                continue
            difference = self._difference(one)
            self._count(one, difference)
            was: JsonObject | None = None if one.was is None else {"code": one.was.code, "told": one.was.told}
            yield {
                "rule": one.rule,
                "key": one.key,
                "device": one.device,
                "t": one.at_s,
                "code": one.code,
                "told": one.told,
                "sentence": self._sentence(one),
                "was": was,
                "difference": difference,
            }

    def table(self) -> list[JsonObject]:
        """Return one object a rule and day, after all pictures were gone through."""
        return [
            {
                "rule": rule,
                "day": day,
                "matches": one.matches,
                "told": one.told,
                "was_told": one.was_told,
                "only_now": one.only_now,
                "only_before": one.only_before,
            }
            for (rule, day), one in sorted(self.days.items())
        ]

    def _difference(self, one: Replayed) -> str | None:
        if one.told == one.was_told or one.code == UNKNOWN or self._is_same_event(one):
            return None
        return "only_now" if one.told else "only_before"

    def _is_same_event(self, one: Replayed) -> bool:
        """Tell whether another picture of the same event was told instead: the first that was decided before, the first
        that was taken now."""
        if one.told:
            before = None if one.was is None or one.was.told_by is None else self.replay.find(one.rule, one.was.told_by)
            return before is not None and before.was_told and not before.told and before.told_by == one.key
        now = None if one.told_by is None else self.replay.find(one.rule, one.told_by)
        return now is not None and now.told and not now.was_told and now.was is not None and now.was.told_by == one.key

    def _count(self, one: Replayed, difference: str | None) -> None:
        zone = self.entries[one.rule].rule.clock.zone if one.rule in self.entries else UTC
        day = self.days.setdefault((one.rule, f"{datetime.fromtimestamp(one.at_s, zone).date()}"), Day())
        day.matches += one.matches
        day.told += one.told
        day.was_told += one.was_told
        day.only_now += difference == "only_now"
        day.only_before += difference == "only_before"

    def _sentence(self, one: Replayed) -> str:
        if one.code in _SENTENCES:
            return _SENTENCES[one.code]
        entry = self.entries[one.rule]
        seen = Seen(key=one.key, device=one.device, at_s=one.at_s, rule=entry.rule, each=entry.each)
        return sentence_of(one.code, one.numbers, seen)
