"""Pattern of a path: ``{device}_{time:%Y%m%d%H%M%S}.jpg``, parsed into tokens and checked.

A pattern is text with wildcards (``*``, ``?``, and ``**`` for whole folders) and fields in braces. The time is written
with strftime's letters, each of which stands for its full number of digits. What could be read in two ways is refused
here as far as the pattern alone shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from lookout.domain.errors import InputRejected

_FIXED: Final = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2, "j": 3, "s": 10, "Q": 13}
"""Digits of each conversion that has a fixed number of them."""
_SHORT: Final = frozenset("mdHIMS")
"""Conversions that may be written without a leading zero, as ``%-m``."""
_LETTERS: Final = frozenset({"p", "z"})
MOST_OPEN: Final = 4
"""Parts of unknown length in one segment; more would take long to match."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FIELD: Final = re.compile(r"\{(?P<name>[^{}:]*)(?::(?P<format>[^{}]*))?\}")
_ENDING: Final = re.compile(r"\.jpe?g\Z", re.ASCII | re.IGNORECASE)
_OTHER_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,6}\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One part of a pattern. ``kind`` is text, any (``*``), one (``?``), folders (``**``), slash, ending, device, seq,
    event, or the letter of a conversion; ``width`` is the number of characters, 0 if it is open. ``short`` is of
    ``%-m`` and the like."""

    kind: str
    text: str = ""
    width: int = 0
    short: bool = False
    is_time: bool = False

    @property
    def is_number(self) -> bool:
        """Digits only."""
        return self.kind == "seq" or (self.is_time and self.kind not in _LETTERS)

    @property
    def is_open_number(self) -> bool:
        """A number whose count of digits is not known."""
        return self.is_number and not self.width

    @property
    def is_open(self) -> bool:
        """A part of unknown length."""
        return (self.kind in {"any", "device", "event"} and not self.width) or self.is_open_number


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A pattern that was checked. ``has_slash``: it is compared with the whole path, else with the file name."""

    text: str
    tokens: tuple[Token, ...]
    has_slash: bool
    conversions: frozenset[str] = field(default=frozenset())

    @property
    def has_device(self) -> bool:
        return any(token.kind == "device" for token in self.tokens)

    @property
    def has_time(self) -> bool:
        return bool(self.conversions)


def parse(text: str, place: str, *, is_ignored: bool = False) -> Pattern:
    """Read a pattern. Raises InputRejected with the place and what is wrong. ``is_ignored``: of a line of names to pass
    over, which needs no fields and may end in anything."""
    if not text or text.startswith("/") or text.endswith("/"):
        raise InputRejected("expected a pattern that neither begins nor ends with a slash", place, f"got {text!r}")
    if _CONTROL.search(text):
        raise InputRejected("a pattern has no control characters", place)
    segments = text.split("/")
    tokens: list[Token] = []
    for number, segment in enumerate(segments):
        is_last = number == len(segments) - 1
        if segment == "**":
            tokens.append(Token(kind="rest" if is_last else "folders"))
            continue
        if "**" in segment or not segment:
            raise InputRejected("`**` stands for whole folders: it is a segment of its own", place, f"got {text!r}")
        own = list(_parse_segment(segment, place))
        if is_last:
            own = list(_with_ending(own, is_ignored=is_ignored))
        _check_segment(own, place)
        tokens += [*own] if is_last else [*own, Token(kind="slash")]
    conversions = frozenset(token.kind for token in tokens if token.is_time)
    pattern = Pattern(text=text, tokens=tuple(tokens), has_slash=len(segments) > 1, conversions=conversions)
    if pattern.has_time:
        _check_time(conversions, place)
    return pattern


def _parse_segment(segment: str, place: str) -> Iterator[Token]:
    at, text = 0, ""
    while at < len(segment):
        char = segment[at]
        if segment[at : at + 2] in ("{{", "}}"):
            text, at = text + char, at + 2
            continue
        if char not in "{}*?":
            text, at = text + char, at + 1
            continue
        if text:
            yield Token(kind="text", text=text)
            text = ""
        if char in "*?":
            yield Token(kind="any" if char == "*" else "one", width=char == "?")
            at += 1
            continue
        found = _FIELD.match(segment, at)
        if found is None:
            raise InputRejected("a brace is not closed; write {{ or }} for the character itself", place, segment)
        yield from _parse_field(found["name"], found["format"], place)
        at = found.end()
    if text:
        yield Token(kind="text", text=text)


def _parse_field(name: str, form: str | None, place: str) -> Iterator[Token]:
    if name == "time":
        if not form:
            raise InputRejected("a time needs a format", place, "such as {time:%Y%m%d%H%M%S}")
        yield from _parse_time(form, place)
        return
    if name not in ("device", "seq", "event"):
        raise InputRejected(f"unknown field {{{name}}}", place, "there are {device}, {time:...}, {seq} and {event}")
    if form is None:
        yield Token(kind=name)
    elif name != "event" and re.fullmatch(r"[1-9][0-9]?", form, re.ASCII):
        yield Token(kind=name, width=int(form))
    else:
        raise InputRejected(f"expected a width from 1 to 99 in {{{name}:...}}", place, f"got {form!r}")


def _parse_time(form: str, place: str) -> Iterator[Token]:
    at, text = 0, ""
    while at < len(form):
        if form[at] != "%":
            text, at = text + form[at], at + 1
            continue
        if form[at + 1 : at + 2] == "%":
            text, at = text + "%", at + 2
            continue
        if text:
            yield Token(kind="text", text=text)
            text = ""
        token, at = _parse_conversion(form, at, place)
        yield token
    if text:
        yield Token(kind="text", text=text)


def _parse_conversion(form: str, at: int, place: str) -> tuple[Token, int]:
    found = re.compile(r"%(?:(?P<short>-)(?P<of>.)|(?P<digits>[1-9])?(?P<letter>.))", re.DOTALL).match(form, at)
    if found is not None:
        letter = found["of"] or found["letter"]
        if found["short"]:
            if letter in _SHORT:
                return Token(kind=letter, short=True, is_time=True), found.end()
        elif letter == "f":
            return Token(kind="f", width=int(found["digits"] or 0), is_time=True), found.end()
        elif not found["digits"] and letter in _FIXED:
            return Token(kind=letter, width=_FIXED[letter], is_time=True), found.end()
        elif not found["digits"] and letter in _LETTERS:
            return Token(kind=letter, is_time=True, width=2 if letter == "p" else 0), found.end()
    hint = (
        "write %Y%m%d" if re.search("YYYY|MM|DD|hh|mm|ss", form) else f"known are {' '.join('%' + c for c in _FIXED)}"
    )
    raise InputRejected(f"unknown conversion {form[at : at + 3]!r} in {{time:{form}}}", place, hint)


def _with_ending(tokens: list[Token], *, is_ignored: bool) -> Iterator[Token]:
    """Yield the tokens of the last segment: a final ``.jpg``, or no ending, stands for ``.jpg`` and ``.jpeg``."""
    last = tokens[-1] if tokens else None
    if last is not None and last.kind == "text" and not last.is_time:
        found = _ENDING.search(last.text)
        if found is not None:
            yield from tokens[:-1]
            if found.start():
                yield Token(kind="text", text=last.text[: found.start()])
            yield Token(kind="ending")
            return
        if is_ignored and _OTHER_ENDING.search(last.text):
            yield from tokens
            return
    yield from tokens
    yield Token(kind="ending", short=is_ignored)


def _check_segment(tokens: list[Token], place: str) -> None:
    if sum(token.is_open for token in tokens) > MOST_OPEN:
        raise InputRejected(f"at most {MOST_OPEN} parts of a segment may be of any length", place)
    for left, right in pairwise(tokens):
        if left.is_open and right.is_open and not (left.is_number or right.is_number):
            raise InputRejected("two parts of any length touch: nothing says where the first ends", place)
        if (left.is_open_number and _begins_with_digit(right)) or (right.is_open_number and _ends_with_digit(left)):
            what = "a number of any length touches another digit: nothing says where it ends"
            raise InputRejected(what, place, "give its width, as {seq:2}; %-m needs something else beside it")


def _begins_with_digit(token: Token) -> bool:
    return token.is_number or (token.kind == "text" and token.text[0] in "0123456789")


def _ends_with_digit(token: Token) -> bool:
    return token.is_number or (token.kind == "text" and token.text[-1] in "0123456789")


def _check_time(conversions: frozenset[str], place: str) -> None:
    if conversions & {"s", "Q"}:
        return
    lacks = [
        name
        for name, ways in {
            "year": ({"Y"}, {"y"}),
            "day": ({"m", "d"}, {"j"}),
            "hour": ({"H"}, {"I", "p"}),
            "minute": ({"M"},),
        }.items()
        if not any(way <= conversions for way in ways)
    ]
    if lacks:
        hint = "%I needs %p beside it" if "I" in conversions and "p" not in conversions else "or %s, or %Q"
        raise InputRejected(f"the time has no {' and no '.join(lacks)}", place, hint)
