"""Execution of other programs: their output, or an error with their error text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class CommandFailed(Exception):
    """A program ended with another status than 0."""

    def __init__(self, command: tuple[str, ...], status: int, said: str) -> None:
        super().__init__(f"{' '.join(command)}\nended with status {status}: {said.strip() or 'no word'}")
        self.status, self.said = status, said


def run(
    *command: str | Path,
    given: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    deadline_s: float | None = None,
) -> str:
    """Run a program and return its output. ``given`` is its input. Raises CommandFailed; TimeoutExpired after the
    deadline."""
    words = tuple(map(str, command))
    done = subprocess.run(  # noqa: S603 (the callers' own words)
        words,
        input=given or "",
        cwd=cwd,
        env=environment,
        timeout=deadline_s,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(words, done.returncode, done.stderr or done.stdout)
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Tell whether it ends with status 0."""
    try:
        run(*command)
    except CommandFailed:
        return False
    return True


def say(words: str) -> None:
    """Talk, which goes to stderr."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
