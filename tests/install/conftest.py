"""Environment with the wheel and its required packages, away from the clone; made once a session."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".git", ".venv", "build", "*.egg-info", ".*_cache", "__pycache__", "lookout-*")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An environment outside of the clone with Lookout in it."""

    sdist: Path
    wheel: Path
    python: Path
    folder: Path

    @property
    def command(self) -> Path:
        return self.python.with_name("lookout")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who has set nothing."""
        return {"PATH": os.defpath, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=100,
        )


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Installed:
    """Made by the first process of tests that asks for it, and shared by all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "installation"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "home").exists():
            make_installation(folder)
    (sdist,) = folder.glob("lookout-*.tar.gz")
    (wheel,) = folder.glob("lookout-*.whl")
    return Installed(sdist=sdist, wheel=wheel, python=folder / "venv" / "bin" / "python", folder=folder / "home")


def make_installation(folder: Path) -> None:
    """Build the sdist of the clone as it is and the wheel of that sdist, and install the wheel."""
    clone, unpacked = folder / "clone", folder / "unpacked"
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    with tarfile.open(build(clone, "sdist", folder)) as tar:
        tar.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    wheel = build(source, "wheel", folder)
    shutil.rmtree(clone)
    shutil.rmtree(unpacked)
    install(wheel, folder / "venv")
    (folder / "home").mkdir()


def build(source: Path, kind: str, into: Path) -> Path:
    """Build with the locked setuptools, which needs no network then."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, into], cwd=source, capture_output=True, text=True, check=True)
    return into / done.stdout.splitlines()[-1]


def install(wheel: Path, folder: Path) -> None:
    """Make an environment with the wheel and with the packages that it requires and no others: links to those of the
    environment of the tests, in a folder of their own, so that nothing there leads to the clone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", wheel], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    packages = Path(done.stdout.strip())
    (metadata,) = packages.glob("lookout-*.dist-info")
    for name in closure(Distribution.at(metadata).requires or []):
        link_package(name, packages)


def closure(requirements: list[str]) -> set[str]:
    """The names of all packages that these requirements bring, without extras that nobody asks for."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name not in found:
            found.add(name)
            waiting += [(Requirement(text), "") for text in distribution(name).requires or ()]
    return found


def link_package(name: str, into: Path) -> None:
    package = distribution(name)
    for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (into / top).exists():
            (into / top).symlink_to(Path(str(package.locate_file(top))))
