"""Kit for tests of the intake: a world of texts in a folder, workflows that are played, and an EventSource's double.

Everything is real but the store's server and Argo: the ledger is SQLite, objects are files, workers are the engine's.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_plus

from prometheus_client.parser import text_string_to_metric_families

from bench.states import Unchanging
from event_sources.intake.dispatcher import Dispatcher, Pace
from event_sources.intake.http_api import Buckets
from event_sources.intake.metrics import Metrics
from event_sources.intake.recorder import Pictures
from event_sources.intake.service import Intake, Where, listen
from event_sources.intake.workflow_trigger import EventSource
from lookout.batches.worker import BatchWorker
from lookout.domain.errors import LookoutError, Unavailable
from lookout.domain.records import Observation
from lookout.ledger.batches import Batch, BatchLedger
from lookout.ledger.port import Ledger
from lookout.sources.folder import observe_file
from tests.engine.world import World

READERS = ("first",)
STAGES = ("first", "second", "third", "sums")
PACE = Pace(size=10, age_s=0.5, most=2, again_s=60.0)
AWAY = Unavailable("etcd", "does not answer")


@dataclass
class FolderPictures:
    """The world's source, as an intake looks at it. ``trouble`` is raised instead; ``looked`` is told of each look,
    before what was seen is handed on."""

    world: World
    trouble: LookoutError | None = None
    looked: Callable[[Observation], None] = lambda _: None
    looks: list[str] = field(default_factory=list)
    blank: bool = False

    def observe(self, key: str, now_s: float) -> Observation:
        self.looks.append(key)
        self.check()
        seen = observe_file(self.world.source, key, "texts", now_s)
        self.looked(seen)
        return seen

    def is_still(self, seen: Observation) -> bool:
        self.check()
        now = observe_file(self.world.source, seen.key, "texts", 0.0)
        return (now.ref, now.error) == (seen.ref, seen.error)

    def is_blank(self) -> bool:
        return self.blank

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Posts:
    """Record of posts: batch and attempt, in order. ``trouble`` is raised instead."""

    said: list[tuple[str, int]] = field(default_factory=list)
    runs: list[tuple[str, float]] = field(default_factory=list)
    trouble: LookoutError | None = None

    def post_batch(self, batch: Batch, attempt: int) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.said.append((batch.id, attempt))

    def post_run(self, run: str, linger_s: float) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.runs.append((run, linger_s))


@dataclass
class Play:
    """A world, and dispatchers in it that are stepped by hand, by the world's clock."""

    world: World
    posts: Posts = field(default_factory=Posts)

    def ledger(self) -> BatchLedger:
        return self.world.open_ledger()

    def dispatcher(
        self, nonce: str = "aaaa", pace: Pace = PACE, open_ledger: Callable[[], BatchLedger] | None = None
    ) -> Dispatcher:
        return Dispatcher(
            open_ledger=open_ledger or self.ledger,
            poster=self.posts,
            readers=READERS,
            stages=STAGES,
            pace=pace,
            clock=self.world.clock,
            nonce=nonce,
            metrics=Metrics(),
        )

    def land(self, *keys: str, at: Sequence[Dispatcher] = (), text: str = "calm") -> None:
        """Texts land, and the ledger knows it; these dispatchers are told."""
        for key in keys:
            self.world.put(key, text)
        self.enter(*keys, at=at)

    def enter(self, *keys: str, at: Sequence[Dispatcher] = ()) -> None:
        """Enter what the texts are now."""
        with self.world.ledger() as ledger:
            now_s = self.world.clock()
            ledger.observe([observe_file(self.world.source, key, "texts", now_s) for key in keys], READERS)
        for dispatcher in at:
            dispatcher.line.add(keys, self.world.now_s)

    def later(self, seconds: float) -> None:
        self.world.now_s += seconds

    def batches(self, **which: Any) -> list[Batch]:
        with self.world.ledger() as ledger:
            return list(ledger.batches(**which))

    def work(self, *ids: str) -> None:
        """Workflows: each works through a batch, in all stages."""
        with self.world.runner() as runner, runner.ledger.session() as owner:
            for id_ in ids:
                BatchWorker(
                    pipeline=self.world.pipeline,
                    ledger=runner.ledger,
                    store=runner.store,
                    workers=runner.workers,
                    owner=owner,
                    code="test",
                    source=Unchanging(),
                    clock=self.world.clock,
                ).one_batch(id_)

    def done(self) -> set[str]:
        """The keys whose newest text went through all stages."""
        with self.world.ledger() as ledger:
            slots = list(ledger.slots("third"))
        return {slot.key for slot in slots if slot.hash is not None and not slot.dirty}


@dataclass
class Posted:
    path: str
    token: str
    body: Any


class Bus(ThreadingHTTPServer):
    """Stands for the EventSource: keeps what was posted, and answers ``status``; while ``frozen`` is set, nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[Posted] = []
        self.status = 200
        self.frozen = False
        self.arrived = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def workflows(self) -> list[tuple[str, str]]:
        """Batch and attempt of each workflow asked for, in order."""
        return [(one.body["batch"], one.body["attempt"]) for one in self.posted if one.path == "/batches"]

    def wait_for(self, ready: Callable[[], bool], deadline_s: float = 10.0) -> None:
        """Until something that was posted makes it so."""
        with self.arrived:
            assert self.arrived.wait_for(ready, deadline_s), self.posted


class _Handler(BaseHTTPRequestHandler):
    server: Bus

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        bus = self.server
        with bus.arrived:
            if bus.status == 200 and not bus.frozen:
                bus.posted.append(Posted(self.path, self.headers["Authorization"], body))
                bus.arrived.notify_all()
            bus.arrived.wait_for(lambda: not bus.frozen, 30)
        self.send_response(bus.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing: what was posted is kept."""


@contextmanager
def serving_bus() -> Iterator[Bus]:
    with Bus() as bus:
        thread = threading.Thread(target=bus.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield bus
        finally:
            with bus.arrived:
                bus.frozen = False
                bus.arrived.notify_all()
            bus.shutdown()
            thread.join()


def event(bucket: str, key: str, name: str = "s3:ObjectCreated:Put") -> dict[str, Any]:
    """Return an event as MinIO posts it, as far as anybody reads it; the key is quoted already."""
    record = {"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key, "versionId": "v1"}}}
    return {"EventName": name, "Key": f"{bucket}/{key}", "Records": [record]}


@dataclass
class Answered:
    status: int
    said: Any
    headers: Mapping[str, str]


def call(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    token: str | None = None,
    **more: str,
) -> Answered:
    """One request to this machine; ``more`` are headers."""
    return call_host("127.0.0.1", port, method, path, body, token, **more)


def call_host(
    host: str,
    port: int,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    token: str | None = None,
    **more: str,
) -> Answered:
    """One request; ``more`` are headers."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = dict(more) | ({"Authorization": f"Bearer {token}"} if token is not None else {})
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers.get_content_type() == "application/json"
        return Answered(answer.status, json.loads(text) if is_json else text, dict(answer.headers))
    finally:
        connection.close()


# --- a whole one, served ----------------------------------------------------------------------------------------------

TOKEN = "the-token-of-minio"
POST_TOKEN = "the-token-of-the-event-source"


class RealWorld(World):
    """By the clock on the wall, as threads go by it. While ``away``, its ledger cannot be opened."""

    away = False

    def clock(self) -> float:
        return time.time()

    def open_ledger(self) -> Ledger:
        if self.away:
            raise AWAY
        return super().open_ledger()


def make_intake(world: World, pictures: Pictures, url: str, **more: Any) -> Intake:
    """An intake of the world's texts, which stand for pictures, and of its words, which stand for rules."""
    where = Where(
        open_ledger=lambda: world.open_ledger(),
        pictures=pictures,
        pipeline=world.pipeline,
        buckets=Buckets(pictures="texts", references=frozenset(["words"])),
        event_source=EventSource(url=url, token=POST_TOKEN),
    )
    return Intake(where, token=TOKEN, clock=world.clock, **more)


@dataclass
class Served:
    """An intake that serves on a port of this machine, on a thread."""

    port: int
    pictures: FolderPictures

    def call(
        self, method: str, path: str, body: bytes | None = None, token: str | None = None, **more: str
    ) -> Answered:
        return call(self.port, method, path, body, token, **more)

    def post(self, key: str, bucket: str = "texts", name: str = "s3:ObjectCreated:Put") -> Answered:
        return self.call("POST", "/uploads", json.dumps(event(bucket, quote_plus(key), name)).encode(), TOKEN)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample, 0 if there is none."""
        text = self.call("GET", "/metrics").said
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found)


@contextmanager
def serving(intake: Intake, pictures: FolderPictures) -> Iterator[Served]:
    server, listening = intake.server(), listen("127.0.0.1", 0)
    thread = threading.Thread(target=intake.run, args=(server, listening))
    thread.start()
    try:
        yield Served(listening.getsockname()[1], pictures)
    finally:
        server.should_exit = True
        thread.join()
