"""Without a Chromium the page's tests fail and say what to do: they are never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAID = "install it, or name"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which there is a shell and ``id``, but no Chromium and no apt."""
    for name in ("bash", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    kept = {name: value for name, value in os.environ.items() if name not in ("CHROMIUM", "PATH")}
    return {**kept, "PATH": str(tmp_path)}


def test_the_script_that_installs_it_fails_where_it_cannot(nowhere: dict[str, str]) -> None:
    ended = subprocess.run(["bash", "scripts/chromium.sh"], cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert SAID in ended.stderr


def test_the_tests_fail(nowhere: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-x", "-m", "browser", "-p", "no:cacheprovider", "tests/plot"]
    ended = subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert SAID in ended.stdout
    assert "skipped" not in ended.stdout
