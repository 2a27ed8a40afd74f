"""Rule files by their digest: as they were when a picture was judged, from the objects that the ledger names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from lookout.domain.errors import ObjectChanged, ObjectMissing
from lookout.domain.records import ObjectRef, Record
from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectReader
from stages.threat_detect.rules.rules import ROLE
from stages.threat_detect.simulation.rulebook import Entry, read_rules, read_tree

BUCKET: Final = "rules"


@dataclass(frozen=True, slots=True)
class FileRef:
    """One rule file: its name as the user gave it, and its object."""

    name: str
    ref: ObjectRef


def files_of(record: Record | None) -> list[FileRef]:
    """Return the rule files that a record of threat-detect has read."""
    found = [] if record is None else [item.ref for item in record.inputs if item.ref.bucket == BUCKET]
    return [FileRef(ref.key.rpartition("/")[0], ref) for ref in found]


@dataclass(slots=True)
class RuleFiles:
    """Reader of rule files, which remembers what it has read."""

    ledger: Ledger
    store: ObjectReader
    _read: dict[str, list[Entry] | None] = field(default_factory=dict)

    def in_force(self) -> list[FileRef]:
        """Return the rule files that are in force now."""
        return [FileRef(one.name, one.files[ROLE]) for one in self.ledger.references(BUCKET) if ROLE in one.files]

    def entries(self, file: FileRef) -> Sequence[Entry] | None:
        """Return the rules of a file; None if its object is not kept any more."""
        known = file.ref.sha256
        if known not in self._read:
            try:
                tree = read_tree(file.name, self.store.get(file.ref))
            except (ObjectMissing, ObjectChanged):
                self._read[known] = None
            else:
                self._read[known] = read_rules(file.name, tree, trial=False)[0]
        return self._read[known]

    def find(self, sha256: str) -> Sequence[Entry] | None:
        """Return the rules of the file with this digest, by any record that has read it; None if nothing has, or its
        object is not kept any more."""
        if sha256 not in self._read:
            file = next(self._candidates(sha256), None)
            return None if file is None else self.entries(file)
        return self._read[sha256]

    def _candidates(self, sha256: str) -> Iterator[FileRef]:
        yield from (file for file in self.in_force() if file.ref.sha256 == sha256)
        for record in self.ledger.users(sha256, limit=1):
            yield from (file for file in files_of(record) if file.ref.sha256 == sha256)
