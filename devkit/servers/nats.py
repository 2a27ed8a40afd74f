"""NATS as a child process, by a configuration such as that of the cluster; users by the environment.

Knows nothing of its protocol; the intake's listener does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from devkit.servers.calls import call
from devkit.servers.certificates import Certificates
from devkit.servers.ports import LOOPBACK, free_port
from devkit.servers.process import Server
from lookout.domain.errors import Unavailable


class NatsServer(Server):
    """One NATS. ``config`` is the text of its configuration without ports, TLS and a folder for data, which are chosen
    here; ``variables`` are what it reads from the environment."""

    program: ClassVar[str] = "nats-server"

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        variables: Mapping[str, str] | None = None,
        port: int | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(folder, port=port, tls=tls)
        self.monitor_port = free_port()
        self._config, self._variables = config, dict(variables or {})

    @property
    def url(self) -> str:
        """``nats://127.0.0.1:port``, or ``tls://`` with TLS."""
        return f"{'tls' if self.tls else 'nats'}://{self.endpoint}"

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.monitor_port)

    def choose_ports(self) -> None:
        super().choose_ports()
        self.monitor_port = free_port()

    @property
    def health_path(self) -> str:
        return "/healthz"

    def is_healthy(self, wait_s: float = 1.0) -> bool:
        try:
            call(f"http://{LOOPBACK}:{self.monitor_port}{self.health_path}", wait_s=wait_s)
        except Unavailable:
            return False
        return True

    def command(self) -> Sequence[str]:
        return ("--config", str(self._config_file))

    def environment(self) -> Mapping[str, str]:
        return self._variables

    def settings(self) -> dict[str, str]:
        return {"LOOKOUT_INTAKE_HINTS": self.url} | ({"LOOKOUT_INTAKE_HINTS_CA": str(self.tls.ca)} if self.tls else {})

    def prepare(self) -> None:
        super().prepare()
        lines = [f'listen: "{self.endpoint}"', f'http: "{LOOPBACK}:{self.monitor_port}"']
        lines.append(f'jetstream {{store_dir: "{self.folder / "data"}"}}')
        if self.tls is not None:
            lines.append(f'tls {{cert_file: "{self.tls.server_certificate}", key_file: "{self.tls.server_key}"}}')
        self._config_file.write_text("\n".join([*lines, self._config, ""]), encoding="utf-8")

    @property
    def _config_file(self) -> Path:
        return self.folder / "nats.conf"
