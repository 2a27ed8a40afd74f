"""Answers of the rules on one picture: reason code, numbers, a sentence, each object, and what became of the alerts.

A rule's decision is the ledger's. Without one, the match is made again by the rule file that threat-detect has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.domain.policy.records import RuleId
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Alert, AlertState, Json, JsonObject
from stages.reason_codes.sentences import MATCHES, Seen, sentence_of
from stages.reason_codes.words import moment
from stages.threat_detect.explain.gathering import PictureFacts
from stages.threat_detect.explain.rule_files import FileRef, RuleFiles
from stages.threat_detect.rules.version2.matching import Miss, Picture, judge, misses
from stages.threat_detect.simulation.rulebook import Entry

_NO_PICTURE: Final = Picture(key="", device="", captured_at_s=0.0, received_at_s=0.0, things=(), threshold=0.0)
_INNER: Final = frozenset({"place", "n", "t", "d", "seen"})
"""Numbers of a decision that are the same for each code, and shown by themselves."""


@dataclass(frozen=True, slots=True)
class RuleOf:
    """One rule with the file that has it."""

    file: FileRef
    entry: Entry


def rules_of(files: RuleFiles, facts: PictureFacts) -> tuple[list[RuleOf], list[str]]:
    """Return the rules that apply to a picture: of the files that threat-detect has read, and of those in force that do
    not name its device; and a sentence for each file that is not kept any more."""
    names = {file.name for file in facts.files}
    others = [file for file in files.in_force() if file.name not in names]
    rules: list[RuleOf] = []
    notes: list[str] = []
    taken: set[RuleId] = set()
    for file in [*facts.files, *others]:
        entries = files.entries(file)
        if entries is None:
            notes.append(f"The rule file {file.name} with sha256 {file.ref.sha256[:16]} is not kept any more.")
            continue
        new = [one for one in entries if one.rule.identity not in taken]
        taken.update(one.rule.identity for one in new)
        rules += [RuleOf(file, one) for one in new]
    return rules, notes


def answers(facts: PictureFacts, rules: Sequence[RuleOf], only: str | None = None) -> Iterator[JsonObject]:
    """Yield one object a rule (of this name, or ``user|name``, if given): ``rule``, ``file``, ``code``, ``sentence``,
    ``numbers``, ``objects`` and ``alerts``. A rule that is gone but has decided on the picture is there too."""
    known = set()
    for one in rules:
        known.add(one.entry.rule.identity)
        if is_named(one.entry.rule.identity, only):
            yield _answer(facts, one)
    for rule, decision in facts.decisions.items():
        if rule not in known and is_named(rule, only):
            seen = Seen(key=facts.key, device=facts.device or "", at_s=decision.kept.at_s)
            yield {**_decided(facts, decision, seen), "file": None, "version": 2, "objects": []}


def is_named(rule: RuleId, only: str | None) -> bool:
    """Tell whether a rule is meant by its name, or by ``user|name``; None means all."""
    return only is None or only in (rule[1], "|".join(rule))


def _answer(facts: PictureFacts, one: RuleOf) -> JsonObject:
    rule, decision = one.entry.rule, facts.decisions.get(one.entry.rule.identity)
    picture = facts.picture or _NO_PICTURE
    match = judge(one.entry.file, rule, picture)
    seen = Seen(
        key=facts.key,
        device=picture.device or facts.device or "",
        at_s=match.at_s if decision is None else decision.kept.at_s,
        rule=rule,
        each=one.entry.each,
        threshold=None if facts.found is None else facts.found.threshold,
    )
    about: JsonObject = {
        "file": one.file.name,
        "version": 1 if one.entry.each else 2,
        "objects": _objects(one.entry, picture, seen),
    }
    if decision is not None:
        return {**_decided(facts, decision, seen), **about}
    numbers = dict(match.numbers) if match.clock is None else {**match.numbers, "clock": match.clock}
    alerts = [alert for alert in facts.alerts if (alert.draft.user, alert.draft.rule) == rule.identity]
    code = match.code or _told(one.entry, alerts)
    return {
        "rule": list(rule.identity),
        "code": code,
        "sentence": sentence_of(code, numbers, seen),
        "numbers": numbers,
        "t": match.at_s,
        "alerts": [_alert(alert, seen) for alert in alerts],
        **about,
    }


def _told(entry: Entry, alerts: Sequence[Alert]) -> str:
    """Return the code of a match on which there is no decision."""
    if entry.each:
        return "sent" if alerts or not entry.rule.recipients else MATCHES
    return "told_before" if any(alert.state is not AlertState.CANCELED for alert in alerts) else MATCHES


def _decided(facts: PictureFacts, decision: PictureDecision, seen: Seen) -> JsonObject:
    kept = decision.kept
    numbers: JsonObject = {name: value for name, value in decision.numbers.items() if name not in _INNER}
    code, sentence = kept.code, sentence_of(kept.code, numbers, seen)
    if kept.withdrawn:
        code, numbers = "withdrawn", {**numbers, "was": kept.code}
        sentence = f"{sentence_of(code, numbers, seen)} {sentence}"
    return {
        "rule": list(decision.rule),
        "code": code,
        "sentence": sentence,
        "numbers": numbers,
        "t": kept.at_s,
        "d": kept.decided_s,
        "place": kept.place,
        "n": decision.numbers.get("n"),
        "seen": decision.numbers.get("seen"),
        "rule_sha256": decision.rule_sha256,
        "alerts": [_alert(alert, seen) for alert in facts.alerts if alert.id in decision.alerts],
    }


def _objects(entry: Entry, picture: Picture, seen: Seen) -> list[Json]:
    """Return each object with the code, numbers and sentence by which it does not matter; code None for one that
    matters."""
    return [
        {"class": thing.label, "score": thing.score, "box": list(thing.box), **_object(miss, seen)}
        for thing, miss in zip(picture.things, misses(entry.rule, picture), strict=True)
    ]


def _object(miss: Miss | None, seen: Seen) -> JsonObject:
    if miss is None:
        return {"code": None, "numbers": {}, "sentence": "It matters."}
    if miss.code == "no_wanted_class":
        return {"code": miss.code, "numbers": {}, "sentence": "The rule does not want its class."}
    return {"code": miss.code, "numbers": miss.numbers, "sentence": sentence_of(miss.code, miss.numbers, seen)}


def _alert(alert: Alert, seen: Seen) -> JsonObject:
    return {
        "id": alert.id,
        "to": alert.draft.recipient,
        "state": alert.state.value,
        "settled_at_s": alert.settled_at_s,
        "due_at_s": alert.due_at_s,
        "summary": alert.summary,
        "error": alert.error,
        "sentence": _alert_sentence(alert, seen),
    }


def _alert_sentence(alert: Alert, seen: Seen) -> str:
    kind = "Escalation" if alert.draft.escalates else "Alert" if alert.summary is None else "On a summary: alert"
    name = f"{kind} {alert.id[:12]} for {alert.draft.recipient}"
    ended = "" if alert.settled_at_s is None else f" on {moment(alert.settled_at_s, seen.zone)}"
    error = f": {alert.error}" if alert.error else ""
    if alert.state in (AlertState.PENDING, AlertState.UNKNOWN):
        due = f", due on {moment(alert.due_at_s, seen.zone)}" if alert.due_at_s else ""
        return f"{name}: {alert.state.value}{due}{error}"
    return f"{name}: {alert.state.value}{ended}{error}"
