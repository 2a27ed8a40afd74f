"""Reasons to refuse a picture, and flags of an accepted one: closed tables of stable codes.

Codes are an interface: labels, tallies, charts and people's scripts hold them, so a code is never renamed and never
gets another meaning. Sentences may improve; they are for people. Knows nothing of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Reason to refuse a picture, in the order of the checks."""

    NAME = "name"
    NAME_AMBIGUOUS = "name-ambiguous"
    DEVICE_MISSING = "device-missing"
    TIME_MISSING = "time-missing"
    TIME_WITHOUT_ZONE = "time-without-zone"
    TIME_TOO_EARLY = "time-too-early"
    TIME_IN_FUTURE = "time-in-future"
    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_JPEG = "not-jpeg"
    HEADER_UNREADABLE = "header-unreadable"
    UNSUPPORTED_CODING = "unsupported-coding"
    TOO_MANY_PIXELS = "too-many-pixels"
    TOO_SMALL = "too-small"
    GRAY = "gray"
    COLOUR_SPACE = "colour-space"
    TRUNCATED = "truncated"
    TOO_MANY_SCANS = "too-many-scans"
    DAMAGED = "damaged"


SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.NAME: "The name does not say which device took the picture and when: {detail}.",
    Reason.NAME_AMBIGUOUS: "{text}",
    Reason.DEVICE_MISSING: "{text}",
    Reason.TIME_MISSING: "{text}",
    Reason.TIME_WITHOUT_ZONE: "{text}",
    Reason.TIME_TOO_EARLY: "The name says that the picture was taken at {time}, before the earliest time allowed, "
    "{earliest}: the device's clock is probably not set.",
    Reason.TIME_IN_FUTURE: "The name says that the picture was taken at {time}, more than {tolerance_s} s after it was "
    "first seen here: the device's clock is probably wrong.",
    Reason.EMPTY: "The file is empty.",
    Reason.TOO_LARGE: "The file has {size} bytes; at most {limit} are allowed.",
    Reason.NOT_JPEG: "The file is not a JPEG: it looks like {looks_like}.",
    Reason.HEADER_UNREADABLE: "The JPEG header cannot be read: {detail}.",
    Reason.UNSUPPORTED_CODING: "The picture is coded in a way that is not supported: {detail}.",
    Reason.TOO_MANY_PIXELS: "The header says {width} x {height} pixels, {pixels} in all; at most {limit} are allowed.",
    Reason.TOO_SMALL: "The picture has {width} x {height} pixels; at least {min_width} x {min_height} are needed.",
    Reason.GRAY: "The picture has one channel, shades of gray; a picture with three is needed.",
    Reason.COLOUR_SPACE: "The picture has {components} channels; only YCbCr and RGB, with three, can be used.",
    Reason.TRUNCATED: "The picture is cut: the file ends before the picture does.",
    Reason.TOO_MANY_SCANS: "The picture is coded in more than {limit} scans, which would take too long to decode.",
    Reason.DAMAGED: "The picture's data is damaged: {detail}.",
}
"""One sentence a code; the names in braces are the facts of the refusal. The fact ``text`` is a whole sentence, which
the reader of a devices file has made."""


EDITION: Final = 2
"""Edition of the checks: raised when files that were refused, for reasons of ``times.RECONSIDERED``, may be accepted
now. These are checked once more; the recipe and all other results stay."""


class Flag(StrEnum):
    """Flag of an accepted picture. ``decoder-warning``: a strict decoder warns of something that does the picture no
    harm."""

    GREY_LOOKING = "grey-looking"
    PROGRESSIVE = "progressive"
    TRAILING_DATA = "trailing-data"
    TABLES_MISSING = "huffman-tables-missing"
    END_MISSING = "end-marker-missing"
    SAMPLING = "unusual-sampling"
    STRAY_BYTES = "decoder-warning: stray-bytes"
    JFIF_VERSION = "decoder-warning: jfif-version"
    ADOBE_TRANSFORM = "decoder-warning: adobe-transform"
    SCAN_PARAMETERS = "decoder-warning: scan-parameters"
    ICC_PROFILE = "decoder-warning: icc-profile"


FLAG_MEANINGS: Final[Mapping[Flag, str]] = {
    Flag.GREY_LOOKING: "One channel, or three that are equal everywhere: a night (infrared) picture.",
    Flag.PROGRESSIVE: "Coded progressively; most cameras do not.",
    Flag.TRAILING_DATA: "Bytes follow the end of the picture: padding, a second picture, or something hidden.",
    Flag.TABLES_MISSING: "A frame of a motion JPEG stream without Huffman tables; the standard ones apply.",
    Flag.END_MISSING: "All of the picture is there, but not the marker that ends it, as in panoramas of some phones.",
    Flag.SAMPLING: "Channels sampled in a way that few programs write, and some cannot read.",
    Flag.STRAY_BYTES: "Bytes that belong to nothing, in the header or before a marker, as some cameras write them.",
    Flag.JFIF_VERSION: "The JFIF header has an unknown version.",
    Flag.ADOBE_TRANSFORM: "The Adobe header has an unknown colour transform; YCbCr is assumed.",
    Flag.SCAN_PARAMETERS: "The scan's header has progressive parameters in a picture that is not; they mean nothing.",
    Flag.ICC_PROFILE: "The colour profile is broken; it is not used.",
}
"""One sentence a flag, for people."""


class Refused(Exception):
    """A picture is refused. Raised by the checks, caught by the stage; never leaves it."""

    def __init__(self, reason: Reason, **facts: str | float) -> None:
        super().__init__(reason, facts)
        self.reason, self.facts = reason, facts

    @property
    def sentence(self) -> str:
        return str(self.facts.get("text") or SENTENCES[self.reason].format_map(self.facts))

    def __str__(self) -> str:
        return f"{self.reason}: {self.sentence}"
