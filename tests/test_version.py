"""The version of the code: what changes it, and what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NO_CACHE = shutil.ignore_patterns("__pycache__")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("lookout", "stages", "devkit"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=NO_CACHE)
    return tmp_path


def version_of(root: Path) -> str:
    code = "from lookout.version import code_version; print(code_version())"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def append(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")


def test_a_copy_of_the_code_has_its_version(copy: Path) -> None:
    assert version_of(copy) == version_of(ROOT)


@pytest.mark.parametrize("changed", ["devkit/contracts/ledger.py", "devkit/servers/etcd.py", "devkit/toy_pipeline.py"])
def test_a_changed_test_helper_leaves_it_as_it_is(copy: Path, changed: str) -> None:
    before = version_of(copy)
    append(copy / changed)
    assert version_of(copy) == before


@pytest.mark.parametrize("changed", ["lookout/domain/records.py", "stages/validate/core.py", "stages/pipeline.py"])
def test_changed_code_of_the_product_changes_it(copy: Path, changed: str) -> None:
    before = version_of(copy)
    append(copy / changed)
    assert version_of(copy) != before
