"""The store of a simulation: decisions, groups, sightings and alerts in a temporary database.

SQLite keeps it in memory up to the size of its cache, and beyond that in a file that goes with the process; so the
memory of a simulation does not grow with its pictures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from lookout.domain.policy.codec import (
    group_from_json,
    group_to_json,
    kept_from_json,
    kept_to_json,
    sightings_from_json,
    sightings_to_json,
)
from lookout.domain.policy.records import AddItem, Cancel, Change, DropItem, Fill, Group, HasLeft, Kept, Kind, Put
from lookout.domain.policy.sightings import Sightings
from lookout.domain.records import JsonObject

_TABLES: Final = """
CREATE TABLE decisions (number INTEGER PRIMARY KEY, key TEXT, rule TEXT, body TEXT, UNIQUE (key, rule));
CREATE TABLE groups (rule TEXT, place TEXT, body TEXT, PRIMARY KEY (rule, place)) WITHOUT ROWID;
CREATE TABLE sightings (rule TEXT, device TEXT, body TEXT, PRIMARY KEY (rule, device)) WITHOUT ROWID;
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY, rule TEXT, kind TEXT, name TEXT, place TEXT, state TEXT, due_s REAL,
    filled INTEGER, UNIQUE (rule, kind, name)
);
CREATE INDEX waiting ON alerts (due_s) WHERE state = 'pending';
CREATE TABLE items (alert INTEGER, key TEXT);
CREATE INDEX of_alert ON items (alert);
"""


class Store:
    """Store of one simulation."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the store, and remove its file."""
        self._db.close()

    # --- state -------------------------------------------------------------------------------------------------------

    def group(self, rule: str, place: str) -> Group:
        """Return the state of a group; an empty one if there is none."""
        body = self._one("SELECT body FROM groups WHERE rule = ? AND place = ?", rule, place)
        return Group() if body is None else group_from_json(str(body))

    def put_group(self, rule: str, place: str, group: Group) -> None:
        """Keep the state of a group."""
        self._db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", (rule, place, group_to_json(group)))

    def places(self, rule: str) -> list[str]:
        """Return the places at which the rule has a group."""
        return [str(row[0]) for row in self._db.execute("SELECT place FROM groups WHERE rule = ?", (rule,))]

    def sightings(self, rule: str, device: str) -> Sightings:
        """Return the sightings of a rule on a device."""
        body = self._one("SELECT body FROM sightings WHERE rule = ? AND device = ?", rule, device)
        return Sightings() if body is None else sightings_from_json(str(body))

    def put_sightings(self, rule: str, device: str, sightings: Sightings) -> None:
        """Keep the sightings of a rule on a device."""
        row = (rule, device, sightings_to_json(sightings))
        self._db.execute("INSERT OR REPLACE INTO sightings VALUES (?, ?, ?)", row)

    def kept(self, key: str, rule: str) -> Kept | None:
        """Return the decision of a picture and a rule."""
        body = self._one("SELECT body FROM decisions WHERE key = ? AND rule = ?", key, rule)
        return None if body is None else kept_from_json(str(body))

    def all_kept(self, key: str) -> list[tuple[str, Kept]]:
        """Return the decisions of a picture with their rules, in the order in which they were made."""
        rows = self._db.execute("SELECT rule, body FROM decisions WHERE key = ? ORDER BY number", (key,))
        return [(str(rule), kept_from_json(body)) for rule, body in rows]

    def put_kept(self, key: str, rule: str, kept: Kept | None) -> None:
        """Keep a decision, or forget it."""
        if kept is None:
            self._db.execute("DELETE FROM decisions WHERE key = ? AND rule = ?", (key, rule))
        else:
            sql = "INSERT INTO decisions (key, rule, body) VALUES (?, ?, ?)"
            sql += " ON CONFLICT (key, rule) DO UPDATE SET body = excluded.body"
            self._db.execute(sql, (key, rule, kept_to_json(kept)))

    # --- alerts ------------------------------------------------------------------------------------------------------

    def apply(self, rule: str, place: str, changes: Iterable[Change]) -> None:
        """Make changes of a rule's alerts, in their order."""
        for change in changes:
            if isinstance(change, Put):
                sql = "INSERT INTO alerts (rule, kind, name, place, state, due_s, filled)"
                sql += " VALUES (?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT (rule, kind, name) DO UPDATE SET"
                sql += " due_s = excluded.due_s, state = 'pending' WHERE state IN ('pending', 'canceled')"
                filled = change.kind is not Kind.SUMMARY
                self._db.execute(sql, (rule, change.kind, change.name, place, change.due_s, filled))
            elif isinstance(change, Cancel):
                self._cancel(rule, change.kind, change.name)
            elif isinstance(change, Fill):
                for key in change.keys:
                    self._add(rule, Kind.SUMMARY, change.name, key)
                sql = "UPDATE alerts SET filled = 1 WHERE rule = ? AND kind = 'summary' AND name = ?"
                self._db.execute(sql, (rule, change.name))
                self._cancel_if_empty(rule, Kind.SUMMARY, change.name)
            elif isinstance(change, AddItem):
                self._add(rule, Kind.LATE, change.name, change.key)
            else:
                self._drop(rule, change)

    def has_left(self, rule: str) -> HasLeft:
        """Return what tells whether an alert of the rule has left."""
        return lambda kind, name: self.state(rule, kind, name) == "sent"

    def state(self, rule: str, kind: Kind, name: str) -> str | None:
        """Return the state of an alert: pending, sent, dead or canceled; None if there is none."""
        sql = "SELECT state FROM alerts WHERE rule = ? AND kind = ? AND name = ?"
        found = self._one(sql, rule, kind, name)
        return None if found is None else str(found)

    def refuse(self, rule: str, key: str) -> None:
        """Note that an event's alert was refused for good."""
        sql = "UPDATE alerts SET state = 'dead' WHERE rule = ? AND kind = 'event' AND name = ? AND state != 'canceled'"
        self._db.execute(sql, (rule, key))

    def cancel_all(self, rule: str) -> None:
        """Cancel all alerts of a rule that have not left."""
        self._db.execute("UPDATE alerts SET state = 'canceled' WHERE rule = ? AND state = 'pending'", (rule,))

    def due_summaries(self, now_s: float) -> list[tuple[str, str]]:
        """Return rule and place of each summary that is due and has not left."""
        sql = "SELECT DISTINCT rule, place FROM alerts WHERE state = 'pending' AND due_s <= ?"
        return list(self._db.execute(f"{sql} AND kind IN ('summary', 'late')", (now_s,)))

    def send_due(self, now_s: float) -> None:
        """Send all alerts that are due."""
        self._db.execute("UPDATE alerts SET state = 'sent' WHERE state = 'pending' AND filled AND due_s <= ?", (now_s,))

    def alerts(self) -> Iterator[JsonObject]:
        """Give all alerts in the order in which they were entered, summaries with their pictures."""
        rows = self._db.execute("SELECT number, rule, kind, name, state, due_s FROM alerts ORDER BY number")
        for number, rule, kind, name, state, due_s in rows:
            line = {"alert": f"{kind}:{rule}|{name}", "kind": kind, "rule": rule, "state": state, "due_s": due_s}
            if kind in ("summary", "late"):
                items = self._db.execute("SELECT key FROM items WHERE alert = ? ORDER BY rowid", (number,))
                line["items"] = [key for (key,) in items]
            yield line

    def _add(self, rule: str, kind: Kind, name: str, key: str) -> None:
        sql = "INSERT INTO items SELECT number, ? FROM alerts WHERE rule = ? AND kind = ? AND name = ?"
        self._db.execute(sql, (key, rule, kind, name))

    def _drop(self, rule: str, change: DropItem) -> None:
        sql = "DELETE FROM items WHERE key = ? AND alert = (SELECT number FROM alerts"
        sql += " WHERE rule = ? AND kind = ? AND name = ?)"
        self._db.execute(sql, (change.key, rule, change.kind, change.name))
        self._cancel_if_empty(rule, change.kind, change.name)

    def _cancel_if_empty(self, rule: str, kind: Kind, name: str) -> None:
        sql = "SELECT COUNT(*) FROM items JOIN alerts ON alert = number WHERE rule = ? AND kind = ? AND name = ?"
        if not self._one(sql, rule, kind, name):
            self._cancel(rule, kind, name)

    def _cancel(self, rule: str, kind: Kind, name: str) -> None:
        sql = "UPDATE alerts SET state = 'canceled' WHERE rule = ? AND kind = ? AND name = ? AND state = 'pending'"
        self._db.execute(sql, (rule, kind, name))

    def _one(self, sql: str, *values: str) -> object:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else row[0]
