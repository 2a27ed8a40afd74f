"""The committed YAML is what the modules render, to the letter, and nothing else is there."""

from __future__ import annotations

import pytest

from tests.workflows.reading import ROOT
from workflows.__main__ import rendered

FILES = rendered()


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.stem)
def test_a_file_says_what_its_module_renders(path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path], "run `python -m workflows` and commit what it writes"


def test_there_is_no_file_that_nothing_renders() -> None:
    there = {*ROOT.glob("workflows/rendered/*"), *ROOT.glob("event_sources/rendered/*")}
    assert there == set(FILES)
