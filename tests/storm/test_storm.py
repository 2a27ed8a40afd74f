"""The short form of the storms: the end is that of a calm run, and every alert is accounted for.

``make test-storm`` has the long one. A failing storm says how it can be repeated. Weather that this machine does not
allow is named on stderr.
"""

from __future__ import annotations

import sys

import pytest

from tests.storm.__main__ import storm

STEPS = 12
SERVER_STEPS = 8
"""Numbers of steps, not of seconds: the same storm on any machine."""


@pytest.mark.parametrize("seed", [281])
def test_a_storm_over_a_state_folder_loses_nothing_and_leaves_nothing(
    seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    site = storm(seed, 0.0, servers=False, steps=STEPS)
    tell(capfd, seed, site.left_out)
    assert site.figures.counts["steps"] == STEPS
    assert site.figures.counts["kills (SIGKILL)"] > 3
    assert site.figures.counts["alerts sent"] > 3


@pytest.mark.services
@pytest.mark.parametrize("seed", [1275])
def test_a_storm_on_minio_and_etcd_loses_nothing_and_leaves_nothing(
    seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    site = storm(seed, 0.0, servers=True, steps=SERVER_STEPS)
    tell(capfd, seed, site.left_out)
    assert site.figures.counts["steps"] == SERVER_STEPS
    assert site.figures.counts["outages"] >= 4
    assert site.figures.counts["alerts sent"] > 3


def tell(capfd: pytest.CaptureFixture[str], seed: int, left_out: set[str]) -> None:
    """Name what was left out, where a person sees it."""
    with capfd.disabled():
        for why in sorted(left_out):
            sys.stderr.write(f"storm {seed} without {why}\n")
