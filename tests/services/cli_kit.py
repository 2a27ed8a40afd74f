"""``lookout`` on real servers as a person runs it: a world whose environment names a store and a ledger of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lookout.app.deployment import open_minio
from lookout.config.addresses import StoreAddress
from lookout.object_store.minio import MinioStore
from lookout.object_store.port import STATUS_KEY
from tests.cli.shell import World

STAGES: Final = ("validate", "object-detect", "threat-detect", "plot")
BUCKETS: Final = ("images", "devices", "model", "rules", *STAGES)


class Site(World):
    """A world on servers. ``users`` is where ``begin`` has the credentials written."""

    @property
    def users(self) -> Path:
        return self.root / "users"

    @property
    def store(self) -> MinioStore:
        """The store, opened with the server's own credentials."""
        address = StoreAddress.from_environment(self.environment)
        assert address is not None
        return open_minio(address)

    def begin(self) -> Any:
        """``lookout init --users users --json``: what it says."""
        return self.lookout("init", "--users", "users", "--json").json

    def be(self, role: str) -> dict[str, str]:
        """The variables of a user, from the file that ``init`` wrote."""
        return read_env(self.users / f"{role}.env")

    def work(self, *arguments: object, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """``lookout run`` without a source, with one worker: the JSON."""
        return self.lookout("run", "--json", "--workers", "1", *arguments, code=code, env=env).json

    def objects(self) -> dict[str, bytes]:
        """Every visible object of the stages that a record names, by its path."""
        store = self.store
        found = {}
        for bucket in STAGES:
            for listed in store.list(bucket):
                if listed.key == STATUS_KEY:
                    continue
                data = store.connection.read(store.full(bucket), listed.key)
                assert data is not None
                found[f"{bucket}/{listed.key}"] = data
        return found


def read_env(file: Path) -> dict[str, str]:
    """A file of credentials, as a container reads it."""
    return dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
