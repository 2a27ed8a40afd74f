"""The local cluster leaves nothing behind, and what was killed half-way is mended or ended. Takes minutes.

A machine has one cluster at a time: the one that is up goes down for this, and comes up again, empty, at the end.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8s.local.node import Node
from k8s.local.site import ROOT, Site

pytestmark = pytest.mark.slow

WORDS_AT_KILL = ("the node is started", "handing", "waiting for")
KERNEL = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys")

FOLDERS = ("/var/lib", "/var/log", "/run", "/etc", "/etc/cni/net.d", "/opt")


def traces() -> dict[str, object]:
    """Return the traces that a cluster could leave on the machine."""

    def said(*words: str) -> list[str]:
        return sorted(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())

    commands = (path / "cmdline" for path in Path("/proc").glob("[0-9]*"))
    words = ("k8s/local/init.py", "kubelet", "kube-", "containerd", "runc", "coredns", "/pause")
    return {
        "processes": sorted(line for line in map(read, commands) if any(word in line for word in words)),
        "mounts": sorted(Path("/proc/mounts").read_text().splitlines()),
        "links": [line.split(":")[1] for line in said("ip", "-oneline", "link")],
        "routes": said("ip", "route", "show", "table", "all"),
        "rules": said("nft", "list", "ruleset"),
        "net namespaces": said("ip", "netns", "list"),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/lookout")),
        "kernel": [Path("/proc/sys", name).read_text() for name in KERNEL],
        "folders": [sorted(path.name for path in Path(folder).glob("*")) for folder in FOLDERS],
        "hosts": Path("/etc/hosts").read_text(),
    }  # fmt: skip


def read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def local(word: str, site: Site) -> subprocess.Popen[str]:
    where = {"LOOKOUT_CLUSTER": str(site.cluster), "LOOKOUT_CACHE": str(site.cache)}
    return subprocess.Popen(
        [sys.executable, "-m", "k8s.local", word],
        cwd=ROOT,
        env=os.environ | where,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def to_its_end(word: str, site: Site) -> None:
    process = local(word, site)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A place for a cluster, on a machine without one. The images are the cache's."""
    real = Site.from_environment()
    was_up = Node(real).find_first_process() is not None
    if was_up:
        to_its_end("down", real)
    other = Site(cluster=tmp_path_factory.mktemp("site") / "cluster", cache=real.cache)
    yield other
    to_its_end("down", other)
    if was_up:
        to_its_end("up", real)


def test_down_leaves_nothing(site: Site) -> None:
    before = traces()
    to_its_end("up", site)
    assert Node(site).find_first_process() is not None
    to_its_end("down", site)
    assert traces() == before
    assert not site.cluster.exists()


@pytest.mark.parametrize("word", WORDS_AT_KILL)
def test_a_killed_up_is_finished_by_the_next_or_ended_by_down(site: Site, word: str) -> None:
    before = traces()
    for last in ("down", "up"):
        process = local("up", site)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(word):
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        to_its_end(last, site)
    to_its_end("down", site)
    assert traces() == before


def test_an_up_killed_at_any_time_is_ended_by_down(site: Site) -> None:
    before = traces()
    chance = random.Random(5)
    for _ in range(8):
        process = local("up", site)
        try:
            process.communicate(timeout=chance.uniform(0, 8))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        to_its_end("down", site)
        assert traces() == before
