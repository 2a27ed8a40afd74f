"""Replay of pictures in the order of time: rules judge the kept detections as if each picture had arrived at once.

D is T, so nothing is late, and silences count by T. Pass one judges and sorts the matches in a temporary database; pass
two folds group by group. So memory does not grow with the number of pictures.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from lookout.domain.policy.decide import SEEN_WITHOUT_MATCH, Given, decide, sighted
from lookout.domain.policy.records import Cancel, Change, Code, Fill, Group, Kind, Match, Put, Sighted, Silence
from lookout.domain.policy.sightings import Sightings
from lookout.domain.policy.summaries import settle
from lookout.domain.records import JsonObject
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.matching import Picture, judge
from stages.threat_detect.simulation.rulebook import Entry

_TABLES: Final = """
CREATE TABLE pictures (rule INTEGER, key TEXT, at_s REAL, device TEXT, body TEXT, code TEXT, numbers TEXT,
    told INTEGER DEFAULT 0, was TEXT, was_told INTEGER DEFAULT 0, was_by TEXT, PRIMARY KEY (rule, key));
"""
_END_S: Final = float("inf")
_OF_MATCHES: Final = frozenset(Code)
NO_RULE: Final = "no_rule"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Was:
    """Decision of the ledger on a picture: its code, by which picture the person was told before, and whether the
    person was told of this one; with the picture's time and device."""

    code: str
    told: bool
    at_s: float
    device: str
    told_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A picture and a rule: the decision now, and the one that was made, None for no match."""

    rule: str
    key: str
    device: str
    at_s: float
    code: str
    numbers: JsonObject
    told: bool
    was: Was | None

    @property
    def was_told(self) -> bool:
        """Tell whether the person was told of this picture."""
        return self.was is not None and self.was.told

    @property
    def matches(self) -> bool:
        """Tell whether the picture matches the rule now."""
        return self.code in _OF_MATCHES

    @property
    def told_by(self) -> str | None:
        """The picture of which the person is told instead."""
        by = self.numbers.get("told_by")
        return by if isinstance(by, str) else None


class TimeReplay:
    """One replay. Pictures are judged one by one, what was decided is noted, and then all is folded."""

    def __init__(self, entries: Sequence[Entry], silences: Sequence[Silence]) -> None:
        self._entries, self._silences = entries, silences
        self._names = [entry.name for entry in entries]
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the database, and remove its file."""
        self._db.close()

    def judge(self, picture: Picture) -> None:
        """Judge a picture by each rule that watches its device."""
        for number, entry in enumerate(self._entries):
            if not watches(entry.rule.devices, picture.device):
                continue
            match = judge(entry.file, entry.rule, picture)
            asked = match.code is None or (match.code in SEEN_WITHOUT_MATCH and entry.rule.policy.static is not None)
            body = json.dumps([match.place, match.until, [asdict(one) for one in match.objects]]) if asked else None
            code = match.code or ("sent" if entry.each else "")
            told = entry.each and match.code is None
            row = (number, picture.key, match.at_s, picture.device, body, code, json.dumps(dict(match.numbers)), told)
            sql = "INSERT INTO pictures (rule, key, at_s, device, body, code, numbers, told) VALUES (?,?,?,?,?,?,?,?)"
            self._db.execute(sql, row)

    def note(self, rule: str, key: str, was: Was) -> None:
        """Note what was decided on a picture, after all were judged. One that was not judged gets the code
        ``no_rule``, ``other_device``, or ``unknown`` if nothing is known of it."""
        if rule not in self._names:
            self._names.append(rule)
        number = self._names.index(rule)
        sql = """INSERT INTO pictures (rule, key, at_s, device, code, numbers, was, was_told, was_by)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rule, key)
            DO UPDATE SET was = excluded.was, was_told = excluded.was_told, was_by = excluded.was_by"""
        code, numbers = self._not_judged(number, was.device)
        row = (number, key, was.at_s, was.device, code, json.dumps(numbers), was.code, was.told, was.told_by)
        self._db.execute(sql, row)

    def _not_judged(self, number: int, device: str) -> tuple[str, JsonObject]:
        if number >= len(self._entries):
            return NO_RULE, {}
        globs = self._entries[number].rule.devices
        return (UNKNOWN, {}) if watches(globs, device) else ("other_device", {"devices": list(globs)})

    def fold(self) -> None:
        """Decide on all matches of rules of version 2, rule by rule in the order of (T, key)."""
        self._db.execute("CREATE INDEX in_order ON pictures (rule, at_s, key)")
        for number, entry in enumerate(self._entries):
            if not entry.each:
                _RuleFold(self._db, number, entry, self._silences).run()

    def results(self, since_s: float, until_s: float) -> Iterator[Replayed]:
        """Yield what was judged and taken in this span, in the order of rules, times and keys; without pictures that
        did not match and do not match now."""
        sql = """SELECT rule, key, device, at_s, code, numbers, told, was, was_told, was_by FROM pictures
            WHERE at_s >= ? AND at_s < ? ORDER BY rule, at_s, key"""
        for row in self._db.execute(sql, (since_s, until_s)):
            found = self._replayed(row)
            if found.was is not None or found.matches:
                yield found

    def find(self, rule: str, key: str) -> Replayed | None:
        """Return one picture, None if it was not judged."""
        sql = """SELECT rule, key, device, at_s, code, numbers, told, was, was_told, was_by FROM pictures
            WHERE rule = ? AND key = ?"""
        row = self._db.execute(sql, (self._names.index(rule), key)).fetchone()
        return None if row is None else self._replayed(row)

    def _replayed(self, row: tuple[int, str, str, float, str, str, int, str | None, int, str | None]) -> Replayed:
        number, key, device, at_s, code, numbers, told, was, was_told, was_by = row
        return Replayed(
            rule=self._names[number],
            key=key,
            device=device,
            at_s=at_s,
            code=code,
            numbers=json.loads(numbers),
            told=bool(told),
            was=None if was is None else Was(code=was, told=bool(was_told), told_by=was_by, at_s=at_s, device=device),
        )


class _RuleFold:
    """Fold of one rule: the states of its groups and sightings, while its pictures pass in the order of time."""

    def __init__(self, db: sqlite3.Connection, number: int, entry: Entry, silences: Sequence[Silence]) -> None:
        self._db, self._number, self._entry, self._silences = db, number, entry, silences
        self._groups: dict[str, Group] = {}
        self._sightings: dict[str, Sightings] = {}

    def run(self) -> None:
        sql = (
            "SELECT key, at_s, device, body, code FROM pictures WHERE rule = ? AND body IS NOT NULL ORDER BY at_s, key"
        )
        for row in self._db.cursor().execute(sql, (self._number,)):
            self._take(self._match(*row))
        for place, group in self._groups.items():
            self._apply(settle(self._entry.rule.policy, group, place, _END_S)[1])

    def _match(self, key: str, at_s: float, device: str, body: str, code: str) -> Match:
        place, until, things = json.loads(body)
        return Match(
            key=key,
            rule=self._entry.rule.identity,
            device=device,
            place=place,
            at_s=at_s,
            code=code or None,
            objects=tuple(Sighted(**{**one, "box": tuple(one["box"])}) for one in things),
            until=until,
        )

    def _take(self, match: Match) -> None:
        policy, before = self._entry.rule.policy, self._sightings.get(match.device, Sightings())
        if match.code is not None:
            self._sightings[match.device] = sighted(policy, match, before, match.at_s)
            return
        group = self._groups.get(match.place, Group())
        given = Given(group=group, sightings=before, silences=self._silences)
        decided, after = decide(policy, match, given, match.at_s)
        self._groups[match.place], self._sightings[match.device] = decided.group, after
        self._db.execute(
            "UPDATE pictures SET code = ?, numbers = ? WHERE rule = ? AND key = ?",
            (decided.decision.code, json.dumps(dict(decided.decision.numbers)), self._number, match.key),
        )
        self._apply(decided.changes)

    def _apply(self, changes: Sequence[Change]) -> None:
        """Note of which pictures the person is told, at once or on a summary."""
        for change in changes:
            if isinstance(change, Put) and change.kind is Kind.EVENT:
                self._tell([change.name], told=True)
            elif isinstance(change, Cancel) and change.kind is Kind.EVENT:
                self._tell([change.name], told=False)
            elif isinstance(change, Fill):
                self._tell(change.keys, told=True)

    def _tell(self, keys: Sequence[str], *, told: bool) -> None:
        sql = "UPDATE pictures SET told = ? WHERE rule = ? AND key = ?"
        self._db.executemany(sql, [(told, self._number, key) for key in keys])
