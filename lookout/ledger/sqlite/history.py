"""History, provenance and tallies in SQLite: reading only; ``commits`` writes what is read here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Final

from lookout.domain.records import Member, Record, Tally
from lookout.ledger import codec
from lookout.ledger.rules.decisions import DECISIONS
from lookout.ledger.rules.members import member_of
from lookout.ledger.sqlite.database import select_in
from lookout.ledger.sqlite.rows import Part


class HistoryPart(Part):
    """See ``Ledger``."""

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        with self._db.read() as connection:
            sql = "SELECT hash, stage, key, body FROM records WHERE hash IN ({})"
            return {record.hash: record for record in _records(select_in(connection, sql, [], hashes))}

    def makers(self, bucket: str, key: str) -> list[Record]:
        with self._db.read() as connection:
            return _records(
                connection.execute(
                    "SELECT r.hash, r.stage, r.key, r.body FROM makers m JOIN records r ON r.id = m.record"
                    " WHERE m.bucket = ? AND m.key = ? ORDER BY m.made DESC",
                    (bucket, key),
                )
            )

    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        with self._db.read() as connection:
            return _records(
                connection.execute(
                    "SELECT r.hash, r.stage, r.key, r.body FROM users u JOIN records r ON r.hash = u.hash"
                    " WHERE u.sha256 = ? AND u.hash > ? ORDER BY u.hash LIMIT ?",
                    (bytes.fromhex(sha256), after, limit),
                )
            )

    def is_live(self, hashes: Collection[str]) -> set[str]:
        sql = (
            "SELECT r.hash FROM records r JOIN slots s ON s.stage = r.stage AND s.key = r.key AND s.record = r.id"
            " WHERE r.hash IN ({})"
        )
        with self._db.read() as connection:
            return {hash_ for (hash_,) in select_in(connection, sql, [], hashes)}

    # --- tallies ----------------------------------------------------------------------------------------------------

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        with self._db.read() as connection:
            if groups is None:
                # Both tables in the order of their keys: one pass over each, whatever the number of groups.
                last = connection.execute(_LAST.format("ORDER BY grp")).fetchall()
                counts = dict(connection.execute(_COUNTS.format("")).fetchall())
            else:
                last = sorted(set(select_in(connection, _LAST.format("AND grp IN ({})"), [], groups)))
                counts = dict(select_in(connection, _COUNTS.format("AND grp IN ({})"), [], groups))
        return [
            Tally(group=group, counts=json.loads(counts.get(group, "{}")), last_at_s=last_at_s)
            for group, last_at_s in last
        ]

    def sums(self, name: str) -> dict[str, int]:
        with self._db.read() as connection:
            sql = "SELECT grp, n FROM tallies WHERE name = ? AND n > 0 ORDER BY grp"
            return dict(connection.execute(sql, (name,)).fetchall())

    def members(self, stage: str, group: str) -> list[Member]:
        with self._db.read() as connection:
            records = _records(
                connection.execute(
                    "SELECT r.hash, r.stage, r.key, r.body FROM slots s INDEXED BY slots_members JOIN records r"
                    " ON r.id = s.record WHERE s.grp = ? AND s.stage = ? AND s.outputs > 0 ORDER BY s.key",
                    (group, stage),
                )
            )
            sql = "SELECT first, body FROM policy WHERE kind = ? AND second = ? AND first IN ({})"
            decided = [record.key for record in records if record.decided]
            decisions = dict(select_in(connection, sql, [DECISIONS, stage], decided))
        return [member_of(stage, record, decisions.get(record.key)) for record in records]


_LAST: Final = (
    "SELECT grp, (SELECT max(at_s) FROM slots s WHERE s.grp = g.grp AND s.at_s IS NOT NULL) FROM groups g"
    " WHERE live > 0 {}"
)
_COUNTS: Final = "SELECT grp, json_group_object(name, n) FROM tallies WHERE n > 0 {} GROUP BY grp"


def _records(rows: Iterable[tuple[str, str, str, str]]) -> list[Record]:
    return codec.read_records(list(rows))
