"""Text for pictures: what the fonts can draw, how large it comes out, and how it fits a width.

Knows no boxes and no stage. Only ASCII is drawn, as OpenCV 4 has nothing else and OpenCV 5 should look the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.imaging.opencv import cv2

_FONT: Final = cv2.FONT_HERSHEY_DUPLEX
_CAPITAL_PX: Final = 21.0  # height of a capital at scale 1, in OpenCV 4 (strokes) and 5 (TrueType) alike
_DESCENT: Final = 0.35  # what hangs below the line, in capitals
_SEPARATOR: Final = " | "
_ELLIPSIS: Final = "..."

_SPELLED: Final = str.maketrans(
    {
        "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L", "đ": "d",
        "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "·": "|", "•": "|", "→": "->", "≥": ">=", "≤": "<=",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i", "\N{MULTIPLICATION SIGN}": "x",
        "\N{HYPHEN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-",
        "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"', "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Lettering:
    """A size of text: ``capital_px`` is the height of a capital letter in pixels."""

    capital_px: float

    @property
    def scale(self) -> float:
        return self.capital_px / _CAPITAL_PX

    @property
    def thickness_px(self) -> int:
        return max(1, round(self.scale))

    @property
    def padding_px(self) -> int:
        """The room to leave around a line of text."""
        return max(2, round(self.capital_px * 0.4))

    @property
    def line_px(self) -> int:
        """Height of one line: capital, descender and the padding above and below."""
        return round(self.capital_px * (1 + _DESCENT)) + 2 * self.padding_px

    def width_px(self, text: str) -> int:
        """Return the width of the drawn text, without padding."""
        (width, _height), _baseline = cv2.getTextSize(text, _FONT, self.scale, self.thickness_px)
        return int(width)

    def draw(
        self, picture_bgr: NDArray[np.uint8], text: str, left_px: int, top_px: int, color_bgr: Sequence[int]
    ) -> None:
        """Write one line into the picture; (left, top) is the corner of its line box, padding included."""
        origin = (left_px + self.padding_px, top_px + self.padding_px + round(self.capital_px))
        cv2.putText(picture_bgr, text, origin, _FONT, self.scale, color_bgr, self.thickness_px, cv2.LINE_AA)


def to_ascii(text: str) -> str:
    """Return the text in printable ASCII: accents dropped (``Zürich`` -> ``Zurich``), a few letters and signs spelled
    out, white space and control characters as one space, anything else as ``?``."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    kept = (
        " " if char.isspace() or unicodedata.category(char) == "Cc" else char if char.isascii() else "?"
        for char in decomposed
        if not unicodedata.combining(char) and unicodedata.category(char) != "Cf"
    )
    return " ".join("".join(kept).split())


def cut(text: str, lettering: Lettering, width_px: int) -> str:
    """Return the text, or as much of its beginning as fits the width with ``...`` behind it. May be empty."""
    if lettering.width_px(text) <= width_px:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits: widths grow with length
        middle = (low + high + 1) // 2
        if lettering.width_px(text[:middle].rstrip() + _ELLIPSIS) <= width_px:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS if low else ""


def wrap(text: str, lettering: Lettering, width_px: int, max_lines: int) -> list[str]:
    """Return the text in lines that fit the width, broken between parts (`` | ``) if possible, else between words, else
    anywhere; what is left after ``max_lines`` is cut. Newlines in the text break too."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += _fill(to_ascii(paragraph).split(_SEPARATOR), _SEPARATOR, lettering, width_px)
    if len(lines) > max_lines:
        rest = " ".join(lines[max_lines - 1 :])
        lines = [*lines[: max_lines - 1], cut(rest, lettering, width_px)]
    return [line for line in lines if line]


def _fill(units: Sequence[str], joiner: str, lettering: Lettering, width_px: int) -> list[str]:
    """Greedy lines of units; a unit that is too wide alone is broken at the next smaller joint."""
    lines: list[str] = []
    for unit in units:
        if lines and lettering.width_px(lines[-1] + joiner + unit) <= width_px:
            lines[-1] += joiner + unit
        elif lettering.width_px(unit) <= width_px or len(unit) <= 1:
            lines.append(unit)
        elif joiner == _SEPARATOR:
            lines += _fill(unit.split(), " ", lettering, width_px)
        else:
            lines += _fill(list(unit), "", lettering, width_px)
    return lines
