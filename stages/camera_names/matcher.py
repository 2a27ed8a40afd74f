"""Matching of a path against a pattern: the one way to split it, or that there are several.

A path is matched twice by regular expressions, with all parts of any length as long and as short as they can be. If
both give the same split, there is no other. Else all splits are gone through, each part and place once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from stages.camera_names.pattern import Pattern, Token
from stages.camera_names.written_time import WrittenTime, combine

LONGEST_PATH_BYTES: Final = 1024
LONGEST_SEGMENT: Final = 255
"""Characters; no file system has longer names, and longer ones would take long to match."""
_MOST_READINGS: Final = 16
_OFFSET: Final = re.compile("Z|[+-][0-9]{2}(?::?[0-9]{2})?", re.ASCII | re.IGNORECASE)
_DEVICE: Final = r"[^/\x00-\x1f\x7f]"
_EVENT: Final = r"[A-Za-z0-9_\- ]"
_PLAIN: Final = {"one": "[^/]", "rest": ".+", "slash": "/", "p": "[AP]M"}
_OPEN: Final = {
    "any": "[^/]*{lazy}",
    "folders": "(?:[^/]+/)*{lazy}",
    "event": r"[A-Za-z0-9][A-Za-z0-9_\- ]{{0,62}}{lazy}",
    "z": "Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?{lazy}",
}
_RUNS: Final = {
    "device": re.compile(rf"(?!\s){_DEVICE}+", re.ASCII),
    "event": re.compile(rf"[A-Za-z0-9]{_EVENT}*", re.ASCII),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Fields of a path by one pattern. ``event`` is a fact and no part of the picture's identity."""

    device: str | None
    time: WrittenTime | None
    seq: int | None
    event: str | None

    @property
    def identity(self) -> tuple[object, ...]:
        """All but the event."""
        return self.device, None if self.time is None else self.time.at, self.seq


class Ambiguous(Exception):
    """Two readings of one path that differ in device, time or number."""

    def __init__(self, first: Split, second: Split) -> None:
        super().__init__(first, second)
        self.first, self.second = first, second


@dataclass(frozen=True, kw_only=True)
class Furthest:
    """The place up to which a path agrees with a pattern, and the part that does not."""

    at: int = -1
    token: Token | None = None
    number: int = -1
    """Of the part, from 0 on."""


@dataclass(kw_only=True)
class Matcher:
    """A pattern, ready to be compared with many paths."""

    pattern: Pattern
    _texts: dict[bool, re.Pattern[str]] = field(default_factory=dict, init=False)

    def find(self, path: str) -> Split | None:
        """Return the reading of a path below the source, composed as NFC; None if it does not match. Raises
        Ambiguous."""
        text = path if self.pattern.has_slash else path.rpartition("/")[2]
        if not self._is_simple:
            return self._find_among_all(text)
        long = self._greedy.fullmatch(text)
        if long is None:
            return None
        short = self._lazy.fullmatch(text)
        if short is not None and all(long.span(n) == short.span(n) for n in range(1, len(self.pattern.tokens) + 1)):
            return self._read([long[n] for n in range(1, len(self.pattern.tokens) + 1)])
        return self._find_among_all(text)

    def find_furthest(self, path: str) -> Furthest:
        """Return how far a path that does not match agrees."""
        text = path if self.pattern.has_slash else path.rpartition("/")[2]
        search = _Search(self.pattern.tokens, text)
        search.captures(0, 0)
        return search.furthest

    def _find_among_all(self, text: str) -> Split | None:
        readings: list[Split] = []
        for captured in _Search(self.pattern.tokens, text).captures(0, 0):
            split = self._read(list(captured))
            if split is None or any(split.identity == known.identity for known in readings):
                continue
            readings.append(split)
            if len(readings) == 2:
                raise Ambiguous(*readings)
        return readings[0] if readings else None

    def _read(self, captured: list[str]) -> Split | None:
        """Return the fields; None if one occurs with two values, or there is no such time."""
        found: dict[str, set[str]] = {"device": set(), "seq": set(), "event": set()}
        times = []
        for token, text in zip(self.pattern.tokens, captured, strict=True):
            if token.is_time:
                times.append((token.kind, text))
            elif token.kind in found:
                found[token.kind].add(str(int(text)) if token.kind == "seq" else text)
        if any(len(values) > 1 for values in found.values()):
            return None
        time = combine(times) if times else None
        if times and time is None:
            return None
        one = {kind: next(iter(values), None) for kind, values in found.items()}
        seq = one["seq"]
        return Split(device=one["device"], time=time, seq=None if seq is None else int(seq), event=one["event"])

    @cached_property
    def _is_simple(self) -> bool:
        """Tell whether a regular expression cannot take long: more parts of any length would multiply their places."""
        opened, most = 0, 0
        for token in self.pattern.tokens:
            opened = 0 if token.kind == "slash" else opened + (token.is_open and not token.is_number)
            most = max(most, opened)
        return most <= 2 and sum(token.kind == "folders" for token in self.pattern.tokens) <= 1

    @cached_property
    def _greedy(self) -> re.Pattern[str]:
        return _compile(self.pattern.tokens, lazy="")

    @cached_property
    def _lazy(self) -> re.Pattern[str]:
        return _compile(self.pattern.tokens, lazy="?")


def is_too_long(path: str) -> bool:
    """Tell whether no pattern is tried on the path."""
    return len(path.encode()) > LONGEST_PATH_BYTES or any(len(part) > LONGEST_SEGMENT for part in path.split("/"))


def _compile(tokens: tuple[Token, ...], *, lazy: str) -> re.Pattern[str]:
    parts = []
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        if before is not None and (
            (before.kind == "any" and token.is_number) or (before.is_number and token.kind == "any")
        ):
            parts.append("(?<![0-9])" if token.is_number else "(?![0-9])")
        parts.append(f"({_expression(token, lazy)})")
    return re.compile("".join(parts), re.ASCII | re.IGNORECASE)


def _expression(token: Token, lazy: str) -> str:
    """Return the regular expression of one part; ``lazy`` is ``?`` for the shortest match of a part of any length."""
    if token.kind in _PLAIN:
        return _PLAIN[token.kind]
    if token.kind in _OPEN:
        return _OPEN[token.kind].format(lazy=lazy)
    match token.kind:
        case "text":
            return re.escape(token.text)
        case "ending":
            return r"(?:\.jpe?g)?" if token.short else r"\.jpe?g"
        case "device":
            count = f"{{{token.width}}}" if token.width else f"{{1,63}}{lazy}"
            return rf"(?!\s){_DEVICE}{count}(?<!\s)"
    if token.width:
        return f"[0-9]{{{token.width}}}"
    if token.short:
        return "(?<![0-9])(?:[1-9][0-9]?|0)(?![0-9])"
    return f"(?<![0-9])[0-9]{{1,{10 if token.kind == 'seq' else 9}}}(?![0-9])"


class _Search:
    """All splits of a text, each part and place once: at most ``_MOST_READINGS`` for each."""

    def __init__(self, tokens: tuple[Token, ...], text: str) -> None:
        self._tokens, self._text = tokens, text
        self._ones = [re.compile(_expression(token, ""), re.ASCII | re.IGNORECASE) for token in tokens]
        self._known: dict[tuple[int, int], tuple[tuple[str, ...], ...]] = {}
        self.furthest = Furthest()

    def captures(self, number: int, at: int) -> tuple[tuple[str, ...], ...]:
        """Return the texts of the parts from this one on, from this place on; parts that say nothing are empty."""
        if number == len(self._tokens):
            return ((),) if at == len(self._text) else ()
        key = number, at
        if key not in self._known:
            found: dict[tuple[str, ...], None] = {}
            token = self._tokens[number]
            for end in self._ends(number, at):
                own = self._text[at:end] if token.is_time or token.kind in {"device", "seq", "event"} else ""
                for rest in self.captures(number + 1, end):
                    found.setdefault((own, *rest))
                    if len(found) >= _MOST_READINGS:
                        break
            self._known[key] = tuple(found)
        return self._known[key]

    def _ends(self, number: int, at: int) -> Iterator[int]:
        token, text = self._tokens[number], self._text
        if self._splits_digits(number, at):
            self._note(number, at)
            return
        ends = self._open_ends(token, at) if token.is_open or token.kind in ("folders", "z") else None
        if ends is None:
            found = self._ones[number].match(text, at)
            ends = () if found is None else (found.end(),)
        is_none = True
        for end in ends:
            is_none = False
            yield end
        if is_none:
            self._note(number, at)

    def _open_ends(self, token: Token, at: int) -> Iterable[int] | None:
        """Return where a part of any length may end; None for a number, which ends with its digits."""
        text = self._text
        slash = text.find("/", at)
        until = len(text) if slash < 0 else slash
        match token.kind:
            case "any":
                return range(at, until + 1)
            case "folders":
                return (at, *(place + 1 for place in range(at, len(text)) if text[place] == "/" and place > at))
            case "z":
                return [end for end in range(at + 1, min(at + 6, until) + 1) if _OFFSET.fullmatch(text, at, end)]
            case "device" | "event":
                run = _RUNS[token.kind].match(text, at, min(at + 63, until))
                if run is None:
                    return ()
                return [
                    end for end in range(at + 1, run.end() + 1) if not text[end - 1].isspace() or token.kind == "event"
                ]
        return None

    def _splits_digits(self, number: int, at: int) -> bool:
        """Tell whether ``*`` and a number meet within a run of digits."""
        if not number or not 0 < at < len(self._text):
            return False
        left, right = self._tokens[number - 1], self._tokens[number]
        meet = (left.kind == "any" and right.is_number) or (left.is_number and right.kind == "any")
        return meet and self._text[at - 1] in "0123456789" and self._text[at] in "0123456789"

    def _note(self, number: int, at: int) -> None:
        """Keep the part that is latest in the pattern, and of one that is tried in several places the furthest."""
        if (number, at) > (self.furthest.number, self.furthest.at):
            self.furthest = Furthest(at=at, token=self._tokens[number], number=number)
