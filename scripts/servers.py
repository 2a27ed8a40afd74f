"""Builds the servers that Lookout is run and tested against from their Go modules: ``python3 scripts/servers.py``.

Needs Python and Go, nothing else. Programs land in ``bin`` of LOOKOUT_CACHE (``~/.cache/lookout``) as
``name-version-digest``, with ``name`` as a link to the newest: a changed version, flag or lock builds anew, all else is
there at once. Builds what ``make services`` needs, with ``--group cluster`` what ``make cluster`` needs beyond that, or
what is named; ``--list`` prints the table. Knows nothing of Lookout.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
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
# No C compiler is needed, and the programs run in an empty container image.
ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A program to build: ``package`` of ``module`` at ``version``.

    With ``lock``, a folder with go.mod and go.sum beside this script, it is built there, from exactly what is locked or
    from a main.go of ours. A module without ``replace`` lines needs none: Go takes its own list of dependencies, each
    checked against Go's database of checksums.

    A module carries no links and nothing that its project's own build makes first. With ``copies``, pairs of (file that
    is missing, file of the module whose text it gets), it is built from a copy of the module that has them, as its own
    go.mod and go.sum say. ``version_in`` is the variable that tells the program its version.
    """

    name: str
    module: str
    version: str
    package: str
    group: str = "services"
    lock: str = ""
    version_in: str = ""
    copies: tuple[tuple[str, str], ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        stamp = f" -X {self.version_in}={self.version}" if self.version_in else ""
        return ("-trimpath", f"-ldflags=-s -w{stamp}", "-buildvcs=false")

    @property
    def file_name(self) -> str:
        """Name, version, and eight digits for all else that decides what comes out."""
        digest = hashlib.sha256(repr((astuple(self), self.flags, sorted(ENVIRONMENT.items()))).encode())
        for file in ("go.mod", "go.sum", "main.go") if self.lock else ():
            if (path := LOCKS / self.lock / file).exists():
                digest.update(path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"


def kubernetes(name: str) -> Server:
    """Return a program of Kubernetes, whose go.mod takes the libraries from folders that its module does not carry."""
    return Server(
        name=name,
        module="k8s.io/kubernetes",
        version="v1.37.2",
        package=f"k8s.io/kubernetes/cmd/{name}",
        group="cluster",
        lock="kubernetes",
        version_in="k8s.io/component-base/version.gitVersion",
    )


def argo_workflows(name: str) -> Server:
    """Return a program of Argo Workflows. Its user interface is built with Node, so here the page of the server is
    blank."""
    return Server(
        name=name,
        module="github.com/argoproj/argo-workflows/v3",
        version="v3.7.18",
        package=f"github.com/argoproj/argo-workflows/v3/cmd/{name}",
        group="cluster",
        version_in="github.com/argoproj/argo-workflows/v3.version",
        copies=(
            ("workflow/executor/osspecific/signal_linux.go", "workflow/executor/osspecific/signal_darwin.go"),
            ("ui/dist/app/index.html", "ui/src/index.html"),
        ),
    )


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
        version="v3.6.16",
        package="go.etcd.io/etcd/server/v3",
        lock="etcd",
    ),
    Server(
        name="etcdctl",
        module="go.etcd.io/etcd/etcdctl/v3",
        version="v3.6.16",
        package="go.etcd.io/etcd/etcdctl/v3",
        lock="etcd",
    ),
    Server(
        name="nats-server",
        module="github.com/nats-io/nats-server/v2",
        version="v2.15.3",
        package="github.com/nats-io/nats-server/v2",
        group="cluster",
    ),
    Server(
        name="pause",
        module="lookout/scripts/servers/pause",
        version="v1",
        package="lookout/scripts/servers/pause",
        group="cluster",
        lock="pause",
    ),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    kubernetes("kube-proxy"),
    kubernetes("kubelet"),
    kubernetes("kubectl"),
    argo_workflows("workflow-controller"),
    argo_workflows("argoexec"),
    argo_workflows("argo"),
    Server(
        name="argo-events",
        module="github.com/argoproj/argo-events",
        version="v1.9.11",
        package="github.com/argoproj/argo-events/cmd",
        group="cluster",
        # It has no replace lines, but without a lock Go asks for a list of versions, which the module proxy refuses.
        lock="argo-events",
        version_in="github.com/argoproj/argo-events.version",
    ),
    Server(
        name="coredns",
        module="github.com/coredns/coredns",
        version="v1.15.0",
        package="lookout/scripts/servers/coredns",
        group="cluster",
        lock="coredns",
    ),
    Server(
        name="kube-router",
        module="github.com/cloudnativelabs/kube-router/v2",
        version="v2.1.0",
        package="lookout/scripts/servers/kube-router",
        group="cluster",
        lock="kube-router",
    ),
)
GROUPS: Final = tuple(dict.fromkeys(server.group for server in SERVERS))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build the servers that are missing or outdated.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(s.name for s in SERVERS)}")
    parser.add_argument("--group", choices=GROUPS, help=f"all of a group; without names: {GROUPS[0]}")
    parser.add_argument("--list", action="store_true", help="print names, modules, versions and packages")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - {server.name for server in SERVERS}
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    group = given.group or (None if given.names else GROUPS[0])
    wanted = [server for server in SERVERS if server.group == group or server.name in given.names]
    if given.list:
        sys.stdout.write("".join(f"{s.name} {s.module} {s.version} {s.package}\n" for s in wanted))
        return
    cache = Path(os.environ.get("LOOKOUT_CACHE") or Path.home() / ".cache" / "lookout")
    missing = [server for server in wanted if not is_built(server, cache / "bin")]
    if missing:
        check_go()
    with fetching(missing[1:]):
        for server in wanted:
            if not is_current(server, cache / "bin"):
                with sole_builder(cache):
                    provide(server, cache)


def is_current(server: Server, folder: Path) -> bool:
    """Tell whether the program is there, and its plain name leads to it."""
    link = folder / server.name
    return link.is_symlink() and link.readlink() == Path(server.file_name) and is_built(server, folder)


def is_built(server: Server, folder: Path) -> bool:
    return os.access(folder / server.file_name, os.X_OK)


@contextmanager
def fetching(servers: Sequence[Server]) -> Iterator[None]:
    """Have Go fetch what these will need, so that no build waits for the network: it takes as long as compiling does.

    Only of those with a lock, as Go lists packages within a module. What fails here the build tells.
    """
    packages: dict[str, list[str]] = {}
    for server in servers:
        if server.lock:
            packages.setdefault(server.lock, []).append(server.package)
    running = [
        subprocess.Popen(  # noqa: S603 (arguments from the table above)
            ["go", "list", "-mod=readonly", "-deps", *names],  # noqa: S607 (the user's Go, as found in PATH)
            cwd=LOCKS / lock,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for lock, names in packages.items()
    ]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


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
    if not is_built(server, program.parent):
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
    link.symlink_to(program.name)
    link.replace(cache / "bin" / server.name)


def build(server: Server, folder: Path) -> Path:
    """Build into the folder; the program's file."""
    program = folder / server.name
    if server.lock or server.copies:
        source = copy_module(server, folder / "source") if server.copies else LOCKS / server.lock
        go("build", "-mod=readonly", *server.flags, "-o", str(program), server.package, cwd=source)
        return program
    go("install", *server.flags, f"{server.package}@{server.version}", cwd=folder, GOBIN=str(folder))
    made = [file for file in folder.iterdir() if file.is_file()]
    if len(made) != 1:
        sys.exit(f"{server.package}: expected one program, got {', '.join(file.name for file in made) or 'none'}")
    return made[0]


def copy_module(server: Server, folder: Path) -> Path:
    """Return a copy of the module, as checked and unpacked by Go, with the files that it misses."""
    said = go("mod", "download", "-json", f"{server.module}@{server.version}", cwd=folder.parent)
    shutil.copytree(json.loads(said)["Dir"], folder, copy_function=shutil.copyfile)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o755)  # Go keeps modules read-only.
    for missing, like in server.copies:
        (folder / missing).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / like, folder / missing)
    return folder


def go(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run Go; what it answered. Its talk goes to stderr as it comes."""
    done = subprocess.run(  # noqa: S603 (arguments from the table above)
        ["go", *arguments],  # noqa: S607 (the user's Go, as found in PATH)
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}go {arguments[0]} ended with status {done.returncode}: see above")
    return done.stdout


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
