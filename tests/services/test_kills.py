"""Processes killed at random, again and again, while they work on one deployment: the end is that of a calm run."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lookout.domain.records import AlertState, State
from lookout.engine.planner import MAX_LONE_LOSSES

from .workers_kit import Worker, check_letters
from .world import LiveWorld, Place

TTL_S = 2


@pytest.fixture
def world(tmp_path: Path, place: Place) -> LiveWorld:
    return LiveWorld(root=tmp_path / "disturbed", place=replace(place, ttl_s=TTL_S))


def text_of(n: int) -> str:
    return f"{('alarm', 'calm', 'bad')[n % 3]} {n}"


def calm_end(world: LiveWorld, root: Path, texts: int) -> dict[str, object]:
    calm = LiveWorld(root=root, place=replace(world.place, prefix=f"c{world.place.prefix}"))
    for n in range(texts):
        calm.put(f"{n % 7}/{n:04}", text_of(n))
    calm.run(max_letters=100_000)
    return calm.end_state()


@pytest.mark.parametrize(
    ("kills", "texts"), [(12, 60), pytest.param(200, 500, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_kills_at_random_moments_change_nothing_in_the_end(
    world: LiveWorld, tmp_path: Path, kills: int, texts: int
) -> None:
    """Two workers at a time. Texts come while they work, so that every kill meets some work; a third of the victims is
    frozen past its session and woken instead."""
    chance = random.Random(4)
    put, workers, frozen = 0, [], []
    with ExitStack() as started:
        for n in range(kills):
            workers = [worker for worker in workers if worker.running]
            while put < texts * (n + 1) // kills:
                world.put(f"{put % 7}/{put:04}", text_of(put))
                put += 1
            while len(workers) < 2:
                workers.append(started.enter_context(Worker(world, until_done=True)))
            wait_for_any_end(workers, chance.uniform(0.3, 1.5))
            victim = workers.pop(chance.randrange(len(workers)))
            if chance.random() < 1 / 3:
                victim.freeze()
                frozen.append((victim, time.monotonic() + TTL_S + 1))
            else:
                victim.kill()
            for late in [item for item in frozen if item[1] < time.monotonic()]:
                frozen.remove(late)
                late[0].wake()
                workers.append(late[0])
        for victim, _ in frozen:
            victim.wake()
            workers.append(victim)
        ends = [worker.end() for worker in workers]
    assert {code for code, _ in ends} <= {0, 75}, ends
    world.run_until_done()
    assert world.end_state() == calm_end(world, tmp_path / "calm", texts)
    check_letters(world)
    check_alerts(world)


def wait_for_any_end(workers: list[Worker], at_most_s: float) -> None:
    """The moment of the next kill: by chance, or when a worker has nothing left to do."""
    end_s = time.monotonic() + at_most_s
    while time.monotonic() < end_s and all(worker.running for worker in workers):
        time.sleep(0.02)


def check_alerts(world: LiveWorld) -> None:
    """Each was sent, or two of its tries were killed under way, which it says."""
    with world.ledger() as ledger:
        assert {alert.state for alert in ledger.alerts()} <= {AlertState.SENT, AlertState.UNKNOWN}
        assert not list(ledger.alerts(states=[AlertState.PENDING, AlertState.SENDING]))
        sent = {alert_id for ids, _ in world.postbox.sent() for alert_id in ids}
        assert {alert.id for alert in ledger.alerts(states=[AlertState.SENT])} <= sent


def test_one_text_that_kills_its_workers_fails_alone(world: LiveWorld) -> None:
    """The process dies with the whole engine in it, as a pod does: nobody is there to say which text it was."""
    for n in range(12):
        world.put(f"a/{n:02}", "alarm")
    world.put("a/05x", "die")
    deaths = 0
    while True:
        with Worker(world, until_done=True) as worker:
            code, said = worker.end()
        if code == 0:
            break
        assert code == -9, said
        deaths += 1
        assert deaths < 13, "more than halving takes"
    assert world.states()["first"] == {"success": 12, "failed": 1}
    assert world.states()["third"] == {"success": 12, "unrunnable": 1}
    with world.ledger() as ledger:
        slots = {slot.key: slot for slot in ledger.slots("first")}
        assert slots["a/05x"].losses == MAX_LONE_LOSSES
        assert "worker" in (slots["a/05x"].error or "")
        assert {slot.tries for slot in slots.values() if slot.state is State.SUCCESS} == {0}
        assert not [slot for slot in ledger.slots() if slot.owner is not None]
    check_letters(world)
