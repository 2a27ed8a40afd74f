"""Histories run through a ledger and an outbox, as an engine does it: each picture is a datum whose commit decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from devkit.contracts.ledger_kit import ManualClock, ref
from lookout.domain.identity import alert_id, digest
from lookout.domain.policy import codec
from lookout.domain.policy.records import Match, Silence
from lookout.domain.policy.verdicts import PictureDecision, Verdict
from lookout.domain.records import Alert, AlertDraft, AlertState, Mark, Outcome, Record, State
from lookout.ledger.port import Delivered, Ledger
from lookout.ledger.rules import decisions as deciding
from lookout.outbox.channel import Letter
from lookout.outbox.departure import Departure
from lookout.outbox.outbox import Outbox
from stages.threat_detect.rules.version2.matching import judge
from stages.threat_detect.simulation.lines import (
    AckLine,
    DeleteLine,
    Line,
    PictureLine,
    RulesLine,
    SilenceLine,
    TickLine,
    UnsilenceLine,
    read_lines,
)
from stages.threat_detect.simulation.rulebook import Entry, rulebook_of

STAGE = "threat-detect"
BUCKET = "threat-detect"
LEASE_S = 60.0


@dataclass
class Post:
    """A channel that takes every letter but those about refused pictures, and keeps who got which."""

    name: str = "post"
    refused: set[str] = field(default_factory=set)
    letters: list[tuple[str, ...]] = field(default_factory=list)

    def begin(self, letter: Letter) -> _Request:
        return _Request(self, letter)


@dataclass
class _Request:
    post: Post
    letter: Letter

    def send(self, now_s: float, departure: Departure) -> Delivered:
        if any(_is_of_event(alert) and alert.draft.picture_key in self.post.refused for alert in self.letter.alerts):
            return Delivered(state=AlertState.DEAD, error="refused")
        self.post.letters.append(tuple(alert.id for alert in self.letter.alerts))
        return Delivered(state=AlertState.SENT, message_id="1")

    def abort(self) -> None: ...

    def close(self) -> None: ...


class NoPictures:
    """A store whose pictures are all empty."""

    def get(self, _ref: object) -> bytes:
        return b""


class LedgerRun:
    """One history on one ledger. ``open_ledger`` opens it anew after so many lines, as a process that was killed
    would."""

    def __init__(
        self, document: object, open_ledger: Callable[[ManualClock], Ledger], *, lines_a_process: int = 1
    ) -> None:
        self._lines_a_process = lines_a_process
        self._rules: Mapping[str, Entry] = rulebook_of({"rules.json": document}, "rules").entries
        self._open, self.clock, self.post = open_ledger, ManualClock(), Post()
        self._mail_is_up, self._number = True, 0
        self._shown: dict[str, PictureLine] = {}

    def run(self, lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Take all lines; return the decisions as the simulation prints them."""
        lines = list(lines)
        self.post.refused = {line["key"] for line in lines if line.get("op") == "dead"}
        found: list[dict[str, Any]] = []
        todo = [line for _, line in read_lines((json.dumps(line).encode() for line in lines), "lines")]
        for start in range(0, len(todo), self._lines_a_process):
            with closing(self._open(self.clock)) as ledger, ledger.session() as owner:
                for line in todo[start : start + self._lines_a_process]:
                    found += self._take(line, ledger, owner)
        return found

    def _take(self, line: Line, ledger: Ledger, owner: str) -> Iterator[dict[str, Any]]:
        self.clock.now_s = line.at_s
        self._let_leave(ledger, owner)
        match line:
            case PictureLine():
                self._shown[line.key] = line
                yield from self._picture(line, ledger, owner)
            case DeleteLine():
                yield from self._delete(line.key, ledger, owner)
            case RulesLine():
                self._rules = rulebook_of({"rules.json": line.doc}, "rules").entries
                for key in self._shown:
                    self._commit(key, self._verdicts(self._shown[key], again=True), ledger, owner, gone_only=True)
            case SilenceLine() | UnsilenceLine():
                self._silence(line, ledger)
            case AckLine():
                self._acknowledge(line, ledger, owner)
            case TickLine():
                self._mail_is_up = self._mail_is_up if line.up is None else line.up
        self._let_leave(ledger, owner)

    def _let_leave(self, ledger: Ledger, owner: str) -> None:
        outbox = Outbox(
            ledger=ledger,
            store=NoPictures(),
            channel=lambda _: self.post,
            owner=owner,
            clock=self.clock,
            max_letters=999,
        )
        if self._mail_is_up:
            outbox.drain()
        else:  # what is due is settled all the same
            outbox._waiting(self.clock.now_s)

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _verdicts(self, line: PictureLine, *, again: bool) -> list[Verdict]:
        picture = replace(line.picture(0.5), repeated=again)
        return [
            self._verdict(entry, judge(entry.file, entry.rule, picture))
            for entry in self._rules.values()
            if not entry.each
        ]

    def _verdict(self, entry: Entry, match: Match) -> Verdict:
        told = entry.rule.recipients if match.code is None else ()
        later = entry.rule.escalate_to if match.code is None else ()
        return Verdict(
            match=match,
            policy=entry.rule.policy,
            picture_sha256=digest("picture", match.key),
            rule_sha256="0" * 64,
            alerts=tuple(self._alert(match, one) for one in told),
            escalations=tuple(self._alert(match, one, escalates=True) for one in later),
        )

    def _alert(self, match: Match, recipient: str, *, escalates: bool = False) -> Alert:
        user, name = match.rule
        draft = AlertDraft(
            user=user,
            rule=name,
            picture_key=match.key,
            picture_sha256=digest("picture", match.key),
            sender="lookout@example.com",
            recipient=recipient,
            evidence=f"{match.key}.jpg",
            escalates=escalates,
        )
        return Alert(
            id=alert_id(draft),
            draft=draft,
            evidence=ref(BUCKET, f"{match.key}.jpg"),
            datum_hash=self._hash(match.key),
            run="run",
            code="code",
            created_at_s=self.clock.now_s,
            state=AlertState.PENDING,
        )

    def _hash(self, key: str) -> str:
        return digest("datum", key, self._number)

    def _picture(self, line: PictureLine, ledger: Ledger, owner: str) -> Iterator[dict[str, Any]]:
        again = line.op is not None
        self._number += 1
        verdicts = self._verdicts(line, again=again)
        before = _decisions(ledger, line.key)
        each = [
            (name, judge(entry.file, entry.rule, line.picture(0.5)))
            for name, entry in self._rules.items()
            if entry.each
        ]
        v1 = [
            self._alert(match, recipient)
            for name, match in each
            if match.code is None
            for recipient in self._rules[name].rule.recipients
        ]
        known = {alert.id: alert.state for alert in ledger.alerts(ids=[alert.id for alert in v1])}
        self._commit(line.key, verdicts, ledger, owner, alerts=v1)
        after = _decisions(ledger, line.key)
        of_rule = {"|".join(verdict.match.rule): verdict.match for verdict in verdicts}
        for name in self._rules:
            match = of_rule.get(name) or dict(each)[name]
            yield {"key": line.key, "rule": name, **self._seen(name, match, before, after, known)}

    def _seen(
        self,
        name: str,
        match: Match,
        before: Mapping[str, PictureDecision],
        after: Mapping[str, PictureDecision],
        known: Mapping[str, AlertState],
    ) -> dict[str, Any]:
        was, now = before.get(name), after.get(name)
        if self._rules[name].each:
            if match.code is not None:
                return {"code": match.code, **match.numbers}
            ids = [self._alert(match, one).id for one in self._rules[name].rule.recipients]
            is_told = any(known.get(id_, AlertState.CANCELED) is not AlertState.CANCELED for id_ in ids)
            return {"code": "told_before" if is_told else "sent"}
        if match.code is not None:
            if was is None or was.kept.withdrawn:
                return {"code": match.code, **match.numbers}
            assert now is None or now.kept.withdrawn
            return {"code": "withdrawn", "was": was.kept.code}
        if was is not None and now == was:
            return {"code": "decided_before", "was": was.kept.code, "decided_s": was.kept.decided_s}
        if now is None:
            return {"code": "told_before"}
        return {"code": now.kept.code, **now.numbers}

    def _commit(
        self,
        key: str,
        verdicts: list[Verdict],
        ledger: Ledger,
        owner: str,
        *,
        alerts: Iterable[Alert] = (),
        gone_only: bool = False,
    ) -> None:
        """Commit the datum as a new one. With ``gone_only``, verdicts that would be new decisions are left out: the
        pictures are decided by the other rules when they are processed again."""
        old = ledger.find_slots(STAGE, [key]).get(key)
        if gone_only:
            if old is None or old.record is None:
                return
            made = _decisions(ledger, key)
            verdicts = [one for one in verdicts if "|".join(one.match.rule) in made]
            self._number += 1
        record = Record(
            hash=self._hash(key),
            stage=STAGE,
            key=key,
            group="porch/2025-11-22",
            recipe="r",
            alert_ids=tuple(one.id for v in verdicts for one in (*v.alerts, *v.escalations))
            + tuple(a.id for a in alerts),
            decided=any(verdict.match.code is None for verdict in verdicts)
            or (old is not None and old.record is not None and old.record.decided),
        )
        verdicts = [replace(v, alerts=_of(v.alerts, record), escalations=_of(v.escalations, record)) for v in verdicts]
        outcome = Outcome(state=State.SUCCESS, record=record, alerts=_of(alerts, record), verdicts=tuple(verdicts))
        self._settle(key, outcome, ledger, owner)

    def _settle(self, key: str, outcome: Outcome, ledger: Ledger, owner: str) -> None:
        ledger.mark([Mark(stage=STAGE, key=key)])
        (claim,) = ledger.claim(STAGE, owner, 1, LEASE_S, keys=[key])
        (answer,) = ledger.commit([(claim, outcome)])
        assert answer.value == "done"

    # --- what happens between pictures --------------------------------------------------------------------------------

    def _delete(self, key: str, ledger: Ledger, owner: str) -> Iterator[dict[str, Any]]:
        before = _decisions(ledger, key)
        if key in self._shown:
            del self._shown[key]
            self._settle(key, Outcome(state=State.RETRACTED), ledger, owner)
        for name, made in before.items():
            if not made.kept.withdrawn:
                now = _decisions(ledger, key).get(name)
                assert now is None or now.kept.withdrawn
                yield {"key": key, "rule": name, "code": "withdrawn", "was": made.kept.code}

    def _silence(self, line: SilenceLine | UnsilenceLine, ledger: Ledger) -> None:
        def change(unit: deciding.PolicyUnit) -> None:
            kept = {one.id: one for one in deciding.silences(unit)}
            if isinstance(line, UnsilenceLine):
                kept[line.id] = replace(kept[line.id], ended_at_s=line.at_s)
            else:
                kept[line.id] = Silence(
                    id=line.id,
                    from_s=line.from_s,
                    until_s=line.until_s,
                    rule=line.rule,
                    devices=tuple(line.devices),
                    by=line.by,
                )
            deciding.put_silences(unit, kept.values())

        ledger.amend_policy(change)

    def _acknowledge(self, line: AckLine, ledger: Ledger, owner: str) -> None:
        user, _, name = line.rule.partition("|")
        made = _decisions(ledger, line.key)[line.rule]
        if line.op == "dead":
            found = list(ledger.alerts(ids=made.alerts))
            waiting = [alert.id for alert in found if alert.state is AlertState.PENDING and _is_of_event(alert)]
            ledger.claim_alerts(owner, len(waiting), 1e12, waiting)
            ends = {id_: Delivered(state=AlertState.DEAD, error="refused") for id_ in waiting}
            ledger.settle_alerts(owner, ends, line.at_s)
            return
        about = AlertDraft(
            user=user,
            rule=name,
            picture_key=line.key,
            picture_sha256="",
            sender="",
            recipient="",
            evidence="",
        )
        alert = Alert(
            id="",
            draft=about,
            evidence=ref(BUCKET, "x"),
            datum_hash="",
            run="",
            code="",
            created_at_s=0.0,
            state=AlertState.SENT,
            place=made.kept.place,
        )
        ledger.amend_policy(lambda unit: deciding.acknowledge(unit, alert, line.by, line.at_s))

    # --- alerts ------------------------------------------------------------------------------------------------------

    def alerts(self) -> dict[str, tuple[str, list[str]]]:
        """State and pictures of each alert, by the name that the simulation gives it."""
        with closing(self._open(self.clock)) as ledger:
            found = list(ledger.alerts())
        named: dict[str, tuple[str, list[str]]] = {}
        together: dict[str, list[Alert]] = {}
        for alert in found:
            rule = f"{alert.draft.user}|{alert.draft.rule}"
            if alert.summary is None:
                kind = "escalation" if alert.draft.escalates else "event"
                named[f"{kind}:{rule}|{alert.draft.picture_key}"] = (_plain(alert.state), [])
            else:
                kind, _, rest = alert.summary.partition("|")
                place_and_name = rest.partition("]|")[2]
                name = place_and_name if kind == "summary" else place_and_name.partition("|")[2]
                together.setdefault(f"{kind}:{rule}|{name}", []).append(alert)
        for name, alerts in together.items():
            listed = {a.draft.picture_key: _plain(a.state) for a in alerts if a.state is not AlertState.CANCELED}
            states = set(listed.values()) or {"canceled"}
            assert len(states) == 1, (name, listed)
            named[name] = (states.pop(), sorted(listed))
        return named


def _is_of_event(alert: Alert) -> bool:
    return alert.summary is None and not alert.draft.escalates


def _plain(state: AlertState) -> str:
    return state.value


def _of(alerts: Iterable[Alert], record: Record) -> tuple[Alert, ...]:
    return tuple(replace(alert, datum_hash=record.hash) for alert in alerts)


def _decisions(ledger: Ledger, key: str) -> dict[str, PictureDecision]:
    found = (codec.decisions_from_json(text) for _, text in ledger.policy_texts(deciding.DECISIONS, [key]))
    return {"|".join(one.rule): one for some in found for one in some}
