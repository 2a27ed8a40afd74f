"""Explanations of pictures: each stage's decision, each rule's, and what became of the alerts. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.records import Json, JsonObject
from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectReader
from stages.threat_detect.explain import rule_answers, stage_answers
from stages.threat_detect.explain.choosing import Chosen, keys_of_device
from stages.threat_detect.explain.event_answers import event_of
from stages.threat_detect.explain.gathering import THREAT_DETECT, PictureFacts, gather_facts, kept_decisions
from stages.threat_detect.explain.rule_files import RuleFiles
from stages.threat_detect.simulation.rulebook import Entry

_HINT = "keys look like porch_1763798400.jpg; lookout ls images lists them"


class Explainer:
    """Explainer over one ledger and its store."""

    def __init__(self, ledger: Ledger, store: ObjectReader) -> None:
        self._ledger, self._store, self._files = ledger, store, RuleFiles(ledger, store)

    def photo(self, key: str, rule: str | None = None) -> JsonObject:
        """Return what each stage, and each rule (or the one of this name), decided on a picture: ``key``, ``device``,
        ``sha256``, ``captured_at_s``, ``stages``, ``rules`` and ``notes``.

        Raises InputRejected for a picture that the ledger does not know, and for a rule that no file has.
        """
        facts = self._facts(key)
        rules, notes = rule_answers.rules_of(self._files, facts)
        answers = list(rule_answers.answers(facts, rules, rule))
        if rule is not None and not answers:
            raise _no_rule(rule, [one.entry.rule.name for one in rules])
        judged = facts.found is not None
        return {
            "key": facts.key,
            "device": facts.device,
            "sha256": None if facts.seen is None or facts.seen.ref is None else facts.seen.ref.sha256,
            "captured_at_s": facts.found.captured_at_s if facts.found is not None else _at_s(facts),
            "stages": list(stage_answers.answers(facts)),
            "rules": [one for one in answers if judged or one.get("n") is not None],
            "notes": notes if facts.missing is None else [*notes, f"Not all can be said: {facts.missing}."],
        }

    def drawn(self, key: str, rule: str | None = None) -> bytes:
        """Return the photograph as JPEG, without EXIF data, with the zones and all boxes, and below it each rule with
        its code. Raises InputRejected for a picture that is not there or on which nothing was detected."""
        facts = self._facts(key)
        picture = facts.picture
        if picture is None:
            raise InputRejected("nothing was detected on it", key, facts.missing or "explain it without --picture")
        rules, _ = rule_answers.rules_of(self._files, facts)
        chosen = [one for one in rules if rule_answers.is_named(one.entry.rule.identity, rule)]
        answers = list(rule_answers.answers(facts, chosen, rule))
        codes = [(_name(one), one["code"]) for one in answers if one["code"] != "other_device"]
        from stages.imaging.annotate import encode_jpeg  # OpenCV: only a drawing pays for it
        from stages.threat_detect.simulation.drawing import draw

        entries: list[Entry] = [one.entry for one in chosen]
        return encode_jpeg(draw(self._bytes(facts), picture, entries, codes, reasons=True))

    def of_device(
        self, device: str, since_s: float | None, until_s: float | None, rule: str | None = None
    ) -> Iterator[JsonObject]:
        """Yield one object a picture of a device that was taken from the one time on and before the other, in the order
        of time: ``key``, ``at_s``, ``stage`` (the last that came to it), ``state``, ``sentence``, and ``rules`` with
        ``rule``, ``code``, ``sentence`` and ``numbers`` each. Raises InputRejected for an unknown device."""
        if rule is not None:
            self._check_rule(rule)
        chosen = Chosen(device=device, since_s=since_s, until_s=until_s)
        for facts in gather_facts(self._ledger, self._store, keys_of_device(self._ledger, chosen)):
            rules, _ = rule_answers.rules_of(self._files, facts)
            shown: list[Json] = [
                {name: one[name] for name in ("rule", "code", "sentence", "numbers")}
                for one in rule_answers.answers(facts, rules, rule)
                if facts.found is not None and one["code"] != "other_device"
            ]
            *_, last = (one for one in stage_answers.answers(facts) if one["state"] is not None)
            yield {
                "key": facts.key,
                "at_s": facts.found.captured_at_s if facts.found is not None else _at_s(facts),
                "stage": last["stage"],
                "state": last["state"],
                "sentence": last["sentence"],
                "rules": shown,
            }

    def of_alert(self, start: str) -> JsonObject:
        """Return what an alert, named by its id or a unique beginning of it, stands for; see ``event_of``. Raises
        InputRejected for one that is not there or not unique."""
        exact = list(self._ledger.alerts(ids=[start]))
        found = exact or list(islice((one for one in self._ledger.alerts() if one.id.startswith(start)), 2))
        if len(found) != 1:
            what = "more than one alert begins so" if found else "there is no such alert"
            raise InputRejected(what, start, "lookout alerts list names them")
        return event_of(self._ledger, self._files, found[0])

    def _facts(self, key: str) -> PictureFacts:
        (facts,) = gather_facts(self._ledger, self._store, [key])
        if facts.seen is None and not facts.slots:
            raise InputRejected("the ledger knows no such picture", key, _HINT)
        return facts

    def _check_rule(self, rule: str) -> None:
        """Raise InputRejected unless a rule of this name is in force, or has decided before."""
        entries = [entry for file in self._files.in_force() for entry in self._files.entries(file) or ()]
        in_force = [entry.rule.identity for entry in entries]
        decided = (one.rule for _, made in kept_decisions(self._ledger) for one in made)
        if not any(rule_answers.is_named(one, rule) for one in chain(in_force, decided)):
            raise _no_rule(rule, [name for _, name in in_force])

    def _bytes(self, facts: PictureFacts) -> bytes:
        record = facts.slots[THREAT_DETECT].record if THREAT_DETECT in facts.slots else None
        inputs = () if record is None else record.inputs
        refs = [item.ref for item in inputs if item.role == "picture"]
        if facts.seen is not None and facts.seen.ref is not None:
            refs.append(facts.seen.ref)
        for ref in refs:
            if facts.found is not None and ref.sha256 == facts.found.image.sha256:
                try:
                    return self._store.get(ref)
                except (ObjectMissing, ObjectChanged):
                    continue
        raise InputRejected("the picture is not kept any more", facts.key, "explain it without --picture")


def _no_rule(rule: str, known: list[str]) -> InputRejected:
    return InputRejected("no rule has this name", rule, f"rules in force: {', '.join(sorted(set(known))) or 'none'}")


def _name(answer: Mapping[str, Any]) -> str:
    return str(answer["rule"][1])


def _at_s(facts: PictureFacts) -> float | None:
    times = [slot.record.at_s for slot in facts.slots.values() if slot.record is not None]
    return next((at_s for at_s in times if at_s is not None), None)
