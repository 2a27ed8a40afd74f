"""``lookout watch`` as a process of its own: what lands in the folder, what leaves it, and how it ends."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from devkit.fakes.sendgrid_api import SendGridApi

from .shell import CALM, DEADLINE_S, LOOKOUT, NEW, PHOTOS, RULES, THREAT, World


def _left_claimed(world: World) -> int:
    stages = world.lookout("status", "--state", "state", "--json").json["stages"]
    return sum(stage["running"] for stage in stages.values())


def test_a_watch_takes_what_is_there_and_what_comes_and_lets_go_of_what_leaves(empty_world: World) -> None:
    world = empty_world
    world.put(CALM)
    with SendGridApi() as api:
        world.environment = {"SENDGRID_API_KEY": api.key, "LOOKOUT_SENDGRID_HOST": api.url}
        _watch_for_a_while(world, api)
    world.environment = {}
    assert _left_claimed(world) == 0
    found = world.results()
    assert "validate/valid/" + THREAT in found
    assert not any("gate" in path for path in found if not path.startswith("plot/"))

    # What happened while nobody watched is seen at the next start; Ctrl-C ends as cleanly; nobody is told twice.
    world.put(NEW)
    with world.start("watch", "photos", "--state", "state", "--json") as watch:
        watch.expect(stage="validate", key=NEW, state="success")
        assert watch.stop(signal.SIGINT) == 130
    assert _left_claimed(world) == 0
    assert world.run()["threats"] == {"gate": 1, "porch": 1}
    alerts = world.lookout("alerts", "list", "--state", "state", "--json").lines
    assert sorted(alert["state"] for alert in alerts) == ["sent"] * 4
    assert world.letters() == []


def _watch_for_a_while(world: World, api: SendGridApi) -> None:
    arguments = ("watch", "photos", "--state", "state", "--rules", RULES, "--workers", "1", "--json")
    with world.start(*arguments) as watch:
        # What is there already
        watch.expect(stage="validate", key=CALM, state="success")
        watch.expect(stage="threat-detect", key=CALM, state="success")
        assert "watching photos" in watch.talk()

        # A half-copied file waits while others pass it, and is taken when it is whole.
        whole = (PHOTOS / THREAT).read_bytes()
        with (world.photos / THREAT).open("wb") as half:
            half.write(whole[:20_000])
            half.flush()
            world.put(NEW)
            watch.expect(stage="threat-detect", key=NEW, state="success")
            _await_mails(api, 2)
            assert not any(THREAT in line for line in watch.seen)
            half.write(whole[20_000:])
        watch.expect(stage="validate", key=THREAT, state="success")
        watch.expect(stage="threat-detect", key=THREAT, state="success")
        _await_mails(api, 2)

        # What leaves takes its results along.
        (world.photos / NEW).unlink()
        watch.expect(stage="validate", key=NEW, state="retracted")
        watch.expect(stage="threat-detect", key=NEW, state="retracted")

        assert watch.stop(signal.SIGTERM) == 130
    assert '"stopped": true' in watch.seen[-1]


def _await_mails(api: SendGridApi, number: int) -> None:
    for _ in range(number):
        assert api.arrived.acquire(timeout=DEADLINE_S), "no mail came"


def test_a_watched_folder_that_goes_away_ends_the_watch_with_a_reason_and_retracts_nothing(world: World) -> None:
    before = world.results()
    with world.start("watch", "photos", "--state", "state", "--json") as watch:
        watch.expect_talk("watching photos")
        world.photos.rename(world.root / "away")
        assert watch.wait() == 2
    assert "removed, moved or unmounted" in watch.err
    assert world.results() == before
    assert _left_claimed(world) == 0


def test_what_cannot_be_watched_is_refused_and_leaves_no_state(empty_world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "no such file or folder" in empty_world.refused("watch", "nowhere", "--state", "state")
    assert "got a file" in empty_world.refused("watch", "file", "--state", "state")
    assert not empty_world.state.exists()


def test_a_threat_in_a_folder_that_the_system_cannot_watch_is_found_and_the_trouble_is_told(empty_world: World) -> None:
    """In a user namespace of its own, which may lower its limit without privilege."""
    world = empty_world
    shell = 'echo 4 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine gives no user namespaces")
    (world.root / "lookout").write_text(f'#!/bin/sh\nexec {shlex.join([*wrapper, str(LOOKOUT)])} "$@"\n')
    (world.root / "lookout").chmod(0o755)
    arguments = ("watch", "photos", "--state", "state", "--rules", RULES, "--workers", "1", "--walk-every", "1s")
    with world.start(*arguments, "--json", command=world.root / "lookout") as watch:
        watch.expect_talk("watching photos")
        keys = [f"box{number}/{THREAT}" for number in range(8)]
        for key in keys:
            (world.photos / key).parent.mkdir()
            shutil.copyfile(PHOTOS / THREAT, world.photos / key)
        waiting = set(keys)
        while waiting:
            waiting.discard(watch.expect(stage="threat-detect", state="success")["key"])
        watch.expect_talk("of its folders cannot be watched")
        end_s = time.monotonic() + DEADLINE_S
        while world.lookout("status", "--state", "state", "--json").json["watch"].get("unwatched") != 5:
            assert time.monotonic() < end_s, "the trouble is noted in the ledger too"
        assert watch.stop(signal.SIGTERM) == 130
    assert json.loads(watch.seen[-1])["watch"]["unwatched"] == 5
