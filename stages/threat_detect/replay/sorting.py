"""Sorting of decisions by their groups, in a temporary database: memory does not grow with the number of pictures.

SQLite keeps it in memory up to the size of its cache, and beyond that in a file that goes with the process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from lookout.domain.policy import codec
from lookout.domain.policy.records import Match, RuleId, Sighted
from lookout.ledger.rules.decisions import rule_of, rule_text
from stages.threat_detect.replay.fold import KeptDecision, SeenOnly

_TABLES: Final = """
CREATE TABLE decisions (rule TEXT, place TEXT, number INTEGER, key TEXT, device TEXT, body TEXT);
CREATE TABLE seen (rule TEXT, place TEXT, decided_s REAL, body TEXT);
"""
_INDEXES: Final = """
CREATE INDEX by_group ON decisions (rule, place, number);
CREATE INDEX seen_by_group ON seen (rule, place, decided_s);
"""


class SortedDecisions:
    """Decisions by group and number, and what was seen without a match by group and D."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the database, and remove its file."""
        self._db.close()

    def add(self, one: KeptDecision) -> None:
        """Enter a decision."""
        row = (rule_text(one.made.rule), one.made.kept.place, one.number, one.key, one.device)
        self._db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", (*row, codec.decisions_to_json([one.made])))

    def add_seen(self, one: SeenOnly) -> None:
        """Enter what was seen on a picture that did not match."""
        match = one.match
        body = json.dumps([match.key, match.device, match.at_s, match.code, [asdict(each) for each in match.objects]])
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?)", (rule_text(match.rule), match.place, one.decided_s, body)
        )

    def groups(self) -> Iterator[tuple[RuleId, str]]:
        """Yield rule and place of each group that has a decision."""
        self._db.executescript(_INDEXES)
        for rule, place in self._db.execute("SELECT DISTINCT rule, place FROM decisions ORDER BY rule, place"):
            yield rule_of(rule), place

    def decisions(self, rule: RuleId, place: str) -> Iterator[KeptDecision]:
        """Yield the decisions of a group in the order of their numbers."""
        sql = "SELECT key, device, body FROM decisions WHERE rule = ? AND place = ? ORDER BY number, key"
        for key, device, body in self._db.execute(sql, (rule_text(rule), place)):
            (made,) = codec.decisions_from_json(body)
            yield KeptDecision(key=key, device=device, made=made)

    def seen(self, rule: RuleId, place: str) -> Iterator[SeenOnly]:
        """Yield what was seen without a match, in the order of D."""
        sql = "SELECT decided_s, body FROM seen WHERE rule = ? AND place = ? ORDER BY decided_s"
        for decided_s, body in self._db.execute(sql, (rule_text(rule), place)):
            key, device, at_s, code, things = json.loads(body)
            objects = tuple(Sighted(**{**each, "box": tuple(each["box"])}) for each in things)
            match = Match(key=key, rule=rule, device=device, place=place, at_s=at_s, code=code, objects=objects)
            yield SeenOnly(match=match, decided_s=decided_s)
