"""``lookout watch DIR --upload`` where no store answers: what is refused, what it loads, what it costs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from devkit.servers.ports import free_port

from .shell import RULES, THREAT, World


@pytest.fixture
def device(empty_world: World) -> World:
    """A device whose store does not answer."""
    empty_world.environment = {
        "LOOKOUT_STORE": f"s3+http://127.0.0.1:{free_port()}",
        "LOOKOUT_STORE_ACCESS_KEY": "uploader",
        "LOOKOUT_STORE_SECRET_KEY": "a secret of the device",
    }
    return empty_world


def test_what_makes_no_sense_is_refused_and_leaves_nothing_behind(device: World) -> None:
    said = device.lookout("watch", "photos", "--upload", "--rules", RULES, "--max-mails", 3, code=2).err
    assert "--rules and --max-mails cannot be used with --upload" in said
    assert "--prefix is for --upload" in device.lookout("watch", "photos", "--prefix", "a/", code=2).err
    assert "no such folder" in device.refused("watch", "nowhere", "--upload")
    assert "state folder" in device.refused("watch", "photos", "--upload", "--state", ".")
    for prefix in ("/", "../", "a//"):
        device.refused("watch", "photos", "--upload", "--prefix", prefix)
    device.environment = {}
    assert "LOOKOUT_STORE" in device.refused("watch", "photos", "--upload")
    assert [path.name for path in device.root.iterdir()] == ["photos"]


def test_it_waits_for_a_store_that_is_away_says_so_once_and_ends_at_once(device: World) -> None:
    device.put(THREAT)
    with device.start("watch", "photos", "--upload", "--json") as watch:
        watch.expect_talk("cannot be reached")
        assert watch.stop(signal.SIGTERM) == 130
    assert "a secret of the device" not in watch.err
    (line,) = watch.seen
    assert '"uploaded": 0' in line
    assert '"waiting": 1' in line
    assert watch.err.count("cannot be reached") == 1


def test_its_folder_going_away_ends_it_with_a_reason(device: World) -> None:
    with device.start("watch", "photos", "--upload") as watch:
        watch.expect_talk("watching photos")
        device.photos.rename(device.root / "away")
        assert watch.wait() == 2
    assert "removed, moved or unmounted" in watch.err


def test_its_state_folder_may_become_that_of_a_ledger(device: World) -> None:
    with device.start("watch", "photos", "--upload") as watch:
        watch.expect_talk("watching photos")
        assert watch.stop(signal.SIGINT) == 130
    device.environment = {}
    device.lookout("run", "photos", "--workers", 1)
    assert {path.name for path in (device.root / "lookout-state").iterdir()} >= {"ledger.sqlite", "sent.sqlite"}


_LOADED = """
import sys
sys.argv = ["lookout", "watch", "nowhere", "--upload"]
from stages.installation import INSTALLATION
from lookout.app.process import run_command
from lookout.cli import cli
run_command(cli, obj=INSTALLATION)
import event_sources.folder_watch.watch, lookout.uploader.folder_sync, lookout.cli.watch_upload
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_device_needs_three_packages(device: World) -> None:
    """And what these need themselves. A gateway of little memory loads neither numpy nor a model's runtime."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED],
        cwd=device.root,
        env=device.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded >= {"click", "minio", "watchdog"}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["servers"]]
    modules = {"opencv-python-headless": "cv2", "protobuf": "google.protobuf"}
    packages = [re.split(r"[^a-z0-9-]", requirement)[0] for requirement in declared]
    names = {modules.get(name, name) for name in packages} | {"apprise", "paho", "requests"}
    assert names & loaded == {"click", "minio", "watchdog"}
