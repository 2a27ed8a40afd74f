"""The intake between a real MinIO, which keeps events until they are taken, and a real etcd: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devkit.servers.for_tests import EtcdServer, MinioServer
from devkit.servers.ports import free_port
from lookout.ledger.batches import UNFINISHED, Batch, BatchLedger, BatchState
from tests.cli.shell import CALM, PHOTOS
from tests.cli.stages_kit import run_stage
from tests.event_sources.intake_kit import POST_TOKEN, TOKEN, Bus, call, event, serving_bus
from tests.services.cli_kit import STAGES, Site

ROOT = Path(__file__).parents[2]
ARN = "arn:minio:sqs::LOOKOUT:webhook"
DEADLINE_S = 60.0


@dataclass
class Chain:
    """MinIO -> intake -> a double of the EventSource. The intake is a process, started and killed at will."""

    site: Site
    bus: Bus
    port: int
    queue: Path
    settings: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        """An intake on the port that MinIO posts to, as the user that a cluster gives it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_")}
        environment |= self.site.environment | self.site.be("intake") | self.settings | settings
        process = subprocess.Popen([sys.executable, "-m", "event_sources.intake"], cwd=ROOT, env=environment)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()

    def await_ready(self) -> None:
        until(self.is_ready)

    def is_ready(self) -> bool:
        try:
            return call(self.port, "GET", "/readyz").status == 200
        except OSError:
            return False

    def put(self, key: str, data: bytes = b"a picture", bucket: str = "images") -> None:
        self.site.store.put(bucket, key, data, "image/jpeg")

    def kept(self) -> int:
        """Return the number of events that MinIO keeps."""
        return sum(path.is_file() for path in self.queue.rglob("*"))

    def ledger(self) -> BatchLedger:
        from lookout.app.deployment import open_ledger
        from lookout.config.settings import Settings

        settings = Settings.from_environment(self.site.environment)
        return open_ledger(settings, settings.state)

    def batches(self) -> list[Batch]:
        ledger = self.ledger()
        try:
            return list(ledger.batches(run=""))
        finally:
            ledger.close()

    def posted(self) -> set[str]:
        return {id_ for id_, _ in self.bus.workflows}

    def finish(self) -> None:
        """Do what workflows do, as far as an intake sees it: batches are taken and ended."""
        ledger = self.ledger()
        try:
            with ledger.session() as owner:
                for batch in list(ledger.batches(run="", states=UNFINISHED)):
                    taken = ledger.take_batch(owner, 60.0, id_=batch.id)
                    if taken is not None:
                        ledger.end_batch(taken)
        finally:
            ledger.close()


def until(ready: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.fixture
def chain(
    tmp_path: Path,
    closing: ExitStack,
    new_minio: Callable[..., MinioServer],
    ledger_settings: dict[str, str],
) -> Chain:
    return make_chain(tmp_path, closing, new_minio, ledger_settings)


def make_chain(
    root: Path, closing: ExitStack, new_minio: Callable[..., MinioServer], ledger_settings: dict[str, str]
) -> Chain:
    bus, port = closing.enter_context(serving_bus()), free_port()
    target = {
        "MINIO_NOTIFY_WEBHOOK_ENABLE_LOOKOUT": "on",
        "MINIO_NOTIFY_WEBHOOK_ENDPOINT_LOOKOUT": f"http://127.0.0.1:{port}/uploads",
        "MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_LOOKOUT": TOKEN,
        "MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_LOOKOUT": str(root / "queue"),
        "MINIO_API_SYNC_EVENTS": "on",
    }
    site = Site(root=root, environment=new_minio(environment=target).settings() | ledger_settings)
    site.lookout("init", "--users", "users", "--notify", ARN, "--json")
    settings = {
        "LOOKOUT_INTAKE_LISTEN": f"127.0.0.1:{port}",
        "LOOKOUT_INTAKE_TOKEN": TOKEN,
        "LOOKOUT_INTAKE_POST_TO": bus.url,
        "LOOKOUT_INTAKE_POST_TOKEN": POST_TOKEN,
    }
    made = Chain(site, bus, port, root / "queue", settings)
    closing.callback(made.end)
    return made


def test_an_upload_a_deletion_and_a_rule_are_told_and_passed_on(chain: Chain) -> None:
    chain.start()
    chain.await_ready()
    chain.put("büro/a 1_1763798400.jpg")
    chain.bus.wait_for(lambda: len(chain.posted()) == 1, DEADLINE_S)
    (first,) = chain.batches()
    assert first.keys == ("büro/a 1_1763798400.jpg",)
    assert chain.bus.workflows == [(first.id, "1")]
    chain.finish()
    chain.site.store.connection.delete(chain.site.store.full("images"), first.keys[0])
    # The key was never worked on, so that it is gone is news about a datum that waits.
    chain.bus.wait_for(lambda: len(chain.posted()) == 2, DEADLINE_S)
    assert [batch.keys for batch in chain.batches()] == [first.keys] * 2
    chain.put("home.json", b"{}", "rules")
    chain.bus.wait_for(lambda: chain.bus.posted[-1].path == "/uploads", DEADLINE_S)
    assert chain.bus.posted[-1].body["Key"] == "rules/home.json"
    until(lambda: not chain.kept())


@pytest.mark.parametrize("quoted", ["..%2F..", "x%2F", "a%00b.jpg", "%2F", "a%2F%2Fb.jpg", ".%2Fa.jpg", "a%2Fxl.meta"])
def test_an_event_about_a_key_that_no_store_can_hold_leaves_nothing(chain: Chain, quoted: str) -> None:
    chain.start()
    chain.await_ready()
    body = json.dumps(event("images", quoted)).encode()
    assert call(chain.port, "POST", "/uploads", body, TOKEN).status == 200
    chain.put("porch_1763798400.jpg")
    chain.bus.wait_for(lambda: len(chain.posted()) == 1, DEADLINE_S)
    ledger = chain.ledger()
    try:
        assert [seen.key for seen in ledger.inputs("images")] == ["porch_1763798400.jpg"]
        assert [batch.keys for batch in chain.batches()] == [("porch_1763798400.jpg",)]
    finally:
        ledger.close()


def test_what_lands_while_there_is_no_intake_waits_in_minio_and_comes_in_one_batch_or_few(chain: Chain) -> None:
    keys = sorted(f"porch_{1763798400 + n}.jpg" for n in range(20))
    for key in keys:
        chain.put(key)
    assert chain.kept() == 20
    chain.start(LOOKOUT_INTAKE_MOST="1", LOOKOUT_INTAKE_AGE_S="1")
    until(lambda: not chain.kept())
    while sorted(key for batch in chain.batches() for key in batch.keys) != keys:
        chain.finish()
        time.sleep(0.1)
    assert len(chain.batches()) < 10


def test_a_batch_goes_through_the_containers_of_all_stages_as_one_workflow(chain: Chain) -> None:
    chain.start()
    chain.await_ready()
    chain.site.lookout("batches", "cut", "--run=first", "--reconcile=full")  # brings the shipped model into force
    chain.put(CALM, (PHOTOS / CALM).read_bytes())
    chain.bus.wait_for(lambda: len(chain.posted()) == 1, DEADLINE_S)
    ((id_, attempt),) = chain.bus.workflows
    run = f"pipeline-{id_}-{attempt}"
    given = (f"--run={run}", f"--batch={id_}", "--object=")
    for stage in STAGES:
        run_stage(chain.site, stage, *given, env=chain.site.be(stage))
    said = chain.site.lookout("verdict", "--json", *given, env=chain.site.be("engine")).json
    assert (said["run"], said["pictures"], said["failures"], said["waiting"]) == (run, 1, [], 0)
    assert said["made"] >= 3
    assert {"validate/valid/" + CALM, "plot/index.html"} <= set(chain.site.objects())
    (batch,) = chain.batches()
    assert batch.state is BatchState.DONE


@pytest.mark.parametrize(
    ("uploads", "kills"), [(24, 3), pytest.param(100, 20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_killed_at_random_moments_it_puts_every_picture_into_one_batch_and_posts_all(
    chain: Chain, uploads: int, kills: int
) -> None:
    """MinIO sends again what was not answered; the ledger has what was; what was cut is posted after the restart."""
    chance = random.Random(6)
    keys = sorted(f"porch_{1763798400 + n}.jpg" for n in range(uploads))
    process = chain.start(LOOKOUT_INTAKE_MOST="1000", LOOKOUT_INTAKE_AGE_S="0.1")
    for n, key in enumerate(keys):
        if n % (uploads // kills) == 0 and n:
            if chance.random() < 0.7:
                chain.await_ready()  # else it is killed while it starts
            for late in keys[n - 3 : n]:
                chain.put(late, b"changed at once")
            time.sleep(chance.uniform(0.0, 0.4))
            process.kill()
            process.wait()
            process = chain.start(LOOKOUT_INTAKE_MOST="1000", LOOKOUT_INTAKE_AGE_S="0.1")
        chain.put(key)
    until(lambda: not chain.kept())
    until(lambda: {key for batch in chain.batches() for key in batch.keys} == set(keys))
    batches = chain.batches()
    together = [key for batch in batches for key in batch.keys]
    assert sorted(together) == keys, "each in exactly one batch, as none has ended"
    chain.bus.wait_for(lambda: chain.posted() == {batch.id for batch in batches}, DEADLINE_S)
    ledger = chain.ledger()
    try:
        seen = ledger.find_inputs("images", keys)
    finally:
        ledger.close()
    store = chain.site.store
    for key in keys:
        found = store.connection.stat(store.full("images"), key)
        now = seen[key].ref
        assert found is not None
        assert now is not None
        assert now.version == found.version, "the ledger has the newest"


def test_while_etcd_does_not_answer_minio_keeps_its_events(
    tmp_path: Path, closing: ExitStack, new_minio: Callable[..., MinioServer], new_etcd: Callable[..., EtcdServer]
) -> None:
    etcd = new_etcd()
    chain = make_chain(tmp_path, closing, new_minio, etcd.settings())
    process = chain.start()
    chain.await_ready()
    etcd.freeze()
    chain.put("porch_1763798400.jpg")
    body = json.dumps(event("images", "porch_1763798400.jpg")).encode()
    answered = call(chain.port, "POST", "/uploads", body, TOKEN)
    assert answered.status == 503
    assert call(chain.port, "GET", "/readyz").status == 503
    assert call(chain.port, "GET", "/healthz").status == 200
    assert chain.kept() == 1
    etcd.thaw()
    chain.bus.wait_for(lambda: len(chain.posted()) == 1, DEADLINE_S)
    until(lambda: not chain.kept())
    etcd.freeze()
    began_s = time.monotonic()
    process.terminate()
    assert process.wait(20) == 0
    assert time.monotonic() - began_s < 10
    etcd.thaw()
