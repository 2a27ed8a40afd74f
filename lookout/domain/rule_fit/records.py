"""Records of the fit of rules: what a rule file asks for, what there is, and notes on what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lookout.domain.records import JsonObject


class Kind(StrEnum):
    """Kind of a note. Names stay; a new one may come."""

    CLASS = "class"
    CLASS_ID = "class_id"
    MIN_SCORE = "min_score"
    DEVICE = "device"
    SITE = "site"
    CLOCK = "clock"
    ZONE = "zone"
    DEVICES_FILE = "devices_file"
    CHANNEL = "channel"
    NOT_COMPARED = "not_compared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Classes that a rule wants, by id or by name in small letters, from one score on; None is the threshold."""

    classes: tuple[int | str, ...]
    min_score: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleFacts:
    """One rule: its globs of devices, its wishes, and the globs of its zones by their names. ``wishes`` None: an older
    version accepted the file, and extracted none."""

    name: str
    devices: tuple[str, ...]
    wishes: tuple[Wish, ...] | None
    zones: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """One rule file: its rules, the globs of its sites by name and of its corrections of clocks in their order, and
    what its class ids mean where it says that they are COCO's."""

    file: str
    rules: tuple[RuleFacts, ...]
    sites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clocks: tuple[tuple[str, ...], ...] = ()
    meanings: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """Model in force: its labels by class id."""

    name: str
    labels: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """One device of a devices file: as names of pictures say it, and its name in results."""

    file: str
    said: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """All that rules are compared with. ``model`` is None if none is in force; ``devices`` are those with a picture,
    by their names in results. While there are none, nothing is said of devices."""

    model: ModelFacts | None
    threshold: float
    devices: frozenset[str]
    listed: tuple[DeviceFacts, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FitNote:
    """Note on what does not fit. ``rule`` is None if it is about a file as a whole. ``without_effect``: as things are,
    the rule can match nothing at all."""

    kind: Kind
    file: str
    rule: str | None
    what: str
    without_effect: bool = False

    @property
    def sentence(self) -> str:
        """The note with its place."""
        of_rule = "" if self.rule is None else f" rule {self.rule!r}:"
        return f"{self.file}:{of_rule} {self.what}"

    def as_json(self) -> JsonObject:
        """Return the contract of ``--json``; documented in docs/cli.md."""
        return {
            "kind": self.kind.value,
            "file": self.file,
            "rule": self.rule,
            "note": self.what,
            "without_effect": self.without_effect,
        }


def gravest_first(notes: Iterable[FitNote]) -> list[FitNote]:
    """Return the notes with those on rules without any effect first, else in their order."""
    return sorted(notes, key=lambda note: not note.without_effect)


def count_without_effect(notes: Iterable[FitNote]) -> int:
    """Return the number of rules that can match nothing at all."""
    return len({(note.file, note.rule) for note in notes if note.without_effect})
