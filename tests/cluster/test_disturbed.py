"""Whatever is killed, restarted or stopped while a picture is worked on: results, charts and letters are those of an
undisturbed run, each letter once.

Each disturbance comes while a stage holds its claim: the stage's process goes on in steps of some milliseconds, and is
left frozen when the ledger says so.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from k8s.local.node import Node
from lookout.domain.records import State
from lookout.ledger.port import Ledger

from .argo_kit import until
from .deployment import EVENT_SOURCE, SETTLED_S, Deployment
from .embedded import PERSON, TIME, Embedded

CAUGHT_S = 240.0
STEP_S = 0.01
"""Time for which a process goes on between two looks: less than a stage works on a picture."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def ledger(deployment: Deployment) -> Iterator[Ledger]:
    with deployment.ledger() as opened:
        yield opened


def stages_at_work(stage: str, about: str) -> list[int]:
    """The containers' processes of a stage, of those in whose words this is, as this machine numbers them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = os.fsdecode((path / "cmdline").read_bytes()).split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        module = f"stages.{stage.replace('-', '_')}"
        if Path(words[0]).name.startswith("python") and module in words and any(about in word for word in words):
            found.append(int(path.name))
    return found


@dataclass(frozen=True, kw_only=True)
class Caught:
    """A frozen process of a stage, and the workflow that it works for."""

    workflow: str
    process: int

    def is_told_to_end(self) -> bool:
        """Tell whether SIGTERM waits for it."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return any(int(waiting, 16) >> (signal.SIGTERM - 1) & 1 for waiting in re.findall(r"Pnd:\t(\w+)", status))


@contextmanager
def frozen(deployment: Deployment, ledger: Ledger, device: str, stage: str) -> Iterator[Caught]:
    """Upload the picture of this device, and freeze this stage's process while it holds the claim. It goes on
    afterwards, if it is still there."""
    key = f"{deployment.tag}-{device}{TIME}"
    deployment.put("images", key, PERSON.read_bytes())
    (process,) = awaited(lambda: stages_at_work(stage, key), every_s=0.1)
    try:
        awaited(lambda: is_claimed_by_frozen(process, ledger, stage, key), every_s=STEP_S)
        assert is_claimed(ledger, stage, key), "it was through before it could be frozen"
        (workflow,) = deployment.workflows("pipeline-", key)
        yield Caught(workflow=workflow["metadata"]["name"], process=process)
    finally:
        if process in stages_at_work(stage, key):
            os.kill(process, signal.SIGCONT)


def is_claimed_by_frozen(process: int, ledger: Ledger, stage: str, key: str) -> bool:
    """Freeze the process and look; let it go on if it does not hold the claim. Raises ProcessLookupError if it is
    through."""
    os.kill(process, signal.SIGSTOP)
    if is_claimed(ledger, stage, key):
        return True
    os.kill(process, signal.SIGCONT)
    return False


def is_claimed(ledger: Ledger, stage: str, key: str) -> bool:
    slot = ledger.find_slots(stage, [key]).get(key)
    return slot is not None and slot.state is State.RUNNING


def awaited(look: Callable[[], T], every_s: float) -> T:
    """As ``until``, but often enough to see what is soon over."""
    ends_s = time.monotonic() + CAUGHT_S
    while not (found := look()):
        assert time.monotonic() < ends_s, f"not within {CAUGHT_S:.0f} s"
        time.sleep(every_s)
    return found


def assert_undisturbed(deployment: Deployment, embedded: Embedded, device: str) -> None:
    """Once everything of the device is there."""
    wanted, letters = embedded.results(device), embedded.letters(device)
    assert len(letters) == 2
    until(lambda: deployment.versions(device).keys() == wanted.keys(), SETTLED_S)
    assert deployment.results(device) == wanted
    assert until(lambda: found if len(found := deployment.letters(device)) >= len(letters) else []) == letters


@pytest.fixture(scope="module", autouse=True)
def one_by_one(deployment: Deployment) -> Iterator[None]:
    """A workflow for each object, whose words name it."""
    with deployment.by(EVENT_SOURCE):
        yield


@pytest.fixture(scope="module", autouse=True)
def killed(one_by_one: None, deployment: Deployment, embedded: Embedded, ledger: Ledger) -> None:
    """A pod that was deleted without a warning, with a frozen process that cannot hand anything back. The lease of its
    claim must run out, which takes a minute: the other tests of this module go on meanwhile."""
    with frozen(deployment, ledger, "killed", "threat-detect") as caught:
        pods = deployment.cluster.get("pods", "-l", f"workflows.argoproj.io/workflow={caught.workflow}")["items"]
        (pod,) = [one["metadata"]["name"] for one in pods]
        deployment.cluster.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
        until(lambda: not stages_at_work("threat-detect", f"{deployment.tag}-killed"))


def test_a_kubelet_that_is_restarted_changes_nothing(
    deployment: Deployment, embedded: Embedded, ledger: Ledger
) -> None:
    node = Node(deployment.cluster.site)
    with frozen(deployment, ledger, "kubelet", "object-detect"):
        before = node.find_program("kubelet")
        assert before is not None
        os.kill(before.pid, signal.SIGKILL)
        until(lambda: node.find_program("kubelet") not in (None, before))
    deployment.ended("pipeline-", f"{deployment.tag}-kubelet")
    assert_undisturbed(deployment, embedded, "kubelet")


def test_a_workflow_controller_that_is_restarted_changes_nothing(
    deployment: Deployment, embedded: Embedded, ledger: Ledger
) -> None:
    with frozen(deployment, ledger, "controller", "object-detect"):
        deployment.cluster.kubectl("delete", "pod", "--selector=app=workflow-controller", "--wait=false")
    deployment.ended("pipeline-", f"{deployment.tag}-controller")
    assert_undisturbed(deployment, embedded, "controller")


def test_a_workflow_that_is_stopped_is_finished_by_one_that_is_submitted_again(
    deployment: Deployment, embedded: Embedded, ledger: Ledger
) -> None:
    with frozen(deployment, ledger, "stopped", "object-detect") as caught:
        said = deployment.cluster.argo("stop", caught.workflow)
        assert said.returncode == 0, said.stderr
        until(caught.is_told_to_end)
    (stopped,) = deployment.finished(caught.workflow)
    assert stopped["status"]["phase"] == "Failed"
    assert "Stop" in stopped["status"]["message"]
    (again,) = deployment.finished(deployment.submit("backfill", prefix=f"{deployment.tag}-stopped"))
    assert again["status"]["phase"] == "Succeeded"
    assert_undisturbed(deployment, embedded, "stopped")


def test_a_pod_that_is_killed_in_mid_stage_changes_nothing(deployment: Deployment, embedded: Embedded) -> None:
    deployment.ended("pipeline-", f"{deployment.tag}-killed")
    assert_undisturbed(deployment, embedded, "killed")
