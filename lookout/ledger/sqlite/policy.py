"""The policy's state in SQLite: texts by name, read and written in the transactions that decide by them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from lookout.domain.records import Alert, AlertState
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules.decisions import PolicyName, PolicyUnit
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.outbox import find_alerts, save_alerts
from lookout.ledger.sqlite.rows import Part

T = TypeVar("T")
PAGE = 500


class PolicyTexts:
    """Texts of one transaction, read when they are asked for and written at its end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._read: dict[PolicyName, str | None] = {}
        self._put: set[PolicyName] = set()

    def find(self, name: PolicyName) -> str | None:
        """Return a text as it is in this transaction."""
        if name not in self._read:
            sql = "SELECT body FROM policy WHERE kind = ? AND first = ? AND second = ?"
            row = self._connection.execute(sql, name).fetchone()
            self._read[name] = None if row is None else row[0]
        return self._read[name]

    def put(self, name: PolicyName, text: str | None) -> None:
        """Keep a text, or forget it."""
        self._read[name] = text
        self._put.add(name)

    def write(self) -> None:
        """Write what was put."""
        kept = [(*name, self._read[name]) for name in self._put if self._read[name] is not None]
        gone = [name for name in self._put if self._read[name] is None]
        self._connection.executemany("INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?)", kept)
        self._connection.executemany("DELETE FROM policy WHERE kind = ? AND first = ? AND second = ?", gone)


class PolicyPart(Part):
    """See ``Ledger``."""

    def amend_policy(self, change: Callable[[PolicyUnit], T]) -> T:
        with self._db.write(durable=True) as connection:
            unit = _Unit(connection)
            answer = change(unit)
            unit.texts.write()
        return answer

    def policy_texts(self, kind: str, first: Collection[str] | None = None) -> Iterator[tuple[PolicyName, str]]:
        if first is not None:
            sql = "SELECT first, second, body FROM policy WHERE kind = ? AND first IN ({})"
            with self._db.read() as connection:
                rows = sorted(select_in(connection, sql, [kind], first))
            yield from (((kind, one, two), body) for one, two, body in rows)
            return
        sql = "SELECT first, second, body FROM policy WHERE kind = ? AND (first, second) {} (?, ?)"
        order = f" ORDER BY first, second LIMIT {PAGE}"
        after, last = ">=", ("", "")
        while True:
            with self._db.read() as connection:
                page = connection.execute(sql.format(after) + order, (kind, *last)).fetchall()
            yield from (((kind, one, two), body) for one, two, body in page)
            if len(page) < PAGE:
                return
            after, last = ">", page[-1][:2]


class _Unit:
    """The ``PolicyUnit`` of one transaction that settles no slot: alerts are written as they are put."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self.texts = connection, PolicyTexts(connection)

    def policy_text(self, name: PolicyName) -> str | None:
        return self.texts.find(name)

    def put_policy_text(self, name: PolicyName, text: str | None) -> None:
        self.texts.put(name, text)

    def look_at(self, ids: Collection[str]) -> None:
        """Read nothing beforehand."""

    def alert(self, id_: str) -> Alert | None:
        return find_alerts(self._connection, [id_]).get(id_)

    def put_alert(self, alert: Alert) -> None:
        save_alerts(self._connection, [alert])

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        alert = self.alert(id_)
        if alert is not None and alert.state is AlertState.SENDING:
            self._connection.execute("UPDATE alerts SET withdrawn = 1 WHERE id = ?", (id_,))
        elif alert is not None and delivery.is_open(alert):
            self.put_alert(delivery.canceled(alert, now_s))
