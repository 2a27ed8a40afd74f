"""``make services``: up, down and status of MinIO and etcd that outlive the command, each by a process of its own."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devkit.servers.for_tests import EtcdServer
from devkit.servers.pids import ProcessId
from devkit.servers.ports import find_listener, free_ports

NAMES = ("minio", "etcd")
PORTS = (*NAMES, "ftp", "sftp")


@dataclass
class Shell:
    """Calls the command, as make does."""

    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))

    def __call__(self, command: str, *more: str, status: int = 0) -> str:
        """Everything that the command says; it must end with this status."""
        done = self.open(command, *more)
        said = done.communicate(timeout=90)[0]
        assert done.returncode == status, said
        return said

    def open(self, command: str, *more: str) -> subprocess.Popen[str]:
        ports = [word for name, port in self.ports.items() for word in (f"--{name}-port", str(port))]
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "devkit.servers",
                command,
                "--folder",
                self.folder,
                *(ports if command == "up" else ()),
                *more,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def process(self, name: str) -> ProcessId | None:
        return ProcessId.recall(self.folder / f"{name}.pid")

    def pids(self) -> list[int | None]:
        """Of both; None for one that does not run."""
        return [process.pid if process else None for process in map(self.process, NAMES)]

    def variables(self) -> dict[str, str]:
        """Return Lookout's variables in a shell that has read the file with the settings."""
        script = f". {self.folder / 'env'}; env"
        stale = {"LOOKOUT_STORE_CA": "of an earlier one"}
        said = subprocess.run(["sh", "-c", script], env=stale, capture_output=True, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in said.splitlines() if line.startswith("LOOKOUT_"))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "services")
    yield shell
    for process in filter(None, map(shell.process, NAMES)):
        process.end(10)


def test_up_and_down_may_be_said_twice(shell: Shell) -> None:
    first = shell("up")
    assert f"minio  s3+http://127.0.0.1:{shell.ports['minio']}  process " in first
    assert f"for cameras: ftpes://127.0.0.1:{shell.ports['ftp']}  sftp://127.0.0.1:{shell.ports['sftp']}\n" in first
    assert f"etcd   etcd://127.0.0.1:{shell.ports['etcd']}  process " in first
    assert first.splitlines()[-1].endswith("services/env")
    pids = shell.pids()
    assert None not in pids
    assert shell("up") == first == shell("status")
    assert shell.pids() == pids
    assert shell("down").split() == ["minio", "stopped", "etcd", "stopped"]
    assert shell.pids() == [None, None]
    assert shell("down").count("did not run") == 2
    assert shell("status", status=1).count("does not run") == 2


def test_what_they_hold_and_the_passwords_stay(shell: Shell) -> None:
    shell("up")
    variables = shell.variables()
    assert set(variables) == {
        "LOOKOUT_STORE",
        "LOOKOUT_STORE_ACCESS_KEY",
        "LOOKOUT_STORE_SECRET_KEY",
        "LOOKOUT_LEDGER",
        "LOOKOUT_LEDGER_USER",
        "LOOKOUT_LEDGER_PASSWORD",
    }
    assert token_of(shell, variables)
    shell("down")
    shell("up")
    assert shell.variables() == variables
    assert token_of(shell, variables)


def test_random_passwords_are_hashed_at_the_lowest_cost(shell: Shell) -> None:
    shell("up")
    shell("down")
    kept = (shell.folder / "etcd" / "data" / "member" / "snap" / "db").read_bytes()
    assert b"$2a$04$" in kept
    assert b"$2a$10$" not in kept
    stored = json.loads((shell.folder / "passwords.json").read_text())
    assert all(len(password) >= 32 for password in stored.values())


def token_of(shell: Shell, variables: dict[str, str]) -> str:
    """Log in to etcd by the settings."""
    etcd = EtcdServer(shell.folder / "unused", port=shell.ports["etcd"])
    user = {"name": variables["LOOKOUT_LEDGER_USER"], "password": variables["LOOKOUT_LEDGER_PASSWORD"]}
    return str(etcd.ask("auth/authenticate", user)["token"])


def test_passwords_are_in_files_of_their_owner_only(shell: Shell) -> None:
    said = shell("up") + shell("up") + shell("status")
    stored = json.loads((shell.folder / "passwords.json").read_text())
    assert len(set(stored.values())) == 3
    for file in ("passwords.json", "env"):
        assert stat.S_IMODE((shell.folder / file).stat().st_mode) == 0o600
    for pid in shell.pids():
        said += Path(f"/proc/{pid}/cmdline").read_text()
    for name in NAMES:
        said += (shell.folder / name / f"{name}.log").read_text()
    assert [password for password in stored.values() if password in said] == []


def test_two_ups_at_once_start_one_of_each(shell: Shell) -> None:
    both = [shell.open("up"), shell.open("up")]
    said = [command.communicate(timeout=90)[0] for command in both]
    assert [command.returncode for command in both] == [0, 0], said
    assert said[0] == said[1]


def test_what_a_crash_left_is_replaced(shell: Shell) -> None:
    shell("up")
    before = shell.pids()
    for pid in before:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert shell("status", status=1).count("does not run") == 2
    shell("up")
    assert None not in shell.pids()
    assert not set(shell.pids()) & set(before)


def test_one_that_is_missing_is_started_beside_the_other(shell: Shell) -> None:
    shell("up")
    minio, etcd = shell.pids()
    assert etcd is not None
    os.kill(etcd, signal.SIGKILL)
    shell("up")
    assert shell.pids()[0] == minio
    assert shell.pids()[1] not in (None, etcd)


def test_down_ends_nobody_who_has_only_the_number(shell: Shell) -> None:
    """A stale file names a number that now is somebody else's."""
    shell("up")
    remembered = json.loads((shell.folder / "etcd.pid").read_text())
    shell("down")
    with subprocess.Popen(["sleep", "60"]) as other:
        (shell.folder / "etcd.pid").write_text(json.dumps({**remembered, "pid": other.pid}))
        assert shell("down").count("did not run") == 2
        assert other.poll() is None
        other.kill()
    assert not (shell.folder / "etcd.pid").exists()


def test_a_file_that_is_none_of_ours_is_no_process(shell: Shell) -> None:
    shell.folder.mkdir()
    (shell.folder / "etcd.pid").write_text("4711\n")
    assert shell("down").count("did not run") == 2


def test_a_port_that_is_taken_is_refused_with_who_has_it(shell: Shell, etcd: EtcdServer) -> None:
    shell.ports["etcd"] = etcd.port
    said = shell("up", status=2)
    assert said == f"etcd: port {etcd.port} is taken by etcd, process {etcd.pid} (stop that, or choose another)\n"
    assert shell.pids() == [None, None]
    (shell.ports["etcd"],) = free_ports(1)
    shell("up")


def test_running_ones_are_not_changed_under_their_users(shell: Shell) -> None:
    shell("up")
    pids = shell.pids()
    assert "run make services-down first" in shell("up", "--tls", status=2)
    shell.ports["minio"] += 1
    assert "asked for MinIO on port" in shell("up", status=2)
    assert shell.pids() == pids
    shell.ports["minio"] -= 1
    shell("up")


def test_with_tls_the_settings_name_the_authority(shell: Shell) -> None:
    said = shell("up", "--tls")
    assert "s3+https://" in said
    assert "etcds://" in said
    authority = str(shell.folder / "certificates" / "ca.pem")
    assert shell.variables()["LOOKOUT_STORE_CA"] == shell.variables()["LOOKOUT_LEDGER_CA"] == authority
    shell("down")
    shell("up")
    assert not [name for name in shell.variables() if name.endswith("_CA")]


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_that_is_none_is_refused(shell: Shell, port: str) -> None:
    assert "--minio-port" in shell("up", "--minio-port", port, status=2)
    assert not shell.folder.exists()


def test_a_program_that_is_missing_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOKOUT_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert shell("up", "--cameras", "off", status=2).startswith(
        "minio: no such program here (run make services, or name the folder with"
    )


def test_a_server_that_is_stopped_in_its_tracks_is_told_of(shell: Shell) -> None:
    shell("up")
    minio = shell.pids()[0]
    assert minio is not None
    os.kill(minio, signal.SIGSTOP)
    assert "does not answer" in shell("status", status=1)
    assert shell("down").count("stopped") == 2


@pytest.mark.parametrize(
    ("cameras", "listening", "said"), [("plain", (True, True), "ftp://127.0.0.1"), ("off", (False, False), "")]
)
def test_a_setting_makes_ftp_plain_or_turns_both_off(
    shell: Shell, cameras: str, listening: tuple[bool, bool], said: str
) -> None:
    up = shell("up", "--cameras", cameras)
    assert (find_listener(shell.ports["ftp"]) is not None, find_listener(shell.ports["sftp"]) is not None) == listening
    assert said in up
    assert ("for cameras" in up) == (cameras != "off")
    assert f"FTP and SFTP {cameras}" in shell("up", status=2)


def test_a_port_of_ftp_that_is_taken_is_refused_too(shell: Shell, etcd: EtcdServer) -> None:
    free, shell.ports["ftp"] = shell.ports["ftp"], etcd.port
    assert f"minio: port {etcd.port} is taken by etcd" in shell("up", status=2)
    assert shell.pids() == [None, None]
    shell.ports["ftp"] = free
    shell("up")
