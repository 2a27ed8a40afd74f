from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .site import PHOTOS, Done, Site


class Finished:
    """Photographs worked through once. Each test begins from a copy at the same path: a state knows its source."""

    def __init__(self, root: Path) -> None:
        self._saved, self._place = root / "saved", root / "site"
        site = Site(root=self._place)
        site.begin(*PHOTOS)
        self.did: Done = site.run()
        self._place.rename(self._saved)

    def begin(self) -> Site:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._saved, self._place, symlinks=True)
        return Site(root=self._place)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture
def site(finished: Finished) -> Site:
    """The finished site."""
    return finished.begin()
