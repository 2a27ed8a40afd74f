"""Calls of kubectl, on the cluster of the environment. Secrets are passed by its input and never as an argument."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

NAMESPACE: Final = "lookout"
_DEADLINE_S: Final = 600.0


class Failed(Exception):
    """Failure of a command, with the text of the program that refused it."""


class Kubectl:
    """kubectl for one namespace. Raises Failed when there is none."""

    def __init__(self, program: str | None = None, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._program = program or find_kubectl()

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """Run it and return its output; ``given`` is its input. Raises Failed with its error text."""
        words = [self._program, f"--namespace={self.namespace}", *arguments]
        done = subprocess.run(  # noqa: S603 - the callers' own words
            words, input=given or "", capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
        if done.returncode:
            raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def find_kubectl() -> str:
    """Return the program: KUBECTL, else the one that ``make cluster`` has, else the one in PATH. Raises Failed."""
    cache = Path(os.environ.get("LOOKOUT_CACHE") or Path.home() / ".cache" / "lookout")
    for name in (os.environ.get("KUBECTL"), str(cache / "bin" / "kubectl"), "kubectl"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise Failed("there is no kubectl: install it, or name it in KUBECTL")
