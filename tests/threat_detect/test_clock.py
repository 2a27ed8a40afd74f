"""Time zones: those of the locked package, whatever the system says."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from stages.time_zones import find_zone, zone_names

TOLD = """
from zoneinfo import ZoneInfo
from datetime import datetime
from stages.threat_detect.local_time import find_zone, local_time
for name in ("America/Vancouver", "Africa/Casablanca"):
    print(datetime.fromtimestamp(1763798400, ZoneInfo(name)).tzname(), local_time(1763798400, name))
"""


def lying_zones(folder: Path) -> Path:
    """A folder of zone data in which Vancouver and Casablanca keep the time of Tokyo."""
    tokyo = files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    for name in ("America/Vancouver", "Africa/Casablanca"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(tokyo)
    return folder


def test_zones_are_those_of_the_package_where_the_systems_lie(tmp_path: Path) -> None:
    lies = lying_zones(tmp_path / "lies")
    environment = {**os.environ, "PYTHONTZPATH": str(lies)}
    done = subprocess.run([sys.executable, "-c", TOLD], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["JST 2025-11-22 00:00:00 PST", "JST 2025-11-22 09:00:00 UTC+01"]


def test_every_zone_of_the_package_can_be_read() -> None:
    assert len(zone_names()) > 500
    assert [name for name in zone_names() if find_zone(name) is None] == []


@pytest.mark.parametrize(
    "name", ["", "Europe", "localtime", "posix/UTC", "../../etc/passwd", "/etc/localtime", "No/Such"]
)
def test_what_is_no_zone_of_the_package_is_none(name: str) -> None:
    assert find_zone(name) is None
