"""Answers about an alert: the pictures of its event, what was held back by it, and what ended the event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lookout.domain.policy import codec
from lookout.domain.policy.records import Policy, RuleId
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Alert, JsonObject
from lookout.ledger.port import Ledger
from lookout.ledger.rules.decisions import GROUP, rule_text
from stages.reason_codes.sentences import Seen, sentence_of
from stages.reason_codes.words import duration, moment
from stages.threat_detect.explain.gathering import kept_decisions
from stages.threat_detect.explain.rule_files import RuleFiles
from stages.threat_detect.rules.version2.rule import Rule2


@dataclass(frozen=True, slots=True)
class _Picture:
    key: str
    made: PictureDecision

    @property
    def at_s(self) -> float:
        return self.made.kept.at_s

    @property
    def event(self) -> str | None:
        event = self.made.numbers.get("event")
        return event if isinstance(event, str) else None

    @property
    def told_by(self) -> str | None:
        by = self.made.numbers.get("told_by")
        return by if isinstance(by, str) else None


def event_of(ledger: Ledger, files: RuleFiles, alert: Alert) -> JsonObject:
    """Return what an alert stands for: ``alert``, ``rule``, ``place``, ``key``, ``event`` (the picture that opened it),
    ``pictures`` of the event and ``held_back`` by the alert (each with ``key``, ``t``, ``code``, ``sentence``), and
    ``ended``, a sentence. An alert of a rule of version 1 stands for its picture alone."""
    draft = alert.draft
    rule: RuleId = (draft.user, draft.rule)
    about: JsonObject = {"alert": alert.id, "rule": list(rule), "place": alert.place, "key": draft.picture_key}
    if alert.place is None:
        ended = "It stands for this picture alone: a rule of version 1 tells each picture that matches."
        return {**about, "event": None, "pictures": [], "held_back": [], "ended": ended}
    some = sorted(_of_group(ledger, rule, alert.place), key=lambda one: (one.at_s, one.key))
    own = next((one for one in some if one.key == draft.picture_key), None)
    event = None if own is None else own.event
    inside = [one for one in some if event is not None and one.event == event]
    held = [one for one in some if one.told_by == draft.picture_key and one not in inside]
    found = None if own is None else _find_rule(files, own.made)
    return {
        **about,
        "event": event,
        "pictures": [_plain(one, found) for one in inside or ([] if own is None else [own])],
        "held_back": [_plain(one, found) for one in held],
        "ended": _ended(ledger, rule, alert.place, inside, some, found),
    }


def _of_group(ledger: Ledger, rule: RuleId, place: str) -> Iterator[_Picture]:
    for key, some in kept_decisions(ledger):
        for made in some:
            if made.rule == rule and made.kept.place == place:
                yield _Picture(key, made)


def _find_rule(files: RuleFiles, made: PictureDecision) -> Rule2 | None:
    entries = files.find(made.rule_sha256) or ()
    return next((one.rule for one in entries if one.rule.identity == made.rule), None)


def _plain(one: _Picture, rule: Rule2 | None) -> JsonObject:
    kept = one.made.kept
    seen = Seen(key=one.key, device="", at_s=kept.at_s, rule=rule)
    text = sentence_of(kept.code, one.made.numbers, seen)
    return {"key": one.key, "t": kept.at_s, "code": kept.code, "withdrawn": kept.withdrawn, "sentence": text}


def _ended(
    ledger: Ledger,
    rule: RuleId,
    place: str,
    inside: Sequence[_Picture],
    some: Sequence[_Picture],
    found: Rule2 | None,
) -> str:
    if not inside:
        return "It is of no event: its picture came late, or the ledger keeps no decision on it any more."
    last = inside[-1]
    policy = _policy(ledger, rule, place) if found is None else found.policy
    pause = "" if policy is None else f" for {duration(policy.gap_s)}"
    zone = Seen(key="", device="", at_s=0.0, rule=found).zone
    text = f"The last picture of its event is {last.key}, on {moment(last.at_s, zone)}"
    following = next((one for one in some if one.at_s > last.at_s and one.event not in (None, last.event)), None)
    if following is None:
        return f"{text}; the event ends when nothing matches{pause}."
    return f"{text}; nothing matched{pause} after it. The next event began with {following.key}, on " + (
        f"{moment(following.at_s, zone)}."
    )


def _policy(ledger: Ledger, rule: RuleId, place: str) -> Policy | None:
    for (_, _, found), text in ledger.policy_texts(GROUP, [rule_text(rule)]):
        if found == place:
            return codec.kept_group_from_json(text).policy
    return None
