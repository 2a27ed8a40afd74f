"""A picture to draw charts on: rectangles, dots and fitted text, in pixels from the top left corner.

Paths on matplotlib's Agg renderer, one a colour, and text as outlines of glyphs. Figures, axes and text artists would
be most of what a small chart costs, to import as to draw, and a chart that says its exact numbers needs no ticks; nor
do a user's matplotlib settings change anything here. Matplotlib is imported where it is used, as planning imports the
stage without drawing. Knows nothing of what is drawn.
"""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

INK: Final = "#16202c"
MUTED: Final = "#5b6675"
RULE: Final = "#dde2e9"
PAPER: Final = "#ffffff"

SCALE: Final = 1.5
"""Picture pixels per layout pixel: sharp on dense screens, still cheap to encode."""

_MOVE_TO, _LINE_TO, _CLOSE = 1, 2, 79
"""Codes of a matplotlib path."""

_EM: Final = 1024.0
_UNKNOWN: Final = "\ufffd"
_ALIGN: Final = {"left": 0.0, "center": 0.5, "right": 1.0}

Outline = tuple[NDArray[np.float64], NDArray[np.uint8]]
"""Vertices (N, 2) and path codes (N,); N may be 0."""


class Canvas:
    """One chart of ``width_px`` x ``height_px`` layout pixels. What is drawn later lies on top; text lies on all."""

    def __init__(self, width_px: float, height_px: float) -> None:
        self.width_px, self.height_px = width_px, height_px
        self._shapes: list[tuple[str, Outline]] = []
        self._texts: list[tuple[str, Outline]] = []
        self.rect(0, 0, width_px, height_px, PAPER)

    def rect(self, x_px: float, y_px: float, width_px: float, height_px: float, colour: str) -> None:
        """A filled rectangle with its top left corner at x, y; edges lie on whole picture pixels."""
        left, top, right, bottom = (
            round(value * SCALE) / SCALE for value in (x_px, y_px, x_px + width_px, y_px + height_px)
        )
        self._polygon(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), colour)

    def dot(self, x_px: float, y_px: float, radius_px: float, colour: str) -> None:
        """A filled circle around x, y."""
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        self._polygon(np.column_stack((np.cos(angles), np.sin(angles))) * radius_px + (x_px, y_px), colour)

    def _polygon(self, corners: NDArray[np.float64], colour: str) -> None:
        codes = np.full(len(corners) + 1, _LINE_TO, np.uint8)
        codes[0], codes[-1] = _MOVE_TO, _CLOSE
        self._shapes.append((colour, (np.vstack((corners, corners[:1])), codes)))

    def text(
        self,
        x_px: float,
        y_px: float,
        text: str,
        *,
        size_px: float = 13,
        colour: str = INK,
        align: Literal["left", "center", "right"] = "left",
        bold: bool = False,
        width_px: float | None = None,
    ) -> None:
        """One line of text whose baseline starts, is centred or ends at x, y; cut with an ellipsis to ``width_px``."""
        shown = self.fit(text, size_px, bold=bold, width_px=width_px)
        pen_px = x_px - _ALIGN[align] * self.measure(shown, size_px, bold=bold)
        for char in shown:
            (vertices, codes), advance = _glyph(char, bold)
            placed = vertices * (size_px / _EM, -size_px / _EM) + (pen_px, y_px)
            self._texts.append((colour, (placed, codes)))
            pen_px += advance * size_px / _EM

    def fit(self, text: str, size_px: float, *, bold: bool = False, width_px: float | None = None) -> str:
        """Return the text with what the font cannot show replaced, and its middle left out where it is wider than
        that."""
        font = _font(bold)
        clean = "".join(char if char.isprintable() and font.get_char_index(ord(char)) else _UNKNOWN for char in text)
        if width_px is None or self.measure(clean, size_px, bold=bold) <= width_px:
            return clean

        def cut(kept: int) -> str:
            return clean[: (kept + 1) // 2] + "…" + clean[len(clean) - kept // 2 :]

        def cut_px(kept: int) -> float:
            return self.measure(cut(kept), size_px, bold=bold)

        return cut(max(bisect_right(range(len(clean)), width_px, key=cut_px) - 1, 0))

    def measure(self, text: str, size_px: float, *, bold: bool = False) -> float:
        """The width of a line of text in layout pixels."""
        return sum(_glyph(char, bold)[1] for char in text) * size_px / _EM

    def png(self) -> bytes:
        """Return the chart as PNG; the same drawing gives the same bytes."""
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.colors import to_rgb
        from matplotlib.image import imsave
        from matplotlib.path import Path as Outlined
        from matplotlib.transforms import Affine2D

        width, height = round(self.width_px * SCALE), round(self.height_px * SCALE)
        untyped: Any = RendererAgg  # matplotlib has no types for its renderers
        renderer = untyped(width, height, 72)
        to_display = Affine2D().scale(SCALE, -SCALE).translate(0, height)
        pen = renderer.new_gc()
        pen.set_linewidth(0)
        pen.set_snap(False)
        for colour, (vertices, codes) in [*_by_colour(self._shapes), *_by_colour(self._texts)]:
            renderer.draw_path(pen, Outlined(vertices, codes), to_display, to_rgb(colour))
        target = io.BytesIO()
        how = {"compress_type": zlib.Z_RLE}  # flat colours: as small as the best, in half the time
        imsave(target, renderer.buffer_rgba(), format="png", metadata={"Software": "Lookout"}, pil_kwargs=how)
        return target.getvalue()


def _by_colour(drawn: list[tuple[str, Outline]]) -> list[tuple[str, Outline]]:
    """One outline a colour, in the order in which the colours were first used."""
    parts: dict[str, list[Outline]] = {}
    for colour, outline in drawn:
        parts.setdefault(colour, []).append(outline)
    return [
        (colour, (np.concatenate([v for v, _ in outlines]), np.concatenate([c for _, c in outlines])))
        for colour, outlines in parts.items()
    ]


@cache
def _font(bold: bool) -> FT2Font:
    """Return the font that matplotlib brings along: the same on every machine, and nothing to look for."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    font = FT2Font(Path(get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))
    font.set_size(_EM, 72)
    return font


@cache
def _glyph(char: str, bold: bool) -> tuple[Outline, float]:
    """Return the outline of one character, y upwards from the baseline, and its advance, both in parts of ``_EM``."""
    from matplotlib.ft2font import LoadFlags

    font = _font(bold)
    advance = font.load_char(ord(char), LoadFlags.NO_HINTING).linearHoriAdvance / 65536
    vertices, codes = font.get_path()
    return (np.asarray(vertices, np.float64), np.asarray(codes, np.uint8)), advance
