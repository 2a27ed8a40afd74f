"""The status beside the page, as the real command keeps it: after runs, during a watch, and when it is killed."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

from devkit.fakes.sendgrid_api import SendGridApi
from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import parse
from tests.engine.test_watch import until

from .shell import CALM, RULES, THREAT, World


def file_of(world: World) -> Path:
    return world.state / "objects" / "plot" / STATUS_KEY


def told(world: World) -> dict[str, Any]:
    return parse(file_of(world).read_bytes()) if file_of(world).exists() else {}


def test_a_rerun_with_nothing_to_do_leaves_the_status_as_it_is(world: World) -> None:
    world.run()
    before = (file_of(world).read_bytes(), file_of(world).stat().st_ino)
    world.run()
    assert (file_of(world).read_bytes(), file_of(world).stat().st_ino) == before
    assert list((world.state / "objects" / ".staging").iterdir()) == []


def test_a_killed_watch_leaves_a_status_that_grows_old_and_a_run_replaces_it(world: World) -> None:
    with world.start("watch", "photos", "--state", "state", "--json") as watch:
        watch.expect_talk("watching photos")
        until(lambda: told(world).get("watching") is True)
        watch.kill()
    assert told(world)["watching"] is True, "only its age tells that it died"
    world.run()
    assert (told(world)["watching"], told(world)["broken"]) == (False, False)


def test_a_watch_that_is_stopped_says_so_and_one_that_meets_an_error_too(world: World) -> None:
    with world.start("watch", "photos", "--state", "state", "--json") as watch:
        until(lambda: told(world).get("watching") is True)
        assert watch.stop(signal.SIGTERM) == 130
    assert (told(world)["watching"], told(world)["broken"]) == (False, False)
    with world.start("watch", "photos", "--state", "state", "--json") as watch:
        until(lambda: told(world).get("watching") is True)
        world.photos.rename(world.root / "away")
        assert watch.wait() == 2
    assert (told(world)["watching"], told(world)["broken"]) == (False, True)


def test_alerts_that_are_not_sent_are_told_without_key_and_recipient(empty_world: World) -> None:
    world = empty_world
    world.put(THREAT, CALM)
    with SendGridApi() as api:
        world.environment = {"SENDGRID_API_KEY": "SG.wrong-key", "LOOKOUT_SENDGRID_HOST": api.url}
        summary = world.lookout(
            "run", "photos", "--state", "state", "--rules", RULES, "--workers", "1", "--json", code=75
        ).json
    assert summary["alerts"]["sent"] == 0
    said = told(world)
    assert said["unsent"] == 2
    assert said["unsent_reason"]
    text = file_of(world).read_text()
    assert "wrong-key" not in text
    assert "@" not in text
    alerts = world.lookout("alerts", "list", "--state", "state", "--json").lines
    assert len(alerts) == 2
    assert not any(alert["draft"]["recipient"] in text for alert in alerts)


def test_housekeeping_and_checks_leave_the_status_alone(world: World) -> None:
    world.run()
    before = file_of(world).read_bytes()
    gone = world.lookout("gc", "--grace", "0s", "--older-than", "0s", "--state", "state", "--json").json
    assert gone["orphans"] == 0
    world.lookout("upkeep", "repair", "--thorough", "--state", "state")
    world.lookout("doctor", "--objects", "--state", "state")
    assert file_of(world).read_bytes() == before


def test_a_state_whose_status_cannot_be_written_works_and_logs_it(world: World) -> None:
    file_of(world).unlink()
    file_of(world).mkdir()
    (file_of(world) / "in the way").write_text("")
    done = world.lookout("run", "photos", "--state", "state", "--workers", "1", env={"LOOKOUT_LOG": "warning"})
    assert len(re.findall("status file not written", done.err)) == 1
