"""A storm over MinIO and etcd, which it starts, kills, freezes and brings back by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from devkit.servers.for_tests import EtcdServer, MinioServer, Server
from lookout.app.deployment import open_minio
from lookout.config.addresses import StoreAddress
from lookout.object_store.minio import MinioStore
from lookout.object_store.port import STATUS_KEY
from tests.storm import accounting
from tests.storm.process import Process
from tests.storm.site import Site
from tests.storm.source import CANARY, RULES
from tests.storm.weather import Act, Command, Gust, Step

STAGES: Final = ("validate", "object-detect", "threat-detect", "plot")
IMAGES: Final = "images"
_STORE_ACTS: Final = (Act.KILL_STORE, Act.FREEZE_STORE)
_KILLS: Final = (Act.KILL_STORE, Act.KILL_LEDGER)


class ServerSite(Site):
    """A deployment on two servers of its own. The folder is uploaded; what was deleted there is deleted in the bucket
    when the weather has cleared."""

    servers = True

    def __init__(self, root: Path, seed: int, *, whole: bool = False) -> None:
        super().__init__(root, seed, whole=whole)
        self._minio = MinioServer(root / "minio")
        self._etcd = EtcdServer(root / "etcd", fsync=False)
        self._away: dict[Server, Act] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self._open.enter_context(self._minio)
        self._open.enter_context(self._etcd)
        self._open.callback(self.clear)
        self.call("init")
        return self

    def settings(self, *, fresh: bool = False) -> Mapping[str, str]:
        place = "fresh" if fresh else "storm"
        return {
            **self._minio.settings(),
            **self._etcd.settings(),
            "LOOKOUT_STORE": f"{self._minio.url}/{place}-",
            "LOOKOUT_LEDGER": f"{self._etcd.url}/{place}",
            "LOOKOUT_STATE": "fresh" if fresh else "state",
        }

    def arguments(self, command: Command) -> Sequence[object]:
        lines: Mapping[Command, Sequence[object]] = {
            Command.UPLOAD: ("upload", "photos", "--json"),
            Command.SYNC: ("watch", "photos", "--upload", "--json"),
            Command.RUN: ("run", "--rules", RULES, "--workers", "1", "--json"),
            Command.WORK: ("batches", "cut", "--reconcile", "recent", "--json"),
            Command.SEND: ("alerts", "send"),
        }
        return lines[command]

    def start_step(self, step: Step) -> Process:
        if step.command is not Command.WORK:
            return super().start_step(step)
        cut = self.start(*self.arguments(Command.WORK))
        if cut.wait() != 0:
            return cut
        return self.start("work", "--pull", json.loads(cut.out)["run"], "--workers", "1")

    def apply(self, gust: Gust) -> None:
        if gust.act is Act.RECOVER:
            self.clear()
        elif gust.act in (*_STORE_ACTS, Act.KILL_LEDGER, Act.FREEZE_LEDGER):
            server: Server = self._minio if gust.act in _STORE_ACTS else self._etcd
            if server not in self._away:
                self._away[server] = gust.act
                (server.kill if gust.act in _KILLS else server.freeze)()
        else:
            self.source.apply(gust)

    def clear(self) -> None:
        for server, act in list(self._away.items()):
            if act in _KILLS:
                server.start()
            else:
                server.thaw()
            del self._away[server]

    def bring(self) -> None:
        """Upload the folder, and delete in the bucket what is not in it."""
        self.call("upload", "photos", codes=(0, 1))
        store = self._store(fresh=False)
        photos = self.root / "photos"
        for listed in list(store.list(IMAGES)):
            if not (photos / listed.key).is_file():
                store.connection.delete(store.full(IMAGES), listed.key)
                self.figures.counts["deletions in the bucket"] += 1

    def make_fresh(self) -> None:
        self.call("init", fresh=True)
        self.call("upload", "photos", codes=(0, 1), fresh=True)
        super().make_fresh()

    def results(self, *, fresh: bool = False) -> dict[str, bytes]:
        found = self._objects(fresh=fresh).items()
        return {path: data for path, data in found if not path.startswith(IMAGES) and path != f"plot/{STATUS_KEY}"}

    def find_leftovers(self) -> list[str]:
        """Objects with what lies outside of the folder, and objects that no record names."""
        self.call("gc", "--grace", "0s", "--older-than", "0s")
        faults = [f"{path} holds {CANARY!r}" for path, data in self._objects(fresh=False).items() if CANARY in data]
        return faults + [f"{path} is left" for path in accounting.files(self.root / "tmp")]

    def _store(self, *, fresh: bool) -> MinioStore:
        address = StoreAddress.from_environment(dict(self.settings(fresh=fresh)))
        assert address is not None
        return open_minio(address)

    def _objects(self, *, fresh: bool) -> dict[str, bytes]:
        store = self._store(fresh=fresh)
        found = {}
        for bucket in (IMAGES, *STAGES):
            for listed in store.list(bucket):
                data = store.connection.read(store.full(bucket), listed.key)
                assert data is not None
                found[f"{bucket}/{listed.key}"] = data
        return found
