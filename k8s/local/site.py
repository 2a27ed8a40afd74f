"""Folders, names and addresses of the local cluster. Reads the environment."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parents[2]
"""The project's folder."""
NODE: Final = "lookout"
NAMESPACE: Final = "lookout"
LINK: Final = "lookout0"
"""The machine's end of the wire to the node. A machine has one such link, hence one such cluster."""
CGROUP: Final = "lookout"

WIRE: Final = IPv4Network("10.245.0.0/30")
HOST_IP: Final = IPv4Address("10.245.0.1")
NODE_IP: Final = IPv4Address("10.245.0.2")
PODS: Final = IPv4Network("10.244.0.0/24")
SERVICES: Final = IPv4Network("10.96.0.0/16")
API_SERVICE_IP: Final = IPv4Address("10.96.0.1")
DNS_IP: Final = IPv4Address("10.96.0.10")
API_URL: Final = f"https://{NODE_IP}:6443"

FREE_SPACE: Final = 6 * 2**30
"""Bytes that a cluster needs beside what is cached: for its images, volumes and logs, and for what tests put there."""


class Refused(Exception):
    """The cluster cannot be had as asked for; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The folders. What is in ``cluster`` goes with the cluster; ``cache`` holds what is slow to make again."""

    cluster: Path
    cache: Path

    @classmethod
    def from_environment(cls) -> Self:
        """LOOKOUT_CLUSTER and LOOKOUT_CACHE, else below ``~/.cache/lookout``."""
        cache = Path(os.environ.get("LOOKOUT_CACHE") or Path.home() / ".cache" / "lookout").absolute()
        cluster = Path(os.environ.get("LOOKOUT_CLUSTER") or cache / "cluster").absolute()
        for folder in (cluster, cache, ROOT):
            if any(folder.is_relative_to(hidden) for hidden in ("/var/lib", "/var/log", "/run")):
                raise Refused(f"{folder}: the node has its own /var/lib, /var/log and /run; choose a folder elsewhere.")
        return cls(cluster=cluster, cache=cache)

    def check_space(self) -> None:
        """Raise Refused when the disk has too little free space for a cluster."""
        free = shutil.disk_usage(self.cluster).free
        if free < FREE_SPACE:
            raise Refused(
                f"{self.cluster}: the disk has {free / 2**30:.1f} GiB free, and a cluster needs"
                f" {FREE_SPACE / 2**30:.0f} GiB. Free some, or set LOOKOUT_CLUSTER and LOOKOUT_CACHE to folders of"
                " another disk."
            )

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def config(self) -> Path:
        return self.cluster / "config"

    @property
    def pki(self) -> Path:
        return self.cluster / "pki"

    @property
    def logs(self) -> Path:
        return self.cluster / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.cluster / "kubeconfig"

    def program(self, name: str) -> Path:
        """Return a program that ``scripts/servers.py`` builds. Raises Refused if it is not built."""
        program = self.bin / name
        if not os.access(program, os.X_OK):
            raise Refused(f"{program} is not built: run python3 scripts/servers.py {name}.")
        return program
