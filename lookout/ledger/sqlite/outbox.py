"""The alerts of the SQLite ledger. Which alert may do what is in ``ledger.rules.alerts``; knows no channel."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lookout.domain.records import Alert, AlertState
from lookout.ledger import codec
from lookout.ledger.port import Delivered
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.rows import Part, read_state

PAGE: Final = 500
_COLUMNS: Final = "id, body, state, tries, doubts, due_at_s, message_id, error, settled_at_s"
_SELECT: Final = f"SELECT {_COLUMNS} FROM alerts"  # noqa: S608


_UNSENT: Final = frozenset((AlertState.PENDING, AlertState.SENDING, AlertState.UNKNOWN))


class OutboxPart(Part):
    """See ``Ledger``."""

    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        if not self._has_open():
            return []
        with self._db.write() as connection:
            if ids is None:
                free = read_alerts(connection, "INDEXED BY alerts_open WHERE open = 1 AND owner IS NULL", ())
            else:
                sql = f"{_SELECT} WHERE owner IS NULL AND id IN ({{}})"
                free = [_alert(row) for row in select_in(connection, sql, [], set(ids))]
            free.sort(key=lambda alert: (alert.created_at_s, alert.id))
            due = [alert for alert in free if delivery.is_due(alert, now_s)][:limit]
            connection.executemany("UPDATE alerts SET owner = ? WHERE id = ?", [(owner, alert.id) for alert in due])
        return due

    def begin_sending(self, owner: str, ids: Collection[str]) -> frozenset[str]:
        # Durable, so that after a power cut too it is known that requests may have left.
        with self._db.write(durable=True) as connection:
            sql = f"{_SELECT} WHERE owner = ? AND id IN ({{}})"
            held = [_alert(row) for row in select_in(connection, sql, [owner], set(ids))]
            save_alerts(connection, [delivery.sending(alert) for alert in held], owner)
        return frozenset(alert.id for alert in held)

    def _has_open(self) -> bool:
        with self._db.read() as connection:
            return connection.execute("SELECT 1 FROM alerts WHERE open = 1 LIMIT 1").fetchone() is not None

    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        if not settled:
            return
        with self._db.write(durable=True) as connection:
            sql = f"SELECT withdrawn, {_COLUMNS} FROM alerts WHERE owner = ? AND id IN ({{}})"  # noqa: S608
            rows = list(select_in(connection, sql, [owner], settled))
            save_alerts(
                connection,
                [
                    delivery.delivered(alert, settled[alert.id], now_s, withdrawn=bool(withdrawn))
                    for withdrawn, *columns in rows
                    for alert in [_alert(columns)]
                ],
            )

    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        if ids is not None:
            with self._db.read() as connection:
                found = [_alert(row) for row in select_in(connection, f"{_SELECT} WHERE id IN ({{}})", [], set(ids))]
            found.sort(key=lambda alert: (alert.created_at_s, alert.id))
            yield from (alert for alert in found if (not states or alert.state in states) and run in (None, alert.run))
            return
        values = [state.value for state in states]
        # Of all ever made, few are unsent: the outbox asks for them again and again.
        unsent = " INDEXED BY alerts_unsent" if states and _UNSENT.issuperset(states) else ""
        condition = " AND state IN ('pending', 'sending', 'unknown')" if unsent else ""
        condition += f" AND state IN ({','.join('?' * len(values))})" if values else ""
        condition += " AND run = ?" if run is not None else ""
        parameters = [*values, *([run] if run is not None else [])]
        last: tuple[float, str] = (float("-inf"), "")
        while True:
            with self._db.read() as connection:
                page = read_alerts(
                    connection,
                    f"{unsent} WHERE (created_at_s, id) > (?, ?){condition} ORDER BY created_at_s, id LIMIT {PAGE}",
                    (*last, *parameters),
                )
            yield from page
            if len(page) < PAGE:
                return
            last = (page[-1].created_at_s, page[-1].id)

    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT state, count(*) FROM alerts WHERE ?1 IS NULL OR run = ?1 GROUP BY state", (run,)
            ).fetchall()
        return {read_state(AlertState, state): count for state, count in rows}

    def resend_alerts(self, ids: Collection[str]) -> int:
        with self._db.write() as connection:
            found = find_alerts(connection, set(ids)).values()
            chosen = [delivery.renewed(alert, alert.doubts) for alert in found if delivery.can_resend(alert)]
            save_alerts(connection, chosen)
        return len(chosen)

    def cancel_alerts(self, ids: Collection[str], now_s: float) -> int:
        with self._db.write() as connection:
            found = find_alerts(connection, set(ids)).values()
            chosen = [delivery.canceled(alert, now_s) for alert in found if delivery.can_cancel(alert)]
            save_alerts(connection, chosen)
        return len(chosen)


def read_alerts(connection: sqlite3.Connection, rest: str, parameters: Sequence[object]) -> list[Alert]:
    """Return the alerts that the rest of a SELECT finds."""
    return [_alert(columns) for columns in connection.execute(f"{_SELECT} {rest}", parameters)]


def find_alerts(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, Alert]:
    """Return the alerts of these ids."""
    return {row[0]: _alert(row) for row in select_in(connection, f"{_SELECT} WHERE id IN ({{}})", [], ids)}


def free_alerts(connection: sqlite3.Connection, owner: str, now_s: float) -> None:
    """Let go of all alerts that an owner who is gone held."""
    rows = connection.execute(f"SELECT withdrawn, {_COLUMNS} FROM alerts WHERE owner = ?", (owner,))  # noqa: S608
    left = [delivery.abandoned(_alert(row), now_s, withdrawn=bool(withdrawn)) for withdrawn, *row in rows]
    save_alerts(connection, left)


def save_alerts(connection: sqlite3.Connection, alerts: Iterable[Alert], owner: str | None = None) -> None:
    """Keep new or changed alerts, held by ``owner`` or by nobody."""
    connection.executemany(
        "INSERT OR REPLACE INTO alerts (id, created_at_s, run, datum_hash, state, tries, doubts, due_at_s, owner,"
        " message_id, error, settled_at_s, open, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                alert.id,
                alert.created_at_s,
                alert.run,
                alert.datum_hash,
                alert.state.value,
                alert.tries,
                alert.doubts,
                alert.due_at_s,
                owner,
                alert.message_id,
                alert.error,
                alert.settled_at_s,
                delivery.is_open(alert),
                codec.write_alert(alert),
            )
            for alert in alerts
        ],
    )


def _alert(columns: Sequence[Any]) -> Alert:
    id_, body, state, tries, doubts, due_at_s, message_id, error, settled_at_s = columns
    return replace(
        codec.read_alert(id_, body),
        state=read_state(AlertState, state),
        tries=tries,
        doubts=doubts,
        due_at_s=due_at_s,
        message_id=message_id,
        error=error,
        settled_at_s=settled_at_s,
    )
