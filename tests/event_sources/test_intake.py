"""A whole intake, served on a port of this machine: who is let in, what is answered, and what is posted then."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from event_sources.intake.dispatcher import Pace
from event_sources.intake.s3_events import MAX_BODY_BYTES
from lookout.domain.errors import Unavailable
from tests.event_sources.intake_kit import (
    POST_TOKEN,
    TOKEN,
    Bus,
    FolderPictures,
    Play,
    RealWorld,
    Served,
    call,
    event,
    make_intake,
    serving,
    serving_bus,
)

PACE = Pace(size=10, age_s=0.2, most=2)
EVENT = json.dumps(event("texts", "a/1")).encode()


class Site:
    """A world, an EventSource's double, and intakes between them."""

    def __init__(self, root: Path) -> None:
        self.world = RealWorld(root)
        self.play = Play(self.world)
        self.stack = ExitStack()
        self.bus: Bus = self.stack.enter_context(serving_bus())

    def intake(self, nonce: str = "aaaa", pace: Pace = PACE, answer_s: float = 6.0, **looked_at: Any) -> Served:
        pictures = FolderPictures(self.world, **looked_at)
        made = make_intake(self.world, pictures, self.bus.url, pace=pace, nonce=nonce, answer_s=answer_s)
        return self.stack.enter_context(serving(made, pictures))

    def work_all(self, keys: list[str]) -> list[str]:
        """Workflows for what is posted, until all of these are done; the ids of their batches."""
        worked: list[str] = []

        def fresh() -> list[str]:
            return sorted({id_ for id_, _ in self.bus.workflows}.difference(worked))

        while self.play.done() != set(keys):
            self.bus.wait_for(lambda: bool(fresh()))
            ids = fresh()
            self.play.work(*ids)
            worked += ids
        return worked

    def dirty(self) -> set[str]:
        with self.world.ledger() as ledger:
            return {slot.key for slot in ledger.slots("first") if slot.dirty}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.stack:
        yield site


# --- from a post to a workflow ---------------------------------------------------------------------------------------


def test_an_object_that_lands_has_a_workflow_of_its_own(site: Site) -> None:
    intake = site.intake()
    site.world.put("büro/1 a", "alarm")
    answered = intake.post("büro/1 a")
    assert (answered.status, answered.said) == (200, {"taken": 1})
    assert site.dirty() == {"büro/1 a"}, "before it is answered"
    site.bus.wait_for(lambda: bool(site.bus.workflows))
    ((batch, attempt),) = site.bus.workflows
    assert site.bus.posted[0].body == {"batch": batch, "attempt": "1", "objects": "1"}
    assert site.bus.posted[0].token == f"Bearer {POST_TOKEN}"
    assert attempt == "1"
    site.play.work(batch)
    assert site.play.done() == {"büro/1 a"}
    assert intake.metric("lookout_intake_wait_seconds_count") == 1


def test_the_second_piece_of_an_answer_does_not_wait_for_the_first(site: Site) -> None:
    """MinIO posts on one connection, and the next event only after the answer: each wait would be one of 40 ms."""
    intake = site.intake()
    body, headers = json.dumps(event("results", "a/1")), {"Authorization": f"Bearer {TOKEN}"}
    connection = http.client.HTTPConnection("127.0.0.1", intake.port, timeout=10)
    took_s = []
    for _ in range(30):
        began_s = time.perf_counter()
        connection.request("POST", "/uploads", body, headers)
        connection.getresponse().read()
        took_s.append(time.perf_counter() - began_s)
    connection.close()
    assert sorted(took_s)[5] < 0.03


def test_many_senders_at_once_have_few_writes_and_few_workflows(site: Site) -> None:
    intake = site.intake(pace=Pace(size=50, age_s=0.3, most=2))
    keys = [f"a/{n:03}" for n in range(100)]
    for key in keys:
        site.world.put(key, "calm")
    with ThreadPoolExecutor(32) as senders:
        answers = list(senders.map(intake.post, keys))
    assert {answered.status for answered in answers} == {200}
    assert site.dirty() == set(keys)
    assert intake.metric("lookout_intake_together_objects_count") < 100
    assert intake.metric("lookout_intake_events_total", bucket="texts", kind="created") == 100
    assert len(site.work_all(keys)) < 10


def test_repeats_after_the_work_start_nothing(site: Site) -> None:
    intake = site.intake()
    site.world.put("a/1", "calm")
    intake.post("a/1")
    site.bus.wait_for(lambda: len(site.bus.workflows) == 1)
    site.play.work(site.bus.workflows[0][0])
    for name in ("s3:ObjectCreated:Put", "s3:ObjectRemoved:DeleteMarkerCreated"):
        assert intake.post("a/1", name=name).status == 200
    site.world.put("a/2", "calm")
    intake.post("a/2")
    site.bus.wait_for(lambda: len(site.bus.workflows) == 2)
    (batch,) = [one for one in site.play.batches() if one.id == site.bus.workflows[1][0]]
    assert batch.keys == ("a/2",)


def test_two_intakes_share_the_work(site: Site) -> None:
    both = [site.intake("aaaa"), site.intake("bbbb")]
    keys = [f"a/{n:02}" for n in range(12)]
    for key in keys:
        site.world.put(key, "calm")
    with ThreadPoolExecutor(8) as senders:
        answers = senders.map(lambda job: both[job[0]].post(job[1]), [(n, key) for key in keys for n in (0, 1)])
    assert {answered.status for answered in answers} == {200}
    site.work_all(keys)
    together = [key for batch in site.play.batches() for key in batch.keys]
    assert sorted(together) == sorted(set(together)) == keys


def test_a_new_rule_is_passed_on_as_it_came_and_answered_when_the_bus_has_it(site: Site) -> None:
    intake = site.intake()
    given = event("words", "home.json")
    answered = intake.call("POST", "/uploads", json.dumps(given).encode(), TOKEN)
    assert answered.status == 200
    (posted,) = site.bus.posted
    assert (posted.path, posted.token, posted.body) == ("/uploads", f"Bearer {POST_TOKEN}", given)
    assert intake.metric("lookout_intake_events_total", bucket="words") == 1
    assert site.dirty() == set()


def test_a_new_rule_is_not_taken_while_it_cannot_be_passed_on(site: Site) -> None:
    intake = site.intake()
    site.bus.status = 500
    answered = intake.post("home.json", "words")
    assert answered.status == 503
    assert "status 500" in answered.said["error"]


def test_what_happens_in_other_buckets_is_nobodys_business(site: Site) -> None:
    intake = site.intake()
    assert intake.post("a/1", "results").status == 200
    assert site.dirty() == set()
    assert intake.metric("lookout_intake_ignored_total", reason="bucket") == 1
    assert intake.metric("lookout_intake_events_total") == 0


# --- who and what is let in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer t\xf6ken"],
)
def test_without_the_token_nothing_is_taken(site: Site, authorization: str | None) -> None:
    intake = site.intake()
    site.world.put("a/1", "calm")
    headers = {} if authorization is None else {"Authorization": authorization}
    answered = intake.call("POST", "/uploads", EVENT, **headers)
    assert answered.status == 401
    assert answered.headers["www-authenticate"] == "Bearer"
    assert "Authorization" in answered.said["error"]
    assert TOKEN not in json.dumps(answered.said)
    assert site.dirty() == set()
    assert intake.metric("lookout_intake_refused_total", reason="token") == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Records": [{}]}', b"\xff"])
def test_what_is_no_event_is_refused_in_a_sentence(site: Site, body: bytes) -> None:
    intake = site.intake()
    answered = intake.call("POST", "/uploads", body, TOKEN)
    assert answered.status == 400
    assert "expected" in answered.said["error"]
    assert "Traceback" not in json.dumps(answered.said)
    assert intake.metric("lookout_intake_refused_total", reason="no event") == 1


def test_a_body_that_is_too_large_is_not_read(site: Site) -> None:
    port = site.intake().port
    assert call(port, "POST", "/uploads", b"", TOKEN, **{"Content-Length": str(MAX_BODY_BYTES + 1)}).status == 413
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        head = (
            f"POST /uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        line.sendall(head.encode())
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_a_sender_that_dawdles_or_leaves_holds_nobody_up(site: Site) -> None:
    intake = site.intake(answer_s=0.3)
    site.world.put("a/1", "calm")
    head = f"POST /uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 999\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as slow:
        slow.sendall(head + b"{")
        with socket.create_connection(("127.0.0.1", intake.port), timeout=10) as leaving:
            leaving.sendall(head + b"{")
        assert intake.post("a/1").status == 200
        assert slow.recv(100).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/uploads", 405), ("POST", "/", 404), ("POST", "/metrics", 405)]
)
def test_there_are_no_other_ways_in(site: Site, method: str, path: str, status: int) -> None:
    assert site.intake().call(method, path, token=TOKEN).status == status


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_while_the_store_is_away_it_answers_503_and_afterwards_takes_the_same(site: Site) -> None:
    intake = site.intake(trouble=Unavailable("minio", "does not answer"))
    site.world.put("a/1", "calm")
    answered = intake.post("a/1")
    assert (answered.status, answered.said) == (503, {"error": "minio: does not answer"})
    assert intake.call("GET", "/readyz").status == 503
    assert intake.call("GET", "/healthz").status == 200
    assert intake.metric("lookout_intake_refused_total", reason="unavailable") == 1
    intake.pictures.trouble = None
    assert intake.post("a/1").status == 200
    assert intake.call("GET", "/readyz").said == "ready\n"


def test_while_the_ledger_is_away_it_answers_503_and_afterwards_takes_the_same(site: Site) -> None:
    site.world.away = True
    intake = site.intake()
    site.world.put("a/1", "calm")
    answered = intake.post("a/1")
    assert (answered.status, answered.said) == (503, {"error": "etcd: does not answer"})
    assert intake.call("GET", "/readyz").said == "etcd: does not answer\n"
    site.world.away = False
    assert intake.post("a/1").status == 200
    assert intake.call("GET", "/readyz").status == 200
    site.bus.wait_for(lambda: bool(site.bus.workflows))


def test_what_takes_too_long_is_answered_503_and_goes_on(site: Site) -> None:
    hold = threading.Event()
    intake = site.intake(answer_s=0.2, looked=lambda _: hold.wait(10))
    site.world.put("a/1", "calm")
    answered = intake.post("a/1")
    assert answered.status == 503
    assert "within 0.2 s" in answered.said["error"]
    hold.set()
    site.bus.wait_for(lambda: bool(site.bus.workflows))
    assert site.dirty() == {"a/1"}


def test_while_the_event_source_is_away_events_are_taken_and_posted_afterwards(site: Site) -> None:
    intake = site.intake()
    site.bus.status = 503
    site.world.put("a/1", "calm")
    assert intake.post("a/1").status == 200
    while not intake.metric("lookout_intake_troubles_total"):
        time.sleep(0.02)
    assert intake.call("GET", "/healthz").status == 200
    site.bus.status = 200
    site.bus.wait_for(lambda: bool(site.bus.workflows))
    assert intake.metric("lookout_intake_batches_total", what="cut") == 1


# --- what it says of itself ------------------------------------------------------------------------------------------


def test_metrics_say_what_waits_and_what_is_held_back(site: Site) -> None:
    intake = site.intake(pace=Pace(size=10, age_s=0.05, most=1))
    site.world.put("a/1", "calm")
    intake.post("a/1")
    site.bus.wait_for(lambda: bool(site.bus.workflows))
    site.world.put("a/2", "calm")
    intake.post("a/2")
    while not intake.metric("lookout_intake_held_back"):
        time.sleep(0.02)
    assert intake.metric("lookout_intake_live_batches") == 1
    assert intake.metric("lookout_intake_waiting_objects") == 1
    assert intake.metric("lookout_intake_oldest_waiting_seconds") > 0
    assert intake.metric("lookout_intake_changed_total") == 2
    assert intake.metric("lookout_intake_answer_seconds_count") == 2
    assert intake.metric("process_resident_memory_bytes") > 0
    site.play.work(site.bus.workflows[0][0])
    site.bus.wait_for(lambda: len(site.bus.workflows) == 2)
    while intake.metric("lookout_intake_held_back"):
        time.sleep(0.02)
    assert intake.metric("lookout_intake_waiting_objects") == 0


def test_two_intakes_in_one_process_count_each_for_itself(site: Site) -> None:
    first, second = site.intake("aaaa"), site.intake("bbbb")
    first.post("a/1", "results")
    assert first.metric("lookout_intake_ignored_total") == 1
    assert second.metric("lookout_intake_ignored_total") == 0
