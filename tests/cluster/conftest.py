"""The cluster that ``make cluster`` brought up, for the tests of this folder; without one they fail, and say so.

A failed test tells what Kubernetes knows of it: its pods, its warnings, the ends of the logs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from k8s.local.node import Node
from k8s.local.site import NAMESPACE, Site

HERE = Path(__file__).parent
LOG_LINES = 20


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """kubectl, for the namespace of Lookout."""

    site: Site

    def kubectl(self, *words: str, given: str = "", deadline_s: float = 120.0) -> str:
        """What kubectl printed; ``given`` is its input. A failure carries its words."""
        done = self.attempt(*words, given=given, deadline_s=deadline_s)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def attempt(self, *words: str, given: str = "", deadline_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """How kubectl ended, well or not."""
        program = [
            str(self.site.program("kubectl")),
            f"--kubeconfig={self.site.kubeconfig}",
            f"--namespace={NAMESPACE}",
        ]
        return subprocess.run(
            [*program, *words], input=given, capture_output=True, text=True, timeout=deadline_s, check=False
        )

    def get(self, *words: str) -> dict[str, Any]:
        """What ``kubectl get`` says of it."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def story(self, since: datetime) -> str:
        """Pods, warnings and the ends of the logs since then: what explains a failure."""
        told = [self.attempt("get", "pods,workflows", "--output=wide").stdout]
        warnings = json.loads(self.attempt("get", "events", "--field-selector=type=Warning", "--output=json").stdout)
        for event in warnings["items"]:
            at = event.get("lastTimestamp") or event.get("eventTime") or ""
            if at >= since.strftime("%Y-%m-%dT%H:%M:%SZ"):
                told.append(
                    f"{at} {event['involvedObject'].get('name')}: {event.get('reason')}: {event.get('message')}"
                )
        for pod in self.attempt("get", "pods", "--output=name").stdout.split():
            words = ("logs", pod, "--all-containers", "--prefix", "--ignore-errors", f"--tail={LOG_LINES}")
            told.append(self.attempt(*words, f"--since-time={since.isoformat()}").stdout)
        return "\n".join(filter(None, told))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The local cluster. Shared by all tests and by who uses it besides: a test cleans up what it makes."""
    site = Site.from_environment()
    if Node(site).find_first_process() is None:
        pytest.fail(f"There is no cluster in {site.cluster}: make cluster brings one up.")
    return Cluster(site=site)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test's report carries the cluster's story of it."""
    report = yield
    if HERE in item.path.parents and report.failed and call.when == "call":
        site = Site.from_environment()
        if Node(site).find_first_process() is not None:
            since = datetime.fromtimestamp(call.start, UTC)
            try:
                story = Cluster(site=site).story(since)
            except (subprocess.TimeoutExpired, ValueError) as exc:
                story = f"the cluster does not tell: {exc}"
            report.sections.append(("what the cluster knows", story))
    return report
