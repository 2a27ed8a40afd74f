"""Real servers for the benchmarks that need them, started in a folder of theirs, and deployments on them.

Both sync to the disk as they do in production. Knows no single benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devkit.servers.calls import call
from devkit.servers.for_tests import EtcdServer, MinioServer
from lookout.app.deployment import Deployment, Program, open_minio
from lookout.config.settings import Settings
from lookout.object_store.minio.buckets import make_buckets
from stages.installation import INSTALLATION

QUOTA: Final = "--quota-backend-bytes=8589934592"
"""Room for what is not compacted yet: etcd's own limit of 2 GiB would be reached by a long measurement."""
_PATIENCE_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """One deployment: what names its servers, and the folder for what stays on this machine."""

    state: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({**self.environment, "LOOKOUT_DURABLE": "0"})

    @contextmanager
    def open(self) -> Iterator[Deployment]:
        """Yield the deployment, with all its buckets if it has a store of its own."""
        settings = self.settings
        if settings.store is not None:
            make_buckets(open_minio(settings.store), INSTALLATION.buckets)
        with Program(settings=settings, installation=INSTALLATION).open(self.state, create=True) as opened:
            yield opened


@dataclass(frozen=True, kw_only=True)
class Servers:
    """A running MinIO and a running etcd that several deployments share, each under a prefix."""

    minio: MinioServer
    etcd: EtcdServer
    folder: Path

    def site(self, name: str) -> Site:
        """Return the deployment of this name: small letters and digits."""
        environment = {
            **self.minio.settings(),
            **self.etcd.settings(),
            "LOOKOUT_STORE": f"{self.minio.url}/{name}-",
            "LOOKOUT_LEDGER": f"{self.etcd.url}/{name}",
        }
        return Site(state=self.folder / f"state-{name}", environment=environment)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Both, for the length of the context. Raises Unavailable when a program is missing or does not start."""
    with MinioServer(folder / "minio") as minio, etcd(folder, "etcd") as started:
        yield Servers(minio=minio, etcd=started, folder=folder)


@contextmanager
def etcd(folder: Path, name: str) -> Iterator[EtcdServer]:
    """One etcd that writes through to the disk."""
    with EtcdServer(folder / name, fsync=True, arguments=[QUOTA]) as server:
        yield server


def ledger_only(server: EtcdServer, folder: Path) -> Site:
    """Return a deployment with its ledger in this etcd and an empty store in a folder."""
    return Site(state=folder / f"state-{server.folder.name}", environment=server.settings())


def smallest_bytes(server: EtcdServer) -> int:
    """Return the size of an etcd's database without old revisions and without gaps."""
    revision = server.ask("maintenance/status")["header"]["revision"]
    _order(server, "kv/compaction", {"revision": revision, "physical": True})
    _order(server, "maintenance/defragment", {})
    return database_bytes(server)


def database_bytes(server: EtcdServer) -> int:
    """Return the size of an etcd's database as it is on the disk."""
    return int(server.ask("maintenance/status")["dbSize"])


def _order(server: EtcdServer, path: str, message: Mapping[str, object]) -> None:
    """Have an etcd do what takes long in a large database."""
    headers = {"Content-Type": "application/json"}
    call(f"{server.http_url}/v3/{path}", body=json.dumps(message).encode(), headers=headers, wait_s=_PATIENCE_S)
