"""Text for pictures: what is drawable, and how it fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.imaging.text import Lettering, cut, to_ascii, wrap

SMALL = Lettering(capital_px=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("person 0.87", "person 0.87"),
        ("Zürich, Łódź, Straße", "Zurich, Lodz, Strasse"),
        ("wer \N{EN DASH} “hier” … ist\N{RIGHT SINGLE QUOTATION MARK}s", 'wer - "hier" ... ist\'s'),
        ("porch · 09:00", "porch | 09:00"),
        ("猫 0.9", "? 0.9"),
        ("a\tb\x00c\nd  e", "a b c d e"),
        ("e\u0301t\u200be\u0301", "ete"),
    ],
)
def test_text_becomes_ascii_that_says_the_same(text, expected):
    assert to_ascii(text) == expected


@given(st.text())
def test_any_text_becomes_printable_ascii(text):
    drawn = to_ascii(text)
    assert drawn.isascii()
    assert drawn == "" or drawn.isprintable()


def test_text_that_fits_is_whole():
    assert cut("person", SMALL, 1000) == "person"


def test_text_that_does_not_fit_is_cut_at_the_end():
    text = "people at the front door"
    found = cut(text, SMALL, 100)
    assert found.endswith("...")
    assert text.startswith(found[:-3])
    assert SMALL.width_px(found) <= 100
    assert cut(text, SMALL, 5) == ""


def test_lines_break_between_parts_first():
    text = "porch | 2025-11-22 08:00:00 UTC | people at the porch | model 580bd15a"
    assert wrap(text, SMALL, 2000, 6) == [text]
    assert wrap(text, SMALL, 300, 6) == ["porch | 2025-11-22 08:00:00 UTC", "people at the porch | model 580bd15a"]


def test_then_between_words_then_anywhere():
    assert wrap("people at the porch", SMALL, 80, 6) == ["people at", "the porch"]
    broken = wrap("x" * 60, SMALL, 90, 99)
    assert "".join(broken) == "x" * 60
    assert len(broken) > 1


def test_newlines_break_and_empty_lines_vanish():
    assert wrap("a\n\n b \nc", SMALL, 100, 6) == ["a", "b", "c"]


def test_the_last_line_is_cut():
    found = wrap("one two three four five six seven eight", SMALL, 60, 2)
    assert len(found) == 2
    assert found[-1].endswith("...")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=150), st.integers(10, 400), st.integers(1, 5))
def test_lines_fit_unless_a_single_letter_does_not(text, width_px, max_lines):
    found = wrap(text, SMALL, width_px, max_lines)
    assert len(found) <= max_lines
    assert all(SMALL.width_px(line) <= width_px or len(line) == 1 for line in found)


@pytest.mark.parametrize("capital_px", [6, 9.5, 14, 30, 80])
def test_letters_have_the_size_they_claim_and_stay_in_their_line(capital_px):
    size = Lettering(capital_px=capital_px)
    width_px = size.width_px("AHgjpq") + 2 * size.padding_px
    canvas = np.zeros((size.line_px, width_px, 3), np.uint8)
    larger = np.zeros((3 * size.line_px, 3 * width_px, 3), np.uint8)
    size.draw(canvas, "AHgjpq", 0, 0, (255, 255, 255))
    size.draw(larger, "AHgjpq", width_px, size.line_px, (255, 255, 255))
    assert canvas.sum() == larger.sum()  # nothing was cut off
    size.draw(alone := np.zeros_like(larger), "H", width_px, size.line_px, (255, 255, 255))
    rows = np.flatnonzero((alone > 127).any(axis=(1, 2)))
    assert len(rows) == pytest.approx(capital_px, rel=0.2, abs=2)
