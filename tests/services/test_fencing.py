"""Two engines on one deployment, one of them frozen past its lease and woken: what it does late changes nothing."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.contracts.ledger_kit import alert, done, record
from lookout.domain.errors import Unavailable
from lookout.domain.records import AlertState, Mark
from lookout.ledger.port import Settled
from lookout.maintenance.sweep import Sweep

from .workers_kit import Worker, check_letters
from .world import LiveWorld, Place

TTL_S = 2
FREEZE, KILL = int(signal.SIGSTOP), int(signal.SIGKILL)
LOUD = "second/a/1.loud"


@pytest.fixture
def world(tmp_path: Path, place: Place) -> LiveWorld:
    world = LiveWorld(root=tmp_path, place=replace(place, ttl_s=TTL_S))
    for i in range(6):
        world.put(f"a/{i}", f"alarm {i}")
    return world


def undisturbed(world: LiveWorld, tmp_path: Path) -> dict[str, object]:
    """The end of a calm run over what the bucket holds now."""
    calm = LiveWorld(root=tmp_path / "calm", place=replace(world.place, prefix=f"c{world.place.prefix}"))
    for listed in world.store.list("texts"):
        data = world.store.connection.read(world.store.full("texts"), listed.key)
        assert data is not None
        calm.put(listed.key, data.decode())
    calm.run()
    return calm.end_state()


MOMENTS = ["before put", "before commit", "before publish"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_frozen_engine_that_wakes_late_is_refused_and_the_end_is_that_of_the_other(
    world: LiveWorld, tmp_path: Path, moment: str
) -> None:
    with Worker(world, moments=[(moment, LOUD, FREEZE)]) as frozen:
        frozen.await_freeze()
        world.run_until_done()
        before = world.end_state()
        frozen.wake()
        code, said = frozen.end()
    assert (code, "has ended" in said) == (75, True), said
    assert world.end_state() == before == undisturbed(world, tmp_path)
    check_letters(world)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_picture_overwritten_while_a_frozen_engine_has_it_keeps_the_newer_result(
    world: LiveWorld, tmp_path: Path, moment: str
) -> None:
    with Worker(world, moments=[(moment, LOUD, FREEZE)]) as frozen:
        frozen.await_freeze()
        world.put("a/1", "alarm newer")
        world.run_until_done()
        frozen.wake()
        frozen.end()
    assert world.results()[LOUD] == world.results_by_ledger()[LOUD] == b"ALARM NEWER"
    calm = undisturbed(world, tmp_path)
    late = world.end_state()
    assert late.pop("alerts") >= calm.pop("alerts")  # that of the older picture may have been made before
    assert late == calm
    check_letters(world)


@pytest.mark.parametrize("moment", ["before put", "before publish"])
def test_a_picture_overwritten_while_an_engine_that_is_only_slow_has_it_keeps_the_newer_result(
    world: LiveWorld, moment: str
) -> None:
    """Frozen for less than its lease: it still holds its claims, and commits; what is newer comes after it."""
    with Worker(world, moments=[(moment, LOUD, FREEZE)]) as slow:
        slow.await_freeze()
        world.put("a/1", "alarm newer")
        slow.wake()
        assert slow.end() == (0, "")
    world.run_until_done()
    assert world.results()[LOUD] == world.results_by_ledger()[LOUD] == b"ALARM NEWER"
    assert world.states()["third"] == {"success": 6}


@pytest.mark.parametrize("moment", ["put", "publish"])
def test_a_late_write_of_an_engine_that_dies_then_is_not_what_readers_of_the_ledger_get(
    world: LiveWorld, moment: str
) -> None:
    with Worker(world, moments=[(f"before {moment}", LOUD, FREEZE), (f"after {moment}", LOUD, KILL)]) as frozen:
        frozen.await_freeze()
        world.put("a/1", "alarm newer")
        world.run_until_done()
        frozen.wake()
        assert frozen.end()[0] == -KILL
    assert world.results()[LOUD] == b"ALARM 1", "the late write lies on top"
    assert world.results_by_ledger()[LOUD] == b"ALARM NEWER"
    with world.ledger() as ledger:
        swept = Sweep(ledger=ledger, store=world.store, clock=world.clock).bucket("second")
    assert (swept.stale, swept.removed, swept.lost) == (1, 0, 0)
    assert world.results()[LOUD] == world.results_by_ledger()[LOUD] == b"ALARM NEWER"


# --- alerts ----------------------------------------------------------------------------------------------------------


def enter_alerts(world: LiveWorld, count: int) -> list[str]:
    ids = [f"{n:03}" for n in range(count)]
    with world.ledger() as ledger, ledger.session() as owner:
        ledger.mark([Mark(stage="s", key="k")])
        (claim,) = ledger.claim("s", owner, 1, 60.0)
        alerts = [alert(id_) for id_ in ids]
        assert ledger.commit([(claim, done(record("k", alerts=alerts), alerts=alerts))]) == [Settled.DONE]
    return ids


def test_an_alert_that_two_claim_at_once_is_taken_by_one_of_them(world: LiveWorld) -> None:
    ids = enter_alerts(world, 150)
    taken: list[str] = []
    start, end = threading.Barrier(3), threading.Barrier(3)

    def claim_each() -> None:
        with world.ledger() as ledger, ledger.session() as owner:
            start.wait()
            for id_ in ids:
                taken.extend(found.id for found in ledger.claim_alerts(owner, 1, 1e12, [id_]))
            end.wait()  # what a session holds is free again when it ends

    threads = [threading.Thread(target=claim_each) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ids


def test_an_engine_whose_session_has_ended_takes_no_alert(world: LiveWorld) -> None:
    """Nobody would ever find out that it died with the alert in its hands."""
    (id_,) = enter_alerts(world, 1)
    with world.ledger() as ledger:
        with ledger.session() as owner:
            pass
        with world.ledger() as other, pytest.raises(Unavailable, match="has ended"):
            other.claim_alerts(owner, 1, 1e12, [id_])
        assert [found.state for found in ledger.alerts()] == [AlertState.PENDING]
