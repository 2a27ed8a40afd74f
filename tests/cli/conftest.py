from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .shell import CALM, CUT, RULES, THREAT, UNNAMED, World


@pytest.fixture
def empty_world(tmp_path: Path) -> World:
    """An empty source and no state."""
    world = World(root=tmp_path)
    world.photos.mkdir()
    return world


class Finished:
    """Four pictures worked through once. Each test begins from a copy at the same path: a state knows its source."""

    def __init__(self, root: Path) -> None:
        self._saved, self._place = root / "saved", root / "world"
        self._place.mkdir()
        world = World(root=self._place)
        world.put(THREAT, CALM, UNNAMED, CUT)
        shutil.copytree(RULES, world.root / "rules")
        self.first: dict[str, Any] = world.run("--rules", "rules")
        self.results = world.results()
        self.datums = world.datums()
        self._place.rename(self._saved)

    def begin(self) -> World:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._saved, self._place, symlinks=True)
        return World(root=self._place)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def world(finished: Finished) -> World:
    """The finished world."""
    return finished.begin()
