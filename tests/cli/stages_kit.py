"""The containers' commands as processes of a world, with the packages of their own images and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from .shell import DEADLINE_S, REPOSITORY, Done, World

STAGES = ("validate", "object-detect", "threat-detect", "plot")
WATCHED = Path(__file__).parent / "watched"
HEAVY = {"PIL", "cv2", "etcd3", "jinja2", "matplotlib", "minio", "numpy", "onnxruntime", "pydantic"}
HEAVY |= {"apprise", "requests", "sendgrid", "simplejpeg", "sqlite3", "watchdog"}
HEAVY |= {"Crypto", "argon2", "smtplib"}
"""What takes time or room."""


def of_stage(stage: str) -> list[str]:
    return [sys.executable, "-m", f"stages.{stage.replace('-', '_')}"]


@cache
def hidden(stage: str) -> str:
    """The installed modules that the stage's image does not have, with commas between."""
    locked = (REPOSITORY / "requirements" / f"{stage}.txt").read_text(encoding="utf-8")
    there = {_canonical(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", locked, flags=re.MULTILINE)} | {"lookout"}
    found = packages_distributions().items()
    names = sorted(top for top, by in found if there.isdisjoint(_canonical(name) for name in by))
    assert "pytest" in names
    return ",".join(names)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(world: World, stage: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a stage's process: packages of its image only; ``<stage>.loaded`` notes its loads."""
    path = os.pathsep.join(map(str, (WATCHED, REPOSITORY)))
    watched = {"WATCHED_TO": str(world.root / f"{stage}.loaded"), "WATCHED_HIDDEN": hidden(stage), "PYTHONPATH": path}
    return world.variables({"LOOKOUT_STATE": str(world.state), **watched, **(env or {})})


def loaded(world: World, stage: str) -> set[str]:
    """Return the heavy modules that its processes have loaded."""
    return HEAVY.intersection((world.root / f"{stage}.loaded").read_text().split())


def run_stage(world: World, stage: str, *arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> Done:
    """One container's command to its end, which must be this one, in time, and never a traceback."""
    ended = subprocess.run(
        [*of_stage(stage), *arguments],
        cwd=world.root,
        env=environment(world, stage, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.returncode == code, f"{stage}: expected {code}, got {ended.returncode}\n{ended.stderr}\n{ended.stdout}"
    return Done(ended.returncode, ended.stdout, ended.stderr)


def start_stage(world: World, stage: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [*of_stage(stage), *arguments],
        cwd=world.root,
        env=environment(world, stage, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
