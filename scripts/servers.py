"""Builds the servers that Lookout is run and tested against from their Go modules: ``python3 scripts/servers.py``.

Needs Python and Go, nothing else. Programs land in ``bin`` of LOOKOUT_CACHE (``~/.cache/lookout``) as
``name-version-digest``, with ``name`` as a link to the newest: a changed version, flag or lock builds anew, all else is
there at once. Names may be given as arguments; ``--list`` prints the table. Knows nothing of Lookout.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

LOCKS: Final = Path(__file__).parent / "servers"
GO_LEAST: Final = (1, 26)
FLAGS: Final = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false")
# No C compiler is needed, and the programs run in an empty container image.
ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A program to build: ``package`` of ``module`` at ``version``.

    With ``lock``, a folder with go.mod and go.sum beside this script, it is built there, from exactly what is locked. A
    module without ``replace`` lines needs none: Go takes its own list of dependencies, each checked against Go's
    database of checksums.
    """

    name: str
    module: str
    version: str
    package: str
    lock: str = ""

    @property
    def file_name(self) -> str:
        """Name, version, and eight digits for all else that decides what comes out."""
        digest = hashlib.sha256(repr((astuple(self), FLAGS, sorted(ENVIRONMENT.items()))).encode())
        for file in ("go.mod", "go.sum") if self.lock else ():
            digest.update((LOCKS / self.lock / file).read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"


SERVERS: Final = (
    Server(
        name="minio",
        module="github.com/minio/minio",
        version="v0.0.0-20260212201848-7aac2a2c5b7c",
        package="github.com/minio/minio",
    ),
    Server(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        version="v3.5.35",
        package="go.etcd.io/etcd/server/v3",
        lock="etcd",
    ),
    Server(
        name="etcdctl",
        module="go.etcd.io/etcd/etcdctl/v3",
        version="v3.5.35",
        package="go.etcd.io/etcd/etcdctl/v3",
        lock="etcd",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build the servers that are missing or outdated.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(s.name for s in SERVERS)}; all")
    parser.add_argument("--list", action="store_true", help="print names, modules, versions and packages")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - {server.name for server in SERVERS}
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    wanted = [server for server in SERVERS if not given.names or server.name in given.names]
    if given.list:
        sys.stdout.write("".join(f"{s.name} {s.module} {s.version} {s.package}\n" for s in wanted))
        return
    cache = Path(os.environ.get("LOOKOUT_CACHE") or Path.home() / ".cache" / "lookout")
    if not all(is_current(server, cache / "bin") for server in wanted):
        with sole_builder(cache):
            for server in wanted:
                provide(server, cache)


def is_current(server: Server, folder: Path) -> bool:
    """Whether the program is there, and its plain name leads to it."""
    link = folder / server.name
    return link.is_symlink() and link.readlink() == Path(server.file_name) and os.access(link, os.X_OK)


@contextmanager
def sole_builder(cache: Path) -> Iterator[None]:
    """Hold the cache's lock: a second builder waits here, and then finds all done. A killed one lets go of it."""
    (cache / "bin").mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def provide(server: Server, cache: Path) -> None:
    """Build the program if it is not there, and point its plain name at it. Nobody ever sees half a program."""
    program = cache / "bin" / server.file_name
    if not os.access(program, os.X_OK):
        check_go()
        say(f"building {server.name} {server.version} (minutes the first time)")
        began_s = time.monotonic()
        part = cache / "build" / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        build(server, part).replace(program)
        shutil.rmtree(part)
        say(f"built {program} in {time.monotonic() - began_s:.0f} s")
    link = cache / "bin" / f"{server.name}.link"
    link.unlink(missing_ok=True)
    link.symlink_to(server.file_name)
    link.replace(cache / "bin" / server.name)


def build(server: Server, folder: Path) -> Path:
    """Build into the folder; the program's file."""
    program = folder / server.name
    if server.lock:
        go("build", "-mod=readonly", *FLAGS, "-o", str(program), server.package, cwd=LOCKS / server.lock)
        return program
    go("install", *FLAGS, f"{server.package}@{server.version}", cwd=folder, GOBIN=str(folder))
    made = [file for file in folder.iterdir() if file.is_file()]
    if len(made) != 1:
        sys.exit(f"{server.package}: expected one program, got {', '.join(file.name for file in made) or 'none'}")
    return made[0]


def go(*arguments: str, cwd: Path, **environment: str) -> None:
    """Run Go; its words go to stderr as they come."""
    done = subprocess.run(  # noqa: S603 (arguments from the table above)
        ["go", *arguments],  # noqa: S607 (the user's Go, as found in PATH)
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        sys.exit(f"go {arguments[0]} ended with status {done.returncode}: see above")


def check_go() -> None:
    """Exit with a word on what is needed if Go is missing or too old."""
    least = ".".join(map(str, GO_LEAST))
    if shutil.which("go") is None:
        sys.exit(f"Go {least} or newer is needed to build the servers; no go is in PATH.")
    # An old Go may fetch a new one by itself: what it says here is the one that would build.
    done = subprocess.run(
        ["go", "env", "GOVERSION"],  # noqa: S607
        cwd=LOCKS / "etcd",
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < GO_LEAST:
        sys.exit(f"Go {least} or newer is needed to build the servers; found {(done.stdout or done.stderr).strip()}")


def say(words: str) -> None:
    sys.stderr.write(words + "\n")


if __name__ == "__main__":
    main()
