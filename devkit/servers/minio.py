"""MinIO as a child process: one drive, no console, credentials by the environment.

Knows nothing of the S3 protocol; the object store's adapter does.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from devkit.servers.certificates import Certificates
from devkit.servers.ports import is_free
from devkit.servers.process import Server
from devkit.servers.transfers import Transfers

ROOT_USER: Final = "lookout-root"


class MinioServer(Server):
    """One MinIO. Without ``root_password`` a random one is made; a folder that is used again needs no equal one.

    ``environment`` is more of MinIO's settings, such as the notification targets. With ``transfers`` it serves FTP and
    SFTP too.
    """

    program: ClassVar[str] = "minio"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        root_user: str = ROOT_USER,
        root_password: str | None = None,
        tls: Certificates | None = None,
        environment: Mapping[str, str] | None = None,
        transfers: Transfers | None = None,
        outlives: bool = False,
    ) -> None:
        self._wanted = transfers
        self.transfers = transfers and transfers.with_ports()
        super().__init__(folder, port=port, tls=tls, outlives=outlives)
        self.access_key = root_user
        self.secret_key = root_password or secrets.token_urlsafe(24)
        self._more = dict(environment or {})

    @property
    def url(self) -> str:
        """``s3+http://127.0.0.1:port``, or ``s3+https://`` with TLS."""
        return f"s3+{self.http_url}"

    @property
    def health_path(self) -> str:
        # "live" and "ready" answer 200 before bucket metadata and users are loaded; this one only after.
        return "/minio/health/cluster"

    def command(self) -> Sequence[str]:
        certificates = str(self.folder / "certs")
        more = self.transfers.arguments() if self.transfers else ()
        return ("server", "--address", self.endpoint, "--certs-dir", certificates, *more, str(self.folder / "data"))

    def choose_ports(self) -> None:
        super().choose_ports()
        self.transfers = self._wanted and self._wanted.with_ports()

    @property
    def ports(self) -> tuple[int, ...]:
        return (*super().ports, *(self.transfers.ports if self.transfers else ()))

    @property
    def ways_in(self) -> tuple[str, ...]:
        """Addresses of FTP and SFTP, if they are on."""
        return self.transfers.urls if self.transfers else ()

    def is_healthy(self, wait_s: float = 1.0) -> bool:
        # The other two begin to listen some time after S3 is served.
        return super().is_healthy(wait_s) and not any(map(is_free, self.ports))

    def environment(self) -> Mapping[str, str]:
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_PROMETHEUS_AUTH_TYPE": "jwt",
            **self._more,
        }

    def settings(self) -> dict[str, str]:
        found = {
            "LOOKOUT_STORE": self.url,
            "LOOKOUT_STORE_ACCESS_KEY": self.access_key,
            "LOOKOUT_STORE_SECRET_KEY": self.secret_key,
        }
        return found | ({"LOOKOUT_STORE_CA": str(self.tls.ca)} if self.tls else {})

    def prepare(self) -> None:
        super().prepare()
        certificates = self.folder / "certs"
        shutil.rmtree(certificates, ignore_errors=True)
        certificates.mkdir(mode=0o700)
        if self.tls is not None:
            shutil.copy(self.tls.server_certificate, certificates / "public.crt")
            shutil.copy(self.tls.server_key, certificates / "private.key")
