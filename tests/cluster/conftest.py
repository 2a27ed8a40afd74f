"""The cluster that ``make cluster`` brought up, for the tests of this folder; without one they fail, and say so.

They run in two processes at most: one for the modules marked ``apart``, which are in nobody's way, one for all else.

A failed test tells what Kubernetes knows of it: its workflows and pods, its warnings, the ends of the logs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from k8s.local.node import Node
from k8s.local.site import Site

from .cluster import Cluster
from .deployment import Deployment, by_intake
from .embedded import MORE_DEVICES, Embedded, embed

HERE = Path(__file__).parent
BEGAN_S = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the cluster, and most have it for themselves."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group("alone"))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The local cluster. Shared by all tests and by who uses it besides: a test cleans up what it makes."""
    site = Site.from_environment()
    if Node(site).find_first_process() is None:
        pytest.fail(f"There is no cluster in {site.cluster}: make cluster brings one up.")
    return Cluster(site=site)


@pytest.fixture(scope="session")
def deployment(cluster: Cluster) -> Iterator[Deployment]:
    """With rules for the devices of this run in force."""
    with by_intake(cluster, *MORE_DEVICES) as made:
        yield made


@pytest.fixture(scope="session")
def embedded(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """The pictures of all tests on one machine, with the same rules."""
    return embed(deployment.tag, tmp_path_factory.mktemp("embedded"), *MORE_DEVICES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[BEGAN_S] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """The report of a test that failed, or could not begin, carries the cluster's story of it."""
    report = yield
    if HERE in item.path.parents and report.failed and call.when in ("setup", "call"):
        site = Site.from_environment()
        if Node(site).find_first_process() is not None:
            since = datetime.fromtimestamp(item.stash.get(BEGAN_S, call.start), UTC)
            try:
                story = Cluster(site=site).story(since)
            except (subprocess.TimeoutExpired, ValueError) as exc:
                story = f"the cluster does not tell: {exc}"
            report.sections.append(("what the cluster knows", story))
    return report
