"""A kubectl for these tests, which need no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.reading import ROOT


@dataclass
class Cluster:
    """State of the stand-in for kubectl, kept in a folder."""

    folder: Path

    def run(self, module: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """``python -m module`` on this cluster."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECTL": str(self.folder / "kubectl"),
            "LOOKOUT_FAKE": str(self.folder),
        }
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def secrets(self) -> dict[str, dict[str, Any]]:
        return {file.name: json.loads(file.read_text()) for file in (self.folder / "secrets").iterdir()}

    def answer(self, kind: str, text: str) -> None:
        """Set the output of ``get KIND``."""
        (self.folder / "answers").mkdir(exist_ok=True)
        (self.folder / "answers" / kind).write_text(text)

    def refuse(self, verb: str, words: str) -> None:
        (self.folder / "refuse").mkdir(exist_ok=True)
        (self.folder / "refuse" / verb).write_text(words)


def new_cluster(folder: Path) -> Cluster:
    """A cluster without anything."""
    program = folder / "kubectl"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -I -S "{Path(__file__).with_name("fake_kubectl.py")}" "$@"\n'
    )
    program.chmod(0o755)
    return Cluster(folder)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return new_cluster(tmp_path)
