"""``scripts/servers.py`` builds what is missing, once, whole, and from what is pinned. Go is a stand-in here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "servers.py"
GO = """#!/bin/sh
echo "$@" >> "$GO_CALLS"
case "$1" in
list) exec sleep 60 ;;
mod) echo "{\\"Dir\\": \\"$GO_MODULE\\"}"; exit ;;
env) echo "${GO_FOUND:-go1.26.8}"; exit ;;
build)
    until [ "$(grep -c ^list "$GO_CALLS")" -ge "${GO_LISTS:-0}" ]; do sleep 0.01; done
    while [ "$1" != -o ]; do shift; done
    program=$2 ;;
install) for last; do :; done; program=$GOBIN/$(basename "${last%@*}") ;;
esac
[ -z "$GO_FAILS" ] || { echo "no such module" >&2; exit 1; }
echo "#!/bin/sh" > "$program"; chmod +x "$program"
"""

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "go" / "bin"
    folder.mkdir(parents=True)
    (folder / "go").write_text(GO)
    (folder / "go").chmod(0o755)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "LOOKOUT_CACHE": str(tmp_path / "cache"),
        "GO_CALLS": str(tmp_path / "calls"),
    }


@pytest.fixture
def build(environment: dict[str, str]) -> Build:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments], env=environment | more, capture_output=True, text=True, check=False
        )

    return run


def builds(environment: dict[str, str]) -> list[str]:
    """Return the names of what Go was told to build, by the last word of each call."""
    file = Path(environment["GO_CALLS"])
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split()[-1] for line in lines if not line.startswith(("env", "mod", "list"))]


def table(group: str = "services") -> list[list[str]]:
    command = [sys.executable, SCRIPT, "--list", "--group", group]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in said.splitlines()]


def test_all_are_built_once(build: Build, environment: dict[str, str], tmp_path: Path) -> None:
    done = build()
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert len(builds(environment)) == len(table())
    for name, _, version, _ in table():
        link = tmp_path / "cache" / "bin" / name
        assert re.fullmatch(rf"{name}-{re.escape(version)}-[0-9a-f]{{8}}", str(link.readlink()))
        assert os.access(link, os.X_OK)
    again = build()
    assert (again.returncode, again.stderr) == (0, "")
    assert len(builds(environment)) == len(table())


def test_what_the_later_ones_need_is_fetched_while_the_first_is_built(
    build: Build, environment: dict[str, str]
) -> None:
    began_s = time.monotonic()
    done = build("pause", "kubelet", "kubectl", "argo-events", GO_LISTS="2")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began_s < 30, "nobody waits for the rest of it"
    calls = [line.split() for line in Path(environment["GO_CALLS"]).read_text().splitlines()]
    fetched = {call[-1]: call[3:] for call in calls if call[0] == "list"}
    assert fetched == {
        "k8s.io/kubernetes/cmd/kubectl": ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kubectl"],
        "github.com/argoproj/argo-events/cmd": ["github.com/argoproj/argo-events/cmd"],
    }


def test_services_are_built_without_being_named_and_a_cluster_s_programs_are_not(
    build: Build, environment: dict[str, str], tmp_path: Path
) -> None:
    assert {row[0] for row in table()} == {"minio", "etcd", "etcdctl"}
    assert not {row[0] for row in table()} & {row[0] for row in table("cluster")}
    assert build("--group", "cluster", "etcd", GO_MODULE=str(module(tmp_path))).returncode == 0
    assert len(builds(environment)) == len(table("cluster")) + 1


def module(folder: Path) -> Path:
    """A module as Go unpacks it: read-only, without links, and without what its own build makes."""
    module = folder / "module"
    for file in ("workflow/executor/osspecific/signal_darwin.go", "ui/src/index.html"):
        path = module / file
        path.parent.mkdir(parents=True)
        path.write_text(f"that of {file}")
        path.chmod(0o444)
    for path in (module, *module.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return module


def test_what_a_module_misses_is_put_into_a_copy_that_is_built(
    build: Build, environment: dict[str, str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    go = Path(environment["PATH"].split(":")[0]) / "go"
    go.write_text(GO.replace("build)\n", f"build) cat workflow/*/*/signal_linux.go ui/dist/app/index.html > {seen}\n"))
    done = build("argo", GO_MODULE=str(module(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert seen.read_text() == "that of workflow/executor/osspecific/signal_darwin.gothat of ui/src/index.html"
    assert not (tmp_path / "module" / "ui" / "dist").exists()


def test_what_is_there_needs_no_go(build: Build) -> None:
    assert build().returncode == 0
    assert build(PATH="/nowhere").returncode == 0


def test_a_module_without_a_lock_is_installed_at_its_version(build: Build, environment: dict[str, str]) -> None:
    assert build("minio").returncode == 0
    version = next(row[2] for row in table() if row[0] == "minio")
    assert builds(environment) == [f"github.com/minio/minio@{version}"]


def test_a_program_that_lies_in_the_way_is_replaced(build: Build, tmp_path: Path) -> None:
    program = tmp_path / "cache" / "bin" / "etcd"
    program.parent.mkdir(parents=True)
    program.write_text("built by hand")
    assert build("etcd").returncode == 0
    assert program.is_symlink()


def test_a_link_to_another_version_is_moved_and_that_version_stays(
    build: Build, environment: dict[str, str], tmp_path: Path
) -> None:
    link = tmp_path / "cache" / "bin" / "etcd"
    link.parent.mkdir(parents=True)
    old = link.with_name("etcd-v3.4.0-00000000")
    old.write_text("")
    link.symlink_to(old.name)
    assert build("etcd").returncode == 0
    assert link.readlink().name.startswith("etcd-v3.")
    assert old.exists()


def test_two_at_once_build_once(build: Build, environment: dict[str, str]) -> None:
    both = [
        subprocess.Popen([sys.executable, SCRIPT], env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [one.communicate(timeout=60)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(builds(environment)) == len(table())


def test_what_fails_leaves_nothing_that_looks_built(build: Build, tmp_path: Path) -> None:
    done = build("etcd", GO_FAILS="1")
    assert done.returncode == 1
    assert "no such module" in done.stderr
    assert "go build ended with status 1" in done.stderr
    assert list((tmp_path / "cache" / "bin").iterdir()) == []
    assert build("etcd").returncode == 0


def test_a_missing_go_is_named(build: Build) -> None:
    done = build(PATH="/nowhere")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Go 1.26 or newer is needed to build the servers; no go is in PATH."


def test_an_old_go_is_named(build: Build) -> None:
    done = build(GO_FOUND="go1.19.8")
    assert done.returncode == 1
    assert done.stderr == "Go 1.26 or newer is needed to build the servers; found go1.19.8\n"


def test_an_unknown_name_is_refused_with_the_known_ones(build: Build) -> None:
    done = build("consul")
    assert done.returncode == 2
    assert "no such server: consul" in done.stderr


@pytest.mark.parametrize(("lock", "group"), [("etcd", "services"), ("kubernetes", "cluster")])
def test_the_locks_say_what_the_table_says(lock: str, group: str) -> None:
    required = (ROOT / "scripts" / "servers" / lock / "go.mod").read_text()
    rows = [row for row in table(group) if f"/{lock}" in row[1]]
    assert rows
    for _, module, version, _ in rows:
        assert re.search(rf"^(require |\t){re.escape(module)} {re.escape(version)}$", required, flags=re.MULTILINE)
    assert re.search(r"^go 1\.26", required, flags=re.MULTILINE)


@pytest.mark.parametrize(("group", "page"), [("services", "services.md"), ("cluster", "cluster.md")])
def test_the_page_has_the_same_versions(group: str, page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, module, version, _ in table(group):
        if not module.startswith("lookout/"):
            assert f"| {name} | `{module}` | `{version}` |" in text
