"""The unit of systemd and the Compose file say what the command takes, and name what is there."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookout.cli.watch import watch
from tests.install.conftest import ROOT

UNIT = ROOT / "examples" / "systemd" / "lookout.service"
COMPOSE = ROOT / "examples" / "compose"
MADE = ("./photographs", "./state")
"""Folders that Docker makes."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")


@pytest.fixture
def service() -> dict[str, str]:
    """The section Service: each name with what is assigned to it last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return dict(parser.items("Service"))


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"])


def test_the_unit_calls_the_watch_as_it_is(service: dict[str, str]) -> None:
    program, command, *arguments = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("lookout", "watch")
    assert watch.make_context("watch", arguments).params["folder"] == Path("/srv/photographs")


def test_the_unit_waits_to_be_told_and_starts_again(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert service["SuccessExitStatus"] == "130"
    assert {"WatchdogSec", "TimeoutStopSec", "TimeoutStartSec"} <= service.keys()


@needs_systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    lookout = str(Path(sys.executable).with_name("lookout"))
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/lookout/bin/lookout", lookout), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_rates_the_unit_as_hardened() -> None:
    rate = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", UNIT]
    done = subprocess.run(rate, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_compose_mounts_and_builds_what_is_there(compose: dict[str, Any]) -> None:
    for service in compose.values():
        assert (COMPOSE / service["build"] / "Dockerfile").is_file()
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
            assert source in MADE or (COMPOSE / source).exists()


def test_compose_runs_the_watch_on_the_folder_that_the_cameras_fill(compose: dict[str, Any]) -> None:
    command, *arguments = compose["lookout"]["command"]
    assert command == "watch"
    options = watch.make_context("watch", arguments).params
    targets = {volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in compose["lookout"]["volumes"]}
    assert {str(options[name]) for name in ("folder", "state", "rules")} == targets
    assert {volume.split(":")[0] for volume in compose["ftp"]["volumes"]} == {"./photographs"}


def test_compose_publishes_the_ports_of_the_server(compose: dict[str, Any]) -> None:
    text = (COMPOSE / "ftp" / "vsftpd.conf").read_text(encoding="utf-8")
    settings = dict(line.split("=") for line in text.splitlines() if not line.startswith("#"))
    passive = f"{settings['pasv_min_port']}-{settings['pasv_max_port']}"
    assert compose["ftp"]["ports"] == ["21:21", f"{passive}:{passive}"]


def test_compose_runs_lookout_with_no_right_that_it_does_not_need(compose: dict[str, Any]) -> None:
    lookout = compose["lookout"]
    assert (lookout["read_only"], lookout["cap_drop"]) == (True, ["ALL"])
    assert "./photographs:/photographs:ro" in lookout["volumes"]
    user = re.search(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    assert compose["owner"]["entrypoint"] == ["chown", user[1], "/state"]


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
def test_the_server_refuses_to_start_without_a_password() -> None:
    done = subprocess.run(["sh", COMPOSE / "ftp" / "start.sh"], env={}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "FTP_PASSWORD: is not set" in done.stderr
