"""The world of tests/engine on servers: texts in a bucket, results in MinIO, the ledger in etcd."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

from lookout.domain.records import Slot, State
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.access import Access
from lookout.object_store.minio.buckets import make_buckets
from lookout.object_store.port import ObjectStore
from lookout.runs.runner import Order
from lookout.sources.bucket import BucketSource
from tests.engine.world import World

INPUTS: Final = "texts"
RESULTS: Final = ("words", "first", "second", "third", "sums")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place of a world: on which servers, under which name. Given to processes as the fields' JSON."""

    etcd: str
    minio: str
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str
    ttl_s: int = 15
    timeout_s: float = 30.0
    """For one request to the store."""
    patience_s: float = 15.0
    """For one call to the ledger."""

    def ledger(self, kind: type[EtcdLedger] = EtcdLedger, **more: object) -> EtcdLedger:
        return kind(Address(endpoints=(self.etcd,)), self.prefix, ttl_s=self.ttl_s, patience_s=self.patience_s, **more)

    def store(self, kind: type[MinioStore] = MinioStore) -> MinioStore:
        access = Access(
            endpoint=self.minio,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            timeout_s=self.timeout_s,
        )
        return kind(access, prefix=self.prefix, collected=RESULTS)


@dataclass(frozen=True)
class Uploaded:
    """A text in the bucket."""

    store: MinioStore
    key: str

    def unlink(self) -> None:
        self.store.connection.delete(self.store.full(INPUTS), self.key)


@dataclass
class ServerWorld(World):
    """See World. ``root`` holds only the words given and the log of letters."""

    place: Place = field(kw_only=True)
    many: ClassVar[int] = 150
    store_kind: ClassVar[type[MinioStore]] = MinioStore
    ledger_kind: ClassVar[type[EtcdLedger]] = EtcdLedger

    def begin(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        make_buckets(self.store, [INPUTS, *RESULTS])

    @cached_property
    def store(self) -> MinioStore:
        return self.place.store(self.store_kind)

    @property
    def source(self) -> Path:
        raise NotImplementedError("the source is a bucket: use the handle that put gives, or mark the test folder_only")

    @property
    def objects(self) -> Path:
        raise NotImplementedError("the results are in buckets: use lose, or mark the test folder_only")

    def put(self, key: str, text: str) -> Uploaded:
        self.store.put(INPUTS, key, text.encode(), "text/plain")
        return Uploaded(self.store, key)

    def open_ledger(self) -> EtcdLedger:
        return self.place.ledger(self.ledger_kind, clock=self.clock)

    def open_store(self) -> ObjectStore:
        return self.store

    def open_bucket(self, store: ObjectStore) -> BucketSource:
        return BucketSource(self.store, INPUTS)

    def order(self, *files: Path, **more: object) -> Order:
        assert not files, "a bucket is the source: mark the test folder_only"
        return Order(**more)  # type: ignore[arg-type]

    def results(self) -> dict[str, bytes]:
        """Return what a reader of the plain keys gets."""
        found = {}
        for bucket in RESULTS:
            for listed in self.store.list(bucket):
                data = self.store.connection.read(self.store.full(bucket), listed.key)
                assert data is not None
                found[f"{bucket}/{listed.key}"] = data
        return found

    def results_by_ledger(self) -> dict[str, bytes]:
        """Return what a reader of the ledger gets: each live output, by the version that its record names."""
        with self.ledger() as ledger:
            return {
                ref.path: self.store.get(ref)
                for slot in ledger.slots(states=(State.SUCCESS,))
                if slot.record is not None
                for ref in slot.record.outputs
            }

    def lose(self, path: str) -> None:
        """Remove every version for good."""
        bucket, _, key = path.partition("/")
        found = list(self.store.versions_of(bucket, key))
        assert found
        self.store.connection.delete_versions(self.store.full(bucket), [(entry.key, entry.version) for entry in found])

    def late_put(self, path: str, data: bytes) -> str:
        """Write as an engine that wakes up late, with nobody to commit it; return the version."""
        bucket, _, key = path.partition("/")
        version = self.store.put(bucket, key, data, "text/plain").version
        assert version is not None
        return version

    def dirty(self) -> int:
        """Return the number of slots that wait for a claim or are claimed."""
        with self.ledger() as ledger:
            return sum(ledger.count_dirty(stage.name) for stage in self.pipeline.stages)

    def end_state(self) -> dict[str, object]:
        """All that an undisturbed run and one that met every misfortune must have in common in the end."""
        with self.ledger() as ledger:
            with ledger.unpublished() as changes:
                unpublished = list(changes)
            held = [(slot.stage, slot.key) for slot in ledger.slots() if slot.owner is not None]
            tallies = ledger.tallies()
            inputs = {seen.key: seen.ref and seen.ref.sha256 for seen in ledger.inputs(INPUTS)}
            alerts = {alert.id for alert in ledger.alerts()}
        return {
            "live": self.live(),
            "states": self.states(),
            "shown": self.results(),
            "named": self.results_by_ledger(),
            "tallies": tallies,
            "inputs": inputs,
            "alerts": alerts,
            "dirty": self.dirty(),
            "held": held,
            "unpublished": unpublished,
        }

    def remove_bucket(self, bucket: str) -> None:
        """With all that it holds, for good."""
        versions = [(entry.key, entry.version) for entry in self.store.versions(bucket)]
        self.store.connection.delete_versions(self.store.full(bucket), versions)
        self.store.connection.client.remove_bucket(self.store.full(bucket))

    def unfinished(self) -> list[Slot]:
        """The slots that wait or are held or have failed."""
        with self.ledger() as ledger:
            return [slot for slot in ledger.slots() if slot.dirty or slot.owner is not None or slot.error]


@dataclass
class LiveWorld(ServerWorld):
    """By the real clock: what several processes do is not told by counting."""

    def clock(self) -> float:
        return time.time()

    def run_until_done(self, deadline_s: float = 45.0) -> None:
        """Run until nothing is dirty: what the dead hold is free only when their sessions have ended."""
        end_s = time.monotonic() + deadline_s
        while self.run(max_letters=100_000) and self.dirty():
            assert time.monotonic() < end_s, (self.states(), self.unfinished()[:6])
            time.sleep(0.1)
