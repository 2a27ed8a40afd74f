"""Hints: whatever is published, they save a look and decide nothing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from event_sources.intake.hint_listener import pauses_s
from event_sources.intake.hints import LOOKS, HintReader
from event_sources.intake.recent_versions import KEPT_S, MOST, RecentVersions
from event_sources.intake.service import Intake
from lookout.domain.records import ObjectRef, Observation
from lookout.sources.folder import observe_file
from tests.event_sources.intake_kit import (
    AWAY,
    PACE,
    TOKEN,
    FolderPictures,
    RealWorld,
    Served,
    event,
    make_intake,
    serving,
    serving_bus,
)

SHA = "0" * 64


def seen(key: str = "a/1", version: str | None = "v1") -> Observation:
    ref = ObjectRef(bucket="texts", key=key, sha256=SHA, size=1, version=version)
    return Observation(bucket="texts", key=key, origin="there", ref=ref)


# --- the memory -------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_recorded_version_is_known_for_a_minute_and_no_other() -> None:
    clock = Clock()
    recent = RecentVersions(clock)
    recent.add(seen())
    assert recent.has("a/1", "v1")
    assert not recent.has("a/1", "v2")
    assert not recent.has("a/2", "v1")
    clock.now_s += KEPT_S / 2
    recent.add(seen())
    clock.now_s += KEPT_S / 2
    assert recent.has("a/1", "v1"), "from the last time that it was recorded"
    clock.now_s += KEPT_S / 2
    assert not recent.has("a/1", "v1")


@pytest.mark.parametrize(
    "observation",
    [seen(version=None), seen(version=""), seen(version="null"), replace(seen(), ref=None, error="unreadable")],
    ids=["none", "empty", "null", "unreadable"],
)
def test_what_names_no_fixed_bytes_is_never_known(observation: Observation) -> None:
    recent = RecentVersions()
    recent.add(observation)
    assert not any(recent.has("a/1", version) for version in ("", "null", "v1"))


def test_the_memory_is_bounded_and_the_oldest_goes_first() -> None:
    recent = RecentVersions(Clock())
    for number in range(MOST + 1):
        recent.add(seen(str(number)))
    assert [recent.has(key, "v1") for key in ("0", "1", str(MOST))] == [False, True, True]


# --- hints beside durable events --------------------------------------------------------------------------------------


@dataclass
class VersionedPictures(FolderPictures):
    """Texts with a version each, as a versioned bucket has them: here that of the bytes."""

    def observe(self, key: str, now_s: float) -> Observation:
        found = super().observe(key, now_s)
        return found if found.ref is None else replace(found, ref=replace(found.ref, version=found.ref.sha256))

    def is_still(self, seen: Observation) -> bool:
        self.check()
        now = observe_file(self.world.source, seen.key, "texts", 0.0)
        return (now.ref and now.ref.sha256, now.error) == (seen.ref and seen.ref.sha256, seen.error)

    def version(self, key: str) -> str:
        found = self.observe(key, 0.0)
        self.looks.pop()
        assert found.ref is not None
        return str(found.ref.version)


@dataclass
class Site:
    """An intake that serves, and a reader of hints in it, on a loop of its own."""

    intake: Intake
    served: Served
    pictures: VersionedPictures
    world: RealWorld
    reader: HintReader
    loop: asyncio.AbstractEventLoop
    told: list[str] = field(default_factory=list)

    def hint(self, key: str, version: str = "v1", bucket: str = "texts", **more: Any) -> None:
        self.publish(json.dumps(about(key, version, bucket, **more)).encode())

    def publish(self, body: bytes) -> None:
        asyncio.run_coroutine_threadsafe(self.reader.take(body), self.loop).result(10)

    def post(self, key: str, version: str, name: str = "s3:ObjectCreated:Put") -> int:
        body = json.dumps(about(key, version, name=name)).encode()
        return self.served.call("POST", "/uploads", body, TOKEN).status

    def outcomes(self, outcome: str) -> float:
        return self.served.metric("lookout_intake_hints_total", outcome=outcome)

    def await_outcome(self, outcome: str, number: int = 1) -> None:
        until(lambda: self.outcomes(outcome) == number)

    def keys(self) -> list[str]:
        with self.world.ledger() as ledger:
            return [found.key for found in ledger.inputs("texts")]


def about(
    key: str, version: str, bucket: str = "texts", name: str = "s3:ObjectCreated:Put", at: str | None = None
) -> dict[str, Any]:
    made = event(bucket, quote_plus(key), name)
    made["Records"][0]["s3"]["object"]["versionId"] = version
    if at is not None:
        made["Records"][0]["eventTime"] = at
    return made


def until(ready: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        world = RealWorld(tmp_path)
        pictures = VersionedPictures(world)
        bus = stack.enter_context(serving_bus())
        intake = make_intake(world, pictures, bus.url, pace=PACE, nonce="aaaa")
        served = stack.enter_context(serving(intake, pictures))
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(lambda: loop.call_soon_threadsafe(loop.stop))

        async def make_reader() -> HintReader:
            return HintReader(bucket="texts", recorder=intake.recorder, recent=intake.recent, metrics=intake.metrics)

        reader = asyncio.run_coroutine_threadsafe(make_reader(), loop).result()
        yield Site(intake, served, pictures, world, reader, loop)


def test_a_hint_is_recorded_and_its_durable_event_answered_without_a_look(site: Site) -> None:
    site.world.put("a/1", "calm")
    version = site.pictures.version("a/1")
    site.hint("a/1", version)
    site.await_outcome("recorded")
    assert site.keys() == ["a/1"]
    assert site.post("a/1", version) == 200
    assert site.pictures.looks == ["a/1"]
    assert site.served.metric("lookout_intake_ignored_total", reason="known") == 1
    assert site.served.metric("lookout_intake_events_total", kind="created") == 1


def test_a_hint_after_its_durable_event_and_a_second_one_cost_no_look(site: Site) -> None:
    site.world.put("a/1", "calm")
    version = site.pictures.version("a/1")
    assert site.post("a/1", version) == 200
    for _ in range(2):
        site.hint("a/1", version)
    site.await_outcome("known", 2)
    assert site.pictures.looks == ["a/1"]


def test_the_object_is_looked_at_when_its_event_names_another_version(site: Site) -> None:
    """Hints may overtake each other: the newest version is in the ledger, whatever came last."""
    site.world.put("a/1", "calm")
    first = site.pictures.version("a/1")
    site.world.put("a/1", "alarm")
    second = site.pictures.version("a/1")
    site.hint("a/1", second)
    site.await_outcome("recorded")
    site.hint("a/1", first)
    site.await_outcome("outdated")
    assert site.post("a/1", first) == 200
    assert site.pictures.looks == ["a/1"] * 3
    with site.world.ledger() as ledger:
        ref = ledger.find_inputs("texts", ["a/1"])["a/1"].ref
    assert ref is not None
    assert ref.version == second


def test_a_forged_version_is_not_remembered_and_a_key_that_is_gone_leaves_nothing(site: Site) -> None:
    site.hint("a/1", "forged")
    site.await_outcome("outdated")
    assert site.keys() == []
    site.world.put("a/1", "calm")
    assert site.post("a/1", "forged") == 200
    assert site.pictures.looks == ["a/1"] * 2
    assert site.keys() == ["a/1"]


def test_the_removal_of_a_known_version_is_looked_at(site: Site) -> None:
    site.world.put("a/1", "calm")
    site.world.put("a/2", "calm")
    version = site.pictures.version("a/1")
    site.hint("a/1", version)
    site.await_outcome("recorded")
    (site.world.source / "a" / "1").unlink()
    assert site.post("a/1", version, "s3:ObjectRemoved:Delete") == 200
    assert site.pictures.looks == ["a/1"] * 2


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"", "unreadable"),
        (b"\xff" * 100, "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (json.dumps(about("a/1", "v1", bucket="words")).encode(), "ignored"),
        (json.dumps(about("a/1", "v1", bucket="elsewhere")).encode(), "ignored"),
        (json.dumps(about("a/1", "v1", name="s3:ObjectRemoved:DeleteMarkerCreated")).encode(), "ignored"),
    ],
    ids=["nothing", "no text", "nested", "a rule", "another bucket", "a removal"],
)
def test_all_but_new_pictures_is_left_to_the_durable_events(site: Site, body: bytes, outcome: str) -> None:
    site.publish(body)
    site.await_outcome(outcome)
    assert site.pictures.looks == []
    assert site.served.call("GET", "/healthz").status == 200


def test_a_key_that_no_store_can_hold_changes_nothing(site: Site) -> None:
    for key in ("../..", "x/", "a\0b", "/"):
        site.hint(key)
    until(lambda: site.outcomes("outdated") + site.outcomes("failed") == 4)
    assert site.keys() == []
    assert site.served.call("GET", "/healthz").status == 200


def test_while_the_source_is_away_a_hint_fails_and_its_durable_event_is_sent_again(site: Site) -> None:
    site.world.put("a/1", "calm")
    version = site.pictures.version("a/1")
    site.pictures.trouble = AWAY
    site.hint("a/1", version)
    site.await_outcome("failed")
    assert site.post("a/1", version) == 503
    site.pictures.trouble = None
    assert site.post("a/1", version) == 200
    assert site.keys() == ["a/1"]


def test_few_hints_are_looked_at_together_so_that_a_durable_event_is_answered_in_a_flood(site: Site) -> None:
    site.world.put("a/1", "calm")
    hold = threading.Event()
    site.pictures.looked = lambda _: assert_set(hold)
    bodies = [json.dumps(about(f"flood/{number}", "v1")).encode() for number in range(500)]

    async def publish(some: Sequence[bytes]) -> None:
        for body in some:
            await site.reader.take(body)

    flood = asyncio.run_coroutine_threadsafe(publish(bodies), site.loop)
    until(lambda: len(site.pictures.looks) >= LOOKS)
    assert not flood.done()
    posted: list[int] = []
    post = threading.Thread(target=lambda: posted.append(site.post("a/1", site.pictures.version("a/1"))))
    hold.set()
    post.start()
    post.join(10)
    assert posted == [200]
    flood.result(10)
    site.await_outcome("outdated", 500)
    assert site.keys() == ["a/1"]


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


def test_the_delay_is_counted_by_way_and_not_by_what_a_forger_claims(site: Site) -> None:
    site.world.put("a/1", "calm")
    version = site.pictures.version("a/1")
    site.hint("a/1", "forged", at="1970-01-01T00:00:00.000Z")
    site.await_outcome("outdated")
    site.hint("a/1", version, at="2999-01-01T00:00:00.000Z")
    site.await_outcome("known")
    site.world.put("a/2", "calm")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 1))
    site.hint("a/2", site.pictures.version("a/2"), at=now)
    site.await_outcome("recorded")
    name = "lookout_intake_event_delay_seconds"
    assert site.served.metric(f"{name}_count", way="hint") == 1
    assert site.served.metric(f"{name}_sum", way="hint") < 10
    assert site.served.metric(f"{name}_count", way="durable") == 0


def test_pauses_between_attempts_grow_to_a_limit_and_are_never_zero() -> None:
    for pauses in (list(islice(pauses_s(), 20)) for _ in range(20)):
        assert 0.1 < pauses[0] <= 0.25
        assert all(7 < pause <= 15 for pause in pauses[8:])
