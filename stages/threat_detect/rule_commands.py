"""Work of the commands ``lookout rules``: check rule files, simulate them on a list of pictures, give their schema."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject
from lookout.filesystem.files import failure, open_named
from stages.strict_json import printable
from stages.threat_detect.rules.version2.reading import check_rules_of_a_device, schema_text
from stages.threat_detect.simulation.rulebook import Entry, find_files, open_rulebook, read_file, read_rules, read_tree
from stages.threat_detect.simulation.simulate import simulate


class RuleCommands:
    """Commands on rule files; they need no state."""

    def check(self, path: Path) -> Iterator[JsonObject]:
        """Give one object a file: its ``version`` (None for the original form), ``rules`` and ``notes``, or the
        ``reason`` why it is refused. Raises InputRejected for a path that cannot be read or has no rule file."""
        entries: dict[str, tuple[str, Entry]] = {}
        files = find_files(path)
        for file in files:
            try:
                yield _checked(file.name, read_file(file), entries)
            except InputRejected as exc:
                yield {"file": file.name, "reason": str(exc)}
        if not files:
            raise InputRejected("no rule file in it", printable(str(path)))
        try:
            check_rules_of_a_device([entry.rule for _, entry in entries.values() if not entry.each])
        except InputRejected as exc:
            yield {"file": str(path), "reason": f"{printable(str(path))}: {exc.what}"}

    def simulate(
        self, rules: Path, events: Path, threshold: float, note: Callable[[str], None]
    ) -> Iterator[JsonObject]:
        """Give the decisions on the pictures of a file of JSON lines, or of stdin for ``-``, and then the alerts."""
        rulebook = open_rulebook(rules)
        if str(events) == "-":
            yield from simulate(rulebook, sys.stdin.buffer, "stdin", threshold, note)
            return
        try:
            file = os.fdopen(open_named(events, "- reads the pictures from stdin")[0], "rb")
        except OSError as exc:
            raise failure(str(events), exc) from exc
        with file:
            yield from simulate(rulebook, _read(file, events), str(events), threshold, note)

    def schema(self) -> str:
        """Return the JSON Schema of rule files of version 2."""
        return schema_text()


def _read(file: Iterable[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as exc:
        raise failure(str(path), exc) from exc


def _checked(name: str, data: bytes, before: dict[str, tuple[str, Entry]]) -> JsonObject:
    tree = read_tree(name, data)
    entries, notes = read_rules(name, tree, trial=False)
    for number, entry in enumerate(entries):
        if entry.name in before:
            user, rule = entry.rule.identity
            what = f"user {user!r} has a rule {rule!r} in {printable(before[entry.name][0])} too"
            raise InputRejected(what, f"{printable(name)}: rules[{number}].name")
    before.update({entry.name: (name, entry) for entry in entries})
    version = tree.get("version", 1) if isinstance(tree, dict) and "rules" in tree else None
    rules: list[JsonObject] = [
        {
            "user": entry.rule.user,
            "name": entry.rule.name,
            "devices": list(entry.rule.devices),
            "channels": list(entry.rule.other_channels),
        }
        for entry in entries
    ]
    return {"file": name, "version": version, "rules": rules, "notes": list(notes)}
