"""Servers that go and come back under work: a run rides out what is short, and hands back what it holds when it is
not; the next run ends where an undisturbed one does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.servers.for_tests import EtcdServer, MinioServer, Proxy
from lookout.domain.errors import Unavailable

from .test_kills import check_alerts, text_of
from .workers_kit import check_letters
from .world import LiveWorld, Place

TEXTS = 24


@pytest.fixture
def servers(new_etcd: Callable[..., EtcdServer], new_minio: Callable[..., MinioServer]) -> dict[str, object]:
    return {"etcd": new_etcd(), "minio": new_minio()}


@pytest.fixture
def world(tmp_path: Path, servers, prefix: str) -> LiveWorld:
    """With little patience, so that a test sees its end."""
    minio = servers["minio"]
    place = Place(
        etcd=servers["etcd"].endpoint,
        minio=minio.endpoint,
        access_key=minio.access_key,
        secret_key=minio.secret_key,
        prefix=prefix,
        ttl_s=2,
        timeout_s=2.0,
        patience_s=3.0,
    )
    world = LiveWorld(root=tmp_path / "world", place=place)
    fill(world)
    return world


def fill(world: LiveWorld) -> None:
    for n in range(TEXTS):
        world.put(f"{n % 3}/{n:03}", text_of(n))


def run_with(world: LiveWorld, at_step: dict[int, Callable[[], object]]) -> None:
    """A run in which these things happen when so many datums are done."""
    steps = 0

    def count(_step: object) -> None:
        nonlocal steps
        steps += 1
        if steps in at_step:
            at_step[steps]()

    with world.runner(max_letters=1000) as runner:
        replace(runner, on_progress=count).run(world.order())


def check_end(world: LiveWorld, place: Place | None = None) -> None:
    """It is that of a calm run beside it."""
    place = place or world.place
    world = replace(world, place=place)
    world.run_until_done()
    calm = LiveWorld(root=world.root / "calm", place=replace(place, prefix=f"c{place.prefix}"))
    fill(calm)
    calm.run(max_letters=1000)
    assert world.end_state() == calm.end_state()
    check_letters(world)
    check_alerts(world)


@pytest.mark.parametrize("name", ["etcd", "minio"])
def test_a_server_that_is_killed_and_back_at_once_again_and_again_disturbs_nothing(world, servers, name: str) -> None:
    """[TestDatumSetCache]"""
    server = servers[name]

    def again() -> None:
        server.kill()
        server.start()

    steps = dict.fromkeys((3, 20, 30, 45, 60), again)
    if name == "etcd":
        run_with(world, steps)
        assert world.dirty() == 0
    else:  # a thread that sends letters asks it meanwhile, and waits for a second or so
        with suppress(Unavailable):
            run_with(world, steps)
    check_end(world)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("etcd", 1),
        ("minio", TEXTS + 5),
        pytest.param("etcd", TEXTS + 5, marks=pytest.mark.slow),
        pytest.param("minio", 1, marks=pytest.mark.slow),
    ],
)
def test_a_server_that_stays_away_ends_the_run_and_the_next_one_completes_it(
    world, servers, name: str, step: int
) -> None:
    server = servers[name]
    with pytest.raises(Unavailable) as caught:
        run_with(world, {step: server.kill})
    assert caught.value.exit_code == 75
    server.start()
    if name == "minio":  # the ledger was there: it knows at once
        with world.ledger() as ledger:
            assert not [slot for slot in ledger.slots() if slot.owner is not None]
            assert ledger.runs(1)[0].state == "failed"
    with world.ledger() as ledger:
        assert {slot.tries for slot in ledger.slots()} == {0}
    check_end(world)


@pytest.mark.parametrize("name", ["etcd", "minio"])
def test_a_slow_network_that_cuts_now_and_then_changes_nothing_in_the_end(
    world, servers, new_proxy: Callable[..., Proxy], name: str
) -> None:
    proxy = new_proxy(servers[name].endpoint, delay_s=0.003)
    beyond = replace(world, place=replace(world.place, **{name: proxy.endpoint}))
    run_with(beyond, dict.fromkeys(range(5, 80, 10), proxy.cut))
    assert beyond.dirty() == 0
    check_end(beyond, world.place)


@pytest.mark.parametrize("name", [pytest.param("etcd", marks=pytest.mark.slow), "minio"])
def test_a_network_that_breaks_off_every_long_answer_ends_the_run_or_is_ridden_out(
    world, servers, new_proxy: Callable[..., Proxy], name: str
) -> None:
    proxy = new_proxy(servers[name].endpoint)
    beyond = replace(world, place=replace(world.place, **{name: proxy.endpoint}))

    def break_off() -> None:
        proxy.cut_after_bytes = 1500
        proxy.cut()

    with suppress(Unavailable):
        run_with(beyond, {10: break_off})
    check_end(beyond, world.place)


@pytest.mark.slow
def test_a_frozen_network_ends_the_run_in_bounded_time(world, servers, new_proxy: Callable[..., Proxy]) -> None:
    proxy = new_proxy(servers["minio"].endpoint)
    beyond = replace(world, place=replace(world.place, minio=proxy.endpoint))
    with pytest.raises(Unavailable, match=r"did not answer in time|broke off|cannot be reached"):
        run_with(beyond, {5: proxy.freeze})
    proxy.thaw()
    check_end(beyond, world.place)
