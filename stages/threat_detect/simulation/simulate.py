"""The run of a simulation: each line is decided by the rules in force, and what is due leaves between the lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lookout.domain.errors import InputRejected
from lookout.domain.policy import taking_back
from lookout.domain.policy.decide import Given, decide, sighted
from lookout.domain.policy.events import cancel_told
from lookout.domain.policy.records import Code, Kept, Kind, Match, Put, Silence
from lookout.domain.policy.summaries import settle
from lookout.domain.records import JsonObject
from stages.threat_detect.rules.version2.matching import Picture, judge
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
from stages.threat_detect.simulation.rulebook import Entry, Rulebook, rulebook_of
from stages.threat_detect.simulation.store import Store


def simulate(
    rulebook: Rulebook, lines: Iterable[bytes], name: str, threshold: float, note: Callable[[str], None]
) -> Iterator[JsonObject]:
    """Give one object a decision, as lines come, and at the end one an alert. ``note`` takes sentences about rules.

    Raises InputRejected for a line that cannot be used, naming it.
    """
    store = Store()
    try:
        simulation = Simulation(rulebook, store, threshold, note)
        for where, line in read_lines(lines, name):
            yield from simulation.take(line, where)
        yield from store.alerts()
    finally:
        store.close()


class Simulation:
    """One simulation: the rules in force, the silences, and whether mail can leave. All else is in the store."""

    def __init__(self, rulebook: Rulebook, store: Store, threshold: float, note: Callable[[str], None]) -> None:
        self._rules, self._store, self._threshold, self._note = rulebook.entries, store, threshold, note
        self._silences: dict[str, Silence] = {}
        self._mail_is_up = True
        for sentence in rulebook.notes:
            note(sentence)

    def take(self, line: Line, where: str) -> Iterator[JsonObject]:
        """Give the decisions of one line. What is due leaves before it, and after it what it made due."""
        self._let_leave(line.at_s)
        match line:
            case PictureLine():
                yield from self._picture(line.picture(self._threshold), line.at_s)
            case DeleteLine():
                yield from self._delete(line.key)
            case RulesLine():
                self._replace_rules(line, where)
            case SilenceLine():
                self._silence(line)
            case UnsilenceLine():
                self._unsilence(line, where)
            case AckLine():
                self._acknowledge(line, where)
            case TickLine():
                self._mail_is_up = self._mail_is_up if line.up is None else line.up
        self._let_leave(line.at_s)

    def _let_leave(self, now_s: float) -> None:
        for rule, place in self._store.due_summaries(now_s):
            policy = self._rules[rule].rule.policy
            group, changes = settle(policy, self._store.group(rule, place), place, now_s)
            self._store.put_group(rule, place, group)
            self._store.apply(rule, place, changes)
        if self._mail_is_up:
            self._store.send_due(now_s)

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _picture(self, picture: Picture, now_s: float) -> Iterator[JsonObject]:
        for rule, entry in self._rules.items():
            match = judge(entry.file, entry.rule, picture)
            if entry.each:
                line = self._each(rule, match, now_s)
            elif match.code is not None:
                line = self._unmatched(rule, entry, match, now_s)
            else:
                line = self._decide(rule, entry, match, now_s)
            yield {"key": picture.key, "rule": rule, **line}

    def _decide(self, rule: str, entry: Entry, match: Match, now_s: float) -> JsonObject:
        given = Given(
            group=self._store.group(rule, match.place),
            sightings=self._store.sightings(rule, match.device),
            silences=tuple(self._silences.values()),
            kept=self._store.kept(match.key, rule),
            has_alert=self._has_alert(rule, match.key),
        )
        decided, sightings = decide(entry.rule.policy, match, given, now_s)
        if decided.decision.kept is not None:
            self._store.put_group(rule, match.place, decided.group)
            self._store.put_kept(match.key, rule, decided.decision.kept)
            self._store.apply(rule, match.place, decided.changes)
        if sightings is not given.sightings:
            self._store.put_sightings(rule, match.device, sightings)
        return {"code": decided.decision.code, **decided.decision.numbers}

    def _unmatched(self, rule: str, entry: Entry, match: Match, now_s: float) -> JsonObject:
        kept = self._store.kept(match.key, rule)
        if kept is not None and not kept.withdrawn:
            return self._withdraw(rule, match.key, kept)
        before = self._store.sightings(rule, match.device)
        sightings = before if kept is not None else sighted(entry.rule.policy, match, before, now_s)
        if sightings is not before:
            self._store.put_sightings(rule, match.device, sightings)
        return {"code": match.code, **match.numbers}

    def _withdraw(self, rule: str, key: str, kept: Kept) -> JsonObject:
        done = taking_back.withdraw(self._store.group(rule, kept.place), key, kept, self._store.has_left(rule))
        self._store.put_group(rule, kept.place, done.group)
        self._store.put_kept(key, rule, done.decision.kept)
        self._store.apply(rule, kept.place, done.changes)
        return {"code": done.decision.code, **done.decision.numbers}

    def _each(self, rule: str, match: Match, now_s: float) -> JsonObject:
        """Tell each match, as version 1 does."""
        if match.code is not None:
            self._store.apply(rule, match.place, cancel_told(match.key))
            return {"code": match.code, **match.numbers}
        if self._has_alert(rule, match.key):
            return {"code": Code.TOLD_BEFORE}
        self._store.apply(rule, match.place, [Put(kind=Kind.EVENT, name=match.key, due_s=now_s)])
        return {"code": Code.SENT}

    def _has_alert(self, rule: str, key: str) -> bool:
        return self._store.state(rule, Kind.EVENT, key) not in (None, "canceled")

    # --- what happens between pictures --------------------------------------------------------------------------------

    def _delete(self, key: str) -> Iterator[JsonObject]:
        for rule, kept in self._store.all_kept(key):
            if not kept.withdrawn:
                yield {"key": key, "rule": rule, **self._withdraw(rule, key, kept)}
        for rule, entry in self._rules.items():
            if entry.each:
                self._store.apply(rule, "", cancel_told(key))

    def _replace_rules(self, line: RulesLine, where: str) -> None:
        try:
            rulebook = rulebook_of({"rules.json": line.doc}, "doc")
        except InputRejected as exc:
            raise exc.within(where) from exc
        for sentence in rulebook.notes:
            self._note(f"{where}: {sentence}")
        for rule in self._rules.keys() - rulebook.entries.keys():
            for place in self._store.places(rule):
                group = self._store.group(rule, place)
                group, changes = taking_back.rule_gone(group, place, self._store.has_left(rule))
                self._store.put_group(rule, place, group)
                self._store.apply(rule, place, changes)
            self._store.cancel_all(rule)
        self._rules = rulebook.entries

    def _silence(self, line: SilenceLine) -> None:
        self._silences[line.id] = Silence(
            id=line.id,
            from_s=line.from_s,
            until_s=line.until_s,
            rule=line.rule,
            devices=tuple(line.devices),
            by=line.by,
        )

    def _unsilence(self, line: UnsilenceLine, where: str) -> None:
        if line.id not in self._silences:
            raise InputRejected(f"there is no silence {line.id!r}", where)
        self._silences[line.id] = replace(self._silences[line.id], ended_at_s=line.at_s)

    def _acknowledge(self, line: AckLine, where: str) -> None:
        kept = self._store.kept(line.key, line.rule)
        if kept is None:
            raise InputRejected(f"the rule {line.rule!r} has no decision on {line.key!r}", where)
        group = self._store.group(line.rule, kept.place)
        if line.op == "dead":
            self._store.refuse(line.rule, line.key)
            self._store.put_group(line.rule, kept.place, taking_back.refused(group, line.key))
            return
        group, changes = taking_back.acknowledge(group, line.key, line.by)
        self._store.put_group(line.rule, kept.place, group)
        self._store.apply(line.rule, kept.place, changes)
