"""MinIO and etcd as services of one machine, for trials and development: up, down, status.

They run on after the command that started them, with data, logs, secrets and process ids in one folder. Each is asked
for a password. Not for production: one drive, one etcd, and nobody who starts them again.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from devkit.servers.certificates import make_certificates
from devkit.servers.etcd import EtcdServer
from devkit.servers.minio import MinioServer
from devkit.servers.pids import ProcessId
from devkit.servers.ports import find_listener
from devkit.servers.process import STOP_DEADLINE_S, Server
from devkit.servers.transfers import FTP_PORT, PASSIVE_PORTS, SFTP_PORT, Transfers, make_host_key
from lookout.domain.errors import InputRejected, Unavailable

DEFAULT_FOLDER: Final = Path("lookout-services")
MINIO_PORT: Final = 9000
ETCD_PORT: Final = 2379
LEDGER_USER: Final = "lookout"
ENV_FILE: Final = "env"
_PROGRAMS: Final = (MinioServer.program, EtcdServer.program)
_PASSWORDS: Final = ("minio_root", "etcd_root", "etcd")
_WITH_TLS: Final = ("LOOKOUT_STORE_CA", "LOOKOUT_LEDGER_CA")
_HEALTH_WAIT_S: Final = 5.0
_DOWN_FIRST: Final = "run make services-down first"
_COMPACTION: Final = ("--auto-compaction-mode=periodic", "--auto-compaction-retention=1h")
"""etcd's own, for the ledger's user may not compact: old revisions go after one hour to two."""
_BCRYPT: Final = "--bcrypt-cost=4"
"""The least that etcd takes: it makes guessing slow, and nobody guesses a random password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Request for servers: how they are to run."""

    minio_port: int = MINIO_PORT
    etcd_port: int = ETCD_PORT
    tls: bool = False
    cameras: str = "tls"
    """FTP and SFTP: ``tls``, ``plain`` for FTP without TLS, or ``off``."""
    ftp_port: int = FTP_PORT
    sftp_port: int = SFTP_PORT

    def __str__(self) -> str:
        servers = f"MinIO on port {self.minio_port} and etcd on {self.etcd_port}"
        ports = "" if self.cameras == "off" else f" on ports {self.ftp_port} and {self.sftp_port}"
        return f"{servers}, {'with' if self.tls else 'without'} TLS, FTP and SFTP {self.cameras}{ports}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One of the two, as found: ``pid`` is None if it does not run; ``healthy`` says whether it answers."""

    name: str
    url: str
    pid: int | None
    healthy: bool
    ways_in: tuple[str, ...] = ()
    """Further addresses for uploads."""


class Services:
    """Both servers of one folder."""

    def __init__(self, folder: Path = DEFAULT_FOLDER) -> None:
        self.folder = folder.absolute()

    @property
    def env_file(self) -> Path:
        """Return the file that a shell reads to use the services; it holds passwords, and only its owner may read
        it."""
        return self.folder / ENV_FILE

    def up(self, asked: Asked | None = None) -> list[Service]:
        """Start what does not run, and return when both serve; what runs as asked is left alone.

        Raises InputRejected if the servers of this folder run otherwise than asked, or if a port is taken, with who
        has it; Unavailable with the end of its log if a server does not start, or runs and does not answer.
        """
        wanted = asked or Asked()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock():
            absent = [name for name in _PROGRAMS if self._find_process(name) is None]
            running = self._find_asked()
            if len(absent) < len(_PROGRAMS) and running != wanted:
                raise InputRejected(f"run already as {running}, asked for {wanted}", str(self.folder), _DOWN_FIRST)
            self._asked_file.write_text(json.dumps(asdict(wanted)), encoding="ascii")
            minio, etcd = self._servers(wanted)
            starting = [server for server in (minio, etcd) if server.program in absent]
            for server in starting:
                _check_port(server)
            for server in starting:
                self._start(server)
            for server in (minio, etcd):
                if not server.is_healthy(_HEALTH_WAIT_S):
                    raise Unavailable(server.program, f"runs at {server.http_url} but does not answer; {_DOWN_FIRST}")
            passwords = self._passwords()
            etcd.demand_passwords(passwords["etcd_root"], {LEDGER_USER: passwords["etcd"]})
            self._write_env(minio.settings() | etcd.settings())
            return [self._service(server) for server in (minio, etcd)]

    def down(self, deadline_s: float = STOP_DEADLINE_S) -> dict[str, bool]:
        """Stop both and nothing else; whether each ran, by name. Data, logs and passwords stay."""
        if not self.folder.exists():
            return dict.fromkeys(_PROGRAMS, False)
        with self._lock():
            return {name: self._stop(name, deadline_s) for name in _PROGRAMS}

    def status(self) -> list[Service]:
        """Return the status of both, as they were last asked for; none if they never were."""
        asked = self._find_asked()
        return [] if asked is None else [self._service(server) for server in self._servers(asked)]

    # ---- one server ----

    def _servers(self, asked: Asked) -> tuple[MinioServer, EtcdServer]:
        tls = make_certificates(self.folder / "certificates") if asked.tls else None
        return (
            MinioServer(
                self.folder / "minio",
                port=asked.minio_port,
                root_password=self._passwords()["minio_root"],
                tls=tls,
                transfers=self._find_transfers(asked),
                outlives=True,
            ),
            EtcdServer(
                self.folder / "etcd",
                port=asked.etcd_port,
                tls=tls,
                arguments=(*_COMPACTION, _BCRYPT),
                outlives=True,
            ),
        )

    def _find_transfers(self, asked: Asked) -> Transfers | None:
        """Return the servers for cameras, on all addresses, as no camera is on this machine; None if they are off."""
        if asked.cameras == "off":
            return None
        certificates = self.folder / "certificates"
        return Transfers(
            host_key=make_host_key(certificates / "ssh-host.key"),
            tls=make_certificates(certificates) if asked.cameras == "tls" else None,
            ftp=asked.ftp_port,
            sftp=asked.sftp_port,
            passive=PASSIVE_PORTS,
            address="",
        )

    def _start(self, server: Server) -> None:
        file = self._pid_file(server.program)
        server.launch()
        try:
            process = ProcessId.find(server.pid)
            if process is not None:
                # Before it is ready: if this command is killed meanwhile, the next one still knows the process.
                process.remember(file)
            server.await_ready()
        except BaseException:
            server.kill()
            file.unlink(missing_ok=True)
            raise

    def _stop(self, name: str, deadline_s: float) -> bool:
        process = self._find_process(name)
        if process is not None:
            process.end(deadline_s)
        self._pid_file(name).unlink(missing_ok=True)
        return process is not None

    def _service(self, server: Server) -> Service:
        process = self._find_process(server.program)
        healthy = process is not None and server.is_healthy(_HEALTH_WAIT_S)
        return Service(
            name=server.program,
            url=server.url,
            pid=process.pid if process is not None else None,
            healthy=healthy,
            ways_in=server.ways_in if isinstance(server, MinioServer) else (),
        )

    def _find_process(self, name: str) -> ProcessId | None:
        """Return the server's process; None if it does not run, whatever a crash, a kill or a reboot has left in its
        file."""
        return ProcessId.recall(self._pid_file(name))

    # ---- the folder ----

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    @property
    def _asked_file(self) -> Path:
        return self.folder / "asked.json"

    def _find_asked(self) -> Asked | None:
        try:
            # What an older version has written runs without FTP and SFTP.
            return Asked(**({"cameras": "off"} | json.loads(self._asked_file.read_text(encoding="ascii"))))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise InputRejected("is not what was written there", str(self._asked_file), "remove it") from exc

    def _passwords(self) -> dict[str, str]:
        """Return the passwords of this folder by what they are for, made at the first call."""
        file = self.folder / "passwords.json"
        if not file.exists():
            _write_private(file, json.dumps({use: secrets.token_urlsafe(24) for use in _PASSWORDS}))
        return {str(use): str(password) for use, password in json.loads(file.read_text(encoding="ascii")).items()}

    def _write_env(self, settings: Mapping[str, str]) -> None:
        # A shell may have read an earlier one, with TLS: what is not set now is unset.
        lines = [f"unset {name}\n" for name in _WITH_TLS if name not in settings]
        lines += [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
        _write_private(self.env_file, "".join(lines))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One up or down at a time; another waits. Not inherited by the servers, which would hold it for ever."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _check_port(server: Server) -> None:
    for port in server.ports:
        holder = find_listener(port)
        if holder is not None:
            raise InputRejected(f"port {port} is taken by {holder}", server.program, "stop that, or choose another")


def _write_private(file: Path, text: str) -> None:
    """Write the file, whole or not at all, readable by its owner only, at no moment by others."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    part.replace(file)
