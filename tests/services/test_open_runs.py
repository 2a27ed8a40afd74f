"""Runs that stay open, on real servers: a keeper and four stages as processes, which are killed, frozen and stopped."""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from devkit.servers.for_tests import MinioServer
from lookout.ledger.open_runs import opening
from tests.cli.shell import PHOTOS, THREAT
from tests.services.cli_kit import STAGES, Site
from tests.services.open_runs_kit import KEEPER, TOLD, Floor, open_floor, until
from tests.services.test_intake import make_chain

LEASE_S = 15.0


@pytest.fixture
def floor(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str], closing: ExitStack) -> Floor:
    return open_floor(Site(root=tmp_path, environment=store_settings | ledger_settings), closing)


def say(measured: str) -> None:
    """Tell a figure, which pytest shows with -s and when the test fails."""
    sys.stderr.write(f"{measured}\n")


def test_a_run_takes_pictures_while_it_is_open_and_ends_when_none_come(floor: Floor) -> None:
    floor.begin()
    floor.land()
    floor.start_all(linger_s=8)
    floor.await_mails(TOLD)
    floor.await_open()
    took_s = []
    for n in range(2, 22):
        began_s = time.monotonic()
        key = floor.land()
        floor.await_mails(TOLD * n)
        took_s.append(time.monotonic() - began_s)
    say(floor.timeline(key))
    p95_s = statistics.quantiles(took_s, n=20)[18]
    say(f"upload to mail, warm: p50 {statistics.median(took_s):.3f} s, p95 {p95_s:.3f} s, max {max(took_s):.3f} s")
    assert statistics.median(took_s) < 3.0, "a run that polls takes longer"
    code, out, err = floor.end(KEEPER)
    assert (code, json.loads(out)["pictures"]) == (0, 21), err
    assert (floor.site.root / "verdict" / "count").read_text() == "21"
    for stage in STAGES:
        assert floor.end(stage)[0] == 0
    view = floor.ledger.find_run("run", STAGES)
    assert view is not None
    assert (view.record.state, view.lease, view.unfinished, view.present) == ("success", None, {}, frozenset())
    assert floor.mails() == TOLD * 21
    assert "plot/index.html" in floor.site.objects()


def test_a_picture_that_is_overwritten_again_and_again_ends_as_its_last_version(floor: Floor) -> None:
    floor.begin()
    floor.start_all(linger_s=3)
    floor.await_open()
    key = floor.land()
    picture = floor.site.store.connection.read(floor.site.store.full("images"), key)
    assert picture is not None
    for n in range(8):
        floor.site.store.put("images", key, picture + bytes([n]), "image/jpeg")
        floor.enter(key)
        time.sleep(0.1 * n / 4)
    assert floor.end(KEEPER)[0] == 0
    assert floor.site.objects()[f"validate/valid/{key}"] == picture + bytes([7])
    assert not [each for stage in STAGES[:3] for each in floor.ledger.dirty(stage)]


@pytest.mark.parametrize("stage", STAGES[:3])
def test_a_stage_that_is_killed_and_started_again_leaves_nothing_undone(floor: Floor, stage: str) -> None:
    floor.begin()
    floor.start_all(linger_s=5)
    floor.await_open()
    for n in range(12):
        floor.land()
        if n == 5:
            floor.signal(stage, signal.SIGKILL)
            floor.processes[stage].communicate()
            floor.start(stage)
    took_s = floor.await_mails(12 * TOLD)
    say(f"{stage} killed: the last mail came {took_s:.1f} s after the last picture")
    assert took_s < LEASE_S, "its claims are free at once"
    code, out, err = floor.end(KEEPER)
    assert (code, json.loads(out)["pictures"]) == (0, 12), err
    assert floor.mails() == 12 * TOLD


def test_a_keeper_that_is_killed_is_followed_by_another_and_delays_no_picture(floor: Floor) -> None:
    floor.begin()
    floor.start_all(linger_s=5)
    floor.await_open()
    floor.land()
    floor.signal(KEEPER, signal.SIGKILL)
    floor.processes[KEEPER].communicate()
    floor.land()
    floor.await_mails(2 * TOLD, 10.0)
    floor.start(KEEPER, "run", "--linger=5")
    code, out, err = floor.end(KEEPER, 90)
    assert (code, json.loads(out)["pictures"]) == (0, 2), err
    assert all(floor.end(stage)[0] == 0 for stage in STAGES)


def test_a_stage_frozen_longer_than_its_lease_is_replaced_and_ends_when_it_wakes(floor: Floor) -> None:
    floor.begin()
    floor.start_all(linger_s=30)
    floor.await_open()
    floor.signal("object-detect", signal.SIGSTOP)
    floor.land()
    frozen = floor.processes["object-detect"]
    until(lambda: not floor.is_open(), 2 * LEASE_S)
    floor.start("object-detect")
    floor.await_mails(TOLD)
    frozen.send_signal(signal.SIGCONT)
    _, err = frozen.communicate(timeout=60)
    assert frozen.returncode == 75, err
    floor.signal(KEEPER, signal.SIGTERM)
    assert floor.end(KEEPER)[0] == 0
    assert floor.mails() == TOLD


def test_a_run_without_a_stage_is_given_up_and_its_pictures_are_moved(floor: Floor) -> None:
    floor.begin()
    floor.start_all()
    floor.await_open()
    floor.signal("threat-detect", signal.SIGKILL)
    floor.processes["threat-detect"].communicate()
    floor.land()
    code, _, err = floor.end(KEEPER, 90)
    assert code == 75
    assert "threat-detect has been gone" in err
    floor.ledger.start_run(opening("next", "1", time.time()))
    for batch in floor.unfinished():
        assert floor.ledger.move_batch(batch.id, "next") is not None
    assert floor.ledger.bury_run("run")
    for stage in STAGES:
        if stage != "threat-detect":
            assert floor.end(stage)[0] == 0, "its run has ended"
    floor.start_all("next", linger_s=0)
    floor.await_mails(TOLD)
    assert floor.end(KEEPER)[0] == 0


def test_all_are_stopped_and_hand_back_what_they_have(floor: Floor) -> None:
    floor.begin()
    floor.start_all()
    floor.await_open()
    for _ in range(6):
        floor.land()
    began_s = time.monotonic()
    for name in floor.processes:
        floor.signal(name, signal.SIGTERM)
    for name in floor.processes:
        code, out, err = floor.end(name)
        assert code == 0, (name, out, err)
    assert time.monotonic() - began_s < 15
    view = floor.ledger.find_run("run", STAGES)
    assert view is not None
    assert (view.lease, view.present) == (None, frozenset())
    if view.unfinished:
        floor.ledger.start_run(opening("next", "1", time.time()))
        for id_ in view.unfinished:
            assert floor.ledger.move_batch(id_, "next") is not None
        floor.start_all("next", linger_s=1)
        assert floor.end(KEEPER)[0] == 0
    assert floor.mails() == 6 * TOLD
    assert not floor.unfinished()


def test_an_intake_gives_what_lands_to_an_open_run_and_begins_another_when_that_one_is_lost(
    tmp_path: Path,
    closing: ExitStack,
    new_minio: Callable[..., MinioServer],
    ledger_settings: dict[str, str],
) -> None:
    chain = make_chain(tmp_path, closing, new_minio, ledger_settings)
    floor = open_floor(chain.site, closing, begun=True)
    chain.start(LOOKOUT_INTAKE_LINGER_S="5")
    chain.await_ready()

    def runs() -> list[str]:
        return [one.body["run"] for one in chain.bus.posted if one.path == "/runs"]

    picture = (PHOTOS / THREAT).read_bytes()
    chain.put("porch_1763800000.jpg", picture)
    chain.bus.wait_for(lambda: len(set(runs())) == 1, 60.0)
    (first,) = set(runs())
    floor.start_all(first, linger_s=60)
    floor.await_mails(TOLD)
    floor.await_open(first)
    for n in range(1, 6):
        chain.put(f"porch_{1763800000 + n}.jpg", picture)
        floor.await_mails(TOLD * (n + 1))
    assert set(runs()) == {first}
    for name in (*STAGES, KEEPER):  # the pod is lost
        floor.signal(name, signal.SIGKILL)
        floor.processes[name].communicate()
    chain.put("porch_1763800006.jpg", picture)
    chain.bus.wait_for(lambda: len(set(runs())) == 2, 60.0)
    (second,) = set(runs()) - {first}
    floor.start_all(second, linger_s=3)
    floor.await_mails(TOLD * 7)
    code, out, err = floor.end(KEEPER)
    assert (code, json.loads(out)["pictures"]) == (0, 1), err
    assert not floor.unfinished()
    until(lambda: {run.id: run.state for run in floor.ledger.runs()}[first] == "lost")
