"""The policy's state over a key-value store: one key a text, compared by whoever decides by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from lookout.domain.records import Alert
from lookout.ledger.kv import keys, slot_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.outbox import Alerts, alert_writes, withdrawn
from lookout.ledger.kv.record_values import KeptAlert
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.rules.decisions import DECISIONS, PolicyName, PolicyUnit

T = TypeVar("T")


@dataclass(slots=True)
class KeptTexts:
    """Texts as they were read, with their revisions, and as a transaction changes them."""

    texts: dict[PolicyName, str | None] = field(default_factory=dict)
    revisions: dict[PolicyName, int] = field(default_factory=dict)
    _put: set[PolicyName] = field(default_factory=set)

    def add(self, other: KeptTexts) -> None:
        """Take in more that was read."""
        self.texts.update(other.texts)
        self.revisions.update(other.revisions)

    def put(self, name: PolicyName, text: str | None) -> None:
        """Keep a text, or forget it."""
        self.texts[name] = text
        self._put.add(name)

    def write(self, draft: TransactionBuilder) -> None:
        """Write what was put. All that was read must be as it was, but for decisions on a picture: only who holds its
        slot writes these."""
        for name, revision in self.revisions.items():
            if name[0] != DECISIONS:
                draft.expect(draft.name(keys.POLICY, *name), revision)
        for name in self._put:
            text = self.texts[name]
            key = draft.name(keys.POLICY, *name)
            if text is None:
                draft.delete(key)
            else:
                draft.put(key, slot_values.dump(text))


class PolicyTexts:
    """See ``Ledger``."""

    def __init__(self, space: Keyspace, alerts: Alerts) -> None:
        self._space, self._alerts = space, alerts

    def read(self, names: Collection[PolicyName]) -> KeptTexts:
        """Read texts with their revisions; one that is not there is None."""
        of_key = {self._space.name(keys.POLICY, *name): name for name in names}
        found = self._space.kv.get_many(of_key) if of_key else {}
        kept = KeptTexts()
        for key, name in of_key.items():
            kv = found.get(key)
            kept.texts[name] = None if kv is None else slot_values.load(kv, str)
            kept.revisions[name] = 0 if kv is None else kv.mod_revision
        return kept

    def policy_texts(self, kind: str, first: Collection[str] | None = None) -> Iterator[tuple[PolicyName, str]]:
        cut = len(self._space.name(keys.POLICY))
        firsts: list[tuple[str, ...]] = [()] if first is None else [(one,) for one in sorted(first)]
        for start, end in [self._space.span(keys.POLICY, kind, *some) for some in firsts]:
            for page in self._space.kv.pages(start, end):
                for kv in page:
                    named = keys.parts(kv.key[cut:], 3)
                    yield (named[0], named[1], named[2]), slot_values.load(kv, str)

    def amend_policy(self, change: Callable[[PolicyUnit], T]) -> T:
        self._space.check_writing()
        for _attempt in self._space.attempts("changing the state of alerts"):
            unit, answer = self._attempt(change)
            draft = TransactionBuilder(self._space.prefix)
            unit.write(draft)
            if not draft.ops or self._space.write(draft.compares, draft.ops).succeeded:
                break
        return answer

    def _attempt(self, change: Callable[[PolicyUnit], T]) -> tuple[_Unit, T]:
        """Call the function until all that it asks for is read; return what it changed, and its answer."""
        known, alerts = KeptTexts(), dict[str, KeptAlert | None]()
        while True:
            unit = _Unit(KeptTexts(dict(known.texts), dict(known.revisions)), alerts)
            try:
                return unit, change(unit)
            except _NotReadYet as missing:
                if missing.name is not None:
                    known.add(self.read([missing.name]))
                else:
                    alerts[missing.alert] = self._alerts.find([missing.alert]).get(missing.alert)


class _NotReadYet(Exception):
    """A pure function asked for something that is still to be read; it is called again then."""

    def __init__(self, name: PolicyName | None = None, alert: str = "") -> None:
        super().__init__(name or alert)
        self.name, self.alert = name, alert


class _Unit:
    """The ``PolicyUnit`` of one transaction that settles no slot."""

    def __init__(self, kept: KeptTexts, alerts: dict[str, KeptAlert | None]) -> None:
        self._kept, self._alerts = kept, alerts
        self._put: dict[str, KeptAlert] = {}

    def policy_text(self, name: PolicyName) -> str | None:
        if name not in self._kept.texts:
            raise _NotReadYet(name=name)
        return self._kept.texts[name]

    def put_policy_text(self, name: PolicyName, text: str | None) -> None:
        self._kept.put(name, text)

    def look_at(self, ids: Collection[str]) -> None:
        """Read nothing beforehand."""

    def alert(self, id_: str) -> Alert | None:
        kept = self._find(id_)
        return None if kept is None else kept.alert

    def put_alert(self, alert: Alert) -> None:
        self._find(alert.id)
        self._put[alert.id] = KeptAlert(alert)

    def withdraw_alert(self, id_: str, now_s: float) -> None:
        kept = self._find(id_)
        if kept is not None and (then := withdrawn(kept, now_s)) is not None:
            self._put[id_] = then

    def _find(self, id_: str) -> KeptAlert | None:
        if id_ in self._put:
            return self._put[id_]
        if id_ not in self._alerts:
            raise _NotReadYet(alert=id_)
        return self._alerts[id_]

    def write(self, draft: TransactionBuilder) -> None:
        """Put all that changed into the draft."""
        self._kept.write(draft)
        for id_, kept in self._put.items():
            was = self._alerts[id_]
            draft.expect(draft.name(keys.ALERT, id_), 0 if was is None else was.mod_revision)
            draft.puts.update(alert_writes(draft.name, kept, was))
