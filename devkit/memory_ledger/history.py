"""History, tallies, the outbox and runs of a ledger in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from devkit.memory_ledger.book import Part
from lookout.domain.records import Alert, AlertState, JsonObject, Member, Record, Tally
from lookout.ledger.port import Delivered, RunRecord
from lookout.ledger.rules import alerts as delivery
from lookout.ledger.rules import slots as settling


class HistoryPart(Part):
    """See ``Ledger``."""

    # --- history, provenance, tallies ---------------------------------------------------------------------------------

    def find_records(self, hashes: Collection[str]) -> dict[str, Record]:
        with self._use() as data:
            return {hash_: data.records[hash_] for hash_ in hashes if hash_ in data.records}

    def makers(self, bucket: str, key: str) -> list[Record]:
        with self._use() as data:
            return [data.records[hash_] for hash_ in reversed(data.makers.get((bucket, key), {}))]

    def users(self, sha256: str, limit: int = 1000, after: str = "") -> list[Record]:
        with self._use() as data:
            hashes = sorted(hash_ for hash_ in data.users.get(sha256, ()) if hash_ > after)
            return [data.records[hash_] for hash_ in hashes[:limit]]

    def is_live(self, hashes: Collection[str]) -> set[str]:
        with self._use():
            return {record.hash for record in self._live()}.intersection(hashes)

    def _live(self) -> list[Record]:
        return [row.record for _, row in sorted(self._data.rows.items()) if row.record is not None]

    def tallies(self, groups: Collection[str] | None = None) -> list[Tally]:
        sums: dict[str, Counter[str]] = {}
        last_at_s: dict[str, float] = {}
        with self._use():
            for record in self._live():
                if not settling.is_tallied(record) or (groups is not None and record.group not in groups):
                    continue
                sums.setdefault(record.group, Counter()).update(record.counts)
                if record.at_s is not None:
                    last_at_s[record.group] = max(record.at_s, last_at_s.get(record.group, record.at_s))
        return [
            Tally(group=group, counts=dict(+counts), last_at_s=last_at_s.get(group))
            for group, counts in sorted(sums.items())
        ]

    def sums(self, name: str) -> dict[str, int]:
        return {tally.group: tally.counts[name] for tally in self.tallies() if name in tally.counts}

    def members(self, stage: str, group: str) -> list[Member]:
        with self._use():
            return [
                Member(
                    stage=stage,
                    key=record.key,
                    hash=record.hash,
                    outputs=record.outputs,
                    facts=record.facts,
                    at_s=record.at_s,
                )
                for record in self._live()
                if record.stage == stage and record.group == group and record.outputs
            ]

    # --- outbox -----------------------------------------------------------------------------------------------------

    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        with self._use(writing=True) as data:
            due = [
                alert
                for alert in self._sorted_alerts()
                if delivery.is_due(alert, now_s) and alert.id not in data.senders and (ids is None or alert.id in ids)
            ]
            data.senders.update((alert.id, owner) for alert in due[:limit])
            return due[:limit]

    def begin_sending(self, owner: str, ids: Collection[str]) -> frozenset[str]:
        with self._use(writing=True) as data:
            held = frozenset(id_ for id_ in ids if data.senders.get(id_) == owner)
            data.alerts.update((id_, delivery.sending(data.alerts[id_])) for id_ in held)
            return held

    def _sorted_alerts(self) -> list[Alert]:
        return sorted(self._data.alerts.values(), key=lambda alert: (alert.created_at_s, alert.id))

    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        with self._use(writing=True) as data:
            for id_, how in settled.items():
                if data.senders.get(id_) != owner:
                    continue
                del data.senders[id_]
                withdrawn = id_ in data.withdrawn
                data.withdrawn.discard(id_)
                data.alerts[id_] = delivery.delivered(data.alerts[id_], how, now_s, withdrawn=withdrawn)

    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        with self._use():
            found = [
                alert
                for alert in self._sorted_alerts()
                if (not states or alert.state in states)
                and run in (None, alert.run)
                and (ids is None or alert.id in ids)
            ]
        yield from found

    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        return dict(Counter(alert.state for alert in self.alerts(run=run)))

    def resend_alerts(self, ids: Collection[str]) -> int:
        with self._use(writing=True) as data:
            chosen = [alert for id_ in set(ids) if (alert := data.alerts.get(id_)) and delivery.can_resend(alert)]
            self._replace_free([delivery.renewed(alert, alert.doubts) for alert in chosen])
            return len(chosen)

    def cancel_alerts(self, ids: Collection[str], now_s: float) -> int:
        with self._use(writing=True) as data:
            chosen = [alert for id_ in set(ids) if (alert := data.alerts.get(id_)) and delivery.can_cancel(alert)]
            self._replace_free([delivery.canceled(alert, now_s) for alert in chosen])
            return len(chosen)

    def _replace_free(self, alerts: Sequence[Alert]) -> None:
        """Put alerts that nobody holds any more."""
        for alert in alerts:
            self._data.alerts[alert.id] = alert
            self._data.senders.pop(alert.id, None)

    # --- runs -------------------------------------------------------------------------------------------------------

    def start_run(self, run: RunRecord) -> None:
        with self._use(writing=True):
            if run.id in self._runs:
                raise ValueError(f"expected a new run id, got {run.id!r} again")
            self._runs[run.id] = run

    def end_run(self, run_id: str, state: str, ended_at_s: float, summary: JsonObject) -> None:
        with self._use(writing=True):
            self._runs[run_id] = replace(self._runs[run_id], state=state, ended_at_s=ended_at_s, summary=summary)

    def runs(self, limit: int = 20) -> list[RunRecord]:
        with self._use():
            newest = sorted(self._runs.values(), key=lambda run: (run.started_at_s, run.id), reverse=True)
            return newest[:limit]
