"""Comparison of rules with the model, the threshold and the devices: a pure function that gives notes.

What a file says wrongly by itself is not looked for: it was refused, or noted, when it was read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import cache
from typing import Final

from lookout.domain.rule_fit.records import (
    FileFacts,
    FitNote,
    Kind,
    ModelFacts,
    RuleFacts,
    Surroundings,
    Wish,
)

_NAMED: Final = 5
_GLOB: Final = re.compile(r"[*?\[]")
_CLOSE: Final = 0.6


def find_notes(files: Iterable[FileFacts], around: Surroundings) -> tuple[FitNote, ...]:
    """Return a note for each thing in the files that does not fit, in the order of files and rules; those on the
    devices file come last."""
    known = _Devices(around)
    found = [note for file in files for note in _of_file(file, around, known)]
    return (*found, *_of_devices_file(around))


class _Devices:
    """Devices that are known: those with a picture, and those that the devices file names, on which there is a note of
    its own while they have none."""

    def __init__(self, around: Surroundings) -> None:
        self._names = around.devices | {one.name for one in around.listed}
        self.is_empty = not around.devices
        self.matches: Callable[[str], bool] = cache(self._matches)

    def _matches(self, glob: str) -> bool:
        if not _GLOB.search(glob):
            return glob in self._names
        fits = re.compile(translate(glob)).match
        return any(fits(name) for name in self._names)

    def say_missing(self, globs: Sequence[str]) -> str | None:
        """Return what to say of globs that match nothing; None if each matches a device."""
        missing = [] if self.is_empty else [glob for glob in globs if not self.matches(glob)]
        if not missing:
            return None
        close = _find_close(missing, self._names)
        hint = f"did you mean {_or(close)}?" if close else f"known are {_and(sorted(self._names))}"
        return f"no known device matches {_or(missing)} ({hint})"

    def matches_none(self, globs: Sequence[str]) -> bool:
        """Tell whether no device is watched by any of the globs."""
        return not self.is_empty and not any(map(self.matches, globs))


def _of_file(file: FileFacts, around: Surroundings, known: _Devices) -> Iterator[FitNote]:
    for rule in file.rules:
        yield from _of_rule(file, rule, around, known)
    for kind, word, places in (
        (Kind.SITE, "site", file.sites.items()),
        (Kind.CLOCK, "clocks", ((str(number), globs) for number, globs in enumerate(file.clocks))),
    ):
        for name, globs in places:
            if said := known.say_missing(globs):
                place = f"{word}[{name}]" if kind is Kind.CLOCK else f"{word} {name!r}"
                yield FitNote(kind=kind, file=file.file, rule=None, what=f"{place}: {said}")


def _of_rule(file: FileFacts, rule: RuleFacts, around: Surroundings, known: _Devices) -> Iterator[FitNote]:
    def note(kind: Kind, what: str, *, without_effect: bool = False) -> FitNote:
        said = f"{what}: this rule can match nothing" if without_effect else what
        return FitNote(kind=kind, file=file.file, rule=rule.name, what=said, without_effect=without_effect)

    if said := known.say_missing(rule.devices):
        yield note(Kind.DEVICE, said, without_effect=known.matches_none(rule.devices))
    for zone, globs in rule.zones.items():
        if said := known.say_missing(globs):
            yield note(Kind.ZONE, f"zone {zone!r}: {said}")
    if rule.wishes is None:
        yield note(Kind.NOT_COMPARED, "an older version accepted it: give it again to have it compared with the model")
        return
    if around.model is not None:
        wanted = list(dict.fromkeys(one for wish in rule.wishes for one in wish.classes))
        lacking = [one for one in wanted if not _has(around.model, one)]
        if lacking:
            said = (
                f"the model {around.model.name} has no class {_or(map(str, lacking))}{_suggest(around.model, lacking)}"
            )
            yield note(Kind.CLASS, said, without_effect=len(lacking) == len(wanted))
        yield from (note(Kind.CLASS_ID, said) for said in _other_meanings(file, around.model, wanted))
    if said := _say_low(rule.wishes, around.threshold):
        yield note(Kind.MIN_SCORE, said)


def _has(model: ModelFacts, wanted: int | str) -> bool:
    if isinstance(wanted, int):
        return wanted in model.labels
    return wanted.casefold() in {label.casefold() for label in model.labels.values()}


def _suggest(model: ModelFacts, lacking: Sequence[int | str]) -> str:
    close = _find_close([one for one in lacking if isinstance(one, str)], model.labels.values())
    return f" (did you mean {_or(close)}?)" if close else f" (it has {_and(model.labels.values())})"


def _other_meanings(file: FileFacts, model: ModelFacts, wanted: Iterable[int | str]) -> Iterator[str]:
    """Say of each id of COCO that the model gives to another class."""
    for one in wanted:
        meant = file.meanings.get(one) if isinstance(one, int) else None
        label = model.labels.get(one) if isinstance(one, int) else None
        if meant is not None and label is not None and meant.casefold() != label.casefold():
            yield f"class {one} is {meant} in COCO and {label} in the model {model.name}: write the name"


def _say_low(wishes: Sequence[Wish], threshold: float) -> str | None:
    low = sorted({wish.min_score for wish in wishes if wish.min_score is not None and wish.min_score < threshold})
    if not low:
        return None
    said = _and(f"{score:g}" for score in low)
    return f"min_score {said} is below the detection threshold {threshold:g}: no object below that is detected"


def _of_devices_file(around: Surroundings) -> Iterator[FitNote]:
    for one in around.listed if around.devices else ():
        if one.name not in around.devices:
            other = "" if one.name == one.said else f" (in names of pictures {one.said!r})"
            what = f"no picture of the device {one.name!r}{other} is known"
            yield FitNote(kind=Kind.DEVICES_FILE, file=one.file, rule=None, what=what)


def _find_close(wanted: Iterable[str], among: Iterable[str]) -> list[str]:
    """Return those that are spelled nearly as one of the wanted."""
    by_small = {name.casefold(): name for name in among}
    close = [
        found
        for one in wanted
        for found in difflib.get_close_matches(one.casefold(), list(by_small), n=1, cutoff=_CLOSE)
    ]
    return [by_small[found] for found in dict.fromkeys(close)]


def _or(names: Iterable[str]) -> str:
    return _listed(names, "or")


def _and(names: Iterable[str]) -> str:
    return _listed(names, "and")


def _listed(names: Iterable[str], word: str) -> str:
    """Return some names for a sentence; of many, the number of those that are left out."""
    said = list(names)
    if more := said[_NAMED:]:
        return f"{', '.join(said[:_NAMED])} {word} {len(more)} more"
    return f" {word} ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)
