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
from devkit.servers.process import Server

ROOT_USER: Final = "lookout-root"


class MinioServer(Server):
    """One MinIO. Without ``root_password`` a random one is made; a folder that is used again needs no equal one.

    ``environment`` is more of MinIO's settings, such as the notification targets.
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
        outlives: bool = False,
    ) -> None:
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
        return ("server", "--address", self.endpoint, "--certs-dir", certificates, str(self.folder / "data"))

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
