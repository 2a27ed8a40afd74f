"""Rules of all versions as a simulation applies them; those of version 1 and of the original form tell each match."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from lookout.domain.errors import InputRejected
from lookout.domain.policy.records import Policy
from lookout.filesystem.files import failure, read_named
from stages.strict_json import MAX_BYTES, printable, read
from stages.threat_detect.rules import rules as version1
from stages.threat_detect.rules.classes import ClassRef
from stages.threat_detect.rules.version2.reading import check_rules_of_a_device, parse_tree
from stages.threat_detect.rules.version2.rule import MailChannel, Rule2, RuleFile2, Wanted
from stages.threat_detect.rules.version2.spans import WallClock
from stages.time_zones import find_zone

SENDER: Final = "lookout@example.com"
_NO_POLICY: Final = Policy(
    gap_s=0, again_s=None, cooldown_s=0, reorder_s=0, late_after_s=float("inf"), late_action="send"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule with its file. ``each`` is set if each match is told, as by version 1."""

    file: RuleFile2
    rule: Rule2
    each: bool

    @property
    def name(self) -> str:
        """User and name as the simulation shows them."""
        return "|".join(self.rule.identity)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Rules by their names, in the order of files and of rules in them, and notes on what is doubtful."""

    entries: Mapping[str, Entry]
    notes: tuple[str, ...]


def find_files(path: Path) -> list[Path]:
    """Return a rule file, or all rule files in a folder; notes and hidden files are left out. Raises InputRejected for
    a path that cannot be read."""
    try:
        if not path.is_dir():
            return [path]
        found = (one for one in path.iterdir() if one.exists() and not one.is_dir())
        return sorted(one for one in found if not version1.is_note(one.name))
    except OSError as exc:
        raise failure(str(path), exc) from exc


def read_file(path: Path) -> bytes:
    """Read a rule file. Raises InputRejected for one that cannot be one: a pipe, or one that is too large."""
    try:
        return read_named(path, MAX_BYTES)
    except OSError as exc:
        raise failure(str(path), exc) from exc


def read_rules(name: str, tree: object, *, trial: bool) -> tuple[list[Entry], tuple[str, ...]]:
    """Return the rules of a document of any version, and notes on it. Raises InputRejected."""
    tree, notes = _with_senders(tree) if trial else (tree, ())
    try:
        if isinstance(tree, dict) and tree.get("version") == version1.NEXT_VERSION:
            file = parse_tree(tree, trial=trial)
            return [Entry(file, rule, each=False) for rule in file.rules], (*notes, *file.notes)
    except InputRejected as exc:
        raise exc.within(printable(name)) from exc
    rules = version1.parse(name, json.dumps(tree).encode())
    file = RuleFile2(sites={}, clocks=(), rules=tuple(_as_version2(rule) for rule in rules), notes=())
    return [Entry(file, rule, each=True) for rule in file.rules], notes


def open_rulebook(path: Path) -> Rulebook:
    """Return the rules at a path, for a trial. Raises InputRejected, with a sentence, for what cannot be used."""
    return rulebook_of({one.name: read_tree(one.name, read_file(one)) for one in find_files(path)}, str(path))


def rulebook_of(trees: Mapping[str, object], where: str) -> Rulebook:
    """Return the rules of documents by their names, for a trial. Raises InputRejected."""
    entries: dict[str, Entry] = {}
    notes: list[str] = []
    for name, tree in trees.items():
        found, said = read_rules(name, tree, trial=True)
        notes += (f"{printable(name)}: {one}" for one in said)
        for entry in found:
            if entries.setdefault(entry.name, entry) is not entry:
                raise InputRejected(f"another file has a rule {entry.name!r} too", printable(name))
    if not entries:
        raise InputRejected("no rule file in it", where)
    check_rules_of_a_device([entry.rule for entry in entries.values() if not entry.each])
    return Rulebook(entries, tuple(notes))


def read_tree(name: str, data: bytes) -> object:
    """Return the document in a rule file. Raises InputRejected for one that is not JSON or has another name."""
    if not name.lower().endswith(".json"):
        raise InputRejected("a rule file is JSON and its name ends with .json", printable(name))
    try:
        return read(data)
    except InputRejected as exc:
        raise exc.within(printable(name)) from exc


def _with_senders(tree: object) -> tuple[object, tuple[str, ...]]:
    """Return the document with a sender in rules that name none: a simulation sends nothing."""
    if isinstance(tree, dict) and "threat_classes" in tree and "from_email" not in tree:
        return {**tree, "from_email": SENDER}, ("from_email: this field is missing; no mail could leave",)
    rules = tree.get("rules") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(rules, list):
        return tree, ()
    without = [
        number for number, rule in enumerate(rules) if isinstance(rule, dict) and not {"from", "channels"} & rule.keys()
    ]
    filled: list[Any] = [{**rule, "from": SENDER} if number in without else rule for number, rule in enumerate(rules)]
    notes = tuple(f"rules[{number}].from: this field is missing; no mail could leave" for number in without)
    return {**tree, "rules": filled}, notes


def _as_version2(rule: version1.Rule) -> Rule2:
    return Rule2(
        name=rule.name,
        user=rule.user,
        devices=rule.devices,
        wanted=tuple(
            Wanted(
                of_class=ClassRef(one.class_id, one.label), min_score=one.min_score, min_area=one.min_area, max_area=1.0
            )
            for one in rule.wanted
        ),
        count=1,
        zones=(),
        clock=WallClock(zone=find_zone(rule.timezone) or ZoneInfo("UTC")),
        schedule=None,
        quiet=(),
        digest_s=(),
        severity="warning",
        group="device",
        static_classes=(),
        channels=(MailChannel(sender=rule.sender, recipients=rule.recipients),),
        escalate_to=(),
        policy=_NO_POLICY,
    )
