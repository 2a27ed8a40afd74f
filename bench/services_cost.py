"""Cost of claims, provenance and commits beyond the bare gets and puts: the toy pipeline on MinIO and etcd.

Batches of 200 texts as large as pictures go through the three ordinary toy stages, whose own work is nothing, and then
the same bytes through a bare loop on the same server; in turn, with as many processes on both sides.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final, cast

from bench.engine import SHOWN_MS, Meter, Metered, MeteredWorkers
from bench.measure import Row, Setup, load
from bench.services import Servers, servers
from bench.services_bare import TEXT, Bare, Place
from bench.states import Unchanging
from devkit.toy_pipeline import toy_pipeline
from lookout.domain.records import Observation
from lookout.engine.engine import Engine
from lookout.engine.session import EngineSession
from lookout.execution.executor import InlineWorkers, Workers
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.port import Ledger
from lookout.object_store.minio import Access, MinioStore
from lookout.object_store.minio.buckets import make_buckets
from lookout.object_store.port import ObjectStore

BATCH: Final = 200
TEXT_BYTES: Final = 60_000
ALARM_SHARE: Final = 8
PIPELINE: Final = toy_pipeline()
STAGES: Final = tuple(stage for stage in PIPELINE.stages if not stage.grouped)
BUCKETS: Final = ("texts", "words", *(stage.name for stage in PIPELINE.stages))
BAR_MS: Final = 5.0


def measure(setup: Setup) -> list[Row]:
    """Measure with everything in one process, where nothing overlaps, and with one worker process a core, as in
    runs."""
    with servers(setup.folder) as started:
        cores = max(2, os.cpu_count() or 1)
        return [*_compare(setup, started, 1), *_compare(setup, started, cores)]


def _compare(setup: Setup, started: Servers, size: int) -> list[Row]:
    rounds = setup.pick(7, 3)
    name = "in one process" if size == 1 else f"{size} worker processes"
    with ExitStack() as stack:
        bare = Bare(_place(started, f"bare{size}-"), size)
        stack.callback(bare.close)
        ours = _Ours(started, f"ours{size}", size, stack)
        bare_s: list[float] = []
        ours_s: list[float] = []
        spent: list[dict[str, float]] = []
        for number in range(rounds + 1):
            texts = _texts(number)
            for key, data in texts.items():
                bare.put(key, data)
            ours.put(texts)
            took = bare.run(list(texts))
            meter = Meter()
            took_too = ours.run(list(texts), meter)
            if number:  # the first opens connections and starts processes
                bare_s.append(took)
                ours_s.append(took_too)
                spent.append(meter.spent_s)
                setup.say(f"{name}: bare {took:.2f} s, with Lookout {took_too:.2f} s, load average {load()}")
    datums = BATCH * len(STAGES)
    beyond_ms = [1000 * (with_s - without_s) / datums for with_s, without_s in zip(ours_s, bare_s, strict=True)]
    rows = [
        Row(what=f"cost: a picture and stage beyond put/get, {name}", values=beyond_ms, unit="ms", bar=BAR_MS),
        Row(what=f"cost: of it with Lookout, {name}", values=[1000 * s / datums for s in ours_s], unit="ms"),
        Row(what=f"cost: bare put/get, {name}", values=[1000 * s / datums for s in bare_s], unit="ms"),
    ]
    return [*rows, *_parts(spent, name, datums)]


def _parts(spent: Sequence[dict[str, float]], name: str, datums: int) -> list[Row]:
    """Return the time that the engine's thread spent, by part."""
    rows = []
    for part in dict.fromkeys(part for each in spent for part in each):
        values = [1000 * each.get(part, 0.0) / datums for each in spent]
        if median(values) >= SHOWN_MS:
            rows.append(Row(what=f"cost: {name}: {part}", values=values, unit="ms"))
    return sorted(rows, key=lambda row: -row.middle)


def _texts(number: int) -> dict[str, bytes]:
    """Return the batch of one round: distinct texts that cannot be made smaller by much, one in eight with an alarm."""
    rng = random.Random(number)
    texts = {}
    for index in range(BATCH):
        data = rng.randbytes(TEXT_BYTES // 2).hex().encode()
        texts[f"device{index % 10}/{number:03}-{index:04}.txt"] = data + (b"" if index % ALARM_SHARE else b" alarm")
    return texts


def _place(started: Servers, prefix: str) -> Place:
    minio = started.minio
    place = Place(endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, prefix=prefix)
    make_buckets(_open_store(place), BUCKETS)
    return place


def _open_store(place: Place) -> MinioStore:
    access = Access(endpoint=place.endpoint, access_key=place.access_key, secret_key=place.secret_key, secure=False)
    return MinioStore(access, prefix=place.prefix, collected=BUCKETS[1:])


class _Ours:
    """Lookout's engine on the same servers, with a session and workers that stay, as a worker has them that takes
    batch after batch."""

    def __init__(self, started: Servers, name: str, size: int, stack: ExitStack) -> None:
        self._store = _open_store(_place(started, f"{name}-"))
        self._ledger = EtcdLedger(Address(endpoints=(started.etcd.endpoint,)), prefix=f"/{name}")
        stack.callback(self._ledger.close)
        self._workers: Workers = InlineWorkers(self._store) if size == 1 else ProcessWorkers(self._store, size)
        stack.callback(self._workers.stop)
        self._owner = stack.enter_context(self._ledger.session())

    def put(self, texts: dict[str, bytes]) -> None:
        """The batch of a round: in the bucket, and known to the ledger."""
        readers = tuple(stage.name for stage in PIPELINE.readers(PIPELINE.inputs))
        seen = []
        for key, data in texts.items():
            ref = self._store.put(PIPELINE.inputs, key, data, TEXT)
            seen.append(
                Observation(
                    bucket=PIPELINE.inputs,
                    key=key,
                    origin="bench",
                    ref=ref,
                    fingerprint=str(ref.version),
                    observed_at_s=time.time(),
                )
            )
        self._ledger.observe(seen, readers)

    def run(self, keys: Sequence[str], meter: Meter) -> float:
        """Take these texts through the ordinary stages; the seconds it took."""
        start = time.perf_counter()
        engine = Engine(
            pipeline=PIPELINE,
            ledger=cast(Ledger, Metered(self._ledger, meter, "ledger")),
            store=cast(ObjectStore, Metered(self._store, meter, "store")),
            workers=self._workers if self._workers.size == 1 else MeteredWorkers(self._workers, meter),
            source=Unchanging(),
            session=EngineSession(owner=self._owner, run="bench", code="bench"),
        )
        engine.rebase(STAGES)
        report = engine.work(STAGES, frozenset(keys))
        took = time.perf_counter() - start
        if any(report.success[stage.name] != len(keys) for stage in STAGES):
            raise RuntimeError(f"expected {len(keys)} successes of each stage, got {report}")
        return took
