"""Alerts and who sends them. Which alert may do what is in ``ledger.rules.alerts``; knows no channel.

An alert is one key by its id, one in the index of its state, in the order of creation, and one in that of its run. What
a sender holds lies apart in the index, so that what a dead one left is found without looking at all that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import merge
from typing import Final

from lookout.domain.errors import Corrupt, Unavailable
from lookout.domain.records import Alert, AlertState
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Range
from lookout.ledger.kv.record_values import KeptAlert
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.port import Delivered
from lookout.ledger.rules import alerts as delivery

PAGE: Final = 500
TOGETHER: Final = 64
"""Alerts in one transaction."""

_LETTERS: Final = {
    AlertState.PENDING: "p",
    AlertState.SENDING: "s",
    AlertState.SENT: "t",
    AlertState.UNKNOWN: "u",
    AlertState.WRITTEN: "w",
    AlertState.DEAD: "d",
    AlertState.CANCELED: "c",
}
_HELD_LETTERS: Final = {**_LETTERS, AlertState.PENDING: "q", AlertState.UNKNOWN: "r"}
_STATES: Final = {
    **{state: ((letter, letter),) for state, letter in _LETTERS.items()},
    AlertState.PENDING: (("p", "q"),),
    # Under ``v`` older versions kept unknown ones that they did not repeat.
    AlertState.UNKNOWN: (("r", "r"), ("u", "v")),
}
"""By state the stretches of the index that may have alerts of it: first and last letter."""
_HELD: Final = ("q", "s")


def _letter(kept: KeptAlert) -> str:
    """The part of the index that the alert is in."""
    return (_LETTERS if kept.owner is None else _HELD_LETTERS)[kept.alert.state]


def alert_writes(name: Callable[..., bytes], kept: KeptAlert, was: KeptAlert | None) -> dict[bytes, bytes | None]:
    """All keys of an alert that is new or changed."""
    alert = kept.alert
    tail = keys.moment(alert.created_at_s) + keys.text(alert.id)
    writes: dict[bytes, bytes | None] = {}
    if was is not None:
        old = keys.moment(was.alert.created_at_s) + keys.text(was.alert.id)
        writes[name(keys.ALERT_STATE, _letter(was)) + old] = None
        if was.alert.state is AlertState.UNKNOWN:
            writes[name(keys.ALERT_STATE, "v") + old] = None
        writes[name(keys.ALERT_RUN, was.alert.run) + old] = None
    due = slot_values.dump([alert.due_at_s, kept.owner])
    writes[name(keys.ALERT, alert.id)] = record_values.write_alert(kept)
    writes[name(keys.ALERT_STATE, _letter(kept)) + tail] = due
    writes[name(keys.ALERT_RUN, alert.run) + tail] = b""
    return writes


def withdrawn(kept: KeptAlert, now_s: float) -> KeptAlert | None:
    """Return the alert that nobody needs any more: canceled if it waits, not to be tried again if it is being sent;
    None if it stays as it is."""
    if kept.alert.state is AlertState.SENDING:
        return KeptAlert(kept.alert, kept.owner, withdrawn=True)
    return KeptAlert(delivery.canceled(kept.alert, now_s)) if delivery.is_open(kept.alert) else None


class Alerts:
    """Alerts, and the sessions that hold them. See ``Ledger``."""

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    def claim_alerts(self, owner: str, limit: int, now_s: float, ids: Collection[str] | None = None) -> list[Alert]:
        self._space.check_writing()
        if ids is None:
            ids = [alert.id for alert in self.alerts(states=delivery.WAITING) if delivery.is_due(alert, now_s)]
        found = [kept for kept in self.find(set(ids)).values() if _is_free(kept, now_s)]
        found.sort(key=lambda kept: (kept.alert.created_at_s, kept.alert.id))
        chosen = [kept.alert.id for kept in found[: max(0, limit)]]

        def hold(kept: KeptAlert) -> KeptAlert | None:
            return KeptAlert(kept.alert, owner) if _is_free(kept, now_s) else None

        held = {kept.alert.id: kept.alert for kept in self._change_alerts(chosen, hold, owner)}
        return [held[id_] for id_ in chosen if id_ in held]

    def begin_sending(self, owner: str, ids: Collection[str]) -> frozenset[str]:
        self._space.check_writing()

        def begin(kept: KeptAlert) -> KeptAlert | None:
            if kept.owner != owner:
                return None
            return KeptAlert(delivery.sending(kept.alert), owner, kept.withdrawn)

        return frozenset(kept.alert.id for kept in self._change_alerts(list(ids), begin, owner))

    def _check_alive(self, owner: str) -> None:
        """Raises Unavailable when the session has ended: nobody would find out that it died with an alert at hand."""
        name = self._space.name(keys.ALIVE, owner)
        if not self._space.kv.get_many([name], keys_only=True):
            raise Unavailable(self._space.kv.name, f"the session {owner} has ended, and takes no more alerts")

    def find(self, ids: Collection[str], revision: int = 0) -> dict[str, KeptAlert]:
        """Return the alerts of these ids as they are kept; an unknown one is absent."""
        names = {self._space.name(keys.ALERT, id_): id_ for id_ in ids}
        found = self._space.kv.get_many(names, revision)
        return {names[name]: record_values.read_alert(names[name], kv) for name, kv in found.items()}

    def _change_alert(self, draft: TransactionBuilder, was: KeptAlert, now: KeptAlert) -> None:
        draft.expect(draft.name(keys.ALERT, was.alert.id), was.mod_revision)
        draft.puts.update(alert_writes(draft.name, now, was))

    def settle_alerts(self, owner: str, settled: Mapping[str, Delivered], now_s: float) -> None:
        self._space.check_writing()

        def change(kept: KeptAlert) -> KeptAlert | None:
            if kept.owner != owner:
                return None
            how = settled[kept.alert.id]
            return KeptAlert(delivery.delivered(kept.alert, how, now_s, withdrawn=kept.withdrawn))

        self._change_alerts(list(settled), change)

    def resend_alerts(self, ids: Collection[str]) -> int:
        self._space.check_writing()

        def change(kept: KeptAlert) -> KeptAlert | None:
            if not delivery.can_resend(kept.alert):
                return None
            return KeptAlert(delivery.renewed(kept.alert, kept.alert.doubts))

        return len(self._change_alerts(list(set(ids)), change))

    def cancel_alerts(self, ids: Collection[str], now_s: float) -> int:
        self._space.check_writing()

        def change(kept: KeptAlert) -> KeptAlert | None:
            return KeptAlert(delivery.canceled(kept.alert, now_s)) if delivery.can_cancel(kept.alert) else None

        return len(self._change_alerts(list(set(ids)), change))

    def _change_alerts(
        self, ids: Sequence[str], change: Callable[[KeptAlert], KeptAlert | None], owner: str | None = None
    ) -> list[KeptAlert]:
        """Change those of the alerts that the function changes, and give these as they are then. With ``owner`` only
        while that session lives; raises Unavailable when it has ended."""
        done: list[KeptAlert] = []
        for start in range(0, len(ids), TOGETHER):
            some = ids[start : start + TOGETHER]
            for _attempt in self._space.attempts("changing alerts"):
                draft, changed = TransactionBuilder(self._space.prefix), []
                if owner is not None:
                    draft.expect_there(self._space.name(keys.ALIVE, owner))
                for kept in self.find(some).values():
                    if (now := change(kept)) is not None:
                        self._change_alert(draft, kept, now)
                        changed.append(now)
                if not changed or self._space.write(draft.compares, draft.ops).succeeded:
                    done += changed
                    break
                if owner is not None:
                    self._check_alive(owner)
        return done

    def abandon(self, owner: str) -> None:
        """Let go of all alerts that an owner who is gone held."""
        now_s = self._space.clock()
        start, end = self._stretch(_HELD)
        ids = [
            keys.parts(kv.key[len(start) + 8 :], 1)[0]
            for page in self._space.kv.pages(start, end)
            for kv in page
            if slot_values.load(kv, _pair)[1] == owner
        ]

        def change(kept: KeptAlert) -> KeptAlert | None:
            if kept.owner != owner:
                return None
            return KeptAlert(delivery.abandoned(kept.alert, now_s, withdrawn=kept.withdrawn))

        self._change_alerts(ids, change)

    # --- listing ----------------------------------------------------------------------------------------------------

    def alerts(
        self, *, states: Collection[AlertState] = (), run: str | None = None, ids: Collection[str] | None = None
    ) -> Iterator[Alert]:
        if ids is not None:
            found = [kept.alert for kept in self.find(set(ids)).values()]
            found.sort(key=lambda alert: (alert.created_at_s, alert.id))
        elif run is not None:
            yield from self._listed([self._space.span(keys.ALERT_RUN, run)], states)
            return
        else:
            stretches = [stretch for state in set(states) or AlertState for stretch in _STATES[state]]
            yield from self._listed([self._stretch(stretch) for stretch in stretches], states)
            return
        yield from (alert for alert in found if (not states or alert.state in states) and run in (None, alert.run))

    def _listed(self, ranges: Sequence[tuple[bytes, bytes]], states: Collection[AlertState]) -> Iterator[Alert]:
        """The alerts of some indexes, in the order of (creation, id), in these states (all if empty)."""
        pending: list[str] = []
        last = ""
        for _, id_ in merge(*[self._tails(start, end) for start, end in ranges]):
            if id_ == last:  # it changed its state while it was listed
                continue
            last = id_
            pending.append(id_)
            if len(pending) == PAGE:
                yield from self._of_states(pending, states)
                pending = []
        yield from self._of_states(pending, states)

    def _tails(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, str]]:
        for page in self._space.kv.pages(start, end, keys_only=True):
            for kv in page:
                tail = kv.key[len(start) :]
                yield tail, keys.parts(tail[8:], 1)[0]

    def _of_states(self, ids: Sequence[str], states: Collection[AlertState]) -> Iterator[Alert]:
        found = self.find(ids)
        for id_ in ids:
            if id_ not in found:
                raise Corrupt(f"the index of alerts in {self._space.kv.name}", "an alert", f"none of id {id_!r}")
            if not states or found[id_].alert.state in states:
                yield found[id_].alert

    def count_alerts(self, run: str | None = None) -> dict[AlertState, int]:
        counts: dict[AlertState, int] = {}
        if run is not None:
            for alert in self.alerts(run=run):
                counts[alert.state] = counts.get(alert.state, 0) + 1
            return counts
        asked = [(state, stretch) for state, stretches in _STATES.items() for stretch in stretches]
        answer = self._space.kv.read([Range(*self._stretch(stretch), count_only=True) for _, stretch in asked])
        for n, (state, _) in enumerate(asked):
            if answer.get(n).total:
                counts[state] = counts.get(state, 0) + answer.get(n).total
        return counts

    def _stretch(self, letters: tuple[str, str]) -> tuple[bytes, bytes]:
        """The keys of a stretch of the index by state."""
        first, last = letters
        return self._space.span(keys.ALERT_STATE, first)[0], self._space.span(keys.ALERT_STATE, last)[1]


def _is_free(kept: KeptAlert, now_s: float) -> bool:
    return kept.owner is None and delivery.is_due(kept.alert, now_s)


def _pair(value: list[object]) -> tuple[float, str | None]:
    due_at_s, owner = value
    if not isinstance(due_at_s, int | float) or not (owner is None or isinstance(owner, str)):
        raise TypeError(f"expected a time and an owner, got {value!r}")
    return due_at_s, owner
