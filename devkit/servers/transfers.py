"""FTP and SFTP servers of a MinIO, by which cameras upload: their ports, keys, and the arguments that turn them on.

Facts of the version that is built, which are limits and no choices here: FTP listens on all addresses of the machine,
whatever address is asked for (SFTP obeys); with a certificate it takes files over TLS only; of the passive ports the
last one is never used. Knows no user and no bucket.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from devkit.servers.certificates import Certificates, find_openssl
from devkit.servers.ports import LOOPBACK, free_ports
from lookout.domain.errors import Unavailable

FTP_PORT: Final = 8021
SFTP_PORT: Final = 8022
PASSIVE_PORTS: Final = (30_000, 30_100)
"""The first and the last of FTP's ports for data. Two uploads that draw the same one get in each other's way, so there
are many more than cameras that upload at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfers:
    """Servers for FTP and SFTP. A port that is None is chosen with the server's others; without ``passive``, the system
    chooses FTP's ports for data. Without ``tls``, FTP is plain: passwords and pictures can be read on the way."""

    host_key: Path
    tls: Certificates | None = None
    ftp: int | None = None
    sftp: int | None = None
    passive: tuple[int, int] | None = None
    address: str = LOOPBACK
    """IPv4 address that SFTP listens on, and that FTP names to clients for their data connection; empty for all, and
    for the one that each client has connected to."""

    def with_ports(self) -> Self:
        """Return a copy with a free port in the place of each that is not given."""
        ftp, sftp = free_ports(2)
        return replace(self, ftp=self.ftp or ftp, sftp=self.sftp or sftp)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that clients connect to first, as far as they are chosen."""
        return tuple(port for port in (self.ftp, self.sftp) if port is not None)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of both, as this machine reaches them."""
        host = self.address or LOOPBACK
        return (f"{'ftpes' if self.tls else 'ftp'}://{host}:{self.ftp}", f"sftp://{host}:{self.sftp}")

    def arguments(self) -> list[str]:
        """Return MinIO's arguments; the files in them must be there when it starts."""
        ftp = [f"address={self.address}:{self.ftp}"]
        if self.passive is not None:
            ftp.append("passive-port-range={}-{}".format(*self.passive))
        if self.tls is not None:
            ftp += [f"tls-private-key={self.tls.server_key}", f"tls-public-cert={self.tls.server_certificate}"]
        sftp = [f"address={self.address}:{self.sftp}", f"ssh-private-key={self.host_key}"]
        return [*(f"--ftp={setting}" for setting in ftp), *(f"--sftp={setting}" for setting in sftp)]


def make_host_key(file: Path) -> Path:
    """Return the file with a host key for SFTP (Ed25519, PKCS 8), made by ``openssl`` where it is missing.

    Raises InputRejected without ``openssl``, Unavailable with its words when it fails.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = file.with_name(f"{file.name}.part")
        part.touch(mode=0o600)
        command = [find_openssl(), "genpkey", "-algorithm", "ed25519", "-out", str(part)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
        if done.returncode:
            raise Unavailable("openssl", f"genpkey ended with status {done.returncode}: {done.stderr.strip()}")
        part.replace(file)
    return file
